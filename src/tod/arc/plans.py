"""The plans by name: the next sharpness, within the drift budget, and what was compared."""

from dataclasses import replace
from math import exp, inf, log

from tod.arc import baselines
from tod.arc.brake import averaged, brake
from tod.arc.config import ArcConfig, reads_path
from tod.arc.drift import give_back, pull_back, same_share
from tod.arc.health import drift_over_budget
from tod.arc.knobs import sharpness, with_sharpness
from tod.arc.schedule import elapsed, planned, ramp, required
from tod.arc.state import ArcState, BoundCheck
from tod.arc.step_size import rate_factor
from tod.diagnostics.summary import Summary

_STEERED: dict[str, str] = {
    "ess_tempering": "path.variance",
    "adaptive_kl": "drift.ref",
    "adaptive_entropy": "entropy",
}
"""What a baseline that is fed back reads."""


def needs(config: ArcConfig, blind: bool) -> list[str]:
    """Diagnostics without which nothing may be decided on a batch, by their path."""
    names = ["drift.ref"] if config.drift_budget is not None else []
    if config.plan == "set_point":
        return [f"ess_rel.{config.ess_quantile}", *names]
    if config.plan in _STEERED:
        names.append(_STEERED[config.plan])
    if reads_path(config) and not blind:
        names.append("path.delta")
    return names


def goes_on_blind(config: ArcConfig) -> bool:
    """Whether a batch that says nothing of the target is no cause to stop."""
    return config.plan != "set_point" and config.plan not in _STEERED


def turn(
    config: ArcConfig, state: ArcState, summary: Summary, step: int, *, blind: bool
) -> tuple[ArcState, list[str], tuple[BoundCheck, ...]]:
    """Safety, then sharpness: the state with new knobs, the reasons, and what was compared."""
    after = state if state.first is not None else replace(state, first=step)
    after = after if blind else averaged(after, summary.path)
    current, goal = sharpness(state.knobs), sharpness(state.declared)
    wanted, why, compared = _wanted(config, after, summary, elapsed(after, step))
    over = drift_over_budget(config, summary)
    knobs, calm = dict(state.knobs), True
    if over is not None:
        assert config.drift_budget is not None  # noqa: S101 - there is something over it
        drift, budget = summary.drift.ref, config.drift_budget
        compared = (*compared, BoundCheck("drift.ref", drift, budget, over <= 0))
        calm = over < log(1 - config.hysteresis)
    if over is not None and over > 0:
        down = min(log(wanted / current), 0.0)
        knobs, move = pull_back(config, over, knobs, down)
        wanted = max(config.eta_min, current * exp(move))
        why = ["drift from ref is over its budget"]
    if wanted != current:
        knobs = with_sharpness(knobs, wanted)
    after = replace(after, healthy=state.healthy + 1 if calm else 0)
    if calm and after.healthy >= config.dwell:
        knobs, said = give_back(config, state, knobs)
        why += said
    if wanted == goal and same_share(knobs, state.declared):
        knobs = dict(state.declared)
    return replace(after, knobs=knobs), why, compared


def with_rate(config: ArcConfig, state: ArcState, summary: Summary) -> ArcState:
    """The state with the factor of the next batch's learning rate."""
    if config.step_size is None:
        return state
    return replace(state, rate=rate_factor(config, state, summary.overlap.policy_proposal))


def _wanted(
    config: ArcConfig, state: ArcState, summary: Summary, time: int
) -> tuple[float, list[str], tuple[BoundCheck, ...]]:
    """Sharpness that the plan asks for, before the drift budget."""
    if config.plan == "ramp":
        return _braked(config, state, summary, time)
    return _of_baseline(config, state, summary, time), [config.plan], ()


def _braked(
    config: ArcConfig, state: ArcState, summary: Summary, time: int
) -> tuple[float, list[str], tuple[BoundCheck, ...]]:
    current, goal = sharpness(state.knobs), sharpness(state.declared)
    deadline = required(config, state.deadline)
    share, compared = brake(config, state, summary.overlap.policy_proposal)
    wanted = planned(current, goal, share, time=time, deadline=deadline, length=state.length)
    if current == goal:
        why = "at the declared sharpness"
    elif share < 1:
        missed = [
            f"{item.what} {item.value:.3g} against {item.threshold:g}"
            for item in compared
            if item.ok is False
        ]
        why = f"slowed to {share:.2f} of the plan: {', '.join(missed)}"
    else:
        why = f"on the plan: {goal:g} at batch {deadline}"
    return wanted, [why], compared


def _of_baseline(config: ArcConfig, state: ArcState, summary: Summary, time: int) -> float:
    """The next sharpness of a baseline; ``time`` + 1 is the batch that it is for."""
    current, goal = sharpness(state.knobs), sharpness(state.declared)
    if config.plan == "fixed":
        return baselines.fixed(goal)
    if config.plan == "ess_tempering":
        variance = None if summary.path is None else summary.path.variance
        return baselines.ess_tempering(current, goal, config.increment, variance)
    if config.plan == "adaptive_kl":
        return baselines.adaptive(current, goal, summary.drift.ref, config.goal or inf, more=True)
    if config.plan == "adaptive_entropy":
        return baselines.adaptive(current, goal, summary.entropy, config.goal or inf, more=False)
    return laid_out(config, goal, required(config, state.deadline), time + 1)


def laid_out(config: ArcConfig, goal: float, deadline: int, time: int) -> float:
    """Sharpness at batch ``time`` (from 0) of a plan without a disturbance."""
    if config.plan == "cosine":
        return baselines.cosine(config, goal, deadline, time)
    if config.plan == "geodesic":
        return baselines.geodesic(config, goal, deadline, time)
    return ramp(config, goal, deadline, time)
