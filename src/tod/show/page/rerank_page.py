"""The page of `tod rerank --html`: the answer, the rules side by side, and their curves."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tod.base.text import DASH, counted, percent, plainly
from tod.reranking.words import (
    differs,
    doubled,
    enough,
    gain,
    headline,
    interval,
    measured,
    over_optimised,
    selection,
)
from tod.show.figures.plot import Plot, PlotLine, cursor_data, figure
from tod.show.figures.scales import nice
from tod.show.figures.svg import Html, join
from tod.show.output import put
from tod.show.page.diagnosis_data import versions
from tod.show.page.document import document
from tod.show.terminal.rerank_screen import beyond_the_rules, notes_of

if TYPE_CHECKING:
    from tod.reranking.ranked import Ranked
    from tod.reranking.rerank import Reranked

STATES = {"yes": "fine", "no": "note", "unknown": "unknown"}
WORDS = {
    "yes": "More candidates are not worth it",
    "no": "More candidates would help",
    "unknown": "Not known whether more would help",
}


def rerank_page(found: "Reranked") -> Html:
    """The whole document."""
    reading, groups = found.scored.reading, found.scored.contexts
    over = found.verdict.over_optimised.answer == "yes"
    name = ", ".join(path.name for path in reading.files[:3]) or "candidates"
    size = f"{counted(len(groups), 'prompt')} · {counted(groups.total, 'candidate')}"
    drawn = plots(found)
    return document(
        "rerank.html",
        f"{name} · TOD rerank",
        {"plots": {key: cursor_data(plot) for key, plot in drawn.items()}, "points": []},
        name=name,
        about=f"{reading.source.format} · {size} · seed {found.seed}",
        state="warning" if over else STATES[found.verdict.enough],
        state_words="Over-optimised" if over else WORDS[found.verdict.enough],
        headline=headline(found),
        verdict=_verdict(found),
        todo=_todo(found),
        heads=[f"{measured(found)} at K = {found.scored.k}", "gain over one", "against the first"],
        rules=[_rule(found, ranked) for ranked in found.ranked],
        figures=join([figure(plot, key) for key, plot in drawn.items()]),
        tables=[_table(found, ranked) for ranked in found.ranked],
        notes=notes_of(found),
        environment={"schema": "tod.rerank/1", "versions": versions()},
    )


def write_rerank(found: "Reranked", path: Path | str) -> Path:
    """The document, put at ``path``.

    Raises:
        RunError: The file cannot be written.
    """
    return put(rerank_page(found), Path(path), "the answers", "--html")


def _verdict(found: "Reranked") -> list[tuple[str, str]]:
    rows = [("Is K enough?", enough(found))]
    if found.verdict.last is not None:
        rows.append(("The last doubling", doubled(found.verdict.last)))
    rows.append(("How much selection", selection(found)))
    return [*rows, ("Over-optimised?", over_optimised(found))]


def _todo(found: "Reranked") -> list[str]:
    """What a person would do next."""
    verdict, over = found.verdict, found.verdict.over_optimised
    said = []
    if over.answer == "yes":
        said.append(f"Rerank {over.peak} candidates: --k {over.peak}.")
        said.append("Or soften the selection: --rule sir --eta with a small eta.")
    elif verdict.enough == "no":
        said.append(f"Draw {2 * verdict.k} candidates a prompt and rerank them again.")
    elif verdict.enough == "yes":
        said.append(f"Keep K at {verdict.k}, or look in the curve for a smaller one.")
    else:
        said.append("Rerank more prompts: the interval is over prompts.")
    if found.scored.gold_name is None:
        said.append("Name a score that no rule reads (--gold): this one is judged by itself.")
    if len(found.ranked) == 1:
        said.append("Compare rules: --rule best_of_k,sir,vote.")
    return said


def _rule(found: "Reranked", ranked: "Ranked") -> list[str]:
    point = found.of_rule(ranked)["curve"][-1]
    change, against = gain(found, ranked), point["against_first"]
    return [
        ranked.name,
        interval(point, found.verdict.measure),
        DASH if change is None else differs(change),
        DASH if against is None else differs(against),
    ]


def plots(found: "Reranked") -> dict[str, Plot]:
    """The curves by the measure that is judged, first; by the reward too where that is another."""
    by = found.verdict.measure
    made = {"curve": _plot(found, by, measured(found))}
    if by == "gold":
        made["reward"] = _plot(found, "utility", found.scored.name)
    return made


def _plot(found: "Reranked", by: str, title: str) -> Plot:
    lines = []
    for place, ranked in enumerate(found.ranked):
        lines += _lines(found.of_rule(ranked)["curve"], by, ranked.name, f"r{place % 8}")
    first = found.of_rule(found.ranked[0])["curve"]
    sizes = [point["k"] for point in first]
    if by != "gold" and beyond_the_rules(found):
        any_passes = [point["coverage"] for point in first]
        lines.append(PlotLine("any passes", sizes, any_passes, "s7", dashed=True))
    reach = [value for line in lines for value in (*line.y, *(line.area or ()))]
    ticks = [k for k in sizes if k & (k - 1) == 0 or k == sizes[-1]]
    tokens = first[-1]["tokens"]
    cost = "" if tokens is None else f" One candidate is {tokens / first[-1]['k']:.0f} tokens."
    return Plot(
        f"{title} against candidates",
        lines,
        nice(reach, None),
        note="Means over prompts of what is put out of K candidates; 95 % intervals." + cost,
        axis="K",
        at=ticks,
    )


def _lines(curve: list[dict[str, Any]], by: str, name: str, style: str) -> list[PlotLine]:
    """The upper edge of the interval fills down to the lower one; the mean lies on top."""
    sizes = [point["k"] for point in curve]
    ends = [point[f"{by}_ci95"] or (None, None) for point in curve]
    low, high = ([end[i] for end in ends] for i in (0, 1))
    mean = [point[by] for point in curve]
    return [
        PlotLine("", sizes, high, f"{style} faint", area=low),
        PlotLine(name, sizes, mean, style),
    ]


def _table(found: "Reranked", ranked: "Ranked") -> tuple[str, list[str], list[list[str]]]:
    gold = found.scored.gold_name
    heads = ["K", "tokens", found.scored.name, "pass rate", "any passes", "put out"]
    rows = [
        [
            str(point["k"]),
            plainly(point["tokens"]),
            interval(point, "utility"),
            percent(point["pass_rate"], 1),
            percent(point["coverage"], 1),
            percent(point["accepted"], 1),
            *([] if gold is None else [interval(point, "gold")]),
        ]
        for point in found.of_rule(ranked)["curve"]
    ]
    how = "exact" if ranked.outcomes[-1].exact else "over random subsets"
    bias = f"{ranked.name}: {how}, unbiased at every K"
    shared = "" if ranked.effective is None else f"; {plainly(ranked.effective)} share the choice"
    return bias + shared, heads if gold is None else [*heads, gold], rows
