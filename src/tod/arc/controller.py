"""One step of the controller: safety (drift), then sharpness, then the operator.

Nothing here has a clock, randomness or memory beyond the state that is passed in and back.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from math import inf, isclose, isnan, log
from typing import Any

from tod.arc.config import ArcConfig
from tod.arc.health import Health, average, ess_name, health_of, observe
from tod.arc.initial import initial
from tod.arc.knobs import (
    Values,
    heavier_reference,
    reference_share,
    sharpness,
    toward_share,
    with_sharpness,
)
from tod.arc.sharpness import floor, limited, wanted_move
from tod.arc.state import Action, ArcState, BoundCheck, Decision
from tod.base import SpecError
from tod.diagnostics.summary import Summary

__all__ = ["replay", "step"]


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
    health = health_of(config, average(window))
    after, why = _turn(config, state, health, step, eta_feasible)
    after, why_operator = choose_operator(config, after, health)
    moved = after.knobs != state.knobs or after.operator != state.operator
    after = replace(after, window=() if moved else window)
    action = _name(state, after)
    said = "; ".join([*why, *why_operator]) or _calm(config, state, health)
    return after, Decision(step, action, _shown(state), _shown(after), said, seen, health.compared)


def _blocked(
    config: ArcConfig, summary: Summary, seen: Values, eta_feasible: float | None
) -> tuple[Action, str] | None:
    """Why nothing may be done on this batch, or None."""
    counts = summary.contexts
    if (counts.informative or 0) < config.min_informative:
        return "freeze", (
            f"{counts.informative or 0} informative prompts of {counts.total}, fewer than "
            f"{config.min_informative}: rollouts that all have the same reward say nothing "
            "about sharpness"
        )
    needed = [ess_name(config)] + (["drift.ref"] if config.drift_budget is not None else [])
    lacking = [name for name in needed if name not in seen or isnan(seen[name])]
    if lacking:
        return "refuse", f"{lacking[0]} is not known for this batch, and it is what is steered by"
    if config.solver == "feasible" and (eta_feasible is None or isnan(eta_feasible)):
        return "refuse", (
            "no eta is feasible on this batch (or none is known): change the anchor or the "
            "proposal, sharpness cannot help"
        )
    return None


def _turn(
    config: ArcConfig, state: ArcState, health: Health, step: int, eta_feasible: float | None
) -> tuple[ArcState, list[str]]:
    """Safety, then sharpness: the state with new knobs and streaks, and the reasons in words."""
    knobs, why = dict(state.knobs), []
    over = health.over_budget
    healthy = 0 if over or health.unhealthy else state.healthy + health.comfortable
    after = replace(state, healthy=healthy, since_swap=state.since_swap + 1)
    current, goal = sharpness(state.knobs), sharpness(state.declared)
    move, lowest = 0.0, floor(config, state, goal, step)
    if health.unhealthy and not may_revert(config, after):
        move = wanted_move(config, health, current, eta_feasible)
        missed = [item for item in health.compared if item.ok is False]
        why += [_miss(item) for item in missed if item.what != "drift.ref"]
    elif not health.unhealthy and healthy >= config.dwell and current < goal:
        move = wanted_move(config, health, current, eta_feasible)
        why += [f"healthy for {healthy} batches"] if move > 0 else []
    if over:
        lowest = -inf
        knobs, move = _pull_back(config, health, knobs, min(move, 0.0))
        why.append("drift from ref is over its budget")
    new = limited(config, current, move, lowest, goal)
    if new != current:
        if new > current and move <= 0:
            why.append("the deadline's ramp raises the floor")
        knobs = with_sharpness(knobs, new)
    elif move < 0 and log(current) <= lowest:
        why.append("the deadline's floor keeps sharpness where it is")
    if not over and healthy >= config.dwell and health.comfortable:
        back = toward_share(knobs, state.declared, config.slew)
        why += ["drift is back in budget: beta returns"] if back != knobs else []
        knobs = back
    if new == goal and _same_share(knobs, state.declared):
        knobs = dict(state.declared)
    return replace(after, knobs=knobs), why


def _pull_back(
    config: ArcConfig, health: Health, knobs: Values, move: float
) -> tuple[Values, float]:
    """β up by drift/budget within the slew; what β cannot give, sharpness gives."""
    asked = min(health.drift_over or 0.0, config.slew)
    share = reference_share(knobs)
    if share is not None and share < 1:
        return heavier_reference(knobs, asked), move
    return knobs, min(move, -asked)


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


def _miss(item: BoundCheck) -> str:
    side = "below" if item.what.startswith("ess_rel") else "over"
    return f"{item.what} {item.value:.3g} is {side} {item.threshold:g}"


def _calm(config: ArcConfig, state: ArcState, health: Health) -> str:
    if health.unhealthy:
        return "unhealthy, and sharpness is at its lower bound"
    if state.knobs == state.declared:
        return "at the declared values"
    return f"healthy for {state.healthy + health.comfortable} batches of {config.dwell}"


def may_revert(config: ArcConfig, state: ArcState) -> bool:
    """Whether a cheaper operator is in force, and has been for long enough to take it back."""
    cheaper = state.operator is not None and state.operator != config.operators[0]
    return cheaper and state.since_swap >= config.dwell


def choose_operator(
    config: ArcConfig, state: ArcState, health: Health
) -> tuple[ArcState, list[str]]:
    """Authorise the next cheaper operator after sustained health, or take it back."""
    if state.operator is None:
        return state, []
    place = config.operators.index(state.operator)
    if (health.unhealthy or health.over_budget) and may_revert(config, state):
        back = config.operators[place - 1]
        why = f"diagnostics worsened under {state.operator}: {back} again"
        changed = replace(state, operator=back, since_swap=0, reverts=state.reverts + 1)
        return changed, [why]
    patience = config.dwell * 2 ** min(state.reverts, 6)
    ready = (
        place + 1 < len(config.operators)
        and state.healthy >= patience
        and state.since_swap >= config.dwell
        and health.comfortable
        and state.knobs == state.declared
    )
    if not ready:
        return state, []
    why = f"healthy for {state.healthy} batches at full sharpness"
    cheaper = config.operators[place + 1]
    return replace(state, operator=cheaper, since_swap=0, healthy=0), [why]


def replay(
    config: ArcConfig,
    records: Iterable[Mapping[str, Any]],
    state: ArcState | None = None,
    *,
    steps: int | None = None,
) -> list[Decision]:
    """Decisions on the summaries of a run that was not controlled, or controlled otherwise.

    The logged diagnostics do not respond to the decisions: once a decision would have moved a
    knob, the later ones answer "what if this had been seen anyway". Read the first ones as
    predictions and the rest as a description.

    Args:
        config: The controller to try.
        records: Lines of ``steps.jsonl``: ``step`` and the fields of a summary; ``knobs`` of the
            first one declare the goal without a state; ``feasible.eta_max`` is used where
            it is there.
        state: State to begin with.
        steps: Length of the run, for the deadline.

    Raises:
        SpecError: No state, and no knobs in the first record.
    """
    decisions: list[Decision] = []
    for index, record in enumerate(records):
        if state is None:
            state = _declared(config, record, steps)
        summary = Summary.from_dict(dict(record))
        feasible = (record.get("feasible") or {}).get("eta_max")
        number = int(record.get("step", index))
        state, decision = step(config, state, summary, step=number, eta_feasible=feasible)
        decisions.append(decision)
    return decisions


def _declared(config: ArcConfig, record: Mapping[str, Any], steps: int | None) -> ArcState:
    known = {
        name: value for name, value in (record.get("knobs") or {}).items() if value is not None
    }
    if not known:
        raise SpecError(
            "the first record has no `knobs` (eta, or tau and beta): the controller does not know "
            "what to return to. Give the declared values."
        )
    eta, tau, beta = (known.get(name) for name in ("eta", "tau", "beta"))
    if config.knob == "eta":
        return initial(config, eta=eta, steps=steps)
    return initial(
        config, eta=eta if config.knob == "both" else None, tau=tau, beta=beta, steps=steps
    )
