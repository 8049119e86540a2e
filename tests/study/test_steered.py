"""Many runs in one array are the runs one by one."""

import numpy as np
import pytest

from tod.arc import ArcConfig, initial
from tod.arc import step as arc_step
from tod.diagnostics import ContextCounts, EssRel, Overlap, Path, Summary, Tails
from tod.operators import Clip, Operator, PolicyGradient, Residual, WeightedRegression
from tod.procedure import Procedure
from tod.study.population import Policies
from tod.study.steered import Pace, SharedSettings, Steered
from tod.study.training import TrainingPlan, train
from tod.study.world import make_world
from tod.targets import ScalarReward
from tolerance import double

STEPS, SIZE, ETA = 9, 6, 5.0
EPSILON = 1e-6
NEAR = double(STEPS * 64, 1 / EPSILON)
"""Adam divides a gradient, and its rounding, by its own size, and that by EPSILON at the least."""
CONFIGS = [
    ArcConfig(damage_limit=1e-3, min_informative=1),
    ArcConfig(plan="set_point", min_informative=1, window=1),
    ArcConfig(plan="linear"),
]


def one_by_one(action, world, config):
    """A run of the engine of exact worlds under the product's controller."""
    state = initial(config, eta=ETA, steps=STEPS)
    procedure = Procedure(
        target=ScalarReward(utility="u", eta=state.knobs["eta"]), operator=Operator(action=action)
    )

    def steer(step, summary):
        nonlocal state
        state, _ = arc_step(config, state, summary, step=step)
        return state.knobs["eta"]

    plan = TrainingPlan(steps=STEPS, size=SIZE, rate=0.3, refresh=4, seed=11 + world.seed)
    return train(procedure, Policies.of(world), plan, steer=steer)


@pytest.mark.parametrize(
    "action",
    [
        PolicyGradient(trust_region=Clip(), pull=Residual()),
        WeightedRegression(centred=True),
    ],
    ids=["clip", "centred"],
)
def test_a_run_of_the_array_is_the_run_alone(action):
    worlds = [make_world(n, vocabulary=3, contexts=3) for n in (5, 8)]
    states = [[initial(c, eta=ETA, steps=STEPS) for c in CONFIGS] for _ in worlds]
    etas = []

    def pace():
        eta = np.array([[s.knobs["eta"] for s in row] for row in states])
        return Pace(eta, np.ones_like(eta))

    def steer(step, seen):
        etas.append(pace().eta)
        ess, largest = seen.weights(list(range(len(CONFIGS))))
        for w, row in enumerate(states):
            for a, config in enumerate(CONFIGS):
                some = int(seen.informative[w, a].sum())
                told = {n: float(x[w, a]) for n, x in seen.damage().items()}
                active = float(seen.activation()[w, a])
                summary = Summary(
                    contexts=ContextCounts(total=3, informative=some),
                    ess_rel=EssRel(median=float(ess[w, a]) if some else None),
                    tails=Tails(max_weight_median=float(largest[w, a]) if some else None),
                    overlap=Overlap(policy_proposal=float(seen.policy_proposal[w, a])),
                    activation=None if np.isnan(active) else active,
                    path=Path(**told) if some else None,
                )
                row[a], _ = arc_step(config, row[a], summary, step=step)
        return pace()

    setting = SharedSettings(action, steps=STEPS, size=SIZE, rate=0.3, refresh=4, seed=11)
    law = Steered(setting, worlds, len(CONFIGS)).train(pace(), steer)
    law = law.reshape(len(worlds), len(CONFIGS), 3, -1)
    for w, world in enumerate(worlds):
        for a, config in enumerate(CONFIGS):
            alone = one_by_one(action, world, config)
            assert np.array(etas)[:, w, a] == pytest.approx(alone.eta, rel=NEAR)
            np.testing.assert_allclose(np.exp(law[w, a]), np.exp(alone.log_p), rtol=NEAR)


def test_a_burst_refreshes_less_while_it_lasts():
    action = WeightedRegression()
    assert SharedSettings(action, steps=20, refresh=4).refreshes() == [0, 4, 8, 12, 16]
    burst = SharedSettings(action, steps=40, refresh=4, burst=(0.3, 0.6, 12))
    assert burst.refreshes() == [0, 4, 8, 12, 24, 28, 32, 36]


def test_a_run_of_half_the_rate_takes_half_the_step():
    world = make_world(5, vocabulary=3, contexts=2)
    setting = SharedSettings(WeightedRegression(), steps=2, size=SIZE)
    runs = Steered(setting, [world], 2)
    eta, rate = np.full((1, 2), ETA), np.array([[1.0, 0.5]])
    start, places = runs.logits.copy(), []
    runs.train(
        Pace(eta, rate), lambda *_: Pace(eta, rate), lambda *_: places.append(runs.logits.copy())
    )
    first = (places[0] - start).reshape(start.shape[0], 2, -1)
    np.testing.assert_allclose(first[:, 1], first[:, 0] / 2, rtol=double(64), atol=double(64))
