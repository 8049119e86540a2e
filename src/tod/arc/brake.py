"""The brake of a plan: how much of its step is taken, by damage off the path and by staleness."""

from dataclasses import replace

from tod.arc.config import ArcConfig
from tod.arc.state import ArcState, BoundCheck
from tod.diagnostics.path import Path

SMOOTHING = 0.8
"""Share of the running mean of damage that a new batch leaves."""
LEAST = 0.1
"""Least share of a step that damage leaves."""


def averaged(state: ArcState, path: Path | None) -> ArcState:
    """The state with running means of damage, .8·δ̄ + .2·δ; a batch that tells none changes none.

    The first batch that tells one sets it.
    """
    if path is None:
        return state
    return replace(
        state, delta=_mean(state.delta, path.delta), within=_mean(state.within, path.within)
    )


def _mean(before: float | None, new: float | None) -> float | None:
    if new is None or before is None:
        return before if new is None else new
    return SMOOTHING * before + (1 - SMOOTHING) * new


def slowed(limit: float | None, delta: float | None) -> float:
    """Share m of the step that damage leaves: 1 while δ̄ ≤ δ*, else max(.1, δ*/δ̄).

    Source: derived: off-path damage against its limit (equation damage-brake)
    """
    if limit is None or delta is None or delta <= limit:
        return 1.0
    return max(LEAST, limit / delta)


def stale_share(limit: float | None, overlap: float | None) -> float:
    """Share of the step that a stale proposal leaves: min(1, (E_πμ/.5)²); 1 where it is not known.

    Source: derived: ESS_rel(π/μ) against its limit (equation stale-brake)
    """
    if limit is None or overlap is None:
        return 1.0
    return min(1.0, (overlap / limit) ** 2)


def brake(
    config: ArcConfig, state: ArcState, overlap: float | None
) -> tuple[float, tuple[BoundCheck, ...]]:
    """Share of the plan's step that is taken, and what was compared for it."""
    checks = []
    if config.damage_limit is not None:
        ok = None if state.delta is None else state.delta <= config.damage_limit
        checks.append(BoundCheck("path.delta", state.delta, config.damage_limit, ok))
    if config.overlap_limit is not None:
        ok = None if overlap is None else overlap >= config.overlap_limit
        checks.append(BoundCheck("overlap.policy_proposal", overlap, config.overlap_limit, ok))
    share = slowed(config.damage_limit, state.delta) * stale_share(config.overlap_limit, overlap)
    return share, tuple(checks)
