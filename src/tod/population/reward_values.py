"""ESS_rel over the prompts of rewards with a few values, such as shares of tests passed.

A prompt has the chances π of the L values, and with b = μ

    e(π) = (Σ_l π_l·w_l)² / Σ_l π_l·w_l²,   w_l = exp(ηU_l).

Every group with a signal draws the chances of its prompt from a law over prompts, given what the
group shows; groups are reweighted at random, as another batch would hold others. Two laws are
fitted, and each draws populations in the share in which the groups favour it.
"""

from functools import lru_cache

import numpy as np
from jaxtyping import Float, Int

from tod.diagnostics.population_ess import Interval, PopulationEss
from tod.population.fewest import FEWEST_GROUPS
from tod.population.reward_counts import RewardCounts
from tod.population.value_laws import Compositions, DirichletLaw, EssAt, TiltLaw, ValueLaw

__all__ = ["reward_value_ess"]

POPULATIONS = 240
"""Drawn for an interval, whose ends are their 5 and 95 % points."""
LARGEST = 2048
"""Groups that are drawn; of more, so many are, and the interval is theirs."""
SEED = 10
"""Of the draws: the same counts give the same interval, whatever their labels."""


def reward_value_ess(counts: RewardCounts, eta: float) -> PopulationEss:
    """Median and 10 % quantile of e over prompts with a signal, for rewards of a few values, b = μ.

    Args:
        counts: Groups by the values that they hold; any K.
        eta: η, nats per unit of reward.
    """
    prompts = counts.with_signal
    if prompts < FEWEST_GROUPS:
        reason = f"{prompts} prompts whose rewards differ: {FEWEST_GROUPS} are needed"
        return PopulationEss(None, None, prompts, None, reason)
    populations = _populations(counts)
    ess = np.concatenate([at(eta) for at in populations])
    weight = np.random.default_rng(SEED + 1).standard_exponential(ess.shape)
    median, q10 = (_interval(_weighted_quantiles(ess, weight, share)) for share in (0.5, 0.1))
    return PopulationEss(median, q10, prompts, "reward_values")


def compositions(counts: RewardCounts) -> Compositions:
    """Groups with a signal in one order, over the values that occur in them."""
    cells = sorted(
        (composition, groups)
        for k, table in counts.by_size.items()
        for composition, groups in table.items()
        if max(composition) < k
    )
    rows = np.array([row for row, _ in cells], dtype=np.int64).reshape(len(cells), -1)
    groups = np.array([number for _, number in cells], dtype=np.int64)
    occurs = rows.any(axis=0)
    return Compositions(np.array(counts.levels)[occurs], rows[:, occurs], groups)


@lru_cache(maxsize=2)
def _populations(counts: RewardCounts) -> tuple[EssAt, ...]:
    """The prompts of every group in so many populations; made once for all η."""
    seen, rng = compositions(counts), np.random.default_rng(SEED)
    rows = np.repeat(seen.rows, seen.groups, axis=0)
    if len(rows) > LARGEST:
        rows = rows[np.sort(rng.permutation(len(rows))[:LARGEST])]
    laws: list[ValueLaw] = [DirichletLaw(seen), TiltLaw(seen)]
    draws = zip(laws, _shares(laws), strict=True)
    return tuple(law.drawn(rng, rows, number) for law, number in draws if number)


def _shares(laws: list[ValueLaw]) -> list[int]:
    """Populations drawn of each law, by its evidence."""
    log = np.array([law.fit.log_evidence for law in laws])
    weight = np.exp(log - log.max())
    first = round(POPULATIONS * float(weight[0] / weight.sum()))
    return [first, POPULATIONS - first]


BITS = 6
SIDE = 1 << BITS
"""Cells of [0, 1], and of each of them, in which values are counted for a quantile."""


def _weighted_quantiles(
    x: Float[np.ndarray, "R C"], weight: Float[np.ndarray, "R C"], share: float
) -> Float[np.ndarray, " R"]:
    """Quantile of every row of values in [0, 1], its elements weighted; right to 1/4096."""
    cell = np.minimum((x * SIDE**2).astype(np.int64), SIDE**2 - 1)
    wide, row = cell >> BITS, np.arange(len(x))
    mass = _counted(wide.ravel(), np.repeat(row, x.shape[1]), weight.ravel(), len(x))
    below = np.cumsum(mass, axis=1)
    wanted = share * below[:, -1]
    first = (below < wanted[:, None]).sum(axis=1)
    before = below[row, first] - mass[row, first]
    inside = wide == first[:, None]
    mass = _counted(cell[inside] & (SIDE - 1), np.nonzero(inside)[0], weight[inside], len(x))
    below = before[:, None] + np.cumsum(mass, axis=1)
    wanted = np.minimum(wanted, below[:, -1])
    second = (below < wanted[:, None]).sum(axis=1)
    before = below[row, second] - mass[row, second]
    within = np.clip((wanted - before) / mass[row, second], 0.0, 1.0)
    return (first * SIDE + second + within) / SIDE**2  # type: ignore[no-any-return]


def _counted(
    cell: Int[np.ndarray, " N"],
    row: Int[np.ndarray, " N"],
    weight: Float[np.ndarray, " N"],
    rows: int,
) -> Float[np.ndarray, "R 64"]:
    """Weight in each of the cells of every row."""
    return np.bincount(cell + SIDE * row, weight, minlength=SIDE * rows).reshape(rows, SIDE)


def _interval(values: Float[np.ndarray, " R"]) -> Interval:
    return Interval(*(float(x) for x in np.quantile(values, (0.05, 0.5, 0.95))))
