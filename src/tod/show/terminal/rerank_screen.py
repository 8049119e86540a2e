"""A reranking in the terminal: the answer first; 24 lines of 80 columns."""

from collections.abc import Iterator
from textwrap import wrap
from typing import TYPE_CHECKING

from rich.text import Text

from tod.base.text import DASH, counted, large, visible
from tod.reranking.words import (
    differs,
    doubled,
    enough,
    gain,
    headline,
    interval,
    measured,
    number,
    over_optimised,
    selection,
)
from tod.show.screen import Screen

if TYPE_CHECKING:
    from tod.reranking.rerank import Reranked

WIDTH, LINES, LABEL, CELL = 80, 24, 20, 8
RULES = 6
"""Rules that the screen has room for; all are in --json and on the page."""


def show(found: "Reranked", written: str | None = None) -> None:
    """Print it."""
    console = Screen()
    for place, line in enumerate(lines(found, written)):
        console.print(Text(line, style="" if place else "bold"), soft_wrap=True)


def lines(found: "Reranked", written: str | None = None) -> list[str]:
    """The screen, a line each: 24 at most, of 80 columns."""
    head = wrap(headline(found), WIDTH, break_on_hyphens=False)[:2]
    verdict = [*_row("Is K enough?", enough(found))]
    if found.verdict.last is not None:
        verdict += _row("  the last doubling", doubled(found.verdict.last))
    verdict += _row("How much selection", selection(found))
    verdict += _row("Over-optimised?", over_optimised(found))
    tail = [*_row("Answers", written or "not written: -o answers.jsonl writes them"), _read(found)]
    made = [*head, *_rules(found), *_curves(found), *verdict]
    notes = [line for note in notes_of(found) for line in wrap(f"note: {note}", WIDTH)]
    room = max(LINES - len(made) - len(tail), 0)
    return [_cut(visible(line)) for line in [*made, *notes[:room], *tail]][:LINES]


def notes_of(found: "Reranked") -> list[str]:
    """What was assumed, left out of the figures, or refused."""
    reading, groups = found.scored.reading, found.scored.contexts
    left = len(groups) - int(found.in_curve.sum())
    notes = list(found.scored.notes)
    if len(groups) == 1:
        notes.append("one prompt: no interval, and nothing that holds for others")
    same = found.scored.alike
    if len(groups) / 2 < same < len(groups):
        name = found.scored.name
        notes.append(
            f"in {same} of {counted(len(groups), 'prompt')} all candidates have the same {name}"
        )
    if left:
        short = f"{left} of {counted(len(groups), 'prompt')} have fewer than {found.scored.k}"
        notes.append(f"{short} candidates: answered, and left out of the figures")
    if reading.source.rejected:
        first = reading.source.rejections[0] if reading.source.rejections else ""
        notes.append(f"{counted(reading.source.rejected, 'row')} left out: {first}")
    return notes


def _rules(found: "Reranked") -> Iterator[str]:
    """What each reaches at K; of several also the difference from the first."""
    several = len(found.ranked) > 1
    last = "against the first" if several else "gain over one candidate"
    yield f"{'rule':<{LABEL}}{_short(measured(found), 26) + ' (95 %)':<34}{last}"
    for ranked in found.ranked[:RULES]:
        point = found.of_rule(ranked)["curve"][-1]
        change = point["against_first"] if several else gain(found, ranked)
        reached = interval(point, found.verdict.measure)
        beside = DASH if change is None else differs(change)
        yield f"  {_short(ranked.name, LABEL - 3):<{LABEL - 2}}{reached:<34}{beside}"


def _curves(found: "Reranked") -> Iterator[str]:
    """Every rule against the candidates that it draws, with what they cost."""
    points = {r.name: found.of_rule(r)["curve"] for r in found.ranked[:RULES]}
    first = next(iter(points.values()))
    chosen = _columns([point["k"] for point in first])
    yield f"{'K':<{LABEL}}" + "".join(f"{first[i]['k']:>{CELL}}" for i in chosen)
    for name, curve in points.items():
        yield _cells(name, [number(curve[i][found.verdict.measure]) for i in chosen])
    if beyond_the_rules(found):
        yield _cells("any passes", [number(first[i]["coverage"]) for i in chosen])
    if first[0]["tokens"] is not None:
        yield _cells("tokens a prompt", [_tokens(first[i]["tokens"]) for i in chosen])


def beyond_the_rules(found: "Reranked") -> bool:
    """Whether pass@k tells more than the curves: best of K by a 0/1 reward reaches it."""
    curve = found.of_rule(found.ranked[0])["curve"]
    by = found.verdict.measure
    known = by != "gold" and curve[0]["coverage"] is not None
    return known and any(abs(point["coverage"] - point[by]) > 1e-9 for point in curve)


def _tokens(value: float) -> str:
    return f"{value:.0f}" if value < 1e4 else large(value)


def _columns(sizes: list[int]) -> list[int]:
    """Places of the sizes that are shown: powers of two and the last, seven at most."""
    last = len(sizes) - 1
    doubled_ = [i for i, k in enumerate(sizes) if k & (k - 1) == 0 or i == last]
    return doubled_ if len(doubled_) <= 7 else [doubled_[0], *doubled_[-6:]]


def _cells(name: str, values: list[str]) -> str:
    cells = "".join(f"{value:>{CELL}}" for value in values)
    return f"  {_short(name, LABEL - 3):<{LABEL - 2}}{cells}"


def _row(label: str, words: str) -> list[str]:
    """A label and its words, on two lines at most."""
    return wrap(
        f"{label:<{LABEL}}{words}", WIDTH, subsequent_indent=" " * LABEL, break_on_hyphens=False
    )[:2]


def _read(found: "Reranked") -> str:
    source, groups = found.scored.reading.source, found.scored.contexts
    sizes = groups.sizes
    k = f"{sizes.min()}" if sizes.min() == sizes.max() else f"{sizes.min()}-{sizes.max()}"
    size = f"{counted(len(groups), 'prompt')}, K = {k}, {counted(groups.total, 'candidate')}"
    return f"{source.format}: {size}; all figures: --json, --html"


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _cut(line: str) -> str:
    return line if len(line) <= WIDTH else f"{line[: WIDTH - 2].rstrip()} …"
