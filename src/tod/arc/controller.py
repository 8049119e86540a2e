"""One step of the controller: safety (drift), then sharpness, then the operator.

Nothing here has a clock, randomness or memory beyond the state that is passed in and back.
"""

from dataclasses import dataclass, replace
from math import inf, isclose, isnan, log

from tod.arc.config import ArcConfig
from tod.arc.knobs import (
    Values,
    heavier_reference,
    reference_share,
    sharpness,
    toward_share,
    with_sharpness,
)
from tod.arc.observe import Health, average, ess_name, examine, observe
from tod.arc.operator import choose_operator, may_revert
from tod.arc.sharpness import floor, limited, wanted_move
from tod.arc.state import Action, ArcState, Comparison, Decision
from tod.diagnostics.summary import Summary


def step(
    config: ArcConfig,
    state: ArcState,
    summary: Summary,
    *,
    step: int,
    eta_feasible: float | None = None,
) -> tuple[ArcState, Decision]:
    """Read one batch's diagnostics and set the knobs for the next batch.

    * A batch with fewer informative contexts than ``min_informative`` freezes everything: all
      its candidates have the same utility, and its ESS_rel of 1 would be taken for health.
    * Drift over its budget: β up at fixed τ+β, and sharpness down once β is all of it (or where
      there is no β). Sharpness may then only decrease, whatever the deadline says.
    * ESS below its band, tails or activation over their limits: sharpness down, τ:β fixed.
    * ``dwell`` healthy batches: sharpness up to the declared value, β back to its declared share.
    * Healthy at the declared values: the next cheaper operator; taken back when health ends.

    Args:
        config: Bounds and speeds.
        state: What `initial` or the step before returned.
        summary: Diagnostics of the batch just processed.
        step: Its index, from 0; the decision is in force from the next one on.
        eta_feasible: Largest feasible sharpness on this batch, for ``solver: feasible``.

    Returns:
        The state to store and pass in again, and the decision to log.
    """
    seen = observe(config, summary)
    blocked = _blocked(config, summary, seen, eta_feasible)
    if blocked is not None:
        before = _shown(state)
        return state, Decision(step, blocked[0], before, before, blocked[1], seen)
    window = (*state.window, seen)[-config.window :]
    health = examine(config, average(window))
    after, notes = _turn(config, state, health, step, eta_feasible)
    after, operator_note = choose_operator(config, after, health)
    moved = after.knobs != state.knobs or after.operator != state.operator
    after = replace(after, window=() if moved else window)
    action = _name(state, after)
    why = "; ".join([*notes, *operator_note]) or _calm(config, state, health)
    return after, Decision(step, action, _shown(state), _shown(after), why, seen, health.compared)


def _blocked(
    config: ArcConfig, summary: Summary, seen: Values, eta_feasible: float | None
) -> tuple[Action, str] | None:
    """Why nothing may be done on this batch, or None."""
    counts = summary.contexts
    if counts.informative < config.min_informative:
        return "freeze", (
            f"{counts.informative} informative contexts of {counts.total}, fewer than "
            f"{config.min_informative}: candidates that all have the same utility say nothing "
            "about sharpness"
        )
    needed = [ess_name(config)] + (["drift.ref"] if config.drift_budget is not None else [])
    lacking = [name for name in needed if name not in seen or isnan(seen[name])]
    if lacking:
        return "refuse", f"{lacking[0]} is not known for this batch, and it is what is steered by"
    if config.solver == "feasible" and (eta_feasible is None or isnan(eta_feasible)):
        return "refuse", (
            "no eta is feasible on this batch (or none was given): change the anchor or the "
            "proposal, sharpness cannot help"
        )
    return None


@dataclass
class _Draft:
    """Knobs being set, and the words for it."""

    knobs: Values
    notes: list[str]


def _turn(
    config: ArcConfig, state: ArcState, health: Health, step: int, eta_feasible: float | None
) -> tuple[ArcState, list[str]]:
    """Safety, then sharpness; returns the state with new knobs and streaks."""
    draft = _Draft(dict(state.knobs), [])
    over = health.drift_over is not None and health.drift_over > 0
    healthy = 0 if over or health.unhealthy else state.healthy + health.comfortable
    after = replace(state, healthy=healthy, since_swap=state.since_swap + 1)
    current, goal = sharpness(state.knobs), sharpness(state.declared)
    move, lowest = 0.0, floor(config, state, goal, step)
    if health.unhealthy and not may_revert(config, after):
        move = wanted_move(config, health, current, eta_feasible)
        missed = [item for item in health.compared if item.ok is False]
        draft.notes += [_miss(item) for item in missed if item.what != "drift.ref"]
    elif not health.unhealthy and healthy >= config.dwell and current < goal:
        move = wanted_move(config, health, current, eta_feasible)
        draft.notes += [f"healthy for {healthy} batches"] if move > 0 else []
    if over:
        move, lowest = min(move, 0.0), -inf
        move = _pull_back(config, health, draft, move)
    new = limited(config, current, move, lowest, goal)
    if new != current:
        if new > current and move <= 0:
            draft.notes.append("the deadline's ramp raises the floor")
        draft.knobs = with_sharpness(draft.knobs, new)
    elif move < 0 and log(current) <= lowest:
        draft.notes.append("the deadline's floor keeps sharpness where it is")
    if not over and healthy >= config.dwell and health.comfortable:
        back = toward_share(draft.knobs, state.declared, config.slew)
        draft.notes += ["drift is back in budget: beta returns"] if back != draft.knobs else []
        draft.knobs = back
    if new == goal and _same_share(draft.knobs, state.declared):
        draft.knobs = dict(state.declared)
    return replace(after, knobs=draft.knobs), draft.notes


def _pull_back(config: ArcConfig, health: Health, draft: _Draft, move: float) -> float:
    """β up by drift/budget within the slew; what β cannot give, sharpness gives."""
    asked = min(health.drift_over or 0.0, config.slew)
    share = reference_share(draft.knobs)
    draft.notes.append("drift from ref is over its budget")
    if share is not None and share < 1:
        draft.knobs = heavier_reference(draft.knobs, asked)
        return move
    return min(move, -asked)


def _same_share(a: Values, b: Values) -> bool:
    """Whether the geometric anchor is the same up to rounding."""
    return isclose(reference_share(a) or 0.0, reference_share(b) or 0.0, rel_tol=1e-9)


def _name(before: ArcState, after: ArcState) -> Action:
    """The action that names the change best; operator over anchor over sharpness."""
    if before.operator != after.operator:
        return "revert" if after.reverts > before.reverts else "swap"
    if not _same_share(before.knobs, after.knobs):
        return "anchor"
    was, now = sharpness(before.knobs), sharpness(after.knobs)
    return "hold" if was == now else "sharpen" if now > was else "soften"


def _shown(state: ArcState) -> dict[str, float | str]:
    operator = {} if state.operator is None else {"operator": state.operator}
    return {**state.knobs, **operator}


def _miss(item: Comparison) -> str:
    side = "below" if item.what.startswith("ess_rel") else "over"
    return f"{item.what} {item.value:.3g} is {side} {item.threshold:g}"


def _calm(config: ArcConfig, state: ArcState, health: Health) -> str:
    if health.unhealthy:
        return "unhealthy, and sharpness is at its lower bound"
    if state.knobs == state.declared:
        return "at the declared values"
    return f"healthy for {state.healthy + health.comfortable} batches of {config.dwell}"
