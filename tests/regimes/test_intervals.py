"""The verdict as a function of sharpness."""

from dataclasses import replace

import numpy as np
import pytest

from tod.base import Groups, SpecError
from tod.diagnostics import ess_rel, measure, quantile
from tod.regimes import EtaInterval, Thresholds, capped, classify, verdict_by_eta


def world(rng):
    contexts = Groups.equal(64, 16)
    return rng.normal(size=contexts.total), contexts


def halved(grid):
    """Where a boundary is known to: a step of the grid, halved ten times."""
    return (grid[1] - grid[0]) / 2**10


def test_each_interval_is_the_verdict_of_a_declared_target(rng):
    u, contexts = world(rng)
    log_r = 0.05 * rng.normal(size=len(u))
    parts = verdict_by_eta(None, u, contexts, np.linspace(0.1, 4, 14), log_r=log_r)
    assert [p.verdict for p in parts] == ["swap_stable", "transition", "operator_dominated"]
    assert parts[0].eta[0] == 0.1
    assert parts[0].eta[1] == parts[1].eta[0]
    assert parts[-1].eta[1] == 4.0
    for part in parts:
        eta = np.mean(part.eta)
        assert (
            classify(measure(eta * u, u, contexts, log_r=log_r).summary()).verdict == part.verdict
        )


def test_a_run_is_read_on_its_step_means(rng):
    """Two steps of eight are five times as sharp: the median over all contexts hides them."""
    contexts = Groups.equal(160, 16)
    steps = np.repeat(np.arange(8), 20)
    u = rng.normal(size=contexts.total) * contexts.spread(1.0 + 4.0 * (steps % 4 == 0))
    base = measure(u, u, contexts, legs_declared=("policy_proposal",)).summary()
    grid = np.linspace(0.02, 1.5, 24)
    (first, *_, last) = verdict_by_eta(None, u, contexts, grid, base=base, steps=steps)
    assert (first.verdict, last.verdict) == ("swap_stable", "operator_dominated")

    def mean(eta):
        found = ess_rel(eta * u, contexts)
        return np.mean([quantile(found[steps == s], 0.5) for s in range(8)])

    near = halved(grid) * 2 * np.ptp(u)  # |d ESS_rel/dη| is at most twice the range of U
    assert mean(first.eta[1]) == pytest.approx(0.9, abs=near)
    assert quantile(ess_rel(first.eta[1] * u, contexts), 0.5) > 0.95


def test_the_boundary_is_where_the_statistic_crosses_its_bound(rng):
    u, contexts = world(rng)
    bounds = Thresholds(ess_q10_dominated=0.01, max_weight_dominated=1.0, max_weight_stable=1.0)
    grid = np.linspace(0.1, 4, 14)
    parts = verdict_by_eta(
        None,
        u,
        contexts,
        grid,
        log_r=np.zeros(len(u)),
        thresholds=bounds,
    )
    assert [p.verdict for p in parts] == ["swap_stable", "transition", "operator_dominated"]
    median = quantile(ess_rel(parts[1].eta[1] * u, contexts), 0.5)
    near = halved(grid) * 2 * np.ptp(u)
    assert median == pytest.approx(bounds.overlap_dominated, abs=near)


def test_what_does_not_depend_on_eta_comes_from_the_base(rng):
    u, contexts = world(rng)
    base = measure(u, u, contexts, legs_declared=("policy_proposal",)).summary()
    alone = verdict_by_eta(None, u, contexts, [0.1, 0.2])
    with_base = verdict_by_eta(None, u, contexts, [0.1, 0.2], base=base)
    assert [p.verdict for p in alone] == ["transition"]  # the policy's legs are unknown
    assert [p.verdict for p in with_base] == ["swap_stable"]
    intervals = classify(base, assumed_target=True, eta_intervals=alone).to_dict()
    assert intervals["verdict"] == "transition"
    assert intervals["eta_intervals"] == [{"eta": [0.1, 0.2], "verdict": "transition"}]


def test_counts_are_those_of_what_was_judged(rng):
    """A search that reads a sample of informative contexts has no more blind ones among them."""
    u, contexts = world(rng)
    base = measure(u, u, contexts, legs_declared=("policy_proposal",)).summary()
    counts = replace(base.contexts, total=1000, informative=600, zero_information=400)
    whole = replace(base, contexts=counts, overlap=replace(base.overlap, contexts=600))
    (part,) = verdict_by_eta(None, u, contexts, [0.1, 0.2], base=whole)
    assert part.verdict == "swap_stable"


def test_a_cap_at_every_sharpness_joins_what_becomes_equal():
    names = ["swap_stable", "transition", "operator_dominated"]
    parts = [EtaInterval((float(i), i + 1.0), name) for i, name in enumerate(names)]
    assert capped(parts, "swap_stable") == tuple(parts)
    joined = EtaInterval((0.0, 2.0), "transition")
    assert capped(parts, "transition") == (joined, parts[2])
    assert capped((), "transition") == ()


def test_blind_contexts_are_blind_at_every_sharpness():
    contexts = Groups.equal(40, 16)
    parts = verdict_by_eta(None, np.ones(640), contexts, [0.0, 1.0, 8.0])
    assert [p.verdict for p in parts] == ["undetermined"]


@pytest.mark.parametrize("etas", [[1.0], [1.0, 1.0], [2.0, 1.0]])
def test_grids_that_do_not_increase_are_refused(etas):
    with pytest.raises(SpecError, match="increasing"):
        verdict_by_eta(None, np.ones(4), Groups.equal(1, 4), etas)


def test_a_leg_of_the_policy_is_the_measured_one_where_there_is_one(rng):
    """η does not touch π/μ: what was measured of the batch stays, at every sharpness."""
    u, contexts = world(rng)
    near, grid = 0.01 * rng.normal(size=len(u)), np.linspace(0.02, 0.2, 4)
    base = measure(u, u, contexts, log_r=near).summary()
    far = replace(base, overlap=replace(base.overlap, policy_proposal=0.2))
    for known, verdict in ((base, "swap_stable"), (far, "operator_dominated")):
        (part,) = verdict_by_eta(None, u, contexts, grid, base=known, log_r=near)
        assert part.verdict == verdict
