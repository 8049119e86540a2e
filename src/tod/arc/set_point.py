"""The set point of the TOD framework: sharpness follows the ESS of the last batches.

Below its range, or with tails or activation over their limits: softer. Sustained health: sharper,
up to the declared value. Which ESS is right depends on the time that is left, which no constant
knows, and with a binary verifier ESS tends to the share of successes, so that a target above it is
out of reach; `docs/arc.md` holds the figures.
"""

from dataclasses import replace
from math import exp, inf, log

from tod.arc.config import ArcConfig
from tod.arc.drift import give_back, pull_back, same_share
from tod.arc.health import Health
from tod.arc.knobs import sharpness, with_sharpness
from tod.arc.operators import may_revert
from tod.arc.sharpness import limited, lower_limit, wanted_move
from tod.arc.state import ArcState, BoundCheck


def turn(
    config: ArcConfig, state: ArcState, health: Health, step: int, eta_feasible: float | None
) -> tuple[ArcState, list[str]]:
    """Safety, then sharpness: the state with new knobs and streaks, and the reasons in words."""
    knobs, why = dict(state.knobs), []
    over = health.over_budget
    healthy = 0 if over or health.unhealthy else state.healthy + health.comfortable
    after = replace(state, healthy=healthy, since_swap=state.since_swap + 1)
    current, goal = sharpness(state.knobs), sharpness(state.declared)
    move, lowest = 0.0, lower_limit(config, state, goal, step)
    if health.unhealthy and not may_revert(config, after):
        move = wanted_move(config, health, current, eta_feasible)
        missed = [item for item in health.compared if item.ok is False]
        why += [_miss(item) for item in missed if item.what != "drift.ref"]
    elif not health.unhealthy and healthy >= config.dwell and current < goal:
        move = wanted_move(config, health, current, eta_feasible)
        why += [f"healthy for {healthy} batches"] if move > 0 else []
    if over:
        lowest = -inf
        knobs, move = pull_back(config, health.drift_over, knobs, min(move, 0.0))
        why.append("drift from ref is over its budget")
    new = limited(config, current, move, lowest, goal)
    if new != current:
        if new > current and move <= 0:
            why.append("the deadline asks for more")
        knobs = with_sharpness(knobs, new)
    elif move < 0 and log(current) <= lowest:
        why.append("the deadline keeps sharpness where it is")
    if not over and healthy >= config.dwell and health.comfortable:
        knobs, said = give_back(config, state, knobs)
        why += said
    if new == goal and same_share(knobs, state.declared):
        knobs = dict(state.declared)
    return replace(after, knobs=knobs), why


def _miss(item: BoundCheck) -> str:
    side = "below" if item.what.startswith("ess_rel") else "over"
    return f"{item.what} {item.value:.3g} is {side} {item.threshold:g}"


def calm(config: ArcConfig, state: ArcState, health: Health) -> str:
    """Why nothing was done."""
    if health.unhealthy:
        return "unhealthy, and sharpness is at its lower bound"
    if state.knobs == state.declared:
        return "at the declared values"
    return f"healthy for {state.healthy + health.comfortable} batches of {config.dwell}"


def of_deadline(config: ArcConfig, state: ArcState, step: int) -> str:
    """What a written deadline adds to every reason; empty without one."""
    if state.deadline is None:
        return ""
    lowest = exp(lower_limit(config, state, sharpness(state.declared), step))
    return f"; deadline {state.deadline} is written: no less than {lowest:.3g}, whatever is seen"
