"""What groups without a signal leave open: ESS_rel over all prompts, and groups with one at any K.

A group that only fails or only passes comes from a prompt of any e in [sech²(η/2), 1]. A quantile
over all prompts is therefore known between two ends: all of them at the lower, or all at the upper.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from tod.diagnostics.population_ess import Interval
from tod.population.beta_family import family, signal
from tod.population.pass_counts import PassCounts
from tod.population.pass_rates import (
    PassRatePosterior,
    ess_quantile,
    pass_rate_posterior,
    weighted_interval,
)

__all__ = ["AllPrompts", "all_prompts_range", "signal_share"]

SHARES = 9
"""Points that stand for what is believed of a share."""
CELLS = 4000
"""Of arcsin √s, on which they are found."""
NEVER = np.linspace(0.0, 1.0, 41) ** 2
"""Shares of prompts that never show a signal, denser where they are small."""


class AllPrompts(NamedTuple):
    """A quantile of e over all prompts, with those that showed no signal at either end.

    Attributes:
        lowest: With all of them at sech²(η/2).
        highest: With all of them at 1.
    """

    lowest: Interval
    highest: Interval


def all_prompts_range(counts: PassCounts, eta: float, quantile: float = 0.5) -> AllPrompts:
    """φ-quantile of e over all prompts, 90 % interval at both ends of what is not identified.

    With a share s of groups with a signal it is their (φ − 1 + s)/s quantile at the lowest (or
    sech²(η/2)), their φ/s quantile at the highest (or 1). A word holds for all prompts where it
    holds at both.

    Args:
        counts: Groups by passes.
        eta: η·(U_pass − U_fail), nats.
        quantile: φ.
    """
    posterior = pass_rate_posterior(counts)
    shares = share_points(counts.with_signal, counts.without_signal)
    lowest, highest = (
        [ess_quantile(posterior.below, eta, one) for one in wanted]
        for wanted in ((quantile - 1 + shares) / shares, quantile / shares)
    )
    weight = np.tile(posterior.weight, shares.size)
    return AllPrompts(
        weighted_interval(np.concatenate(lowest), weight),
        weighted_interval(np.concatenate(highest), weight),
    )


def signal_share(posterior: PassRatePosterior, k: int) -> Interval:
    """Expected share of groups of K with a signal, 90 % interval.

    Under law h with a share 1 − t of prompts that never show one it is t·P_h·i_K. Law and t are
    weighed by the groups with a signal, as in `pass_rate_posterior`, and by how many there are.

    Args:
        posterior: After some counts, of any K.
        k: Rollouts of a group; 1 never shows a signal.
    """
    mass, alive = family().mass[posterior.rows], 1 - NEVER
    log = np.log(posterior.weight)[:, None] + np.zeros(alive.size)
    with np.errstate(divide="ignore", invalid="ignore"):
        for size, row in posterior.counts.by_size.items():
            if size > 1:
                chance = np.outer(mass @ signal(size), alive)
                with_signal, groups = int(row[1:-1].sum()), int(row.sum())
                log += np.where(with_signal, with_signal * np.log(chance), 0.0)
                log += (groups - with_signal) * np.log1p(-chance)
    weight = np.exp(log - log.max())
    return weighted_interval(np.outer(mass @ signal(k), alive).ravel(), weight.ravel())


def share_points(yes: int, no: int) -> Float[np.ndarray, " n"]:
    """Equally likely values of a share after so many, of the posterior Beta(yes + ½, no + ½).

    Of u = arcsin √s its density is s^yes·(1 − s)^no, without a pole.
    """
    s = np.sin((np.arange(CELLS) + 0.5) * (np.pi / 2 / CELLS)) ** 2
    log = yes * np.log(s) + no * np.log1p(-s)
    total = np.cumsum(np.exp(log - log.max()))
    return s[np.searchsorted(total, (np.arange(SHARES) + 0.5) / SHARES * total[-1])]  # type: ignore[no-any-return]
