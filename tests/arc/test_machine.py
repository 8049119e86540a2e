"""The controller as a state machine: any history, every invariant after each step."""

import json
import math

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from set_points import set_point
from tod.arc import ArcState, initial, step
from tod.diagnostics import ContextCounts, Drift, EssRel, Summary, Tails
from tolerance import double

unit = st.floats(0.01, 1.0)


class Controller(RuleBasedStateMachine):
    """Feeds any sequence of batches to a controller of any kind."""

    @initialize(
        knob=st.sampled_from(["eta", "anchors", "both"]),
        solver=st.sampled_from(["pi", "gaussian"]),
        start=st.floats(0.2, 1),
        window=st.integers(1, 5),
        dwell=st.integers(1, 4),
        deadline=st.none() | st.integers(10, 40),
    )
    def begin(self, knob, solver, start, window, dwell, deadline):
        self.config = set_point(
            knob=knob,
            solver=solver,
            start=start,
            window=window,
            dwell=dwell,
            deadline=deadline,
            drift_budget=1.0,
            eta_min=0.2,
            operators=("rl", "surrogate"),
        )
        eta = {"eta": 5.0} if knob != "anchors" else {}
        anchors = {"tau": 0.15, "beta": 0.05} if knob != "eta" else {}
        self.state = initial(self.config, **eta, **anchors)
        self.declared = dict(self.state.declared)
        self.time = 0
        self.before = self.state
        self.decision = None

    @rule(
        ess=unit,
        weight=unit,
        activation=st.none() | unit,
        drift=st.floats(0, 4),
        informative=st.sampled_from([0, 3, 8, 64]),
    )
    def observe(self, ess, weight, activation, drift, informative):
        summary = Summary(
            contexts=ContextCounts(total=64, informative=informative),
            ess_rel=EssRel(ess, ess, ess),
            tails=Tails(weight),
            drift=Drift(ref=drift),
            activation=activation,
        )
        self.before = ArcState.from_dict(json.loads(json.dumps(self.state.to_dict())))
        self.state, self.decision = step(self.config, self.state, summary, step=self.time)
        self.blind = informative < 8
        self.time += 1

    @rule(count=st.integers(1, 12))
    def calm(self, count):
        for _ in range(count):
            self.observe(0.97, 0.05, 0.0, 0.0, 64)

    def sharpness(self, state):
        k = state.knobs
        return k["eta"] if "eta" in k else 1 / (k["tau"] + k["beta"])

    @invariant()
    def bounded(self):
        goal = 5.0
        assert 0.2 * (1 - double(16)) <= self.sharpness(self.state) <= goal * (1 + double(16))
        moved = math.log(self.sharpness(self.state) / self.sharpness(self.before))
        assert abs(moved) <= self.config.slew + double(16)
        assert all(math.isfinite(v) and v >= 0 for v in self.state.knobs.values())
        assert len(self.state.window) <= self.config.window

    @invariant()
    def remembered(self):
        assert self.state.declared == self.declared
        assert set(self.state.knobs) == set(self.declared)

    @invariant()
    def honest(self):
        """The decision says what changed, and blind batches change nothing."""
        if self.decision is None:
            return
        changed = self.decision.before != self.decision.after
        assert changed == (self.decision.action not in ("hold", "freeze", "refuse"))
        assert self.decision.why
        if self.blind:
            assert self.state == self.before
            assert self.decision.action == "freeze"
        shown = {k: v for k, v in self.decision.after.items() if k != "operator"}
        assert shown == self.state.knobs

    @invariant()
    def reference_share_never_falls_below_the_declared_one(self):
        if "beta" in self.state.knobs:
            k = self.state.knobs
            assert k["beta"] / (k["tau"] + k["beta"]) >= 0.25 - double(4 * 30)


TestController = Controller.TestCase
TestController.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
