"""The first state, its refusals, and the open-loop baseline."""

import math

import pytest

from set_points import set_point
from tod.arc import ArcConfig, ArcState, initial, linear_ramp, step
from tod.base import SpecError
from tod.diagnostics import ContextCounts, EssRel, Summary
from tolerance import double


def test_the_declared_values_are_the_goal():
    state = initial(set_point(start=0.5), eta=4.0)
    assert (state.knobs, state.declared) == ({"eta": 2.0}, {"eta": 4.0})
    anchors = initial(set_point(knob="anchors", start=0.5), tau=0.3, beta=0.1)
    assert anchors.knobs == pytest.approx({"tau": 0.6, "beta": 0.2})


def test_eta_max_bounds_the_goal():
    state = initial(set_point(eta_max=3.0), eta=4.0)
    assert state.declared == state.knobs == {"eta": 3.0}
    anchors = initial(set_point(knob="anchors", eta_max=2.0), tau=0.15, beta=0.05)
    assert anchors.declared == pytest.approx({"tau": 0.375, "beta": 0.125})


def test_a_plan_is_laid_over_four_fifths_of_a_run_of_known_length():
    assert initial(ArcConfig(), eta=1.0, steps=61).deadline == 49
    assert initial(ArcConfig(deadline=7), eta=1.0, steps=61).deadline == 7


def test_a_set_point_has_no_deadline_that_nobody_wrote():
    """Version 0.1 took 80 % of the run, and sharpened while ESS was below its range."""
    assert initial(set_point(), eta=1.0, steps=61).deadline is None
    assert initial(set_point(deadline=7), eta=1.0, steps=61).deadline == 7


@pytest.mark.parametrize(
    ("config", "values", "word"),
    [
        ({}, {}, "none of them"),
        ({}, {"tau": 1.0, "beta": 1.0}, "turns eta"),
        ({"knob": "anchors"}, {"eta": 1.0}, "turns beta, tau"),
        ({"knob": "anchors"}, {"tau": 1.0}, "turns beta, tau"),
        ({"knob": "both"}, {"eta": 1.0}, "turns beta, eta, tau"),
        ({}, {"eta": -1.0}, "at least 0"),
        ({}, {"eta": float("nan")}, "finite"),
        ({}, {"eta": 0.0}, "cannot leave 0"),
        ({"knob": "anchors"}, {"tau": 0.0, "beta": 0.0}, "cannot leave 0"),
        ({}, {"eta": 1e-4}, "below eta_min"),
        ({"knob": "anchors", "drift_budget": 1.0}, {"tau": 1.0, "beta": 0.0}, "no weight"),
        ({"deadline": 2, "start": 0.1}, {"eta": 1.0}, "takes 8 steps"),
        ({}, {"eta": 1.0, "steps": 0}, "steps = 0"),
        ({}, {"eta": 1.0, "steps": 9, "operator": "ppo"}, "arc.operators is empty"),
        ({"operators": ["a", "b"]}, {"eta": 1.0, "steps": 9, "operator": "c"}, "'c' is not in"),
        ({}, {"eta": 1.0}, "neither the run's length nor arc.deadline is known"),
    ],
)
def test_what_cannot_be_controlled_is_refused(config, values, word):
    with pytest.raises(SpecError, match=word):
        initial(ArcConfig.parse(config), **values)


@pytest.mark.parametrize(
    ("config", "word"),
    [
        ({"ess_targt": 0.5}, "Did you mean `ess_target`"),
        ({"ess_target": 1.0}, "ess_target"),
        ({"eta_min": 2.0, "eta_max": 1.0}, "Raise eta_max"),
        ({"operators": ["a", "a"]}, "names one twice"),
        ({"slew": 0}, "slew"),
    ],
)
def test_what_cannot_be_meant_is_refused(config, word):
    with pytest.raises(SpecError, match=word):
        ArcConfig.parse(config)


def test_a_config_survives_plain_data():
    config = set_point(knob="both", operators=("a", "b"), deadline=3, drift_budget=2.0)
    assert ArcConfig.parse(config.model_dump(mode="json")) == config


def test_the_linear_ramp_is_linear_and_ends_at_the_deadline():
    config = set_point(deadline=9)
    state = initial(config, eta=5.0)
    values = [linear_ramp(config, state, step=t)["eta"] for t in range(12)]
    assert values == pytest.approx([0.5 * (t + 1) for t in range(10)] + [5.0, 5.0])
    anchors = set_point(knob="anchors", deadline=9)
    ramp = linear_ramp(anchors, initial(anchors, tau=0.15, beta=0.05), step=4)
    assert ramp == pytest.approx({"tau": 0.3, "beta": 0.1})
    with pytest.raises(SpecError, match="ends"):
        linear_ramp(set_point(), initial(set_point(), eta=1.0), step=0)


def test_a_state_of_another_version_is_refused():
    good = initial(set_point(), eta=1.0).to_dict()
    assert ArcState.from_dict(good).knobs == {"eta": 1.0}
    for bad in ({**good, "extra": 1}, {"knobs": {}}):
        with pytest.raises(SpecError, match="not a controller state"):
            ArcState.from_dict(bad)


@pytest.mark.parametrize("deadline", [4, 10])
def test_under_bad_readings_sharpness_is_the_ramp_at_every_step(deadline):
    """Neither a step early nor late: what is set after batch t is the ramp's value at t + 1."""
    config = set_point(deadline=deadline, start=1 / (deadline + 1), slew=5.0)
    state = initial(config, eta=4.0)
    counts = ContextCounts(total=64, informative=64)
    for t in range(deadline + 3):
        assert state.knobs["eta"] == pytest.approx(4.0 * min(1, (t + 1) / (deadline + 1)))
        state, _ = step(config, state, Summary(counts, EssRel(0.01, 0.01, 0.01)), step=t)


def test_where_the_slew_is_slower_than_the_ramp_it_starts_in_time():
    """goal·e^(−slew·steps left): the least sharpness from which the deadline can still be met."""
    config = set_point(deadline=10, start=0.65, slew=0.05)
    state = initial(config, eta=4.0)
    counts = ContextCounts(total=64, informative=64)
    for t in range(12):
        wanted = 0.65 if t == 0 else math.exp(-0.05 * max(10 - t, 0))
        assert state.knobs["eta"] / 4.0 == pytest.approx(wanted, rel=double(12 * 4), abs=0)
        state, _ = step(config, state, Summary(counts, EssRel(0.01, 0.01, 0.01)), step=t)


def test_a_deadline_that_the_slew_just_meets_is_kept():
    """ln(goal/start) in one step of exactly that size; a step smaller by one unit is too small."""
    slew = math.log(4.0 / 2.0)
    state = initial(set_point(start=0.5, deadline=1, slew=slew), eta=4.0)
    assert state.knobs == {"eta": 2.0}
    with pytest.raises(SpecError, match="too early"):
        initial(set_point(start=0.5, deadline=1, slew=math.nextafter(slew, 0)), eta=4.0)


def test_what_version_one_stored_is_still_read():
    """A state without what came later, and the settings of a manifest, all of them written out."""
    stored = {
        "knobs": {"eta": 2.0},
        "declared": {"eta": 4.0},
        "deadline": 8,
        "operator": None,
        "window": [{"ess_rel.median": 0.4}],
        "healthy": 2,
        "since_swap": 5,
        "reverts": 0,
    }
    state = ArcState.from_dict(stored)
    assert (state.deadline, state.rate, state.delta) == (8, 1.0, None)
    recorded = {
        "knob": "eta",
        "ess_target": 0.5,
        "ess_quantile": "median",
        "tail_limit": 0.5,
        "deadline": None,
        "start": 1.0,
        "slew": 0.3,
        "gain": 0.3,
        "operators": [],
        "solver": "pi",
    }
    config = ArcConfig.parse(recorded)
    assert config.plan == "set_point"
    counts = ContextCounts(total=64, informative=64)
    after, decision = step(config, state, Summary(counts, EssRel(0.2, 0.2, 0.2)), step=3)
    assert after.knobs["eta"] >= 4.0 * 5 / 9  # the deadline that was stored with it
    assert "deadline 8" in decision.why
