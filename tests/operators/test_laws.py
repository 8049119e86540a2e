"""Laws every update obeys: shift (L2), permutation (L3), splitting (L4), backends (L9)."""

from dataclasses import replace

import numpy as np
import pytest

from tod.base import to_numpy
from tod.operators import (
    Accepted,
    Best,
    Clip,
    ConstantLength,
    Dpo,
    DualClip,
    Exo,
    Exponentiated,
    GroupZScore,
    Hinge,
    Ipo,
    KLPull,
    Kto,
    LeaveOneOut,
    LeaveOneOutZScore,
    Listwise,
    Mask,
    Nca,
    OrPo,
    PolicyGradient,
    Preference,
    Residual,
    ReturnToGo,
    RootLengthClip,
    SequenceMeanTokenSum,
    SigmoidNorm,
    SimPo,
    SoftGate,
    TokenMean,
    Truncate,
    Uniform,
    WeightedRegression,
)
from tolerance import assert_credit

RULES = {
    "grpo": PolicyGradient(advantage=GroupZScore(), pull=KLPull(kind="k3")),
    "dr_grpo": PolicyGradient(aggregation=ConstantLength(length=16)),
    "dapo": PolicyGradient(
        advantage=GroupZScore(), trust_region=Clip(high=0.28), aggregation=TokenMean()
    ),
    "gspo": PolicyGradient(level="sequence_mean", trust_region=Clip(low=0.1, high=0.1)),
    "sapo": PolicyGradient(trust_region=SoftGate()),
    "cispo": PolicyGradient(trust_region=Truncate(), aggregation=TokenMean()),
    "gmpo": PolicyGradient(level="sequence_mean_of_clipped"),
    "fspo": PolicyGradient(level="sequence_sum", trust_region=RootLengthClip(low=0.2, high=0.2)),
    "rloo": PolicyGradient(
        level="sequence_sum",
        advantage=LeaveOneOut(),
        aggregation=SequenceMeanTokenSum(),
        pull=KLPull(kind="k1", place="reward"),
    ),
    "dual_clip": PolicyGradient(trust_region=DualClip()),
    "icepop": PolicyGradient(trust_region=Mask(low=0.7, high=1.6)),
    "residual": PolicyGradient(pull=Residual()),
    "residual_at_old": PolicyGradient(pull=Residual(at="old")),
    "weighted_mle": WeightedRegression(),
    "weighted_mle_centred": WeightedRegression(centred=True),
    "rft": WeightedRegression(weights=Accepted(threshold=1.0)),
    "rft_best_2": WeightedRegression(weights=Best(count=2)),
    "sft": WeightedRegression(weights=Uniform(), aggregation=TokenMean()),
    "dft": WeightedRegression(weights=Uniform(), aggregation=TokenMean(), by_probability=True),
    "awr": WeightedRegression(weights=Exponentiated()),
    "listwise": Listwise(),
    "listwise_reverse": Listwise(divergence="reverse"),
    "dpo": Preference(),
    "ipo": Preference(loss=Ipo()),
    "kto": Preference(loss=Kto(reference_point=0.1)),
    "simpo": Preference(loss=SimPo()),
    "orpo": Preference(loss=OrPo()),
    "opd": PolicyGradient(advantage=ReturnToGo(discount=0.0), pull=Residual(at="old")),
    "leave_one_out_zscore": PolicyGradient(advantage=LeaveOneOutZScore()),
}
rules = pytest.mark.parametrize("rule", RULES.values(), ids=list(RULES))


def _take(batch, chosen):
    """The chosen contexts of a batch, with the totals of the whole."""
    contexts, rows = batch.contexts.take(chosen)
    sequences, at = batch.sequences.take(rows)
    return replace(
        batch,
        contexts=contexts,
        sequences=sequences,
        **{name: getattr(batch, name)[at] for name in ("log_policy", "log_old", "log_base_tokens")},
        **{n: getattr(batch, n)[rows] for n in ("value", "tilt", "log_w", "log_mu", "log_base")},
        pulled={name: (log[at], rho) for name, (log, rho) in batch.pulled.items()},
    ), at


def _permuted(batch, order):
    """Candidates reordered inside their contexts."""
    sequences, at = batch.sequences.take(order)
    return replace(
        batch,
        sequences=sequences,
        **{name: getattr(batch, name)[at] for name in ("log_policy", "log_old", "log_base_tokens")},
        **{n: getattr(batch, n)[order] for n in ("value", "tilt", "log_w", "log_mu", "log_base")},
        pulled={name: (log[at], rho) for name, (log, rho) in batch.pulled.items()},
    ), at


@rules
def test_a_constant_per_context_changes_nothing(make_batch, rule):
    """L2, on log_w and, for every advantage with a baseline, on the utility."""
    batch = make_batch()
    shift = batch.contexts.spread(np.array([3.0, -40.0, 700.0, 0.1, -2.0]))
    absolute = isinstance(rule, Preference) and rule.loss.kind in ("ipo", "kto")
    base = 0 * shift if absolute else 0.01 * shift
    moved = replace(batch, log_w=batch.log_w + shift, log_base=batch.log_base + base)
    before, after = rule.credit(batch), rule.credit(moved)
    assert np.abs(before.per_token).max() > 1e-4
    # a shift of 700 costs 700 roundings of log_w
    assert_credit(after.per_token, before.per_token, size=700)


@pytest.mark.parametrize("loss", [Ipo(), Kto(reference_point=0.0), Nca(), SigmoidNorm()])
def test_some_preference_losses_read_the_absolute_level_of_the_anchor(make_batch, loss):
    """Divided by lengths, or one candidate at a time, log b must be normalised."""
    batch = make_batch()
    moved = replace(batch, log_base=batch.log_base + 0.5)
    before, after = (Preference(loss=loss).credit(b).per_token for b in (batch, moved))
    assert np.abs(after - before).max() > 1e-4
    for relative in (Dpo(), Ipo(by_length=False), Exo(), Hinge()):
        before, after = (Preference(loss=relative).credit(b).per_token for b in (batch, moved))
        assert_credit(after, before)


@rules
def test_permuting_candidates_permutes_credit(make_batch, rule, rng):
    batch = make_batch()
    order = np.concatenate(
        [
            at + rng.permutation(k)
            for at, k in zip(batch.contexts.offsets[:-1], batch.contexts.sizes, strict=True)
        ]
    )
    permuted, at = _permuted(batch, order)
    assert_credit(rule.credit(permuted).per_token, rule.credit(batch).per_token[at])


@rules
def test_permuting_contexts_permutes_credit(make_batch, rule):
    batch = make_batch()
    permuted, at = _take(batch, np.array([4, 0, 3, 1, 2]))
    assert_credit(rule.credit(permuted).per_token, rule.credit(batch).per_token[at])


@rules
def test_a_split_into_whole_contexts_gives_the_same_credit(make_batch, rule, backend):
    batch = make_batch(backend.make)
    whole = to_numpy(rule.credit(batch).per_token)
    for part in ([0], [1, 3], [2, 4]):
        piece, at = _take(batch, np.array(part))
        assert_credit(rule.credit(piece).per_token, whole[at], backend.dtype)


@rules
def test_backends_agree(make_batch, rule, backend):
    want, got = rule.credit(make_batch()), rule.credit(make_batch(backend.make))
    assert_credit(got.per_token, want.per_token, backend.dtype)
    assert got.per_token.dtype == backend.make([0.0]).dtype


@rules
def test_credit_of_a_context_does_not_depend_on_the_others(make_batch, rule):
    batch = make_batch()
    alone, at = _take(batch, np.array([2]))
    changed = replace(batch, value=batch.value.copy(), tilt=batch.tilt.copy())
    changed.value[9:], changed.tilt[9:] = 0.0, 0.0
    in_company = rule.credit(replace(changed, log_w=batch.log_w)).per_token[at]
    assert_credit(rule.credit(alone).per_token, in_company)
