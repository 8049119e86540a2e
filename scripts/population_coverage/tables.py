"""Rates of a cell from its outcomes, and the page that shows them."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from population_coverage.reading import DOMINATED, STABLE, word
from tod.diagnostics.population_ess import Interval

__all__ = ["Cell", "cells", "page"]

NEAR = 0.05
"""Of a bound: where a second draw may say another word."""
Outcome = dict[str, Any]


def interval(outcome: Outcome, which: str) -> Interval | None:
    """What was read of the median or of q10."""
    ends = outcome["said"][which]
    return None if ends is None else Interval(**ends)


@dataclass(frozen=True)
class Cell:
    """Outcomes of a row at one K and number of prompts.

    Attributes:
        row: Family, or hard world.
        k: Rollouts of a group.
        prompts: Groups of a step.
        outcomes: One a world and draw.
    """

    row: str
    k: int
    prompts: int
    outcomes: Sequence[Outcome]

    def two_ended(self, which: str) -> list[tuple[float, Interval]]:
        """Truth and interval where both ends are given; 0 is no end."""
        pairs = ((o["truth"][which], interval(o, which)) for o in self.outcomes)
        return [(t, i) for t, i in pairs if i is not None and i.low and i.high is not None]

    def one_ended(self) -> float:
        """Share that says "not above x" of the median."""
        read = [interval(o, "median") for o in self.outcomes]
        return share([i is not None and not i.low for i in read])

    def one_ended_true(self) -> float | None:
        """Share of those of which it is true."""
        pairs = ((o["truth"]["median"], interval(o, "median")) for o in self.outcomes)
        return share([t <= (i.high or 0) for t, i in pairs if i is not None and not i.low])

    def unreadable(self) -> float:
        """Share of which the median is not readable."""
        return share([interval(o, "median") is None for o in self.outcomes])

    def coverage(self, which: str) -> float | None:
        """Share of two-ended intervals that hold the truth."""
        return share([i.low <= t <= i.high for t, i in self.two_ended(which)])

    def width(self) -> float | None:
        """Median width of two-ended intervals of the median."""
        widths = [i.high - i.low for _, i in self.two_ended("median")]
        return float(np.median(widths)) if widths else None

    def said(self, what: str, low: float, high: float) -> float | None:
        """Share of readable draws with a truth in [low, high) that say a word."""
        inside = [o for o in self.outcomes if low <= o["truth"]["median"] < high]
        words = [word(interval(o, "median")) for o in inside]
        return share([one == what for one in words if one != "not readable"])

    def pairs(self) -> list[tuple[float, set[str]]]:
        """Truth of every world with more than one readable draw, and the words said of it."""
        by_world: dict[int, list[Outcome]] = defaultdict(list)
        for outcome in self.outcomes:
            if interval(outcome, "median") is None:
                continue
            by_world[outcome["cell"][3]].append(outcome)
        return [
            (draws[0]["truth"]["median"], {word(interval(o, "median")) for o in draws})
            for draws in by_world.values()
            if len(draws) > 1
        ]

    def flips(self) -> float | None:
        """Share of worlds near a bound whose draws say more than one word."""
        near = [w for t, w in self.pairs() if min(abs(t - STABLE), abs(t - DOMINATED)) <= NEAR]
        return share([len(words) > 1 for words in near])

    def opposite(self) -> int:
        """Worlds that are stable in one draw and dominated in another."""
        return sum({"stable", "dominated"} <= words for _, words in self.pairs())

    def seconds(self) -> float:
        """Mean seconds of a reading."""
        return float(np.mean([o["seconds"] for o in self.outcomes]))


def share(flags: Sequence[Any]) -> float | None:
    """Mean of flags; None of none."""
    return float(np.mean(flags)) if len(flags) else None


def cells(outcomes: Sequence[Outcome]) -> list[Cell]:
    """Outcomes by row, K and prompts, in the order in which rows occur."""
    grouped: dict[tuple[str, int, int], list[Outcome]] = defaultdict(list)
    order: dict[str, int] = {}
    for outcome in outcomes:
        row, k, prompts, *_ = outcome["cell"]
        order.setdefault(row, len(order))
        grouped[row, k, prompts].append(outcome)
    keys = sorted(grouped, key=lambda key: (order[key[0]], *key[1:]))
    return [Cell(*key, grouped[key]) for key in keys]


def number(value: float | None) -> str:
    """Two decimals, or three below .1; a dash where there is none."""
    if value is None:
        return "–"
    text = f"{value:.3f}" if 0 < value < 0.1 else f"{value:.2f}"
    return text.replace("0.", ".", 1) if value < 1 else text


HEAD = (
    "worlds",
    "coverage",
    "width",
    "stable → stable (≥ .8)",
    "dominated → dominated (< .2)",
    "false stable",
    "false dominated",
    "flips",
    "opposite",
    "q10 coverage",
    "not above (true)",
    "not readable",
)


def columns(cell: Cell) -> list[str]:
    """Figures of a cell, as text."""
    worlds = len({o["cell"][3] for o in cell.outcomes})
    stable = [cell.said("stable", low, 1.1) for low in (STABLE, 0.8)]
    dominated = [cell.said("dominated", -1, high) for high in (DOMINATED, 0.2)]
    return [
        str(worlds),
        number(cell.coverage("median")),
        number(cell.width()),
        f"{number(stable[0])} ({number(stable[1])})",
        f"{number(dominated[0])} ({number(dominated[1])})",
        number(cell.said("stable", -1, STABLE)),
        number(cell.said("dominated", DOMINATED, 1.1)),
        number(cell.flips()),
        str(cell.opposite()),
        number(cell.coverage("q10")),
        f"{number(cell.one_ended())} ({number(cell.one_ended_true())})",
        number(cell.unreadable()),
    ]


def table(some: Sequence[Cell]) -> list[str]:
    """Lines of a table of cells."""
    lines = [f"| rewards | K | prompts | {' | '.join(HEAD)} |", "|---" * (3 + len(HEAD)) + "|"]
    for cell in some:
        figures = " | ".join(columns(cell))
        lines.append(f"| {cell.row} | {cell.k} | {cell.prompts} | {figures} |")
    return lines


def page(outcomes: Sequence[Outcome], hard: Sequence[str]) -> str:
    """The whole page."""
    every = cells(outcomes)
    seeds = sorted({o["cell"][5] for o in outcomes})
    return "\n".join(
        (
            "# How often the word on a population of prompts is right",
            "",
            "Worlds whose truth is known: the median of ESS_rel over 100 000 of their prompts "
            "(20 000 where each is summed over its answers), each weighted by the chance that its "
            "group shows a signal. A word is said where the 90 % interval is on one side of a "
            f"bound ({STABLE:g}, {DOMINATED:g}). Seeds from {', '.join(map(str, seeds))}; methods "
            "were compared on others.",
            "",
            "```bash",
            "python scripts/population_coverage run outcomes.jsonl --seeds reporting",
            "python scripts/population_coverage table outcomes.jsonl docs/results/regimes.md",
            "```",
            "",
            *table([cell for cell in every if cell.row not in hard]),
            "",
            "*coverage*: of intervals with two ends. *stable → stable*: share of draws of stable "
            "worlds (of those at .8 and more) that are called so; *dominated* likewise (below .2). "
            "*false stable*: share of draws of worlds below .7 that are called stable; *false "
            "dominated* likewise; all of them of readable draws. *flips*: worlds within "
            f"{NEAR:g} of a bound of which two draws say different words. *opposite*: worlds that "
            "are stable in one draw and dominated in the other. *not above*: intervals without a "
            "lower end (share of them that is true).",
            "",
            "## Worlds on which the methods are known to be weak",
            "",
            *table([cell for cell in every if cell.row in hard]),
            "",
        )
    )
