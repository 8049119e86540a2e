"""The plan and its brake, against the equations written out."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tod.arc import ArcConfig, ArcState, initial, linear_ramp, step
from tod.arc.brake import averaged, slowed, stale_share
from tod.arc.config import check_path
from tod.arc.schedule import planned
from tod.base import SpecError
from tod.diagnostics import ContextCounts, Drift, Overlap, Path, Summary
from tolerance import double

GOAL, STEPS, DEADLINE = 5.0, 61, 49
NEAR = double(STEPS * 6)


def seen(delta=0.0, *, overlap=1.0, informative=64, drift=None):
    """A batch with some damage; one that is blind tells none."""
    path = Path(delta=delta) if informative and delta is not None else None
    return Summary(
        contexts=ContextCounts(total=64, informative=informative),
        overlap=Overlap(policy_proposal=overlap),
        drift=Drift(ref=drift),
        path=path,
    )


def play(config, summaries, *, first=0, **knobs):
    state = initial(config, **(knobs or {"eta": GOAL}), steps=STEPS)
    values, decisions = [state.knobs.get("eta")], []
    for t, summary in enumerate(summaries, start=first):
        state, decision = step(config, state, summary, step=t)
        values.append(state.knobs.get("eta"))
        decisions.append(decision)
    return state, values, decisions


def plan_of(deltas, overlaps, limit=0.4):
    """The equation of the issue, written out: m, its running mean, the time left, the bound."""
    eta, mean, values = GOAL / (DEADLINE + 1), None, [GOAL / (DEADLINE + 1)]
    for t, (delta, overlap) in enumerate(zip(deltas, overlaps, strict=True)):
        if delta is not None:
            mean = delta if mean is None else 0.8 * mean + 0.2 * delta
        m = 1.0 if mean is None or mean <= limit else max(0.1, limit / mean)
        m *= min(1.0, (overlap / 0.5) ** 2)
        left = max(1, (DEADLINE if t < DEADLINE else STEPS) - t)
        most = max(0.05 * GOAL, 1.5 * GOAL / DEADLINE)
        eta = min(GOAL, eta + min(m * (GOAL - eta) / left, most))
        values.append(eta)
    return values


@pytest.mark.parametrize("first", [0, 1, 30])
def test_undisturbed_the_plan_is_the_ramp(first):
    """Whatever number the first step bears; the engine's is 1."""
    config = ArcConfig()
    _, values, decisions = play(config, [seen()] * STEPS, first=first)
    state = initial(config, eta=GOAL, steps=STEPS)
    ramp = [linear_ramp(config, state, step=t)["eta"] for t in range(STEPS + 1)]
    assert values == pytest.approx(ramp, rel=NEAR)
    assert values[DEADLINE] == GOAL
    assert {d.action for d in decisions[:DEADLINE]} == {"sharpen"}
    assert {d.action for d in decisions[DEADLINE:]} == {"hold"}


@given(
    deltas=st.lists(st.none() | st.floats(0, 5), min_size=STEPS, max_size=STEPS),
    overlaps=st.lists(st.floats(0.01, 1), min_size=STEPS, max_size=STEPS),
)
def test_the_plan_is_its_equation(deltas, overlaps):
    summaries = [
        seen(d or 0.0, overlap=e, informative=0 if d is None else 64)
        for d, e in zip(deltas, overlaps, strict=True)
    ]
    _, values, _ = play(ArcConfig(), summaries)
    assert values == pytest.approx(plan_of(deltas, overlaps), rel=NEAR)


def test_a_blind_batch_is_no_cause_to_leave_the_plan_and_a_set_point_freezes():
    """Where success is rare most batches are blind: freezing spends the run at the start."""
    blind = [seen(informative=0)] * STEPS
    state, values, decisions = play(ArcConfig(), blind)
    assert values == pytest.approx(plan_of([None] * STEPS, [1.0] * STEPS), rel=NEAR)
    assert state.delta is None
    assert all(d.action != "freeze" for d in decisions)
    _, frozen, decisions = play(ArcConfig(plan="set_point", start=0.1), blind)
    assert set(frozen) == {0.5}
    assert {d.action for d in decisions} == {"freeze"}


def test_what_was_lost_is_planned_anew_and_the_goal_is_reached_by_the_end():
    deltas = [2.0] * 20 + [0.0] * 41
    _, values, decisions = play(ArcConfig(), [seen(d) for d in deltas])
    assert values[20] < 0.5 * plan_of([0.0] * 61, [1.0] * 61)[20]
    assert values[-1] == GOAL
    assert decisions[5].why == "slowed to 0.20 of the plan: path.delta 2 against 0.4"
    assert [c.what for c in decisions[5].compared] == ["path.delta", "overlap.policy_proposal"]


def test_no_step_is_larger_than_its_bound():
    deltas = [9.0] * 45 + [0.0] * 16
    _, values, _ = play(ArcConfig(), [seen(d) for d in deltas])
    bound = max(0.05 * GOAL, 1.5 * GOAL / DEADLINE)
    steps = [b - a for a, b in pairwise(values)]
    assert max(steps) <= bound * (1 + NEAR)
    assert min(steps) >= 0


def test_a_stale_proposal_slows_by_the_square():
    assert stale_share(0.5, 0.25) == 0.25
    assert stale_share(0.5, 0.5) == stale_share(0.5, 0.9) == stale_share(0.5, None) == 1.0
    assert stale_share(None, 0.1) == 1.0


def test_the_brake_and_its_running_mean():
    assert slowed(0.4, 0.4) == slowed(0.4, None) == slowed(None, 9.0) == 1.0
    assert slowed(0.4, 0.8) == 0.5
    assert slowed(0.4, 40.0) == 0.1
    state = ArcState({"eta": 1.0}, {"eta": 1.0})
    assert averaged(state, None) is state
    first = averaged(state, Path(delta=2.0))
    assert (first.delta, first.within) == (2.0, None)
    second = averaged(first, Path(delta=1.0, within=3.0))
    assert (second.delta, second.within) == (pytest.approx(1.8), 3.0)


def test_after_the_deadline_the_time_left_is_that_of_the_run():
    at = {"deadline": 80, "length": 100}
    assert planned(2.0, 4.0, 1.0, time=90, **at) == 2.0 + 2.0 / 10
    assert planned(2.0, 4.0, 1.0, time=79, **at) == 2.0 + 0.2  # all of it at once, less the bound
    assert planned(3.99, 4.0, 1.0, time=99, **at) == 4.0
    assert planned(3.9, 4.0, 0.5, time=90, deadline=80, length=None) == 3.9 + 0.05 * (4 - 3.9) * 10


def test_anchors_are_turned_along_the_same_path_at_a_fixed_ratio():
    config = ArcConfig(knob="anchors")
    state = initial(config, tau=0.15, beta=0.05, steps=STEPS)
    for t in range(STEPS):
        wanted = GOAL * min(1, (t + 1) / (DEADLINE + 1))
        total = state.knobs["tau"] + state.knobs["beta"]
        assert 1 / total == pytest.approx(wanted, rel=NEAR)
        assert state.knobs["tau"] / state.knobs["beta"] == pytest.approx(3.0, rel=NEAR)
        state, _ = step(config, state, seen(), step=t)
    assert state.knobs == {"tau": 0.15, "beta": 0.05}


def test_drift_over_its_budget_comes_before_the_plan():
    config = ArcConfig(drift_budget=1.0)
    high = [seen(drift=0.1)] * 20 + [seen(drift=3.0)] * 5 + [seen(drift=0.1)] * 36
    _, values, decisions = play(config, high)
    assert values[25] == pytest.approx(values[20] * math.exp(-0.3 * 5), rel=NEAR)
    assert decisions[22].action == "soften"
    assert "over its budget" in decisions[22].why
    assert values[-1] == GOAL  # the time left is what it is planned over
    anchors = ArcConfig(knob="anchors", drift_budget=1.0)
    state = initial(anchors, tau=0.15, beta=0.05, steps=STEPS)
    after, decision = step(anchors, state, seen(drift=1.2), step=0)
    assert decision.action == "anchor"
    assert after.knobs["beta"] == pytest.approx(1.2 * state.knobs["beta"])


def test_unknown_is_refused_and_not_taken_for_zero():
    state = initial(ArcConfig(), eta=GOAL, steps=STEPS)
    after, decision = step(ArcConfig(), state, replace(seen(), path=None), step=0)
    assert (after, decision.action) == (state, "refuse")
    assert "path.delta" in decision.why
    plain = ArcConfig(damage_limit=None)
    after, decision = step(plain, state, replace(seen(), path=None), step=0)
    assert decision.action == "sharpen"


@pytest.mark.parametrize("plan", ["ramp", "linear", "cosine"])
def test_a_plan_of_unknown_length_is_refused_with_a_sentence(plan):
    config = ArcConfig(plan=plan)
    with pytest.raises(SpecError, match=r"Give the number of steps, or arc\.deadline"):
        initial(config, eta=GOAL)
    assert initial(ArcConfig(plan=plan, deadline=9), eta=GOAL).deadline == 9


def test_damage_without_a_fixed_anchor_is_refused():
    with pytest.raises(SpecError, match="Anchor the target at ref"):
        check_path(ArcConfig(), ["mu"])
    with pytest.raises(SpecError, match="not recorded"):
        check_path(ArcConfig(), [], recorded=False)
    assert check_path(ArcConfig(damage_limit=None), ["mu"]) is None
    assert check_path(ArcConfig(plan="set_point"), ["mu"]) is None
    with pytest.raises(SpecError, match="Anchor the target at ref"):
        check_path(ArcConfig(plan="linear", step_size="damage"), ["old"])


@pytest.mark.parametrize(
    ("data", "plan"),
    [
        ({}, "ramp"),
        ({"knob": "anchors", "drift_budget": 1.0}, "ramp"),
        ({"knob": "anchors", "ess_target": 0.5, "drift_budget": 1.0}, "set_point"),
        ({"plan": "ramp", "ess_target": 0.5}, "ramp"),
    ],
)
def test_settings_of_version_one_are_those_of_a_set_point(data, plan):
    assert ArcConfig.parse(data).plan == plan


@pytest.mark.parametrize(
    ("data", "word"),
    [
        ({"plan": "ramp", "gain": 0.5}, "read by plan set_point"),
        ({"plan": "set_point", "shares": [0.5]}, "read by plan geodesic"),
        ({"plan": "geodesic"}, "needs shares"),
        ({"plan": "adaptive_kl"}, "needs goal"),
    ],
)
def test_settings_that_a_plan_does_not_read_are_refused(data, word):
    with pytest.raises(SpecError, match=word):
        ArcConfig.parse(data)
