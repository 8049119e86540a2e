"""Which settings of a sweep end better, and whether by more than seeds explain."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
from jaxtyping import Float

from tod.study.swap.estimate import Estimate, mean_over_seeds
from tod.study.swap.paired import Effect, adjusted, pairs
from tod.study.sweep.axis import Axis
from tod.study.sweep.ends import End

__all__ = ["LEVEL", "Along", "Combination", "Comparison", "compare"]

LEVEL = 0.05
"""Largest p after Holm's correction at which two settings are told apart."""


@dataclass(frozen=True, eq=False)
class Combination:
    """One combination of values: its runs differ by their seeds alone.

    Attributes:
        values: A value an axis.
        label: In words.
        runs: All of them.
    """

    values: tuple[Any, ...]
    label: str
    runs: tuple[End, ...]

    @property
    def ended(self) -> dict[int, Float[np.ndarray, " P"]]:
        """Utility by held-out prompt after the last step, by seed, of the runs that have it."""
        return {run.seed: run.by_prompt for run in self.runs if run.by_prompt is not None}

    @property
    def end(self) -> Estimate | None:
        """Mean utility after the last step, its error over seeds; None before any run ended."""
        return _mean([value.mean() for value in self.ended.values()])

    @property
    def start(self) -> Estimate | None:
        """Mean utility before training, alike."""
        return _mean([run.first.value for run in self.runs if run.first is not None])

    @property
    def verdicts(self) -> dict[str, int]:
        """How many runs have which verdict; those that did not end have none."""
        return dict(Counter(run.verdict for run in self.runs if run.verdict is not None))


@dataclass(frozen=True)
class Along:
    """What one setting changes, averaged over all others.

    Attributes:
        axis: The setting.
        means: By value, over the combinations of the others that every value has.
        effects: Every pair of values, corrected together with those of the other settings.
    """

    axis: Axis
    means: dict[str, Estimate]
    effects: tuple[Effect, ...]

    @property
    def largest(self) -> Effect | None:
        """The pair that is furthest apart; None without a pair."""
        return max(self.effects, key=lambda e: abs(e.difference.value), default=None)


@dataclass(frozen=True)
class Comparison:
    """What a sweep says of its settings.

    Attributes:
        cells: In the order of the grid.
        pairs: Every two cells that share seeds, corrected together.
        along: Every setting by itself, where there are several.
        level: Largest corrected p at which two are told apart.
    """

    cells: tuple[Combination, ...]
    pairs: tuple[Effect, ...]
    along: tuple[Along, ...]
    level: float = LEVEL

    @property
    def ranked(self) -> list[Combination]:
        """The cells of which a run ended, the best first; equals in the order of the grid."""
        known = [(cell, cell.end) for cell in self.cells]
        ended = [(cell, end.value) for cell, end in known if end is not None]
        return [cell for cell, _ in sorted(ended, key=lambda pair: -pair[1])]

    @property
    def best(self) -> Combination | None:
        """The cell that ended best; None before any run ended."""
        return next(iter(self.ranked), None)

    @property
    def alike(self) -> list[tuple[str, ...]]:
        """Cells whose runs earn the same at every step and on every held-out prompt, by group.

        What tells them apart does nothing here.
        """
        groups: dict[tuple[Any, ...], list[str]] = {}
        for cell in self.ranked:
            known = [run for run in cell.runs if run.by_prompt is not None]
            earned = tuple(
                (run.seed, tuple(sorted(run.reward.items())), np.asarray(run.by_prompt).tobytes())
                for run in known
            )
            groups.setdefault(earned, []).append(cell.label)
        return [tuple(labels) for labels in groups.values() if len(labels) > 1]

    def less_best(self, cell: Combination) -> Effect | None:
        """A cell less the best; None of the best itself and where they share no seed."""
        best = self.best
        if best is None or cell is best:
            return None
        for effect in self.pairs:
            if (effect.operator, effect.against) == (cell.label, best.label):
                return effect
            if (effect.operator, effect.against) == (best.label, cell.label):
                turned = replace(effect.difference, value=-effect.difference.value)
                return replace(effect, operator=cell.label, against=best.label, difference=turned)
        return None

    def told(self, effect: Effect | None) -> bool | None:
        """Whether two settings are told apart; None where nothing can tell, as with one seed."""
        return None if effect is None or effect.adjusted is None else effect.adjusted <= self.level


def compare(axes: Sequence[Axis], ends: Iterable[End], level: float = LEVEL) -> Comparison:
    """Compare all combinations in pairs, and the values of every setting averaged over the rest.

    A difference is taken prompt by prompt between runs of one seed, which drew by the same random
    numbers; its mean has an error over seeds, Student's t of seeds − 1. p-values are corrected by
    Holm over all pairs of combinations, and, as a family of their own, over all pairs of values.

    Args:
        axes: What differs.
        ends: The runs.
        level: Largest corrected p at which two are told apart.
    """
    by_values: dict[tuple[int, ...], list[End]] = {}
    for end in ends:
        by_values.setdefault(_places(axes, end.values), []).append(end)
    cells = tuple(
        Combination(runs[0].values, _label(axes, runs[0].values), tuple(sorted(runs, key=_seed)))
        for runs in by_values.values()
    )
    effects = [e for a, b in combinations(cells, 2) for e in _pair(a.label, [a], b.label, [b])]
    alone = [_along(axes, place, cells) for place in range(len(axes)) if len(axes) > 1]
    family = adjusted([effect for one in alone for effect in one.effects])
    return Comparison(
        cells,
        tuple(adjusted(effects)),
        tuple(
            replace(one, effects=tuple(e for e in family if e.condition == one.axis.path))
            for one in alone
        ),
        level,
    )


@dataclass(frozen=True, eq=False)
class _Ends:
    """Two settings side by side, as `tod.study.swap.paired` compares them."""

    name: str
    operators: tuple[str, ...]
    seeds: tuple[int, ...]
    utility: Float[np.ndarray, "A S P"]
    cluster: str = ""


def _pair(
    first: str,
    ones: Sequence[Combination],
    second: str,
    others: Sequence[Combination],
    name: str = "",
) -> list[Effect]:
    """The first less the second, over the seeds that all of their cells have; none without one."""
    seeds = _shared([*ones, *others])
    if not seeds:
        return []
    utility = np.stack([_averaged(ones, seeds), _averaged(others, seeds)])
    return pairs([_Ends(name, (first, second), seeds, utility)])


def _along(axes: Sequence[Axis], place: int, cells: Sequence[Combination]) -> Along:
    """One setting, averaged over the combinations of the others."""
    axis = axes[place]
    rows: dict[tuple[int, ...], dict[int, Combination]] = {}
    for cell in cells:
        places = _places(axes, cell.values)
        if cell.ended:
            rows.setdefault((*places[:place], *places[place + 1 :]), {})[places[place]] = cell
    told = [axis.told(value) for value in axis.values]
    effects = []
    for a, b in combinations(range(len(axis.values)), 2):
        both = [row for row in rows.values() if a in row and b in row]
        ones, others = [row[a] for row in both], [row[b] for row in both]
        effects += _pair(told[a], ones, told[b], others, axis.path)
    whole = [row for row in rows.values() if len(row) == len(axis.values)]
    seeds = _shared([cell for row in whole for cell in row.values()])
    means = {
        told[i]: mean_over_seeds(_averaged([row[i] for row in whole], seeds).mean(axis=1))
        for i in range(len(axis.values))
        if seeds
    }
    return Along(axis, means, tuple(effects))


def _shared(cells: Sequence[Combination]) -> tuple[int, ...]:
    """The seeds of which all cells have an end."""
    if not cells:
        return ()
    return tuple(sorted(set.intersection(*({*cell.ended} for cell in cells))))


def _averaged(cells: Sequence[Combination], seeds: Sequence[int]) -> Float[np.ndarray, "S P"]:
    """Mean utility over cells, by seed and prompt."""
    mean: Float[np.ndarray, "S P"] = np.mean(
        [[cell.ended[seed] for seed in seeds] for cell in cells], axis=0
    )
    return mean


def _places(axes: Sequence[Axis], values: Sequence[Any]) -> tuple[int, ...]:
    """Where values stand on their axes: they may be lists and mappings, which are no keys."""
    return tuple(axis.values.index(value) for axis, value in zip(axes, values, strict=True))


def _seed(run: End) -> int:
    return run.seed


def _label(axes: Sequence[Axis], values: Sequence[Any]) -> str:
    said = ", ".join(axis.told(value) for axis, value in zip(axes, values, strict=True))
    return said or "all runs"


def _mean(values: Sequence[float]) -> Estimate | None:
    return mean_over_seeds(np.array(values)) if values else None
