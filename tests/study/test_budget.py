"""A KL budget from a frozen anchor: the fixed point is the tilt that spends it."""

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import logsumexp, rel_entr

from tod.operators import Operator, WeightedRegression, WithinBudget
from tod.procedure import Procedure
from tod.study.audit import OTHER, SAME, audit, audit_world
from tod.targets import ScalarReward


def test_the_fixed_point_spends_the_budget_on_and_off_policy():
    world, budget = audit_world(), 0.4

    def tilted(eta):
        z = world.base + eta * world.utility
        return z - logsumexp(z, axis=1, keepdims=True)

    def left(eta):
        return rel_entr(np.exp(tilted(eta)), np.exp(world.base)).sum(axis=1).mean() - budget

    eta = brentq(left, 1e-6, 50.0)
    rule = Operator(action=WeightedRegression(weights=WithinBudget(budget=budget)))
    procedure = Procedure(target=ScalarReward(utility="r", eta=1.0), operator=rule)
    found = audit(procedure, eta=4 * eta)
    for point in (found.on_policy, found.off_policy):
        assert point.tv > OTHER
        assert point.eta_hat == pytest.approx(
            eta, abs=SAME / 0.4
        )  # TV has a slope ½E|U − Ū| of 0.4 in η
        assert point.residual <= SAME
    assert found.on_policy.predicted_tv is None or found.on_policy.predicted_tv <= SAME
    assert audit(procedure, eta=eta).measured == "yes"
