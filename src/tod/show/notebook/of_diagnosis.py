"""A diagnosis in a notebook: no file is read again for it."""

from typing import Any

from tod.base import DataError
from tod.diagnosis import Diagnosis
from tod.show.figures.histogram import histogram
from tod.show.notebook import of_findings
from tod.show.notebook.card import Card
from tod.show.notebook.figure import Figure
from tod.show.words import steps, target


def lines(found: Diagnosis) -> list[str]:
    """The words of `tod diagnose`."""
    return of_findings.lines(found.findings, found.headlines())


def card(found: Diagnosis) -> Card:
    """The answer, the verdict, and what was read."""
    data = found.headlines()
    source = data["source"]
    return Card(
        findings=found.findings,
        data=data,
        regime=found.judged(),
        about=f"{target(data['target'])} · {source['format']} · {steps(source['steps'])}",
    )


def figure(found: Diagnosis) -> Figure:
    """Of several steps the first curve with its marks, else ESS_rel over prompts.

    Raises:
        DataError: Neither is known.
    """
    if len(found.summaries) > 1:
        return of_findings.figure(found.findings, found.headlines())
    return Figure("ESS_rel over prompts", _over_prompts(found))


def _over_prompts(found: Diagnosis) -> Any:
    values = found.informative_ess_rel()
    if not len(values):
        raise DataError("nothing to draw: no prompt has a weight of the target that is known.")
    ess = found.summary.ess_rel
    marks = [(ess.median, "median"), (ess.q10, "worst tenth")]
    return histogram(values, [(value, name) for value, name in marks if value is not None])
