"""How many rollouts a prompt needs, read on the population of prompts."""

import math

from tod.diagnostics.population_ess import Interval

__all__ = ["needed_k"]


def needed_k(ess: Interval | None, count: float) -> Interval | None:
    """K = ⌈count/ESS_rel⌉, at least 1: rollouts of which ``count`` are effective, 90 % interval.

    Where ESS_rel has no lower end (a heavy right tail) only ``low`` is known: at least so many.
    4/error² in the place of a count gives the K for a root mean square error of any |f| ≤ 1.

    Args:
        ess: A quantile over prompts of ESS_rel.
        count: Effective rollouts wanted, > 0.
    """
    if ess is None or ess.high is None:
        return None

    def whole(value: float | None) -> float | None:
        return max(math.ceil(count / value * (1 - 1e-12)), 1) if value else None

    high = whole(ess.low)
    return Interval(whole(ess.high), None if high is None else whole(ess.value), high)
