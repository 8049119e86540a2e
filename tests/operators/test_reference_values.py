"""L14: the two-sequence example and the four-reward example, to 1e-9."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tod.base import Groups, to_numpy
from tod.operators import (
    Clip,
    ConstantLength,
    DualClip,
    GroupMean,
    GroupZScore,
    KLPull,
    LeaveOneOut,
    Mask,
    PolicyGradient,
    Raw,
    RootLengthClip,
    SequenceMeanTokenMean,
    SequenceMeanTokenSum,
    SoftGate,
    TokenMean,
    Truncate,
    at_level,
    estimator,
    mean_of_clipped,
)
from tolerance import central_difference, double, printed

CLIP = Clip(low=0.2, high=0.28)


@pytest.fixture
def parts(example, backend):
    """Batch, token log-ratios, token advantages and lengths of the example."""
    batch, _ = example(backend.make)
    x = batch.log_policy - batch.log_old
    length = batch.sequences.spread(batch.sequences.sizes_like(x))
    return batch, x, batch.sequences.spread(batch.value), length


def close(backend, got: Any, want: Any) -> None:
    near = backend.rounding(16, 4)  # sums of log-probs up to four nats
    np.testing.assert_allclose(to_numpy(got), want, rtol=near, atol=printed(10) + near)


def loss(batch, per_token, aggregation):
    weights = aggregation.weights(batch.sequences, batch.totals, per_token)
    return -(weights * per_token).sum()


def test_ratios(backend, parts):
    batch, x, *_ = parts
    close(
        backend,
        np.exp(to_numpy(x)),
        [1.6487212707, 0.9048374180, 1, 0.6065306597, 3.6692966676, 1.1051709181, 0.9512294245],
    )
    mean, total = (
        at_level(x, batch.sequences, level) for level in ("sequence_mean", "sequence_sum")
    )
    close(backend, np.exp(to_numpy(mean))[[0, 3]], [1.1426308118, 1.2367661136])
    close(backend, to_numpy(total)[[0, 3]], [0.4, 0.85])


@pytest.mark.parametrize(
    ("aggregation", "want"),
    [
        (TokenMean(), 0.1065975722),
        (SequenceMeanTokenMean(), -0.0659689952),
        (SequenceMeanTokenSum(), 0.3730915027),
        (ConstantLength(length=8), 0.0466364378),
    ],
    ids=lambda x: getattr(x, "kind", ""),
)
def test_ppo_clip(backend, parts, aggregation, want):
    batch, *arguments = parts
    close(backend, loss(batch, CLIP.surrogate(*arguments), aggregation), want)


def test_ppo_clip_activation_and_gradient(backend, parts):
    batch, *arguments = parts
    close(backend, CLIP.gate(*arguments), [0, 1, 1, 0, 1, 1, 1])
    credit = PolicyGradient(trust_region=CLIP, advantage=Raw()).credit(batch)
    close(
        backend,
        -credit.per_token,
        [0, -0.1809674836, -0.2, 0, 0.3210634584, 0.0967024553, 0.0832325746],
    )


def test_dual_clip(backend, parts):
    batch, *arguments = parts
    region = DualClip(low=0.2, high=0.28, cap=3.0)
    close(backend, loss(batch, region.surrogate(*arguments), TokenMean()), 0.0396679055)
    close(backend, region.gate(*arguments) - CLIP.gate(*arguments), [0, 0, 0, 0, -1, 0, 0])


@pytest.mark.parametrize(
    ("region", "want"),
    [(Clip(low=3e-4, high=4e-4), -0.1673718603), (CLIP, -0.2527103473)],
)
def test_gspo(backend, parts, region, want):
    batch, x, *rest = parts
    surrogate = region.surrogate(at_level(x, batch.sequences, "sequence_mean"), *rest)
    close(backend, loss(batch, surrogate, SequenceMeanTokenMean()), want)


def test_gspo_gradient(backend, parts):
    rule = PolicyGradient(level="sequence_mean", trust_region=CLIP, advantage=Raw())
    row1, row2 = -0.2285261624, 0.1082170349
    close(backend, -rule.credit(parts[0]).per_token, [row1] * 3 + [row2] * 4)


def test_fspo(backend, parts):
    batch, x, a, length = parts
    region = RootLengthClip(low=0.1, high=0.1)
    total = at_level(x, batch.sequences, "sequence_sum")
    close(backend, 0.1 * to_numpy(length)[[0, 3]] ** 0.5, [0.1732050808, 0.2])
    per_sequence = batch.sequences.mean(region.surrogate(total, a, length))
    close(backend, -per_sequence.sum() / 2, 0.1054104320)
    close(backend, 1 - region.gate(total, a, length), [1, 1, 1, 0, 0, 0, 0])


def test_sapo(backend, parts):
    batch, *arguments = parts
    region = SoftGate(tau_pos=1.0, tau_neg=1.05)
    gate = region.gate(*arguments)
    close(
        backend, loss(batch, region.surrogate(*arguments), SequenceMeanTokenMean()), -0.5211051276
    )
    want = [0.9017525503, 0.9977394334, 1, 0.9585134595, 0.2156245447, 0.9969575189, 0.9993446933]
    close(backend, gate, want)
    close(backend, gate.sum() / 7, 0.8671331715)
    credit = PolicyGradient(trust_region=region, advantage=Raw()).credit(batch)
    want = [
        -0.2973477221,
        -0.1805583946,
        -0.2,
        0.0508696826,
        0.0692291620,
        0.0964082399,
        0.0831780318,
    ]
    close(backend, -credit.per_token, want)


def test_half_gate_of_sapo_is_where_the_paper_says():
    rho = 1 + 1.7627471740 / 1.05
    gate = SoftGate().gate(np.log([rho]), np.array([-1.0]), np.array([1.0]))
    assert gate[0] == pytest.approx(0.5, abs=printed(10))  # its slope in τ(ρ − 1) is below 1
    floor = SoftGate().gate(np.array([-800.0]), np.array([1.0]), np.array([1.0]))
    assert floor[0] == pytest.approx(1 / np.cosh(0.5) ** 2, abs=double(12))


@pytest.mark.parametrize(
    ("region", "want"),
    [
        (Truncate(cap=5.0), 0.1080710596),
        (Truncate(cap=1.28), 0.1242523126),
        (Truncate(cap=1.28, floor=0.8), 0.1010359917),
        (Truncate(cap=0.2), 0.0232857143),
    ],
)
def test_cispo(backend, parts, region, want):
    """The loss of the paper reads log π_θ itself: L = −Σ clip(ρ)·A·log π_θ/M."""
    batch, *arguments = parts
    weight = region.weight(*arguments)
    close(backend, loss(batch, weight * arguments[1] * batch.log_policy, TokenMean()), want)


def test_gmpo(backend, parts):
    batch, x, a, _ = parts
    log_g = mean_of_clipped(x, a, (-0.4, 0.4), batch.sequences)
    g = np.exp(to_numpy(log_g))[[0, 3]]
    close(backend, g, [1.1051709181, 1.2680749968])
    close(backend, -(g * to_numpy(batch.value)).mean(), -0.2192763020)
    binding = Clip(low=1 - np.exp(-0.4), high=np.expm1(0.4)).gate(x, a, None)
    close(backend, binding, [0, 1, 1, 0, 1, 1, 1])  # high 1/7, low 1/7


def test_kl_estimators(backend, parts):
    batch, *_ = parts
    x = batch.pulled["ref"][0] - batch.log_policy
    for kind, want in (("k1", 0.2071428571), ("k2", 0.1466071429), ("k3", 0.1125817959)):
        close(backend, estimator(kind, x).sum() / 7, want)


@pytest.mark.parametrize(("importance", "want"), [(False, 0.1111008440), (True, 0.1190900687)])
def test_ppo_with_k3(backend, parts, importance, want):
    batch, x, *rest = parts
    k3 = estimator("k3", batch.pulled["ref"][0] - batch.log_policy)
    k3 = (
        k3 * np.exp(to_numpy(x))
        if importance and backend.name == "numpy_f64"
        else (k3 * x.exp() if importance else k3)
    )
    close(backend, loss(batch, CLIP.surrogate(x, *rest) - 0.04 * k3, TokenMean()), want)


def test_k3_with_importance_has_the_gradient_of_its_loss(example):
    batch, _ = example()
    rule = {"trust_region": CLIP, "advantage": Raw(), "aggregation": TokenMean()}
    plain = PolicyGradient(**rule).credit(batch).per_token
    for importance in (False, True):
        pull = KLPull(kind="k3", importance=importance)
        got = PolicyGradient(**rule, pull=pull).credit(batch).per_token - plain
        h = 1e-6

        def value(log_policy, importance=importance):
            x = batch.pulled["ref"][0] - log_policy
            rho = np.exp(log_policy - batch.log_old) if importance else 1.0
            return -0.04 * rho * estimator("k3", x) / 7

        want = (value(batch.log_policy + h) - value(batch.log_policy - h)) / (2 * h)
        near = central_difference(h, 1.0, 16)
        np.testing.assert_allclose(got, want, rtol=0, atol=near)


FOUR = [1, 0, 0.5, 0.25]


@pytest.mark.parametrize(
    ("advantage", "want"),
    [
        (
            GroupZScore(epsilon=1e-4),
            [1.3171565993, -1.0244551328, 0.1463507333, -0.4390521998],
        ),
        (
            GroupZScore(epsilon=1e-6),
            [1.3174620128, -1.0246926766, 0.1463846681, -0.4391540043],
        ),
        (
            GroupZScore(epsilon=1e-8, ddof=0),
            [1.5212776174, -1.1832159246, 0.1690308464, -0.5070925391],
        ),
        (GroupMean(), [0.5625, -0.4375, 0.0625, -0.1875]),
        (LeaveOneOut(), [0.75, -0.5833333333, 0.0833333333, -0.25]),
    ],
    ids=["ddof1_1e-4", "ddof1_1e-6", "ddof0_1e-8", "centred", "rloo"],
)
def test_advantages(backend, advantage, want):
    close(backend, advantage(backend.make(FOUR), Groups.equal(1, 4)), want)


def test_mask_of_a_mismatch_keeps_its_denominator(backend, example):
    """IcePop [.5, 5] on ρ = old/μ: a mask with the token mean over all seven tokens."""
    batch, mu = example(backend.make)
    x = batch.log_old - mu
    gate = Mask(low=0.5, high=5.0).gate(x, x, x)
    close(backend, gate, [1, 0, 1, 1, 1, 1, 1])
    arguments = (batch.log_policy - batch.log_old, batch.sequences.spread(batch.value), x)
    weighted = gate * backend.make(np.exp(to_numpy(x))) * CLIP.surrogate(*arguments)
    close(backend, loss(batch, weighted, TokenMean()), 0.2667082920)


def test_totals_of_the_whole_step_set_the_scale(example):
    batch, _ = example()
    twice = replace(batch, totals=replace(batch.totals, tokens=14, candidates=4, contexts=2))
    for aggregation in (TokenMean(), SequenceMeanTokenMean(), SequenceMeanTokenSum()):
        rule = PolicyGradient(aggregation=aggregation)
        np.testing.assert_allclose(2 * rule.credit(twice).per_token, rule.credit(batch).per_token)
