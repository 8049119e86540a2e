"""One step of the controller: safety (drift), then sharpness, then the operator.

Nothing here has a clock, randomness or memory beyond the state that is passed in and back.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from math import isnan, nan
from typing import Any

from tod.arc import plans, set_point
from tod.arc.brake import averaged
from tod.arc.config import ArcConfig
from tod.arc.drift import same_share
from tod.arc.health import average, ess_name, health_of, observe
from tod.arc.initial import initial
from tod.arc.knobs import Values, sharpness
from tod.arc.operators import choose_operator
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

    In every plan drift over its budget comes first: β up at fixed τ+β, and sharpness down once β is
    all of it (or where there is no β). Sharpness may then only decrease, whatever a plan says.

    ``ramp`` plans the way to the declared sharpness over the time that is left, and takes less of
    a step while the policy is off the path or the proposal is stale. A batch with fewer informative
    contexts than ``min_informative`` tells no damage and is no cause to leave the plan.

    ``set_point``:

    * A batch with fewer informative contexts than ``min_informative`` freezes everything: all
      its candidates have the same utility, and its ESS_rel of 1 would be taken for health.
    * ESS below its band, tails or activation over their limits: sharpness down, τ:β fixed.
    * ``dwell`` healthy batches: sharpness up to the declared value, β back to its declared share.
    * Healthy at the declared values: the next cheaper operator; taken back when health ends.

    Args:
        config: Plan, bounds and speeds.
        state: What `initial` or the step before returned.
        summary: Diagnostics of the batch just processed.
        step: Its index; the decision is in force from the next one on.
        eta_feasible: Largest feasible sharpness on this batch, for ``solver: feasible``.

    Returns:
        The state to store and pass in again, and the decision to log.
    """
    seen = observe(config, summary)
    by_plan = config.plan != "set_point"
    blocked = _blocked(config, summary, seen, eta_feasible)
    if blocked is not None:
        before = _shown(config, state)
        return state, Decision(step, blocked[0], before, before, blocked[1], seen)
    if by_plan:
        return _by_plan(config, state, summary, step, seen)
    window = (*state.window, seen)[-config.window :]
    health = health_of(config, average(window))
    after, why = set_point.turn(config, state, health, step, eta_feasible)
    after, why_operator = choose_operator(config, after, health)
    moved = after.knobs != state.knobs or after.operator != state.operator
    after = replace(after, window=() if moved else window)
    after = after if config.step_size is None else averaged(after, summary.path)
    after = plans.with_rate(config, after, summary)
    said = "; ".join([*why, *why_operator]) or set_point.calm(config, state, health)
    said += set_point.of_deadline(config, after, step)
    return after, _decision(config, step, state, after, said, seen, health.compared)


def _by_plan(
    config: ArcConfig, state: ArcState, summary: Summary, step: int, seen: Values
) -> tuple[ArcState, Decision]:
    """A step of a plan that is laid over the run, or of a baseline."""
    blind = is_blind(config, summary)
    window = state.window if blind else (*state.window, seen)[-config.window :]
    after, why, compared = plans.turn(config, state, summary, step, blind=blind)
    why_operator: list[str] = []
    if config.operators and not blind and ess_name(config) in seen:
        health = health_of(config, average(window))
        healthy = 0 if health.unhealthy or health.over_budget else state.healthy
        after = replace(
            after, healthy=healthy + health.comfortable, since_swap=state.since_swap + 1
        )
        after, why_operator = choose_operator(config, after, health)
        compared = (*compared, *health.compared)
    if after.operator != state.operator:
        window = ()
    after = plans.with_rate(config, replace(after, window=window), summary)
    said = "; ".join([*why, *why_operator])
    return after, _decision(config, step, state, after, said, seen, compared)


def is_blind(config: ArcConfig, summary: Summary) -> bool:
    """Whether too few contexts say anything of q*."""
    return (summary.contexts.informative or 0) < config.min_informative


def _blocked(
    config: ArcConfig, summary: Summary, seen: Values, eta_feasible: float | None
) -> tuple[Action, str] | None:
    """Why nothing may be done on this batch, or None."""
    counts, blind = summary.contexts, is_blind(config, summary)
    if blind and not plans.goes_on_blind(config):
        return "freeze", (
            f"{counts.informative or 0} informative prompts of {counts.total}, fewer than "
            f"{config.min_informative}: rollouts that all have the same reward say nothing "
            "about sharpness"
        )
    lacking = [name for name in plans.needs(config, blind) if isnan(seen.get(name, nan))]
    if lacking:
        return "refuse", f"{lacking[0]} is not known for this batch, and it is what is steered by"
    if config.solver == "feasible" and (eta_feasible is None or isnan(eta_feasible)):
        return "refuse", (
            "no eta is feasible on this batch (or none is known): change the anchor or the "
            "proposal, sharpness cannot help"
        )
    return None


def _decision(
    config: ArcConfig,
    step: int,
    before: ArcState,
    after: ArcState,
    why: str,
    seen: Values,
    compared: tuple[BoundCheck, ...],
) -> Decision:
    shown = _shown(config, before), _shown(config, after)
    return Decision(step, _name(before, after), *shown, why, seen, compared)


def _name(before: ArcState, after: ArcState) -> Action:
    """The action that names the change best; operator over anchor over sharpness."""
    if before.operator != after.operator:
        return "revert" if after.reverts > before.reverts else "swap"
    if not same_share(before.knobs, after.knobs):
        return "anchor"
    was, now = sharpness(before.knobs), sharpness(after.knobs)
    return "hold" if was == now else "sharpen" if now > was else "soften"


def _shown(config: ArcConfig, state: ArcState) -> dict[str, float | str]:
    operator = {} if state.operator is None else {"operator": state.operator}
    rate = {} if config.step_size is None else {"rate": state.rate}
    return {**state.knobs, **rate, **operator}


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
