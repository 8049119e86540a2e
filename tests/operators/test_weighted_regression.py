"""Weighted regression: reference values, centring, empty contexts, fixed sets."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from spec_values import kind_of, members
from tod.base import Groups, SpecError, to_numpy
from tod.operators import (
    Accepted,
    Batch,
    Best,
    Exponentiated,
    Raw,
    TokenMean,
    Totals,
    Uniform,
    WeightedRegression,
)
from tod.operators.weighted_regression import WeightsSpec
from tolerance import assert_credit, double, of_credit, of_weights, printed


def _one(make, log_w, log_policy, **more):
    contexts, sequences = Groups.equal(1, len(log_w)), Groups.equal(len(log_w), 1)
    log_policy = make(log_policy)
    return Batch(
        contexts=contexts,
        sequences=sequences,
        log_policy=log_policy,
        log_old=log_policy,
        value=make(log_w),
        tilt=make(log_w),
        sharpness=1.0,
        totals=Totals.of(sequences, contexts),
        log_w=make(log_w),
        **more,
    )


def test_loss_of_four_weights(backend):
    batch = _one(backend.make, [0, -0.5, -1.2, -3], [-3.0, -2.0, -4.0, -1.0])
    credit = WeightedRegression().credit(batch)
    near = printed(10) + backend.of_weights(4, 3.0)
    np.testing.assert_allclose(
        to_numpy(credit.per_token),
        [0.5108525673, 0.3098477446, 0.1538658364, 0.0254338517],
        rtol=0,
        atol=near,
    )
    loss = -(to_numpy(credit.per_token) * to_numpy(batch.log_policy)).sum()
    assert loss == pytest.approx(2.7931503884, abs=near * (3 + 2 + 4 + 1))


def test_every_token_of_a_candidate_has_its_weight_and_every_context_counts_once(make_batch):
    batch = make_batch()
    weight = batch.sequences.mean(WeightedRegression().credit(batch).per_token)
    spread = batch.sequences.spread(weight)
    np.testing.assert_allclose(WeightedRegression().credit(batch).per_token, spread, rtol=double(8))
    np.testing.assert_allclose(
        batch.contexts.sum(weight), 1 / len(batch.contexts), rtol=of_weights("float64", 5, 20)
    )


def test_centred_credit_vanishes_at_the_target_sample_by_sample(make_batch, backend):
    batch = make_batch(backend.make)
    at_target = replace(batch, log_w=batch.sequences.sum(batch.log_policy) - batch.log_mu + 3.0)
    centred, plain = (WeightedRegression(centred=c).credit(at_target) for c in (True, False))
    assert float(abs(centred.per_token).max()) < of_credit(backend.dtype)
    assert float(abs(plain.per_token).max()) > 0.01


def test_centring_costs_no_gradient_when_the_policy_is_the_proposal(make_batch):
    """Own weights are then uniform: E over candidates of the control variate is Σ ∇log π/K."""
    batch = make_batch()
    on_policy = replace(batch, log_mu=batch.sequences.sum(batch.log_policy))
    centred, plain = (WeightedRegression(centred=c).credit(on_policy) for c in (True, False))
    k = batch.contexts.spread(batch.contexts.sizes)
    want = batch.sequences.spread(1 / k / len(batch.contexts))
    assert_credit(plain.per_token - centred.per_token, want)


def test_weight_outside_the_support_is_zero_and_the_rest_is_renormalised(backend):
    inf = float("inf")
    batch = _one(backend.make, [0.0, -inf, -inf, 1.0], [-3.0, -2.0, -4.0, -1.0])
    got = to_numpy(WeightedRegression().credit(batch).per_token)
    np.testing.assert_allclose(
        got, [1 / (1 + np.e), 0, 0, np.e / (1 + np.e)], rtol=backend.of_weights(4, 1.0)
    )


@pytest.mark.parametrize("centred", [False, True])
def test_a_context_entirely_outside_the_support_says_nothing(backend, centred):
    inf = float("inf")
    zeros = backend.make([0.0] * 4)
    batch = _one(backend.make, [-inf] * 4, [-3.0, -2.0, -4.0, -1.0], log_mu=zeros)
    got = to_numpy(WeightedRegression(centred=centred).credit(batch).per_token)
    np.testing.assert_array_equal(got, 0.0)


def test_a_context_without_an_accepted_candidate_vanishes(make_batch):
    batch = make_batch()
    credit = WeightedRegression(weights=Accepted(threshold=0.5)).credit(batch)
    per_candidate = batch.sequences.mean(credit.per_token)
    accepted = batch.contexts.sum((batch.value >= 0.5).astype(float))
    want = (
        np.where(batch.value >= 0.5, 1.0, 0.0) / np.maximum(batch.contexts.spread(accepted), 1) / 5
    )
    np.testing.assert_allclose(per_candidate, want, rtol=double(8))
    none = WeightedRegression(weights=Accepted(threshold=1e9)).credit(batch)
    np.testing.assert_array_equal(none.per_token, 0.0)


def test_singleton_context_is_plain_likelihood(make_batch):
    batch = make_batch()
    credit = WeightedRegression().credit(batch)
    assert batch.sequences.mean(credit.per_token)[3] == pytest.approx(1 / 5, rel=double(8))
    centred = WeightedRegression(centred=True).credit(batch)
    assert batch.sequences.mean(centred.per_token)[3] == 0.0


def test_missing_log_probs_are_named(make_batch):
    batch = replace(make_batch(), log_w=None, log_mu=None)
    with pytest.raises(SpecError, match="log-probs of μ"):
        WeightedRegression().credit(batch)
    with pytest.raises(SpecError, match="centred: false"):
        WeightedRegression(weights=Accepted(), centred=True).credit(batch)
    assert WeightedRegression(weights=Accepted()).needs_anchors is False


def test_sft_is_the_mean_over_tokens(make_batch):
    batch = make_batch()
    sft = WeightedRegression(weights=Uniform(), aggregation=TokenMean())
    np.testing.assert_allclose(
        sft.credit(batch).per_token, 1 / batch.sequences.total, rtol=double(8)
    )
    sums = WeightedRegression(weights=Uniform()).credit(batch).per_token
    k = batch.contexts.spread(batch.contexts.sizes)
    np.testing.assert_allclose(sums, batch.sequences.spread(1 / k / 5), rtol=double(8))


def test_dft_weighs_tokens_by_their_probability(make_batch):
    batch = make_batch()
    rule = WeightedRegression(weights=Uniform(), aggregation=TokenMean(), by_probability=True)
    want = np.exp(batch.log_policy) / batch.sequences.total
    np.testing.assert_allclose(rule.credit(batch).per_token, want, rtol=double(8))


def test_uniform_weights_are_those_of_a_data_target(make_batch):
    batch = make_batch()
    data = replace(batch, log_w=0 * batch.log_w)
    np.testing.assert_allclose(
        WeightedRegression(weights=Uniform()).credit(batch).per_token,
        WeightedRegression().credit(data).per_token,
        rtol=double(8),
    )


def test_advantage_weights_reference_values(backend):
    """A = [.2, −.1, 4], cap 20: e^A, capped, over K."""
    batch = _one(backend.make, [0.2, -0.1, 4.0], [-1.0, -1.0, -1.0])
    weight = WeightedRegression(weights=Exponentiated(baseline=Raw())).credit(batch).advantage
    want = [1.2214027582, 0.9048374180, 20]
    np.testing.assert_allclose(
        3 * to_numpy(weight), want, rtol=backend.rounding(8), atol=printed(10)
    )
    huge = _one(backend.make, [900.0, 0.0], [-1.0, -1.0])
    got = WeightedRegression(weights=Exponentiated(baseline=Raw())).credit(huge).advantage
    np.testing.assert_allclose(to_numpy(got), [10.0, 0.5], rtol=backend.rounding(8))


def test_the_best_are_kept_with_their_ties(backend):
    batch = _one(backend.make, [3.0, 1.0, 2.0, 2.0, 0.0], [-1.0] * 5)
    for count, want in ((1, [1, 0, 0, 0, 0]), (2, [1, 0, 1, 1, 0]), (3, [1, 0, 1, 1, 0])):
        weight = to_numpy(WeightedRegression(weights=Best(count=count)).credit(batch).per_token)
        np.testing.assert_allclose(weight, np.array(want) / sum(want), rtol=backend.rounding(4))
    everything = to_numpy(WeightedRegression(weights=Best(count=9)).credit(batch).per_token)
    np.testing.assert_allclose(everything, 0.2, rtol=backend.rounding(4))


def test_the_best_of_ragged_contexts_are_those_with_few_above_them(backend, rng):
    """By counting, candidate by candidate; values repeat, so that ties straddle the cut."""
    contexts = Groups(np.array([1, 7, 40, 3, 12]))
    sequences = Groups.equal(contexts.total, 1)
    value = rng.integers(0, 6, contexts.total) / 4.0
    value[contexts.owner == 3] = [-np.inf, 2.0, -np.inf]
    for count in (1, 2, 5, 11):
        kept = np.array(
            [
                np.sum(value[contexts.owner == c] > v) < count
                for c, v in zip(contexts.owner, value, strict=True)
            ]
        )
        want = kept / np.bincount(contexts.owner, kept)[contexts.owner]
        batch = replace(
            _one(backend.make, value, -np.ones(contexts.total)),
            contexts=contexts,
            totals=Totals.of(sequences, contexts),
        )
        got = to_numpy(Best(count=count)(batch))
        np.testing.assert_allclose(got, want, rtol=backend.rounding(4))


def test_the_best_of_many_candidates_need_no_pairs(backend):
    """64 contexts of 512: all pairs would take 134 MB for one array of 8 bytes."""
    contexts = Groups.equal(64, 512)
    sequences = Groups.equal(contexts.total, 1)
    value = np.tile(np.arange(512.0), 64)
    batch = replace(
        _one(backend.make, value, -np.ones(contexts.total)),
        contexts=contexts,
        totals=Totals.of(sequences, contexts),
    )
    tracemalloc.start()
    weight = to_numpy(Best(count=8)(batch))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_allclose(weight, np.where(value >= 504, 1 / 8, 0.0), rtol=backend.rounding(4))
    assert peak < 20e6


@pytest.mark.parametrize("member", members(WeightsSpec), ids=kind_of)
def test_weights_that_read_the_target_s_density_ask_for_its_anchors(make_batch, member):
    """Without log q*/μ they cannot be made; the others do not ask for a model to be scored."""
    rule = WeightedRegression(weights=member())
    batch = make_batch()
    batch = replace(batch, log_w=None, log_base=None, totals=batch.totals)
    if rule.needs_anchors:
        with pytest.raises(SpecError, match="log q"):
            rule.credit(replace(batch, totals=rule.totals(batch)))
    else:
        assert np.isfinite(rule.credit(replace(batch, totals=rule.totals(batch))).per_token).all()
