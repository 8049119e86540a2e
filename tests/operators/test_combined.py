"""Corrections of corrections, and weights of the step: closed forms, reference values, parts."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tod.base import Groups, SpecError, to_numpy
from tod.operators import (
    Clip,
    ConstantLength,
    GeometricRejection,
    KLPull,
    PolicyGradient,
    Raw,
    SequenceMask,
    SequenceMeanTokenMean,
    SequenceMeanTokenSum,
    SequenceTruncation,
    StaleNegatives,
    TokenMask,
    TokenMean,
    TokenTruncation,
    Totals,
    WeightedRegression,
)
from tod.operators.corrections import Product, SequenceRejection, Shrunk
from tod.operators.weighted_regression import TargetOfStep, TargetWeights
from tolerance import assert_credit, double, of_weights, printed

CLIP = Clip(low=0.2, high=0.28)
AGGREGATIONS = [
    TokenMean(),
    SequenceMeanTokenMean(),
    SequenceMeanTokenSum(),
    ConstantLength(length=9),
]
aggregations = pytest.mark.parametrize("aggregation", AGGREGATIONS, ids=lambda a: a.kind)
RHO = np.exp([0.1, -0.8, 0, 0, 0.1, -0.1, 0])


def tolerance(backend):
    return printed(10) + backend.rounding(16, 4)


@pytest.fixture
def ragged_mismatch(make_batch):
    """Five contexts, fifteen sequences; μ strays so far that half of the tokens are masked."""
    batch = make_batch(lambda x: torch.tensor(x, dtype=torch.float64))
    rng = np.random.default_rng(5)
    gap = torch.tensor(0.6 * rng.standard_normal(batch.sequences.total))
    return replace(batch, log_mu_tokens=batch.log_old - gap)


def naive(aggregation, lengths, kept):
    """Weight of every kept token by its definition, what is dropped never having been there."""
    rows = np.split(kept, np.cumsum(lengths)[:-1])
    tokens = kept.sum()
    sequences = sum(row.any() for row in rows)
    weight = []
    for row in rows:
        one = {
            "token_mean": 1 / max(tokens, 1),
            "sequence_mean_token_mean": 1 / max(sequences * row.sum(), 1),
            "sequence_mean_token_sum": 1 / max(sequences, 1),
            "constant": 1 / max(sequences * 9, 1),
        }[aggregation.kind]
        weight.append(row * one)
    return np.concatenate(weight)


def test_reference_loss_with_the_denominator_shrunk(backend, sampled):
    """Sequence rejection [.5, 2]: 0.6525697010 kept, 1.1419969768 shrunk."""
    correction = SequenceRejection(low=0.5, high=2.0)
    a = sampled.sequences.spread(sampled.value)
    x = sampled.log_policy - sampled.log_old
    surrogate = CLIP.surrogate(x, a, x)
    kept = TokenMean().weights(sampled.sequences, sampled.totals, x) * correction(sampled, a)
    assert -float((kept * surrogate).sum()) == pytest.approx(0.6525697010, abs=tolerance(backend))
    shrunk = Shrunk(of=correction).aggregated(TokenMean(), sampled)
    assert -float((shrunk * surrogate).sum()) == pytest.approx(1.1419969768, abs=tolerance(backend))


@aggregations
@pytest.mark.parametrize(
    "mask",
    [TokenMask(low=0.8, high=1.5), SequenceMask(high=1.0), GeometricRejection(low=0.9, high=1.2)],
    ids=lambda m: m.kind,
)
def test_what_is_dropped_was_never_drawn(ragged_mismatch, aggregation, mask):
    batch = ragged_mismatch
    kept = (mask(batch, batch.log_policy) > 0).numpy()
    assert 0 < kept.sum() < kept.size
    got = Shrunk(of=mask).aggregated(aggregation, batch)
    want = naive(aggregation, batch.sequences.sizes, kept)
    np.testing.assert_allclose(got, want, rtol=double(4))
    counts = [row.sum() for row in np.split(kept, np.cumsum(batch.sequences.sizes)[:-1])]
    totals = Shrunk(of=mask).totals(batch)
    assert (totals.tokens, totals.candidates) == (kept.sum(), np.count_nonzero(counts))
    whole = [sum(row) for row in np.split(np.array(counts), np.cumsum(batch.contexts.sizes)[:-1])]
    assert totals.contexts == np.count_nonzero(whole)


@aggregations
def test_autograd_of_the_masked_mean_is_the_credit(ragged_mismatch, aggregation):
    """L1: the policy's loss is a mean over what is kept, the pull's one over everything."""
    batch, mask = ragged_mismatch, TokenMask(low=0.8, high=1.5)
    rule = PolicyGradient(
        trust_region=CLIP,
        advantage=Raw(),
        aggregation=aggregation,
        correction=Shrunk(of=mask),
        pull=KLPull(kind="k3"),
    )
    log_policy = batch.log_policy.clone().requires_grad_()
    a = batch.sequences.spread(batch.tilt)
    x = log_policy - batch.log_old
    weight = mask(batch, a)
    shrunk = torch.tensor(naive(aggregation, batch.sequences.sizes, (weight > 0).numpy()))
    whole = aggregation.weights(batch.sequences, batch.totals, batch.log_policy)
    ref = batch.pulled["ref"][0] - log_policy
    objective = (shrunk * weight * CLIP.surrogate(x, a, x)).sum()
    objective = objective - (whole * (torch.exp(ref) - 1 - ref)).sum()
    want = torch.autograd.grad(objective, log_policy)[0]
    assert_credit(rule.credit(batch).per_token, want)


def part(batch, chosen, totals):
    """Some whole contexts of a batch."""
    contexts, rows = batch.contexts.take(np.array(chosen))
    sequences, tokens = batch.sequences.take(rows)
    by_row = {n: getattr(batch, n)[rows] for n in ("value", "tilt", "log_w", "log_mu", "log_base")}
    names = ("log_policy", "log_old", "log_mu_tokens", "log_base_tokens")
    by_token = {n: v[tokens] for n in names if (v := getattr(batch, n)) is not None}
    pulled = {name: (log_p[tokens], rho) for name, (log_p, rho) in batch.pulled.items()}
    return (
        replace(
            batch,
            contexts=contexts,
            sequences=sequences,
            totals=totals,
            pulled=pulled,
            **by_row,
            **by_token,
        ),
        tokens,
    )


@pytest.mark.parametrize(
    "rule",
    [
        *(
            PolicyGradient(aggregation=a, correction=Shrunk(of=TokenMask(low=0.8, high=1.5)))
            for a in AGGREGATIONS
        ),
        WeightedRegression(weights=TargetOfStep()),
        WeightedRegression(weights=TargetOfStep(), aggregation=TokenMean()),
    ],
    ids=lambda r: f"{r.kind}-{r.aggregation.kind if r.aggregation else 'sum'}",
)
def test_parts_of_a_step_have_the_credit_of_the_whole(ragged_mismatch, rule):
    batch = ragged_mismatch
    whole = rule.credit(batch).per_token
    assert rule.reads_the_step
    totals = rule.totals(batch)
    seen = torch.full_like(whole, float("nan"))
    for chosen in ([3, 0], [1], [4, 2]):
        some, tokens = part(batch, chosen, totals)
        seen[tokens] = rule.credit(some).per_token
        with pytest.raises(SpecError, match="totals_of"):
            rule.credit(part(batch, chosen, batch.totals)[0])
    assert_credit(seen, whole)


def test_nothing_kept_is_no_credit(ragged_mismatch):
    batch = ragged_mismatch
    nothing = Shrunk(of=SequenceMask(low=1e6, high=1e7))
    assert nothing.totals(batch) == Totals(0, 0, 0)
    for aggregation in AGGREGATIONS:
        credit = PolicyGradient(aggregation=aggregation, correction=nothing).credit(batch)
        assert not credit.per_token.any()


def test_a_mask_that_drops_nothing_shrinks_nothing(ragged_mismatch):
    all_kept = SequenceRejection(low=0.0, high=1e9)
    for aggregation in AGGREGATIONS:
        found = [
            PolicyGradient(aggregation=aggregation, correction=c).credit(ragged_mismatch).per_token
            for c in (None, all_kept, Shrunk(of=all_kept))
        ]
        for credit in found[1:]:
            assert_credit(credit, found[0])


def test_token_weights_under_a_sequence_mask(backend, sampled):
    """Π ρ of the first sequence is .4966: below .5 it is dropped, the other's tokens are capped."""
    both = Product(of=(TokenTruncation(cap=1.05), SequenceRejection(low=0.5, high=2.0)))
    want = np.where(np.arange(7) < 3, 0, np.minimum(RHO, 1.05))
    np.testing.assert_allclose(
        to_numpy(both(sampled, sampled.log_policy)), want, rtol=backend.rounding(8, 2)
    )
    wide = Product(of=(TokenTruncation(cap=1.05), SequenceRejection(low=0.4, high=2.0)))
    np.testing.assert_allclose(
        to_numpy(wide(sampled, sampled.log_policy)),
        np.minimum(RHO, 1.05),
        rtol=backend.rounding(8, 2),
    )


def test_a_product_is_what_it_is_called_elsewhere(backend, sampled):
    """Geometric rejection × untruncated ρ_t is the weighted geometric rejection."""
    for low, high in ((0.7, 1.3), (0.999, 1.001)):
        named = GeometricRejection(low=low, high=high, weighted=True)
        made = Product(of=(GeometricRejection(low=low, high=high), TokenTruncation(cap=1e9)))
        a = sampled.log_policy
        np.testing.assert_allclose(made(sampled, a), named(sampled, a), rtol=backend.rounding(8, 2))


def test_a_product_is_zero_where_one_factor_is(example):
    """Even where the other overflows."""
    batch, _ = example()
    batch = replace(batch, log_old=batch.log_old + 900.0, log_mu_tokens=batch.log_old)
    overflowing = GeometricRejection(low=0.5, high=1e300, weighted=True)
    both = Product(of=(SequenceRejection(), overflowing, TokenTruncation()))
    np.testing.assert_array_equal(both(batch, batch.log_old), 0.0)


def test_a_truncated_sequence_has_a_floor(backend, sampled):
    weight = SequenceTruncation(cap=0.9, floor=0.5)(sampled, sampled.log_policy)
    np.testing.assert_allclose(to_numpy(weight), [0.5] * 3 + [0.9] * 4, rtol=backend.rounding(8, 2))


def test_weights_of_the_step_are_one_softmax_of_it(backend, make_batch):
    batch = make_batch(backend.make)
    log_w = to_numpy(batch.log_w).astype(float)
    want = np.exp(log_w - np.log(np.exp(log_w).sum()))
    near = backend.of_weights(len(log_w), np.abs(log_w).max())
    credit = to_numpy(WeightedRegression(weights=TargetOfStep()).credit(batch).per_token)
    np.testing.assert_allclose(credit, np.repeat(want, batch.sequences.sizes), rtol=near)
    own = to_numpy(TargetWeights()(batch))
    log_z = to_numpy(batch.contexts.logsumexp(batch.log_w)).astype(float)
    by_context = np.exp(log_z - log_z.max())
    share = len(batch.contexts) * by_context / by_context.sum()
    got = to_numpy(TargetOfStep()(batch))
    np.testing.assert_allclose(got, own * np.repeat(share, batch.contexts.sizes), rtol=2 * near)


def test_weights_of_the_step_where_some_or_all_are_outside(make_batch):
    batch = make_batch()
    dead = np.where(batch.contexts.owner == 1, -np.inf, batch.log_w)
    weight = TargetOfStep()(replace(batch, log_w=dead))
    assert weight[batch.contexts.owner == 1].sum() == 0
    assert weight.sum() == pytest.approx(len(batch.contexts))
    none = TargetOfStep()(replace(batch, log_w=np.full_like(dead, -np.inf)))
    np.testing.assert_array_equal(none, 0.0)


def test_one_context_has_the_weights_it_has_by_itself(make_batch):
    batch = make_batch()
    alone = part(batch, [2], Totals(1, 5, 1))[0]
    alone = replace(alone, totals=Totals.of(alone.sequences, Groups.equal(1, 5)))
    np.testing.assert_allclose(
        TargetOfStep()(alone), TargetWeights()(alone), rtol=of_weights("float64", 5, 20)
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: WeightedRegression(weights=TargetOfStep(), centred=True), "centred: false"),
        (lambda: Shrunk(of=Product(of=(TokenMask(), StaleNegatives(delta=0.1)))), "every update"),
        (lambda: Product(of=(TokenMask(),)), "at least 2"),
        (lambda: Shrunk.parse({"of": "token_truncation"}), "unknown kind"),
    ],
)
def test_what_cannot_be_combined_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
