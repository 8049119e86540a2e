"""A run in a notebook: what `tod diagnose` of its directory says, and its page's first curve."""

from tod.base import DataError
from tod.base.brief import first_lines
from tod.show.figures.learning import learning
from tod.show.notebook import of_findings
from tod.show.notebook.card import Card
from tod.show.notebook.figure import Figure
from tod.show.page.headline import facts
from tod.show.run import Run
from tod.show.words import sentence, verdict_words


def lines(found: Run) -> list[str]:
    """The answer, the regime, and where it is."""
    at = _end(str(found.directory))
    if found.findings is not None:
        data = None if found.diagnosis is None else found.diagnosis.headlines()
        return first_lines([*of_findings.lines(found.findings, data), f"Run: {at}"], last=4)
    words = verdict_words(found.verdict)
    return first_lines([f"{words.name}: {_means(found)}", f"Run: {at}"])


def card(found: Run) -> Card:
    """The answer, the verdict, and the page's headline figures."""
    data = None if found.diagnosis is None else found.diagnosis.headlines()
    tiles = [(tile.name, f"{tile.value} {tile.beside}".strip()) for tile in facts(found.view)]
    return Card(
        findings=found.findings,
        data=data,
        regime=found.judged.to_dict(),
        searched=found.view.search is not None,
        rows=tiles,
        about=str(found.directory),
    )


def figure(found: Run) -> Figure:
    """Rewards and held-out pass@1 over the steps.

    Raises:
        DataError: No step has a reward.
    """
    plot = learning([found.view])
    if plot is None:
        raise DataError("nothing to draw: no step has a reward.")
    return Figure.of(plot)


def _end(path: str, most: int = 70) -> str:
    """The end of a long path, which tells runs apart."""
    return path if len(path) <= most else f"…{path[1 - most :]}"


def _means(found: Run) -> str:
    return sentence(found.verdict, searched=found.view.search is not None)
