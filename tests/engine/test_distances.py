"""Distances of trained models: against enumeration, scipy, and draws of both."""

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon

from tod.base import DataError, Groups
from tod.engine.data.load import load_task
from tod.engine.data.prompts import fitting_ids
from tod.engine.data.task_specs import CountdownTask
from tod.engine.distances import (
    CommonPool,
    draw_pool,
    sequence_log_probs,
    sequence_variation,
    token_distributions,
    token_divergence,
    two_sided_variation,
)
from tod.engine.models import load_model
from tolerance import chance, rounding


@pytest.fixture(scope="module")
def models():
    small, tokenizer = load_model("tod://tiny")
    large, _ = load_model("tod://tiny-teacher")
    return small, large, tokenizer


@pytest.fixture(scope="module")
def pool(models):
    small, large, tokenizer = models
    examples = load_task(CountdownTask(), 0).held_out(12)
    prompts = [np.asarray(fitting_ids(e, tokenizer, 64)) for e in examples]
    return draw_pool([small, large], tokenizer, prompts, 64, max_new_tokens=20, seed=3)


def test_the_variation_of_enumerable_laws_is_what_adds_up():
    rng = np.random.default_rng(0)
    p, q = rng.dirichlet(np.ones(6), size=2)
    mu = 0.5 * (p + q)
    rows = rng.choice(6, size=400_000, p=mu)
    contexts = Groups(np.array([len(rows)]))
    got = sequence_variation(np.log(p)[rows], np.log(q)[rows], np.log(mu)[rows], contexts)[0]
    values = 0.5 * np.abs(p - q)[rows] / mu[rows]
    bound = chance(float(values.std()), len(rows))
    assert got == pytest.approx(0.5 * np.abs(p - q).sum(), abs=bound)


def test_draws_of_both_laws_agree_with_enumeration():
    rng = np.random.default_rng(1)
    p, q = rng.dirichlet(np.ones(6), size=2)
    own, other = (rng.choice(6, size=200_000, p=law) for law in (p, q))
    got = two_sided_variation(
        (np.log(p)[own], np.log(q)[own]), (np.log(p)[other], np.log(q)[other])
    )
    assert got == pytest.approx(0.5 * np.abs(p - q).sum(), abs=chance(0.5, 400_000))


def test_the_divergence_is_that_of_scipy():
    rng = np.random.default_rng(2)
    p, q = rng.dirichlet(np.ones(5), size=(2, 50))
    expected = jensenshannon(p, q, axis=1) ** 2
    assert token_divergence(np.log(p), np.log(q)) == pytest.approx(
        expected, abs=rounding("float64", 40)
    )
    assert token_divergence(np.log(p), np.log(p)).max() <= rounding("float64", 40)


def test_a_models_token_distributions_hold_its_log_probs(models, pool):
    small = models[0]
    table = token_distributions(small, pool)
    ids = pool.rollouts.ids.astype(int)
    by_token = table[np.arange(len(ids)), ids]
    total = pool.rollouts.sequences.sum(by_token)
    longest = int(pool.rollouts.sequences.sizes.max())
    bound = rounding("float32", 400) * longest * float(np.abs(table[np.isfinite(table)]).max())
    assert np.abs(total - sequence_log_probs(small, pool)).max() < bound
    assert np.exp(table).sum(axis=1) == pytest.approx(1.0, abs=rounding("float32", 100))


def test_the_pool_weighs_both_models(models, pool):
    """E_μ of p/μ is 1 for both, within five standard errors over prompts."""
    for model in models[:2]:
        ratio = pool.rollouts.contexts.mean(np.exp(sequence_log_probs(model, pool) - pool.log_mu))
        assert abs(ratio.mean() - 1) < 5 * ratio.std(ddof=1) / np.sqrt(len(ratio))


def test_the_pool_agrees_with_draws_of_both_models(models, pool):
    """The mixture draws as many of each: both estimates are of one quantity on one pool."""
    p, q = (sequence_log_probs(model, pool) for model in models[:2])
    contexts = pool.rollouts.contexts
    by_prompt = sequence_variation(p, q, pool.log_mu, contexts)
    first = contexts.position < 64
    both = two_sided_variation((p[first], q[first]), (p[~first], q[~first]))
    # even mixture: ½|p − q|/μ = |tanh((log p − log q)/2)|, so they are the same numbers
    assert by_prompt.mean() == pytest.approx(both, abs=rounding("float32", 1000) * 20)


def test_a_pool_survives_the_disk(pool, tmp_path: Path):
    pool.save(tmp_path / "pool.npz")
    again = CommonPool.load(tmp_path / "pool.npz")
    assert np.array_equal(again.log_mu, pool.log_mu)
    pairs = zip(again.rollouts.prompts, pool.rollouts.prompts, strict=True)
    assert all(np.array_equal(a, b) for a, b in pairs)
    assert np.array_equal(again.rollouts.ids, pool.rollouts.ids)


def test_something_else_is_no_pool(tmp_path: Path):
    path = tmp_path / "pool.npz"
    path.write_bytes(b"nothing")
    with pytest.raises(DataError, match="no pool"):
        CommonPool.load(path)
