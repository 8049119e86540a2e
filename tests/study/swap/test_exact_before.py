"""Diagnostics before training: those of `tod.examine`, and by hand; oracles by enumeration."""

import numpy as np
import pytest

import tod
from tod.procedure import Declared
from tod.study.swap.exact_before import BATCHES, before_training, probe
from tod.study.swap.exact_spec import procedure_of


@pytest.fixture(scope="module")
def seen(tiny):
    """What is read at η 1 with μ = b, and the candidates it is read from."""
    world, setting = tiny.world(0), tiny.settings[0]
    return (
        before_training(tiny, world, setting, tiny.operators["centred"]),
        probe(tiny, world, world.base),
        world,
    )


def test_it_reads_what_examine_reads(tiny, seen):
    read, candidates, _ = seen
    procedure = procedure_of(tiny.operators["token_clip"], 1.0)
    summary = tod.examine(procedure, candidates, declared=Declared(one_engine=True)).summary
    assert read["ess_median"] == summary.ess_rel.median
    assert read["ess_q10"] == summary.ess_rel.q10
    assert read["k_hat"] == summary.tails.pareto_k_pooled
    assert read["max_weight"] == summary.tails.max_weight_median
    assert read["var_log_w"] == summary.tails.log_w_variance_median
    assert read["ess_tri"] == summary.overlap.minimum
    assert read["mean_rho"] == summary.coverage.mean_rho


def test_ess_and_missing_mass_by_hand(tiny, seen):
    read, candidates, world = seen
    u = candidates.utility["u"].reshape(-1, tiny.size)
    w = np.exp(u)
    ess = w.sum(axis=1) ** 2 / (w**2).sum(axis=1) / tiny.size
    assert len(ess) == BATCHES * len(world)
    assert read["ess_mean"] == pytest.approx(ess.mean())
    assert min(ess) <= read["ess_median"] <= max(ess)
    assert read["ess_pooled"] == pytest.approx(w.sum() ** 2 / (w**2).sum() / w.size)
    answers = candidates.labels.answer.reshape(-1, tiny.size)
    missing = [
        sum(x for x, y in zip(row, answer, strict=True) if (answer == y).sum() == 1) / row.sum()
        for row, answer in zip(w, answers, strict=True)
    ]
    assert read["missing_mass"] == pytest.approx(np.mean(missing))


def test_every_prompt_keeps_its_batches(tiny, seen):
    """Consecutive groups are of one context: utilities are those of its own sequences."""
    _, candidates, world = seen
    rows = candidates.labels.answer.reshape(len(world), -1)
    u = candidates.utility["u"].reshape(len(world), -1)
    for c in range(len(world)):
        np.testing.assert_array_equal(u[c], world.utility[c, rows[c]])


def test_a_hole_is_seen_by_the_oracle_alone(tiny):
    hole = next(setting for setting in tiny.settings if setting.mu == "hole")
    worlds = [tiny.world(number) for number in range(2)]
    operator = tiny.operators["centred"]
    for world in worlds:
        read = before_training(tiny, world, hole, operator)
        whole = before_training(tiny, world, tiny.settings[0], operator)
        q, mu = np.exp(world.target(1.0)), np.exp(hole.proposal.law(world, 1.0))
        expected = (q * (1 - mu) ** (BATCHES * tiny.size)).sum(axis=1).mean()
        assert read["oracle_uncovered"] == pytest.approx(expected)
        assert read["oracle_uncovered"] >= 0.3 > whole["oracle_uncovered"]
        travel = 0.5 * np.abs(q - np.exp(world.base)).sum(axis=1).mean()
        assert read["oracle_travel"] == pytest.approx(travel)


def test_zero_variance_of_a_rare_reward(tiny):
    """A 0/1 reward that one draw in twenty passes: most groups of eight see no success."""
    spec = tiny.revised(shape="binary", vocabulary=6)
    world = spec.world(0)
    read = before_training(spec, world, spec.settings[0], spec.operators["centred"])
    u = probe(spec, world, world.base).utility["u"].reshape(-1, spec.size)
    assert read["zero_variance"] == pytest.approx(np.mean(u.min(axis=1) == u.max(axis=1)))
    assert read["zero_variance"] > 0.2
