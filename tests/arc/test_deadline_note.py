"""A decision that the deadline overrules says so."""

from dataclasses import replace

from set_points import set_point
from tod.arc import ArcConfig, initial, step
from tod.diagnostics import ContextCounts, EssRel, Summary
from tod.show.terminal.progress import controlled


def test_the_deadline_is_named_when_it_overrules_softening() -> None:
    config = set_point(knob="eta", ess_target=0.5, deadline=2, window=1, min_informative=1)
    state = initial(config, eta=4.0)
    summary = Summary(
        contexts=ContextCounts(total=20, informative=20), ess_rel=EssRel(median=0.2, q10=0.1)
    )
    state, decision = step(config, state, summary, step=1)
    for number in range(2, 6):
        state, decision = step(config, state, replace(summary), step=number)
    assert decision.action == "hold"
    assert "deadline 2 is written: no less than 4, whatever is seen" in decision.why
    assert state.knobs["eta"] == 4.0
    assert "the deadline keeps sharpness" in decision.why
    assert "below 0.5" in decision.why


def test_without_a_written_deadline_no_decision_speaks_of_one() -> None:
    """Version 0.1 sharpened by itself while ESS was below its range."""
    config = set_point(window=1, min_informative=1)
    state = initial(config, eta=4.0, steps=10)
    low = Summary(
        contexts=ContextCounts(total=20, informative=20), ess_rel=EssRel(median=0.3, q10=0.1)
    )
    for number in range(10):
        before = state.knobs["eta"]
        state, decision = step(config, state, low, step=number)
        assert state.knobs["eta"] <= before
        assert "deadline" not in decision.why


def test_the_end_of_a_run_says_it_too() -> None:
    said = controlled(set_point(deadline=8), ["hold", "soften", "hold"])
    assert said.endswith("deadline 8 is written: it sharpened whatever was seen")
    assert controlled(ArcConfig(), ["sharpen"]) == "controller ramp: sharpen 1"
