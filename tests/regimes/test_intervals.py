"""The verdict as a function of sharpness."""

import numpy as np
import pytest

from tod.base import Groups, SpecError
from tod.diagnostics import ess_rel, measure, quantile
from tod.regimes import Thresholds, classify, verdict_by_eta


def world(rng):
    contexts = Groups.equal(64, 16)
    return rng.normal(size=contexts.total), contexts


def test_an_assumed_target_is_stable_at_no_sharpness(rng):
    u, contexts = world(rng)
    parts = verdict_by_eta(None, u, contexts, np.linspace(0.1, 4, 14), log_r=np.zeros(len(u)))
    assert [p.verdict for p in parts] == ["transition", "operator_dominated"]
    assert parts[0].eta[0] == 0.1
    assert parts[0].eta[1] == parts[1].eta[0]
    assert parts[-1].eta[1] == 4.0


def test_the_boundary_is_where_the_statistic_crosses_its_bound(rng):
    u, contexts = world(rng)
    bounds = Thresholds(ess_q10_dominated=0.01, max_weight_dominated=1.0, max_weight_stable=1.0)
    parts = verdict_by_eta(
        None,
        u,
        contexts,
        np.linspace(0.1, 4, 14),
        log_r=np.zeros(len(u)),
        thresholds=bounds,
        assumed_target=False,
    )
    assert [p.verdict for p in parts] == ["swap_stable", "transition", "operator_dominated"]
    median = quantile(ess_rel(parts[1].eta[1] * u, contexts), 0.5)
    assert median == pytest.approx(bounds.overlap_dominated, abs=1e-3)


def test_what_does_not_depend_on_eta_comes_from_the_base(rng):
    u, contexts = world(rng)
    base = measure(u, u, contexts, legs_declared=("policy_proposal",)).summary()
    alone = verdict_by_eta(None, u, contexts, [0.1, 0.2], assumed_target=False)
    with_base = verdict_by_eta(None, u, contexts, [0.1, 0.2], base=base, assumed_target=False)
    assert [p.verdict for p in alone] == ["transition"]  # the policy's legs are unknown
    assert [p.verdict for p in with_base] == ["swap_stable"]
    intervals = classify(base, assumed_target=True, eta_intervals=alone).to_dict()
    assert intervals["eta_intervals"] == [{"eta": [0.1, 0.2], "verdict": "transition"}]


def test_blind_contexts_are_blind_at_every_sharpness():
    contexts = Groups.equal(40, 16)
    parts = verdict_by_eta(None, np.ones(640), contexts, [0.0, 1.0, 8.0])
    assert [p.verdict for p in parts] == ["undetermined"]


@pytest.mark.parametrize("etas", [[1.0], [1.0, 1.0], [2.0, 1.0]])
def test_grids_that_do_not_increase_are_refused(etas):
    with pytest.raises(SpecError, match="increasing"):
        verdict_by_eta(None, np.ones(4), Groups.equal(1, 4), etas)
