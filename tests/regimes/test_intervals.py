"""The verdict as a function of sharpness."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from tod.base import Groups, SpecError
from tod.diagnostics import measure
from tod.population import leg_statistics
from tod.regimes import EtaInterval, Thresholds, classify, verdict_by_eta


def pool(rng, *, prompts=256, k=16, spread=0.0):
    """Normal rewards, on-policy to rounding or with a policy ``spread`` nats away."""
    contexts = Groups.equal(prompts, k)
    u = rng.normal(size=contexts.total)
    log_r = spread * rng.normal(size=len(u)) - spread**2 / 2  # of mean one, as ratios are
    statistics = leg_statistics(contexts, log_w=u, anchored=True, eta=1.0, log_r=log_r)
    return statistics, measure(u, u, contexts, log_r=log_r).summary()


def halved(grid):
    """Where a boundary is known to: a cell of the grid, halved ten times."""
    return (grid[1] - grid[0]) / 2**10


def test_each_interval_is_the_verdict_of_a_declared_target(rng):
    statistics, summary = pool(rng)
    grid = np.linspace(0.1, 6, 14)
    parts = verdict_by_eta(statistics.population, grid, summary)
    assert parts[0].verdict == "swap_stable"
    assert {p.verdict for p in parts[1:]} <= {"transition", "undetermined", "operator_dominated"}
    assert parts[0].eta[0] == 0.1
    assert parts[-1].eta[1] == 6.0
    for left, right in pairwise(parts):
        assert left.eta[1] == right.eta[0]
    for part in parts:
        at = replace(summary, population=statistics.population(float(np.mean(part.eta))))
        assert classify(at).verdict == part.verdict


def test_the_boundary_is_where_the_interval_crosses_its_bound(rng):
    statistics, summary = pool(rng)
    grid = np.linspace(0.1, 3, 14)
    (first, *_) = verdict_by_eta(statistics.population, grid, summary)

    def low(eta):
        return statistics.population(eta)["target_proposal"].median.low

    near = halved(grid)
    assert low(first.eta[1] - near) >= Thresholds().overlap_stable > low(first.eta[1] + near)


def test_what_does_not_depend_on_eta_comes_from_what_was_judged(rng):
    statistics, summary = pool(rng)
    clipped = replace(summary, activation=0.9)
    (part,) = verdict_by_eta(statistics.population, [0.1, 0.2], clipped)
    assert part.verdict == "transition"
    intervals = classify(clipped, assumed_target=True, eta_intervals=(part,)).to_dict()
    assert intervals["verdict"] == "undetermined"
    assert intervals["eta_intervals"] == [
        {"eta": [0.1, 0.2], "verdict": "transition", "target_proposal": "stable"}
    ]


def test_the_policy_leg_is_the_same_at_every_sharpness(rng):
    statistics, summary = pool(rng, spread=1.5, k=64)
    parts = verdict_by_eta(statistics.population, np.linspace(0.02, 3, 8), summary)
    assert {p.verdict for p in parts} == {"operator_dominated"}  # π/μ alone: e^-2.25
    assert [p.word for p in parts][:2] == ["stable", "transition"]


def test_blind_prompts_are_blind_at_every_sharpness():
    contexts = Groups.equal(40, 16)
    statistics = leg_statistics(contexts, log_w=np.ones(640), anchored=True, eta=1.0)
    summary = measure(np.ones(640), np.ones(640), contexts).summary()
    parts = verdict_by_eta(statistics.population, [0.5, 1.0, 8.0], summary)
    assert parts == (EtaInterval((0.5, 8.0), "undetermined", "not_readable"),)


@pytest.mark.parametrize("etas", [[1.0], [1.0, 1.0], [2.0, 1.0]])
def test_grids_that_do_not_increase_are_refused(etas, rng):
    statistics, summary = pool(rng, prompts=8)
    with pytest.raises(SpecError, match="increasing"):
        verdict_by_eta(statistics.population, etas, summary)
