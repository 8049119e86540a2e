"""The verdict first: a sentence, why, and what to turn."""

from typing import Any

from tod.base.text import fixed
from tod.diagnostics.summary import Summary
from tod.regimes import classify_run, ess_two
from tod.show.figures.ribbon import ribbon
from tod.show.page.run_data import RunView, at, thresholds
from tod.show.words import sentence, verdict_words


def judged(run: RunView, named: bool = False) -> dict[str, Any]:
    """What the verdict's section shows: of the last judged step, or of a diagnosis as a whole."""
    step, regime = run.judged if run.judged is not None else (None, {})
    name, count = regime.get("verdict"), len(run.steps)
    span = None if step is None else f"at {'step' if run.search is None else 'batch'} {step}"
    if step is None and count > 1 and run.diagnosis is not None:
        span = f"over {count} steps"
    alone = run.diagnosis is not None and count < 2  # the badge says it
    return {
        "run": run.name,
        "words": verdict_words(name),
        "span": span,
        "lead": sentence(name, searched=run.search is not None),
        "ribbon": None if alone else ribbon(run, 60) if named else ribbon(run),
        "changes": (run.diagnosis or {}).get("changes", ()),
        "whole": _whole(run),
        "reasons": [item for item in _listed(regime, "reasons") if isinstance(item, dict)],
        "missing": _listed(regime, "missing"),
    }


def _listed(regime: dict[str, Any], key: str) -> list[Any]:
    found = regime.get(key)
    return found if isinstance(found, list) else []


def _whole(run: RunView) -> str | None:
    """The run as a whole, on the bands of step-means."""
    if run.diagnosis is not None:  # that is what is shown
        return None
    # step 0 is the evaluation before training and diagnosed nothing
    diagnosed = [record for record in run.steps if at(record, "contexts", "total")]
    summaries = [Summary.from_dict(record) for record in diagnosed]
    if len(summaries) < 2:
        return None
    two = ess_two(summaries)
    whole = verdict_words(classify_run(summaries, thresholds([run])).verdict).name
    if run.search is not None:
        return f"The run as a whole, over {len(summaries)} batches: {whole}."
    known = f"ESS_two {fixed(two)}" if two is not None else "ESS_two is not known"
    return (
        f"The run as a whole, over {len(summaries)} steps: {whole} "
        f"({known}, the smaller step-mean of the first two legs of overlap)."
    )
