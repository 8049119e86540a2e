"""Laws of the controller, each on the state a real run could be in."""

import json
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from set_points import set_point
from tod.arc import ArcState, initial, linear_ramp, replay, step
from tod.arc.health import ess_name, health_of, observe
from tod.base import SpecError
from tod.diagnostics import ContextCounts, Drift, EssRel, Summary, Tails
from tolerance import double


def seen(ess=0.9, *, informative=64, weight=0.1, activation=0.05, drift=0.1):
    counts = ContextCounts(total=128, informative=informative, zero_information=128 - informative)
    return Summary(
        contexts=counts,
        ess_rel=EssRel(ess, ess, ess),
        tails=Tails(weight),
        drift=Drift(ref=drift),
        activation=activation,
    )


def sharp(knobs):
    return knobs["eta"] if "eta" in knobs else 1 / (knobs["tau"] + knobs["beta"])


def run(config, state, summaries, first=0):
    decisions = []
    for t, summary in enumerate(summaries, start=first):
        state, decision = step(config, state, summary, step=t)
        decisions.append(decision)
    return state, decisions


DECLARED = {
    "eta": {"eta": 5.0},
    "anchors": {"tau": 0.15, "beta": 0.05},
    "both": {"eta": 5.0, "tau": 0.3, "beta": 0.1},
}
KNOBS = sorted(DECLARED)
unit = st.floats(0.01, 1.0)


@pytest.mark.parametrize("knob", KNOBS)
@given(informative=st.integers(0, 7), ess=unit, weight=unit, drift=st.floats(0, 9))
def test_blind_batches_move_nothing(knob, informative, ess, weight, drift):
    config = set_point(knob=knob, drift_budget=1.0, deadline=4)
    state = initial(config, **DECLARED[knob])
    state, _ = run(config, state, [seen(0.1), seen(0.9)])
    blind = seen(ess, informative=informative, weight=weight, drift=drift)
    after, decision = step(config, state, blind, step=3)
    assert after == state
    assert decision.action == "freeze"
    assert decision.before == decision.after == state.knobs


def test_freezing_is_invisible_to_what_follows():
    """A run with blind batches between ends where the same run without them does."""
    config = set_point()
    clear = [seen(e) for e in (0.1, 0.2, 0.6, 0.9, 0.9, 0.9, 0.9)]
    mixed = [s for item in clear for s in (item, seen(1.0, informative=0))]
    a, _ = run(config, initial(config, eta=5.0), clear)
    b, _ = run(config, initial(config, eta=5.0), mixed)
    assert a == b


@pytest.mark.parametrize("solver", ["pi", "gaussian"])
@given(
    history=st.lists(unit, max_size=12),
    low=unit,
    high=unit,
    weights=st.tuples(unit, unit),
    start=st.floats(0.1, 1),
)
def test_better_diagnostics_never_mean_less_sharpness(solver, history, low, high, weights, start):
    config = set_point(solver=solver, start=start, dwell=2)
    state, _ = run(config, initial(config, eta=5.0), [seen(e) for e in history])
    low, high = sorted((low, high))
    light, heavy = sorted(weights)
    worse, _ = step(config, state, seen(low, weight=heavy), step=20)
    better, _ = step(config, state, seen(high, weight=light), step=20)
    assert sharp(worse.knobs) <= sharp(better.knobs) * (1 + double(16))


@pytest.mark.parametrize("knob", KNOBS)
@pytest.mark.parametrize("solver", ["pi", "gaussian", "feasible"])
@given(data=st.data())
def test_slew_bounds_and_goal(knob, solver, data):
    """|Δ ln sharpness| ≤ slew, eta_min ≤ sharpness ≤ declared, whatever is seen."""
    config = set_point(
        knob=knob, solver=solver, slew=0.2, eta_min=0.5, drift_budget=1.0, deadline=30, start=0.3
    )
    state = initial(config, **DECLARED[knob])
    for t in range(data.draw(st.integers(1, 25))):
        summary = seen(
            data.draw(unit),
            weight=data.draw(unit),
            drift=data.draw(st.floats(0, 5)),
            informative=data.draw(st.sampled_from([0, 64])),
        )
        feasible = data.draw(st.floats(0, 50)) if solver == "feasible" else None
        before = sharp(state.knobs)
        state, decision = step(config, state, summary, step=t, eta_feasible=feasible)
        now = sharp(state.knobs)
        assert abs(math.log(now / before)) <= config.slew + double(16)
        assert 0.5 * (1 - double(16)) <= now <= 5.0 * (1 + double(16))
        assert decision.after == state.knobs
        if decision.action == "hold":
            assert decision.before == decision.after


def test_the_smallest_feasible_sharpness_softens():
    """Its quotient with the present one is 0 in double precision, and has no logarithm."""
    config = set_point(solver="feasible", slew=0.2)
    state = initial(config, eta=5.0)
    after, _ = step(config, state, seen(0.1), step=0, eta_feasible=5e-324)
    assert sharp(after.knobs) == pytest.approx(5.0 * math.exp(-0.2), rel=double(16))


@pytest.mark.parametrize(
    "bad",
    [seen(0.2), seen(0.9, weight=0.8), seen(0.9, activation=0.6)],
    ids=["ess", "tails", "activation"],
)
@pytest.mark.parametrize("knob", KNOBS)
def test_each_bound_softens_alone(knob, bad):
    config = set_point(knob=knob)
    state = initial(config, **DECLARED[knob])
    after, decision = step(config, state, bad, step=0)
    assert decision.action == "soften"
    assert sharp(after.knobs) < sharp(state.knobs)
    assert sum(item.ok is False for item in decision.compared) == 1


def test_an_absent_bound_decides_nothing():
    config = set_point(tail_limit=None, activation_limit=None)
    state = initial(config, eta=5.0)
    after, decision = step(config, state, seen(0.9, weight=1.0, activation=0.99), step=0)
    assert after.knobs == state.knobs
    assert [item.what for item in decision.compared] == ["ess_rel.median"]
    unknown = replace(seen(0.9), activation=None, tails=Tails())
    _, decision = step(set_point(), state, unknown, step=0)
    assert [item.ok for item in decision.compared] == [True, None, None]


@given(st.lists(unit, min_size=1, max_size=40))
def test_softening_anchors_keeps_the_geometric_anchor(history):
    config = set_point(knob="anchors")
    state, _ = run(config, initial(config, tau=0.15, beta=0.05), [seen(e) for e in history])
    assert state.knobs["tau"] / state.knobs["beta"] == pytest.approx(
        3.0, rel=double(4 * len(history))
    )


@pytest.mark.parametrize("knob", ["anchors", "both"])
def test_drift_over_budget_moves_weight_to_the_reference_at_fixed_sharpness(knob):
    config = set_point(knob=knob, drift_budget=1.0, deadline=10)
    state = initial(config, **DECLARED[knob])
    after, decision = step(config, state, seen(0.9, drift=1.2), step=0)
    assert decision.action == "anchor"
    assert after.knobs["beta"] == pytest.approx(1.2 * state.knobs["beta"])  # by drift/budget
    total = state.knobs["tau"] + state.knobs["beta"]
    assert after.knobs["tau"] + after.knobs["beta"] == pytest.approx(total)


@pytest.mark.parametrize("knob", KNOBS)
@given(ess=st.lists(unit, min_size=1, max_size=30))
def test_sharpness_only_falls_while_drift_is_over_budget(knob, ess):
    config = set_point(knob=knob, drift_budget=1.0, deadline=5, start=0.5, dwell=1)
    state = initial(config, **DECLARED[knob])
    for t, value in enumerate(ess):
        before = sharp(state.knobs)
        state, _ = step(config, state, seen(value, drift=3.0), step=t)
        assert sharp(state.knobs) <= before * (1 + double(16))


def test_when_beta_is_all_there_is_sharpness_gives_way():
    config = set_point(knob="anchors", drift_budget=1.0, slew=0.5)
    state, decisions = run(config, initial(config, tau=0.1, beta=0.1), [seen(0.9, drift=9.0)] * 6)
    assert [d.action for d in decisions[:2]] == ["anchor", "anchor"]
    assert [d.action for d in decisions[2:]] == ["soften"] * 4
    assert state.knobs["tau"] == 0.0
    assert sharp(state.knobs) == pytest.approx(5.0 * math.exp(-0.5 * 4))


@pytest.mark.parametrize("knob", KNOBS)
def test_everything_returns_to_the_declared_values(knob):
    config = set_point(knob=knob, drift_budget=1.0)
    state = initial(config, **DECLARED[knob])
    bad = [seen(0.05, drift=4.0)] * 10
    disturbed, _ = run(config, state, bad)
    assert disturbed.knobs != state.knobs
    healed, decisions = run(config, disturbed, [seen(0.95, drift=0.1)] * 80, first=10)
    assert healed.knobs == DECLARED[knob]  # exactly
    assert decisions[-1].action == "hold"
    assert decisions[-1].why == "at the declared values"


def test_nothing_winds_up_while_saturated():
    """After 500 bad batches at the lower bound, recovery takes as long as after 30."""
    config = set_point(eta_min=1.0, window=1)
    state = initial(config, eta=5.0)
    times = []
    for bad in (30, 500):
        worn, _ = run(config, state, [seen(0.05)] * bad)
        assert worn.knobs["eta"] == 1.0
        _, decisions = run(config, worn, [seen(0.95)] * 60)
        times.append(next(i for i, d in enumerate(decisions) if d.after["eta"] == 5.0))
    assert times[0] == times[1]


def test_health_must_be_sustained():
    config = set_point(dwell=4, start=0.5, window=1)
    state = initial(config, eta=5.0)
    _, decisions = run(config, state, [seen(0.95)] * 5)
    assert [d.action for d in decisions] == ["hold"] * 3 + ["sharpen"] * 2
    broken = [seen(e) for e in (0.95, 0.95, 0.95, 0.3, 0.95, 0.95, 0.95, 0.95)]
    _, decisions = run(config, state, broken)
    assert [d.action for d in decisions] == [*["hold"] * 3, "soften", *["hold"] * 3, "sharpen"]


@given(st.floats(0.451, 0.549))
def test_inside_the_dead_band_nothing_moves(ess):
    config = set_point(start=0.5, dwell=1)
    state = initial(config, eta=5.0)
    after, decisions = run(config, state, [seen(ess)] * 6)
    assert after.knobs == state.knobs
    assert {d.action for d in decisions} == {"hold"}


@pytest.mark.parametrize("deadline", [3, 25])
@given(
    readings=st.lists(st.tuples(unit, unit), min_size=30, max_size=30),
    start=st.floats(0.05, 1),
    heavy=st.booleans(),
)
def test_the_deadline_is_met_whatever_is_seen(deadline, readings, start, heavy):
    """Also where the slew cannot follow the ramp: it starts in time."""
    start = max(start, math.exp(-0.25 * deadline) * 1.001)
    config = set_point(deadline=deadline, start=start, slew=0.25)
    state = initial(config, eta=5.0)
    for t, (ess, weight) in enumerate(readings):
        ramp = linear_ramp(config, state, step=t)["eta"]
        slowest = 5.0 * math.exp(-0.25 * max(0, deadline - t))
        assert state.knobs["eta"] >= min(ramp, slowest) * (1 - double(30 * 4))
        if t >= deadline:
            assert state.knobs["eta"] == 5.0
        state, _ = step(config, state, seen(ess, weight=weight if heavy else 0.1), step=t)


def test_drift_just_inside_its_budget_is_not_health():
    config = set_point(drift_budget=1.0, dwell=1, start=0.5, window=1)
    state = initial(config, eta=5.0)
    near, decision = step(config, state, seen(0.95, drift=0.95), step=0)
    assert (near.knobs, decision.action, near.healthy) == (state.knobs, "hold", 0)
    _, decision = step(config, state, seen(0.95, drift=0.85), step=0)
    assert decision.action == "sharpen"


def test_the_window_averages_and_is_emptied_by_a_move():
    config = set_point(window=3, dwell=9)
    state = initial(config, eta=5.0)
    state, _ = run(config, state, [seen(0.9), seen(0.6)])
    # mean of .9, .6 and .1 is above the band: one bad batch among good ones does not act
    state, decision = step(config, state, seen(0.1), step=2)
    assert decision.action == "hold"
    state, decision = step(config, state, seen(0.1), step=3)
    assert decision.action == "soften"
    assert decision.compared[0].value == pytest.approx((0.6 + 0.1 + 0.1) / 3)
    assert state.window == ()


@given(st.lists(st.tuples(unit, unit, st.floats(0, 3)), max_size=20), st.sampled_from(KNOBS))
def test_the_state_survives_json_and_the_run_is_reproducible(readings, knob):
    config = set_point(knob=knob, drift_budget=1.0, operators=("a", "b"), dwell=1)
    summaries = [seen(e, weight=w, drift=d) for e, w, d in readings]
    state, decisions = run(config, initial(config, **DECLARED[knob]), summaries)
    stored = initial(config, **DECLARED[knob])
    again = []
    for t, summary in enumerate(summaries):
        stored = ArcState.from_dict(json.loads(json.dumps(stored.to_dict())))
        stored, decision = step(config, stored, summary, step=t)
        again.append(decision)
    assert stored == state
    assert [json.dumps(d.to_dict()) for d in again] == [json.dumps(d.to_dict()) for d in decisions]


def test_a_decision_reads_as_the_schema_says():
    config = set_point(ess_quantile="q10")
    _, decision = step(config, initial(config, eta=5.0), seen(0.31), step=12)
    data = decision.to_dict()
    assert list(data) == ["step", "observed", "compared", "action", "before", "after", "why"]
    first = {"what": "ess_rel.q10", "value": 0.31, "threshold": 0.5, "ok": False}
    assert data["compared"][0] == first
    assert (data["step"], data["action"], data["before"]) == (12, "soften", {"eta": 5.0})
    assert data["after"]["eta"] < 5.0
    assert data["why"] == "ess_rel.q10 0.31 is below 0.5"


def test_the_integral_gain_is_the_stated_share_of_deadbeat():
    """On the plant ln ESS_rel = −(η/η₁)², gain 1 lands on the target to first order."""
    config = set_point(gain=1.0, slew=9.0, hysteresis=0.0)
    eta = 5.0
    unit_eta = eta / math.sqrt(math.log(1 / 0.49))  # ESS_rel is .49 at eta, just off the target
    after, _ = step(config, initial(config, eta=eta), seen(0.49), step=0)
    now = math.exp(-((after.knobs["eta"] / unit_eta) ** 2))
    gap = math.log(0.5 / 0.49)  # what the first order leaves of ln ESS_rel: gap²/(2·ln 2)
    assert now == pytest.approx(0.5, abs=0.5 * gap**2 / (2 * math.log(2)) * (1 + gap))
    exact, _ = step(
        set_point(solver="gaussian", slew=9.0), initial(config, eta=eta), seen(0.1), step=0
    )
    assert exact.knobs["eta"] == pytest.approx(eta * math.sqrt(math.log(0.5) / math.log(0.1)))


def test_the_loop_settles_on_its_target():
    """On a fixed plant ESS ends inside the dead band and stays there, without oscillating."""
    for solver in ("pi", "gaussian"):
        config = set_point(solver=solver)
        state, values, actions = initial(config, eta=20.0), [], []
        for t in range(120):
            ess = math.exp(-((state.knobs["eta"] / 3.0) ** 2))
            values.append(ess)
            state, decision = step(config, state, seen(ess, activation=None), step=t)
            actions.append(decision.action)
        assert all(0.45 <= value <= 0.56 for value in values[40:])
        assert actions[60:].count("hold") == 60


def test_the_feasible_solver_goes_where_it_is_told():
    config = set_point(solver="feasible", slew=9.0)
    state = initial(config, eta=5.0)
    after, _ = step(config, state, seen(0.2), step=0, eta_feasible=1.7)
    assert after.knobs["eta"] == pytest.approx(1.7)
    for missing in (None, float("nan")):
        same, decision = step(config, state, seen(0.2), step=0, eta_feasible=missing)
        assert (same, decision.action) == (state, "refuse")


@pytest.mark.parametrize(
    ("summary", "what"),
    [
        (replace(seen(), ess_rel=EssRel()), "ess_rel.median"),
        (replace(seen(), drift=Drift()), "drift.ref"),
        (seen(float("nan")), "ess_rel.median"),
    ],
)
def test_unknown_is_refused_not_taken_for_zero(summary, what):
    config = set_point(drift_budget=1.0)
    state = initial(config, eta=5.0)
    after, decision = step(config, state, summary, step=0)
    assert (after, decision.action) == (state, "refuse")
    assert what in decision.why


def test_replay_is_the_loop_on_logged_records():
    config = set_point(window=2)
    records = [
        {"step": t, "knobs": {"eta": 5.0, "tau": None}, **seen(e).to_dict()}
        for t, e in enumerate((0.1, 0.3, 0.9))
    ]
    _, decisions = run(config, initial(config, eta=5.0), [seen(e) for e in (0.1, 0.3, 0.9)])
    assert replay(config, records) == decisions
    assert replay(config, []) == []
    with pytest.raises(SpecError, match="no `knobs`"):
        replay(config, [seen().to_dict()])


@pytest.mark.parametrize("solver", ["pi", "gaussian"])
def test_without_any_effective_candidate_sharpness_falls_as_fast_as_it_may(solver):
    """ESS_rel = 0 is as far below the target as there is: no solver may read it as room."""
    config = set_point(solver=solver, slew=0.2, window=1, dwell=1)
    state = initial(config, eta=5.0)
    for t in range(4):
        before = state.knobs["eta"]
        state, decision = step(config, state, seen(0.0), step=t)
        assert decision.action == "soften"
        assert state.knobs["eta"] == pytest.approx(before * math.exp(-0.2))


def test_the_edge_of_the_dead_band_is_healthy():
    config = set_point()
    edge = config.ess_target * (1 - config.hysteresis)
    name = ess_name(config)
    assert not health_of(config, {name: edge}).unhealthy
    assert health_of(config, {name: math.nextafter(edge, 0)}).unhealthy


@pytest.mark.parametrize("informative", [None, 0, 1, 64])
def test_as_many_contexts_as_were_informative_are_observed(informative):
    counts = ContextCounts(total=64, informative=informative)
    found = observe(set_point(), Summary(counts, EssRel(0.5, 0.5, 0.5)))
    assert found["contexts.informative"] == (informative or 0)


def test_a_sharpness_that_no_batch_allows_is_no_room():
    """Feasible is 0: healthy readings hold, and do not sharpen; bad ones soften by the slew."""
    config = set_point(solver="feasible", start=0.3, slew=0.2, window=1, dwell=1)
    state = initial(config, eta=5.0)
    held, _ = step(config, state, seen(0.97), step=0, eta_feasible=0.0)
    assert held.knobs == state.knobs
    raised, _ = step(config, state, seen(0.97), step=0, eta_feasible=5.0)
    assert raised.knobs["eta"] > state.knobs["eta"]
    softened, _ = step(config, state, seen(0.05), step=0, eta_feasible=0.0)
    assert softened.knobs["eta"] == pytest.approx(1.5 * math.exp(-0.2))
