"""L1: autograd of the paper's objective is the credit, for every region x level x aggregation.

The objectives are written here from the papers, with ``frozen`` standing for the stop-gradient,
and are checked by autograd (torch) and by central differences (numpy).
"""

import math
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from array_api_compat import array_namespace

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
    ReturnToGo,
    RootLengthClip,
    SequenceMeanTokenMean,
    SequenceMeanTokenSum,
    SoftGate,
    TokenMean,
    Truncate,
    Unbounded,
)
from tolerance import assert_credit, central_difference


def _clip(x: Any, low: Any, high: Any) -> Any:
    xp = array_namespace(x)
    return xp.minimum(xp.maximum(x, low + 0 * x), high + 0 * x)


def _ppo(x, frozen, a, length, low=0.2, high=0.28):
    xp = array_namespace(x)
    rho = xp.exp(x)
    return xp.minimum(rho * a, _clip(rho, 1 - low, 1 + high) * a)


def _dual(x, frozen, a, length):
    xp = array_namespace(x)
    value = _ppo(x, frozen, a, length)
    return xp.where(a < 0, xp.maximum(value, 1.5 * a), value)


def _sapo(x, frozen, a, length):
    xp = array_namespace(x)
    tau = xp.where(a > 0, 1.0 + 0 * a, 1.05 + 0 * a)
    return 4 / tau / (1 + xp.exp(-tau * (xp.exp(x) - 1))) * a


def _cispo(x, frozen, a, length, cap=1.3, floor=0.0):
    xp = array_namespace(x)
    return _clip(xp.exp(frozen), floor, cap) * a * x


def _fspo(x, frozen, a, length):
    xp = array_namespace(x)
    band = 0.3 * xp.sqrt(length)
    return xp.minimum(xp.exp(x) * a, xp.exp(xp.minimum(xp.maximum(x, -band), band)) * a)


def _icepop(x, frozen, a, length):
    xp = array_namespace(x)
    rho = xp.exp(frozen)
    return xp.where((rho >= 0.7) & (rho <= 1.6), xp.exp(x) * a, 0 * x)


REGIONS = {
    "unbounded": (Unbounded(), lambda x, frozen, a, length: array_namespace(x).exp(x) * a),
    "clip": (Clip(low=0.2, high=0.28), _ppo),
    "dual_clip": (DualClip(low=0.2, high=0.28, cap=1.5), _dual),
    "soft_gate": (SoftGate(), _sapo),
    "truncate": (Truncate(cap=1.3), _cispo),
    "truncate_two_sided": (
        Truncate(cap=1.3, floor=0.8),
        lambda x, frozen, a, length: _cispo(x, frozen, a, length, 1.3, 0.8),
    ),
    "root_length_clip": (RootLengthClip(low=0.3, high=0.3), _fspo),
    "mask": (Mask(low=0.7, high=1.6), _icepop),
}
AGGREGATIONS = [
    TokenMean(),
    SequenceMeanTokenMean(),
    SequenceMeanTokenSum(),
    ConstantLength(length=11),
]
LEVELS = ["token", "sequence_mean", "sequence_sum"]
CASES = [
    (name, level)
    for name, level in product(REGIONS, LEVELS)
    if name != "root_length_clip" or level == "sequence_sum"
]


def _segments(sequences: Any) -> list[slice]:
    return [
        slice(int(a), int(b))
        for a, b in zip(sequences.offsets[:-1], sequences.offsets[1:], strict=True)
    ]


def _scale(aggregation: Any, batch: Any, b: int) -> float:
    """Weight of one token of sequence b, from the papers."""
    length = int(batch.sequences.sizes[b])
    return {
        "token_mean": 1 / batch.sequences.total,
        "sequence_mean_token_mean": 1 / len(batch.sequences) / length,
        "sequence_mean_token_sum": 1 / len(batch.sequences),
        "constant": 1 / len(batch.sequences) / 11,
    }[aggregation.kind]


def _objective(log_policy, frozen, advantage, batch, surrogate, level, aggregation):
    """Σ over tokens, or over sequences: a mean ratio stands on every token, a sum on its whole."""
    total = 0.0
    for b, at in enumerate(_segments(batch.sequences)):
        x, still = (log - batch.log_old[at] for log in (log_policy[at], frozen[at]))
        count = float(batch.sequences.sizes[b])
        if level == "token":
            a = advantage[b] + 0 * still
            f = surrogate(x, still, a, count + 0 * still).sum()
        else:
            x, still = (
                (x.mean(), still.mean()) if level == "sequence_mean" else (x.sum(), still.sum())
            )
            f = surrogate(x, still, advantage[b] + 0 * still, count + 0 * still)
            f = f * count if level == "sequence_mean" else f
        total = total + _scale(aggregation, batch, b) * f
    return total


def _by_autograd(batch, advantage, surrogate, level, aggregation):
    log_policy = batch.log_policy.clone().requires_grad_()
    value = _objective(
        log_policy, batch.log_policy, advantage, batch, surrogate, level, aggregation
    )
    return torch.autograd.grad(value, log_policy)[0]


@pytest.mark.parametrize(("name", "level"), CASES)
@pytest.mark.parametrize("aggregation", AGGREGATIONS, ids=lambda a: a.kind)
@pytest.mark.parametrize(
    "advantage", [GroupMean(), LeaveOneOut(), GroupZScore()], ids=lambda a: a.kind
)
def test_autograd_of_the_surrogate_is_the_credit(make_batch, name, level, aggregation, advantage):
    region, surrogate = REGIONS[name]
    batch = make_batch(lambda x: torch.tensor(x, dtype=torch.float64))
    rule = PolicyGradient(
        level=level, trust_region=region, advantage=advantage, aggregation=aggregation
    )
    credit = rule.credit(batch)
    want = _by_autograd(batch, credit.advantage, surrogate, level, aggregation)
    assert float(abs(credit.per_token).max()) > 1e-3
    assert_credit(credit.per_token, want)


@pytest.mark.parametrize(("name", "level"), CASES)
def test_credit_is_the_finite_difference_in_numpy(make_batch, name, level):
    region, surrogate = REGIONS[name]
    batch, aggregation, h = make_batch(), SequenceMeanTokenMean(), 1e-6
    rule = PolicyGradient(level=level, trust_region=region, aggregation=aggregation)
    credit = rule.credit(batch)
    largest = np.abs(credit.per_token).max()
    for token in range(0, batch.sequences.total, 3):
        step = np.zeros(batch.sequences.total)
        step[token] = h
        above, below = (
            _objective(
                batch.log_policy + sign * step,
                batch.log_policy,
                credit.advantage,
                batch,
                surrogate,
                level,
                aggregation,
            )
            for sign in (1, -1)
        )
        near = central_difference(h, 100 * largest, 32 * (1 + abs(above)))
        assert credit.per_token[token] == pytest.approx((above - below) / (2 * h), abs=near)


@pytest.mark.parametrize("name", REGIONS)
def test_every_region_offers_the_papers_surrogate(make_batch, name):
    region, surrogate = REGIONS[name]
    batch = make_batch()
    x = batch.log_policy - batch.log_old
    a = batch.sequences.spread(batch.value - 1.0)
    length = batch.sequences.spread(batch.sequences.sizes_like(x))
    assert_credit(region.surrogate(x, a, length), surrogate(x, x, a, length))
    gate, weight = region.gate(x, a, length), region.weight(x, a, length)
    assert_credit(weight, gate * np.exp(x))
    assert gate.min() < 1 or name == "unbounded"


@pytest.mark.parametrize("aggregation", AGGREGATIONS, ids=lambda a: a.kind)
def test_autograd_of_the_mean_of_clipped_tokens_is_the_credit(make_batch, aggregation):
    """GMPO: J = A·exp(mean_t d_t), d_t = min(x, log 1.28) if A > 0, max(x, log .8) if A < 0."""
    batch = make_batch(lambda x: torch.tensor(x, dtype=torch.float64))
    rule = PolicyGradient(
        level="sequence_mean_of_clipped",
        trust_region=Clip(low=0.2, high=0.28),
        aggregation=aggregation,
    )
    credit = rule.credit(batch)
    log_policy = batch.log_policy.clone().requires_grad_()
    total = 0.0
    for b, at in enumerate(_segments(batch.sequences)):
        x, a = log_policy[at] - batch.log_old[at], credit.advantage[b]
        d = x.clamp(max=math.log(1.28)) if a > 0 else x.clamp(min=math.log(0.8)) if a < 0 else x
        total = total + _scale(aggregation, batch, b) * len(x) * a * torch.exp(d.mean())
    want = torch.autograd.grad(total, log_policy)[0]
    assert_credit(credit.per_token, want)
    assert 0 < float((credit.gate == 0).sum()) < batch.sequences.total


@pytest.mark.parametrize("importance", [False, True])
@pytest.mark.parametrize("kind", ["k1", "k2", "k3"])
@pytest.mark.parametrize("advantage", [GroupMean(), GroupZScore()], ids=lambda a: a.kind)
def test_autograd_of_a_pull_in_the_loss_is_its_credit(make_batch, kind, importance, advantage):
    """Loss Σ_t a_t·β·[ρ_t]·k(x_t); β is the exponent in nats, exponent/η beside a z-score."""
    batch = make_batch(lambda x: torch.tensor(x, dtype=torch.float64))
    batch = type(batch)(**{**batch.__dict__, "pulled": {"ref": (batch.pulled["ref"][0], 0.3)}})
    pull = KLPull(kind=kind, importance=importance)
    rule = {"advantage": advantage, "aggregation": TokenMean(), "trust_region": Unbounded()}
    got = PolicyGradient(**rule, pull=pull).credit(batch).per_token
    got = got - PolicyGradient(**rule).credit(batch).per_token
    log_policy = batch.log_policy.clone().requires_grad_()
    x = batch.pulled["ref"][0] - log_policy
    k = {"k1": -x, "k2": x**2 / 2, "k3": torch.exp(x) - 1 - x}[kind]
    rho = torch.exp(log_policy - batch.log_old) if importance else 1.0
    beta = 0.3 / batch.sharpness if advantage.scale_free else 0.3
    loss = (beta * rho * k).sum() / batch.sequences.total
    want = -torch.autograd.grad(loss, log_policy)[0]
    assert_credit(got, want)


def test_gspo_token_is_the_mean_of_a_sequence_with_an_advantage_of_every_token(make_batch):
    """Autograd of min(s_t A_t, clip(s_t)A_t), s_t = sg[s]·π_t/sg[π_t]: GSPO-token, 2507.18071."""
    batch = make_batch(lambda x: torch.tensor(x, dtype=torch.float64), drift=0.1)
    log_pi = batch.log_policy.clone().requires_grad_(True)
    region, advantage = Clip(low=0.02, high=0.03), ReturnToGo(discount=0.7, baseline="group_mean")
    rule = PolicyGradient(level="sequence_mean", trust_region=region, advantage=advantage)
    credit = rule.credit(batch)
    centred = batch.tilt - batch.contexts.spread(batch.contexts.mean(batch.tilt))
    rows = torch.split(log_pi - batch.log_old, batch.sequences.sizes.tolist())
    objective, clipped = torch.zeros((), dtype=torch.float64), 0
    for row, last in zip(rows, centred, strict=True):
        back = torch.arange(len(row) - 1, -1, -1, dtype=torch.float64)
        a = last * 0.7**back
        s = row.mean().exp().detach() * (row - row.detach()).exp()
        bounded = s.clamp(1 - 0.02, 1 + 0.03)
        clipped += int((bounded * a < s * a).sum())
        objective = objective + torch.minimum(s * a, bounded * a).mean() / len(rows)
    objective.backward()
    assert 0 < clipped < len(log_pi)
    assert_credit(credit.per_token, log_pi.grad)
