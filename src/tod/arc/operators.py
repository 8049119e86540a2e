"""Which operator is in force: a cheaper one after sustained health, and back when it ends."""

from dataclasses import replace

from tod.arc.config import ArcConfig
from tod.arc.health import Health
from tod.arc.state import ArcState


def may_revert(config: ArcConfig, state: ArcState) -> bool:
    """Whether a cheaper operator is in force, and has been for long enough to take it back."""
    cheaper = state.operator is not None and state.operator != config.operators[0]
    return cheaper and state.since_swap >= config.dwell


def choose_operator(
    config: ArcConfig, state: ArcState, health: Health
) -> tuple[ArcState, list[str]]:
    """Authorise the next cheaper operator after sustained health, or take it back.

    Nothing where ``config.authorise`` says how: that reads more than a summary.
    """
    if state.operator is None or config.authorise is not None:
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
