"""Distances of many ends at once against two at a time; what is read of a run's steps."""

import numpy as np
import pytest

from tod.base import DataError, Groups
from tod.engine.distances import sequence_variation, token_divergence
from tod.study.swap.assemble import early, readings, token_table, variation_table
from tod.study.swap.outcomes import MOST_BYTES, Outcome, series_of
from tolerance import rounding


def test_variation_of_all_pairs_is_that_of_every_pair() -> None:
    rng = np.random.default_rng(0)
    contexts = Groups(np.array([5, 3, 8]))
    log_mu = np.log(rng.dirichlet(np.ones(16)))
    log_p = rng.normal(size=(4, 16)) - 3.0
    table = variation_table(log_p, log_mu, contexts)
    for a in range(4):
        for b in range(4):
            one = sequence_variation(log_p[a], log_p[b], log_mu, contexts).mean()
            assert table[a, b] == pytest.approx(one, rel=rounding("float64", 60))


def test_divergence_of_all_pairs_is_that_of_every_pair() -> None:
    rng = np.random.default_rng(1)
    log_p = np.log(rng.dirichlet(np.ones(7), size=(3, 20)))
    table = token_table(log_p)
    for a in range(3):
        for b in range(3):
            one = token_divergence(log_p[a], log_p[b]).mean()
            assert table[a, b] == pytest.approx(one, abs=rounding("float64", 60) * np.log(7))


def outcome(positions: int = 50) -> Outcome:
    rng = np.random.default_rng(2)
    return Outcome(
        facts={"task": "t", "operator": "a", "seed": 0, "recipe": "x"},
        evaluated=np.array([5, 10]),
        held_out=rng.integers(0, 17, (2, 20)) / 16,
        log_probs=-rng.gamma(4.0, 2.0, 64),
        distributions=np.log(rng.dirichlet(np.ones(22), size=positions)),
        series={"eta": np.ones(10), "ess_mean": np.linspace(0.2, 1.0, 10)},
    )


def test_an_outcome_survives_the_disk(tmp_path) -> None:
    made = outcome()
    made.save(tmp_path / "arm.npz")
    again = Outcome.load(tmp_path / "arm.npz")
    assert again.facts == made.facts
    assert np.array_equal(again.held_out, made.held_out)  # sixteenths are exact
    assert again.log_probs == pytest.approx(made.log_probs, rel=rounding("float32", 1))
    assert not list(tmp_path.glob("*unfinished*"))


def test_a_large_outcome_is_refused_and_leaves_nothing(tmp_path) -> None:
    with pytest.raises(DataError, match=str(MOST_BYTES)):
        outcome(positions=20_000).save(tmp_path / "arm.npz")
    assert not list(tmp_path.iterdir())


def test_a_cut_outcome_is_named(tmp_path) -> None:
    path = tmp_path / "arm.npz"
    outcome().save(path)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(DataError, match=r"arm\.npz"):
        Outcome.load(path)


def test_the_legs_are_put_together() -> None:
    """ESS_two is the smaller of two means; a leg that is not known leaves it unknown."""
    target, policy = np.linspace(0.2, 1.0, 20), np.linspace(1.0, 0.3, 20)
    series = {"ess_mean": target, "target_proposal": target, "policy_proposal": policy}
    third = np.full(20, 0.9)
    told = readings({**series, "target_policy": third})
    assert told["ess_two"] == pytest.approx(min(target.mean(), policy.mean()))
    assert told["ess_two early"] == pytest.approx(target[:2].mean())
    assert told["ess_tri at the first step"] == pytest.approx(0.2)
    unknown = readings({**series, "policy_proposal": np.full(20, np.nan), "target_policy": third})
    assert unknown["policy_proposal"] is None
    assert unknown["ess_two"] is None
    assert unknown["ess_tri"] is None


def test_a_tenth_of_the_steps_is_early() -> None:
    assert [early(steps).stop for steps in (3, 10, 100, 200)] == [1, 1, 10, 20]


def test_a_figure_that_a_step_has_not_is_unknown() -> None:
    records = [
        {"step": 0, "ess_rel": {"median": 0.9}},
        {"step": 1, "ess_rel": {"median": 0.5}, "activation": None},
        {"step": 2},
    ]
    series = series_of(records)
    assert series["ess_median"][0] == 0.5
    assert np.isnan(series["ess_median"][1])
    assert np.isnan(series["activation"]).all()
