"""The controller's first state, checked against its bounds; and the open-loop baseline."""

from math import ceil, log

from tod.arc.config import LAID_OUT, ArcConfig
from tod.arc.knobs import Values, sharpness, with_sharpness
from tod.arc.plans import laid_out
from tod.arc.schedule import deadline_of, ramp, required
from tod.arc.state import ArcState
from tod.base import SpecError

__all__ = ["initial", "linear_ramp"]

_NEEDS = {"eta": {"eta"}, "anchors": {"tau", "beta"}, "both": {"eta", "tau", "beta"}}


def initial(
    config: ArcConfig,
    *,
    eta: float | None = None,
    tau: float | None = None,
    beta: float | None = None,
    operator: str | None = None,
    steps: int | None = None,
) -> ArcState:
    """The state before the first batch; these values are remembered as the goal.

    Args:
        config: Bounds and speeds.
        eta: Declared sharpness, for ``knob: eta`` and ``both``.
        tau: Declared weight of KL(π‖π_old), for ``anchors`` and ``both``.
        beta: Declared weight of KL(π‖π_ref), likewise.
        operator: Operator to begin with, one of ``config.operators``; the first if None.
        steps: Length of the run, of which a plan that is laid over it takes 80 % when no deadline
            is set.

    Raises:
        SpecError: Knobs that do not fit ``config.knob``, values outside the bounds, a drift budget
            without a reference to pull to, a deadline that the slew cannot meet, or a plan that is
            laid over a run of unknown length.
    """
    values = {"eta": eta, "tau": tau, "beta": beta}
    declared = {name: value for name, value in values.items() if value is not None}
    _check_knobs(config, declared)
    goal = sharpness(declared)
    if config.eta_max is not None and goal > config.eta_max:
        declared = with_sharpness(declared, config.eta_max)
        goal = config.eta_max
    if goal < config.eta_min:
        raise SpecError(
            f"declared sharpness {goal:g} is below eta_min = {config.eta_min:g}: the controller "
            "could never reach what it is to return to. Lower eta_min."
        )
    if steps is not None and steps < 1:
        raise SpecError(f"steps = {steps}: a run has at least one step.")
    deadline, first = config.deadline, max(goal * config.start, config.eta_min)
    if config.plan in LAID_OUT:
        deadline = required(config, deadline_of(config, steps))
        first = laid_out(config, goal, deadline, 0)
    elif config.plan == "fixed":
        first = goal
    elif deadline is not None and log(goal / first) > config.slew * deadline:
        raise SpecError(
            f"deadline {deadline} is too early: from {first:g} to {goal:g} at slew {config.slew:g} "
            f"takes {ceil(log(goal / first) / config.slew)} steps. Raise deadline, slew or start."
        )
    knobs = dict(declared) if first == goal else with_sharpness(declared, first)
    return ArcState(knobs, declared, deadline, _operator(config, operator), length=steps)


def linear_ramp(config: ArcConfig, state: ArcState, *, step: int) -> Values:
    """Knobs of the open-loop baseline at ``step``: sharpness goal·(step+1)/(deadline+1), then goal.

    It reads no diagnostic. The plan ``ramp`` is this ramp where nothing disturbs it, so the
    difference between the two runs is what the diagnostics contributed.

    Raises:
        SpecError: There is no deadline.

    Source: open-loop baseline (equation linear-ramp)
    """
    if state.deadline is None:
        raise SpecError(
            "a linear ramp needs the step at which it ends. Set arc.deadline, or give `initial` "
            "the length of the run."
        )
    goal = sharpness(state.declared)
    value = ramp(config, goal, state.deadline, step)
    return dict(state.declared) if value == goal else with_sharpness(state.declared, value)


def _check_knobs(config: ArcConfig, declared: Values) -> None:
    needs = _NEEDS[config.knob]
    if set(declared) != needs:
        raise SpecError(
            f"knob is {config.knob!r}, which turns {', '.join(sorted(needs))}; the target declares "
            f"{', '.join(sorted(declared)) or 'none of them'}. Choose the knob that the target has."
        )
    wrong = [name for name, value in declared.items() if not 0 <= value < float("inf")]
    if wrong:
        raise SpecError(
            f"{wrong[0]} = {declared[wrong[0]]}: a controlled value is finite and at least 0."
        )
    if declared.get("eta") == 0 or ("tau" in declared and declared["tau"] + declared["beta"] == 0):
        raise SpecError(
            f"declared {declared}: sharpness moves by factors, and cannot leave 0 or infinity. "
            "Give eta > 0, or tau + beta > 0."
        )
    if config.drift_budget is not None and declared.get("beta") == 0:
        raise SpecError(
            f"drift_budget = {config.drift_budget} with beta = 0: the reference has no weight to "
            "multiply. Declare a small beta > 0, or drop the budget."
        )


def _operator(config: ArcConfig, operator: str | None) -> str | None:
    if not config.operators:
        if operator is not None:
            raise SpecError(
                f"operator = {operator!r} but arc.operators is empty: list the operators the "
                "controller may choose from, cheapest last."
            )
        return None
    if operator is not None and operator not in config.operators:
        raise SpecError(
            f"operator = {operator!r} is not in arc.operators = {list(config.operators)}. "
            "Begin with one of them."
        )
    return config.operators[0] if operator is None else operator
