"""A decision that the deadline's floor overrules says so."""

from dataclasses import replace

from set_points import set_point
from tod.arc import initial, step
from tod.diagnostics import ContextCounts, EssRel, Summary


def test_floor_is_named_when_it_overrules_softening() -> None:
    config = set_point(knob="eta", ess_target=0.5, deadline=2, window=1, min_informative=1)
    state = initial(config, eta=4.0)
    summary = Summary(
        contexts=ContextCounts(total=20, informative=20), ess_rel=EssRel(median=0.2, q10=0.1)
    )
    state, decision = step(config, state, summary, step=1)
    for number in range(2, 6):
        state, decision = step(config, state, replace(summary), step=number)
    assert decision.action == "hold"
    assert state.knobs["eta"] == 4.0
    assert "floor" in decision.why
    assert "below 0.5" in decision.why
