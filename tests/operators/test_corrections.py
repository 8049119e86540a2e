"""Corrections of the train-inference mismatch: reference values, definitions, refusals."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tod.base import SpecError, to_numpy
from tod.operators import (
    Clip,
    GeometricRejection,
    KLPull,
    PolicyGradient,
    Raw,
    SequenceMask,
    SequenceTruncation,
    StaleNegatives,
    TokenMask,
    TokenMean,
    TokenTruncation,
)
from tod.operators.corrections import SequenceRejection, log_gap
from tolerance import assert_credit, double, printed

CLIP = Clip(low=0.2, high=0.28)


def tolerance(backend):
    return printed(10) + backend.rounding(16, 4)


def _loss(batch, weight):
    x, a = batch.log_policy - batch.log_old, batch.sequences.spread(batch.value)
    return -float((weight * CLIP.surrogate(x, a, x)).sum()) / 7


def test_ratios_of_the_mismatch(backend, sampled):
    rho = np.exp(to_numpy(log_gap(sampled)))
    want = [1.1051709181, 0.4493289641, 1, 1, 1.1051709181, 0.9048374180, 1]
    np.testing.assert_allclose(rho, want, rtol=0, atol=tolerance(backend))
    total = np.exp(to_numpy(sampled.sequences.sum(log_gap(sampled))))
    np.testing.assert_allclose(total, [0.4965853038, 1], rtol=0, atol=tolerance(backend))


@pytest.mark.parametrize(
    ("correction", "want"),
    [
        (TokenTruncation(cap=2.0), 0.1970106360),
        (SequenceTruncation(cap=2.0), 0.3814479656),
        (TokenMask(low=0.5, high=5.0), 0.2667082920),
        (TokenTruncation(cap=2.0, floor=0.5), 0.1891507990),
        (SequenceMask(high=3.0), 0.3814479656),
        (SequenceRejection(low=0.5, high=2.0), 0.6525697010),
    ],
    ids=lambda x: getattr(x, "kind", ""),
)
def test_reference_losses(backend, sampled, correction, want):
    a = sampled.sequences.spread(sampled.value)
    weight = correction(sampled, a)
    assert _loss(sampled, weight) == pytest.approx(want, abs=tolerance(backend))


def test_a_shrunk_denominator_is_another_number(backend, sampled):
    """The convention of this project keeps it; shrinking to what is left gives 1.142."""
    weight = SequenceRejection(low=0.5, high=2.0)(sampled, sampled.log_policy)
    kept = float(weight.sum())
    assert _loss(sampled, weight) * 7 / kept == pytest.approx(1.1419969768, abs=tolerance(backend))


def test_stale_negatives(backend, sampled):
    gap = sampled.sequences.mean(sampled.log_mu_tokens - sampled.log_policy)
    np.testing.assert_allclose(to_numpy(gap), [0.1, -0.2125], rtol=0, atol=tolerance(backend))
    a = sampled.sequences.spread(backend.make([-1.2, 0.7]))
    np.testing.assert_array_equal(
        to_numpy(StaleNegatives(delta=0.05)(sampled, a)), [0] * 3 + [1] * 4
    )
    np.testing.assert_array_equal(to_numpy(StaleNegatives(delta=0.05)(sampled, -a)), 1)
    np.testing.assert_array_equal(to_numpy(StaleNegatives(delta=0.2)(sampled, a)), 1)


@pytest.mark.parametrize("weighted", [False, True])
def test_geometric_rejection(backend, sampled, weighted):
    """Means of log ρ are −.2333 and 0: only the second is within a thousandth."""
    weight = to_numpy(GeometricRejection(weighted=weighted)(sampled, sampled.log_policy))
    rho = np.exp(to_numpy(log_gap(sampled)))
    want = np.where(np.arange(7) < 3, 0, rho if weighted else 1)
    np.testing.assert_allclose(weight, want, rtol=backend.rounding(8, 2))
    wide = GeometricRejection(low=0.7, high=1.3, weighted=weighted)(sampled, sampled.log_policy)
    np.testing.assert_allclose(
        to_numpy(wide), rho if weighted else 1 + 0 * rho, rtol=backend.rounding(8, 2)
    )


CORRECTIONS = [
    TokenTruncation(),
    SequenceTruncation(),
    TokenMask(),
    SequenceMask(),
    SequenceRejection(),
    GeometricRejection(low=0.7, high=1.3, weighted=True),
    StaleNegatives(delta=0.05),
]


@pytest.mark.parametrize("correction", CORRECTIONS, ids=lambda c: c.kind)
def test_autograd_of_the_weighted_surrogate_is_the_credit(example, correction):
    """L1 with a correction: a constant weight on the policy's loss, none on the pull."""
    batch, mu = example(lambda x: torch.tensor(x, dtype=torch.float64))
    batch = replace(batch, log_mu_tokens=mu)
    rule = PolicyGradient(
        trust_region=CLIP,
        advantage=Raw(),
        aggregation=TokenMean(),
        correction=correction,
        pull=KLPull(kind="k3"),
    )
    credit = rule.credit(batch)
    log_policy = batch.log_policy.clone().requires_grad_()
    a = batch.sequences.spread(batch.value)
    weight = correction(batch, a)
    x = log_policy - batch.log_old
    ref = batch.pulled["ref"][0] - log_policy
    objective = weight * CLIP.surrogate(x, a, x) - 0.04 * (torch.exp(ref) - 1 - ref)
    want = torch.autograd.grad(objective.sum() / 7, log_policy)[0]
    assert_credit(credit.per_token, want)
    assert_credit(credit.correction, weight)


@pytest.mark.parametrize("correction", CORRECTIONS[:-1], ids=lambda c: c.kind)
def test_a_sampler_that_is_the_policy_needs_no_correction(example, correction):
    batch, _ = example()
    batch = replace(batch, log_mu_tokens=batch.log_old)
    np.testing.assert_array_equal(correction(batch, batch.log_policy), 1.0)


def test_bounds_are_on_the_ratio_and_not_on_its_inverse(example):
    """[.5, 5] keeps ρ = 4 and drops ρ = .25."""
    batch, _ = example()
    gap = np.log([4.0, 0.25, 1, 1, 1, 1, 1])
    batch = replace(batch, log_mu_tokens=batch.log_old - gap)
    np.testing.assert_allclose(TokenMask()(batch, gap)[:3], [4, 0, 1], rtol=double(8, 4))


def test_overflowing_ratios_are_capped_or_dropped(example):
    batch, _ = example()
    batch = replace(batch, log_old=batch.log_old + 900.0, log_mu_tokens=batch.log_old)
    for correction in (TokenTruncation(), SequenceTruncation()):
        np.testing.assert_allclose(correction(batch, batch.log_old), 2.0, rtol=double(2))
    for correction in (TokenMask(), SequenceMask(), SequenceRejection()):
        np.testing.assert_array_equal(correction(batch, batch.log_old), 0.0)


def test_missing_token_log_probs_are_named(example):
    batch, _ = example()
    for correction in CORRECTIONS:
        with pytest.raises(SpecError, match="correction: null"):
            correction(batch, batch.log_policy)


@pytest.mark.parametrize(
    ("correction", "message"),
    [
        ({"kind": "token_mask", "low": 3, "high": 2}, "nothing would be kept"),
        ({"kind": "token_truncation", "cap": 0}, r"correction\.cap"),
        ("token_truncate", "`token_truncation`"),
        ("stale_negatives", r"correction\.delta: required"),
    ],
)
def test_bad_corrections_are_refused(correction, message):
    with pytest.raises(SpecError, match=message):
        PolicyGradient.parse({"correction": correction})
