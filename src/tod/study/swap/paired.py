"""Differences of operators in utility, by prompt at the same seed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal, Protocol

import numpy as np
from jaxtyping import Float

from tod.base import DataError
from tod.study.swap.estimate import Estimate, mean_over_seeds
from tod.study.swap.holm import holm

__all__ = ["OTHERS", "Effect", "Paired", "adjusted", "against_others", "differences"]
__all__ += ["over_prompts", "pairs", "parting"]

Family = Literal["study", "cluster"]
OTHERS = "the others"
"""Stands for the mean of all operators but one."""


class Paired(Protocol):
    """What was run side by side: a `Condition` of a study, or the settings of a sweep."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def cluster(self) -> str:
        """Its world or task."""

    @property
    def operators(self) -> tuple[str, ...]:
        """Names of the A that are compared."""

    @property
    def seeds(self) -> tuple[int, ...]:
        """The S seeds that they share."""

    @property
    def utility(self) -> Float[np.ndarray, "A S P"]:
        """Utility at the end, by held-out prompt."""


@dataclass(frozen=True)
class Effect:
    """Utility of one operator less that of another, or of the mean of all others.

    Attributes:
        condition: Name of the condition.
        cluster: Its world or task.
        operator: The first.
        against: The second; `OTHERS` for the mean of all others.
        difference: Mean over seeds and prompts; its error is over seeds, on these prompts.
        prompts: 95 % interval over prompts at these seeds; None if it was not asked for.
        adjusted: p after Holm's correction over all tests of the study; None before it.
        tests: How many those are; 0 before.
    """

    condition: str
    cluster: str
    operator: str
    against: str
    difference: Estimate
    prompts: tuple[float, float] | None = None
    adjusted: float | None = None
    tests: int = 0


def pairs(
    conditions: Iterable[Paired], *, family: Family = "study", resamples: int = 0
) -> list[Effect]:
    """Every pair of operators in every condition, Holm over all of them.

    Args:
        conditions: Operators, seeds and utilities.
        family: What is corrected as one: all of them, or every task or world by itself.
        resamples: Bootstrap resamples of prompts for every pair; 0 for none.

    Raises:
        DataError: A utility is unknown (NaN).
    """
    effects = []
    for condition in conditions:
        apart = differences(condition)
        for a, b in combinations(range(len(condition.operators)), 2):
            names = condition.operators[a], condition.operators[b]
            effects.append(_effect(condition, *names, apart[a] - apart[b], resamples))
    return adjusted(effects, family)


def against_others(
    conditions: Iterable[Paired], *, family: Family = "study", resamples: int = 0
) -> list[Effect]:
    """Every operator against the mean of the others of its condition, Holm over all of them.

    Where a single operator parts by x, each of the A − 1 others differs from its own others by
    −x/(A − 1): the largest is the one to name, `parting` says it from pairs.

    Args:
        conditions: Operators, seeds and utilities; those of one operator have none.
        family: What is corrected as one: all of them, or every task or world by itself.
        resamples: Bootstrap resamples of prompts for every operator; 0 for none.

    Raises:
        DataError: A utility is unknown (NaN).
    """
    effects = []
    for condition in conditions:
        count, apart = len(condition.operators), differences(condition)
        for a, name in enumerate(condition.operators if count > 1 else ()):
            rest = apart[a] * count / (count - 1)
            effects.append(_effect(condition, name, OTHERS, rest, resamples))
    return adjusted(effects, family)


def differences(condition: Paired) -> Float[np.ndarray, "A S P"]:
    """Utility less the mean of all operators at the same seed and prompt.

    What a seed or a prompt gives to all operators falls out.

    Raises:
        DataError: A utility is unknown: what is not paired cannot be compared.
    """
    unknown = np.isnan(condition.utility).any(axis=2)
    if bool(unknown.any()):
        a, s = np.argwhere(unknown)[0]
        raise DataError(
            f"{condition.name}: utilities of {condition.operators[a]} at seed "
            f"{condition.seeds[s]} are unknown on some prompts, so that operators are not paired. "
            "Evaluate every arm on the same prompts."
        )
    apart: Float[np.ndarray, "A S P"] = condition.utility - condition.utility.mean(axis=0)
    return apart


def over_prompts(
    difference: Float[np.ndarray, "S P"],
    *,
    shared: bool = True,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile interval of the mean difference under resampling of prompts inside seeds.

    It says how far the evaluation's prompts decide at these seeds, not what other seeds would do:
    that is the error of `Effect.difference`. Too narrow by √((P − 1)/P).

    Args:
        difference: By seed and prompt.
        shared: All seeds are evaluated on the same prompts, which are then drawn for all at once;
            else every seed draws its own.
        resamples: Resamples.
        level: Coverage of the interval.
        seed: Of the draws; equal seeds give equal intervals.
    """
    rng = np.random.default_rng(seed)
    rows = difference.mean(axis=0, keepdims=True) if shared else difference
    count = rows.shape[1]
    means = np.zeros(resamples)
    for row in rows:
        times = rng.multinomial(count, np.full(count, 1 / count), size=resamples)
        means += times @ row / (count * len(rows))
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def adjusted(effects: Sequence[Effect], family: Family = "study") -> list[Effect]:
    """The same effects with p after Holm's correction over their family, and its size."""
    names = [effect.cluster if family == "cluster" else "" for effect in effects]
    made = list(effects)
    for name in dict.fromkeys(names):
        places = [place for place, own in enumerate(names) if own == name]
        values = holm([effects[place].difference.p for place in places])
        tests = sum(value is not None for value in values)
        for place, p in zip(places, values, strict=True):
            made[place] = replace(effects[place], adjusted=p, tests=tests)
    return made


def parting(effects: Iterable[Effect], level: float = 0.05) -> tuple[str, ...]:
    """Operators without which no pair of a condition is left that differs.

    The one in most of the pairs whose adjusted p is at most ``level`` comes first, of equally many
    that with the largest mean difference in them; it is left out, and so on. One name: it alone
    parts from the rest. None: no pair differs.

    Args:
        effects: Pairs of one condition, adjusted.
        level: Largest adjusted p of a difference.
    """
    left = [e for e in effects if e.adjusted is not None and e.adjusted <= level]
    names: list[str] = []
    while left:
        sizes: dict[str, list[float]] = {}
        for effect in left:
            for name in (effect.operator, effect.against):
                sizes.setdefault(name, []).append(abs(effect.difference.value))
        first = max(sizes, key=lambda name: (len(sizes[name]), float(np.mean(sizes[name]))))
        names.append(first)
        left = [e for e in left if first not in (e.operator, e.against)]
    return tuple(names)


def _effect(
    condition: Paired,
    operator: str,
    against: str,
    difference: Float[np.ndarray, "S P"],
    resamples: int,
) -> Effect:
    interval = over_prompts(difference, resamples=resamples) if resamples else None
    mean = mean_over_seeds(difference.mean(axis=1))
    return Effect(condition.name, condition.cluster, operator, against, mean, interval)
