"""The small engine: it trains, repeats itself, and in the limit of K is the population's."""

import numpy as np
import pytest

from tod.operators import Clip, Operator, PolicyGradient, Residual, WeightedRegression
from tod.procedure import Procedure
from tod.study.distances import total_variation
from tod.study.fixed_point import fixed_point
from tod.study.policy import Shared
from tod.study.population import Policies
from tod.study.training import TrainingPlan, train
from tod.targets import ScalarReward

CENTRED = WeightedRegression(centred=True)


def _procedure(action, eta=1.0):
    return Procedure(target=ScalarReward(utility="u", eta=eta), operator=Operator(action=action))


def _tv(law, world, eta=1.0):
    return float(total_variation(law, world.target(eta)).mean())


@pytest.mark.parametrize("kind", [None, Shared])
def test_a_matched_operator_gets_close_to_its_target(small, kind):
    policy = None if kind is None else kind(small)
    plan = TrainingPlan(steps=150, rate=0.1)
    found = train(_procedure(CENTRED), Policies.of(small), plan, policy=policy)
    assert _tv(found.log_p, small) < 0.25 * _tv(small.base, small)


def test_runs_are_functions_of_their_seed(small):
    policies, plan = Policies.of(small), TrainingPlan(steps=5)
    laws = [train(_procedure(CENTRED), policies, plan).log_p for _ in range(2)]
    np.testing.assert_array_equal(laws[0], laws[1])
    other = train(_procedure(CENTRED), policies, TrainingPlan(steps=5, seed=1)).log_p
    assert np.abs(other - laws[0]).max() > 1e-4


def test_many_candidates_are_the_population(small):
    policies, action = Policies.of(small), PolicyGradient(pull=Residual())
    plan = TrainingPlan(steps=12, size=20_000, rate=0.1)
    found = train(_procedure(action), policies, plan).log_p
    expected = fixed_point(_procedure(action), policies, steps=12).law
    assert float(total_variation(found, expected).mean()) < 0.02
    assert _tv(expected, small) > 0.1  # on the way, so that the comparison means something


def test_a_proposal_that_is_never_refreshed_stays(small):
    """Nothing but the clip moves: from the first update on ρ leaves its band."""
    policies = Policies.of(small)
    plan = TrainingPlan(steps=60, rate=0.1, refresh=None)
    found = train(_procedure(PolicyGradient(trust_region=Clip(), pull=Residual())), policies, plan)
    assert found.activation[0] == 0.0
    assert max(found.activation) > 0.2
    fresh = train(
        _procedure(PolicyGradient(trust_region=Clip(), pull=Residual())),
        policies,
        TrainingPlan(steps=60, rate=0.1),
    )
    assert max(fresh.activation) == 0.0
    assert _tv(fresh.log_p, small) < _tv(found.log_p, small)


def test_sharpness_is_steered_from_the_next_batch_on(small):
    seen = []

    def steer(step, summary):
        seen.append((step, summary.contexts.total, summary.ess_rel.median))
        return 0.5 + step

    found = train(_procedure(CENTRED), Policies.of(small), TrainingPlan(steps=4), steer=steer)
    assert found.eta == [1.0, 0.5, 1.5, 2.5]
    assert [item[:2] for item in seen] == [(step, 2) for step in range(4)]
    assert [item[2] for item in seen] == found.ess_median


def test_a_given_proposal_is_kept_until_its_refresh(small):
    """With μ = q* every weight is equal: ESS_rel is 1 until the policy replaces μ."""
    policies, plan = Policies.of(small), TrainingPlan(steps=4, refresh=2, rate=0.1)
    found = train(_procedure(CENTRED), policies, plan, proposal=small.target(1.0))
    np.testing.assert_allclose(found.ess_median[:2], 1.0)
    assert max(found.ess_median[2:]) < 0.99
