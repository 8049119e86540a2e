"""The factor of the learning rate that a controller sets: off by default."""

from math import sqrt

from tod.arc.brake import slowed
from tod.arc.config import ArcConfig
from tod.arc.state import ArcState


def rate_factor(config: ArcConfig, state: ArcState, overlap: float | None) -> float:
    """Factor of the next batch's learning rate.

    ``damage``: 1 while δ̄ ≤ δ*, else max(.1, δ*/δ̄); ``within``: the same of the damage that is left
    where every context may be at a place of its own. ``ess``: √ESS_rel(π/μ); as it was where that
    is not known. 1 without a step size.

    Source: VCPO, arXiv 2602.17616, section 4 (equation step-size)
    """
    if config.step_size == "damage":
        return slowed(config.damage_limit, state.delta)
    if config.step_size == "within":
        return slowed(config.damage_limit, state.within)
    if config.step_size == "ess":
        return state.rate if overlap is None else sqrt(max(0.0, min(1.0, overlap)))
    return 1.0
