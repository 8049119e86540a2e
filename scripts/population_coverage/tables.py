"""Rates of a cell from its outcomes, and the page that shows them."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np

from population_coverage.reading import DOMINATED, STABLE, word
from tod.diagnostics.population_ess import Interval

__all__ = ["Cell", "cells", "near_a_bound", "page"]

NEAR = 0.05
"""Of a bound: where a second draw may say another word."""
Outcome = dict[str, Any]


def near_a_bound(truth: float) -> bool:
    """Whether a second draw may say another word."""
    return min(abs(truth - STABLE), abs(truth - DOMINATED)) <= NEAR


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
        outcomes: One a world and draw, of any worlds.
        near: More of them, of worlds near a bound alone: they tell of flips.
    """

    row: str
    k: int
    prompts: int
    outcomes: Sequence[Outcome]
    near: Sequence[Outcome] = field(default_factory=list)

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

    def words(self) -> list[tuple[float, list[str]]]:
        """Truth of every world with more than one readable draw, and the word said of each."""
        by_world: dict[tuple[int, int], dict[Any, Outcome]] = defaultdict(dict)
        for outcome in (*self.outcomes, *self.near):
            if interval(outcome, "median") is None:
                continue
            *_, number, draw, seed = outcome["cell"]
            by_world[number, seed][draw] = outcome
        return [
            (
                next(iter(draws.values()))["truth"]["median"],
                [word(interval(o, "median")) for o in draws.values()],
            )
            for draws in by_world.values()
            if len(draws) > 1
        ]

    def flips(self) -> tuple[float | None, int]:
        """Chance that two draws of a world near a bound say different words; how many worlds."""
        near = [apart(words) for truth, words in self.words() if near_a_bound(truth)]
        return (float(np.mean(near)) if near else None), len(near)

    def opposite(self) -> int:
        """Worlds that are stable in one draw and dominated in another."""
        return sum({"stable", "dominated"} <= set(words) for _, words in self.words())

    def seconds(self) -> float:
        """Mean seconds of a reading."""
        return float(np.mean([o["seconds"] for o in self.outcomes]))


def apart(words: Sequence[str]) -> float:
    """Share of the pairs of words that differ."""
    pairs = list(combinations(words, 2))
    return sum(one != other for one, other in pairs) / len(pairs)


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
    return [Cell(*key, *_parted(grouped[key])) for key in keys]


def _parted(outcomes: Sequence[Outcome]) -> tuple[list[Outcome], list[Outcome]]:
    """Those of any worlds, and those of worlds near a bound alone."""
    near = [bool(outcome.get("near")) for outcome in outcomes]
    pairs = list(zip(outcomes, near, strict=True))
    return [o for o, only in pairs if not only], [o for o, only in pairs if only]


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
    "flips (worlds)",
    "opposite",
    "q10 coverage",
    "not above (true)",
    "not readable",
)


def columns(cell: Cell) -> list[str]:
    """Figures of a cell, as text."""
    worlds = len({o["cell"][3] for o in cell.outcomes})
    flips, near = cell.flips()
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
        f"{number(flips)} ({near})",
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


FLIPS = (
    "How often a word can flip: a world whose word is said with chance p flips with 2p(1 − p), .5 "
    "where p is a half, whatever the rule. With an end that is normal about the truth, standard "
    "error s, and worlds even within 0.05 of a bound, 90 % intervals flip .19 of them at most (at "
    "s = .02, where a world .05 beyond the bound is called so in .80 of draws), .15 or less where "
    "s < .013 or s > .04. Only a rule of 98 % a side flips .15 or less at any s.",
)


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
            "python scripts/population_coverage run near.jsonl --seeds reporting --near --draws 4",
            "python scripts/population_coverage table outcomes.jsonl near.jsonl --page "
            "docs/results/regimes.md",
            "```",
            "",
            *table([cell for cell in every if cell.row not in hard]),
            "",
            "*coverage*: of intervals with two ends. *stable → stable*: share of draws of stable "
            "worlds (of those at .8 and more) that are called so; *dominated* likewise (below .2). "
            "*false stable*: share of draws of worlds below .7 that are called stable; *false "
            "dominated* likewise; all of them of readable draws. *flips*: chance that two draws of "
            f"a world within {NEAR:g} of a bound say different words (how many worlds). "
            "*opposite*: worlds that are stable in one draw and dominated in the other. *not "
            "above*: intervals without a lower end (share of them that is true).",
            "",
            *FLIPS,
            "",
            "## Worlds on which the methods are known to be weak",
            "",
            *table([cell for cell in every if cell.row in hard]),
            "",
        )
    )
