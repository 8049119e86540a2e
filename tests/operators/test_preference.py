"""Preference losses: reference values, autograd of the papers' losses, pairs, optima, refusals."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import logsigmoid

from tod.base import Groups, SpecError, to_numpy
from tod.operators import (
    Batch,
    ConservativeDpo,
    Dpo,
    Exo,
    Hinge,
    Ipo,
    Kto,
    Nca,
    OrPo,
    Preference,
    RobustDpo,
    SigmoidNorm,
    SimPo,
    Totals,
)
from tod.operators.preference import log1mexp
from tolerance import assert_credit, double, of_credit, printed


def _pair(
    make, *, log_pi=(-12.0, -15.0), log_ref=(-13.0, -14.0), n=(6, 10), beta=0.1, value=(1, 0)
):
    """One context of candidates with summed log-probs spread evenly over their tokens."""
    sequences, contexts = Groups(np.array(n)), Groups.equal(1, len(n))
    tokens = make(np.repeat(np.array(log_pi) / np.array(n), n))
    return Batch(
        contexts=contexts,
        sequences=sequences,
        log_policy=tokens,
        log_old=tokens,
        value=make(np.asarray(value, float)),
        tilt=make(np.asarray(value, float) / beta),
        sharpness=1 / beta,
        totals=Totals.of(sequences, contexts),
        log_base=make(np.array(log_ref)),
    )


VALUES = [
    (Dpo(), 0.1, 0.5981388694),
    (ConservativeDpo(epsilon=0.1), 0.1, 0.6181388694),
    (RobustDpo(epsilon=0.1), 0.1, 0.5731388694),
    (Hinge(), 0.1, 0.8),
    (Ipo(by_length=False), 0.1, 9.0),
    (Ipo(), 0.1, 22.4044444444),
    (SigmoidNorm(), 0.1, 0.6799027335),
    (SimPo(scale=2.0, margin=1.0), 0.1, 2.1269280110),
    (OrPo(weight=1.0), 0.1, 1.0420578079 + 2.0),
    (Exo(epsilon=1e-3), 0.1, 2.4220146207),
    (Nca(), 0.1, 1.3387933201),
]


@pytest.mark.parametrize(("loss", "beta", "want"), VALUES, ids=lambda x: getattr(x, "kind", ""))
def test_reference_values(backend, loss, beta, want):
    batch = _pair(backend.make, beta=beta)
    near = printed(10) + backend.rounding(10 + 8, 4 * max(want, 15.0))
    assert Preference(loss=loss).value(batch) == pytest.approx(want, abs=near)


def test_slope_of_dpo(backend):
    credit = Preference().credit(_pair(backend.make))
    want = np.repeat([0.0450166003, -0.0450166003], [6, 10])
    near = printed(10) + backend.rounding(10 + 8, 0.1 * 15)
    np.testing.assert_allclose(to_numpy(credit.per_token), want, rtol=0, atol=near)


@pytest.mark.parametrize(("value", "want"), [(1.0, 0.4800106598), (0.0, 0.4700359482)])
def test_kto_reference_values(backend, value, want):
    """Both the desirable δ = 1 and the undesirable δ = −1, at z₀ = .2."""
    delta = 1.0 if value else -1.0
    batch = _pair(backend.make, log_pi=(-13.0 + delta,), log_ref=(-13.0,), n=(6,), value=(value,))
    rule = Preference(loss=Kto(reference_point=0.2))
    assert rule.value(batch) == pytest.approx(
        want, abs=printed(10) + backend.rounding(16, 0.1 * 15)
    )


def test_orpo_log_odds(backend):
    batch = _pair(backend.make)
    p = (to_numpy(batch.sequences.sum(batch.log_policy)) / [6, 10]).tolist()
    odds = [a - math.log1p(-math.exp(a)) for a in p]
    assert odds[0] - odds[1] == pytest.approx(
        -0.6070690011, abs=printed(10) + backend.rounding(16, 4)
    )


def _paper(kind, beta, ell, ref, n):
    """Losses of one pair as the papers write them; ell and ref are summed log-probs, (+, −)."""
    d = ell - ref
    delta, ls = d[0] - d[1], logsigmoid
    if kind == "dpo":
        return -ls(beta * delta)
    if kind == "cdpo":
        return -0.9 * ls(beta * delta) - 0.1 * ls(-beta * delta)
    if kind == "robust_dpo":
        return (-0.9 * ls(beta * delta) + 0.1 * ls(-beta * delta)) / 0.8
    if kind == "ipo":
        return (d[0] / n[0] - d[1] / n[1] - 1 / (2 * beta)) ** 2
    if kind == "hinge":
        return torch.relu(1 - beta * delta)
    if kind == "sigmoid_norm":
        return -ls(beta * (d[0] / n[0] - d[1] / n[1]))
    if kind == "simpo":
        return -ls(2.0 * (ell[0] / n[0] - ell[1] / n[1]) - 0.5)
    if kind == "orpo":
        a = ell / n
        o = a - torch.log1p(-torch.exp(a))
        return -a[0] - 0.1 * ls(o[0] - o[1])
    if kind == "exo":
        p = torch.sigmoid(beta * delta)
        return p * torch.log(p / 0.999) + (1 - p) * torch.log((1 - p) / 0.001)
    assert kind == "nca"
    return -ls(beta * d[0]) - 0.5 * ls(-beta * d[0]) - 0.5 * ls(-beta * d[1])


LOSSES = [
    Dpo(),
    ConservativeDpo(),
    RobustDpo(),
    Ipo(),
    Hinge(),
    SigmoidNorm(),
    SimPo(),
    OrPo(),
    Exo(),
    Nca(),
]


@pytest.mark.parametrize("loss", LOSSES, ids=lambda x: x.kind)
@pytest.mark.parametrize("pairs", ["all", "best_worst"])
def test_autograd_of_the_papers_loss_is_the_credit(make_batch, loss, pairs):
    """Every pair of every ragged context, each context's mean, then the mean over contexts."""
    batch = make_batch(lambda x: torch.tensor(x, dtype=torch.float64))
    batch = replace(batch, noise_scale=2.0)
    beta, n = 1 / (2.0 * batch.sharpness), torch.tensor(batch.sequences.sizes)
    log_policy = batch.log_policy.clone().requires_grad_()
    ell = batch.sequences.sum(log_policy)
    total = torch.zeros((), dtype=torch.float64)
    for a, b in zip(batch.contexts.offsets[:-1], batch.contexts.offsets[1:], strict=True):
        found = [
            (i, j) for i in range(a, b) for j in range(a, b) if batch.value[i] > batch.value[j]
        ]
        if pairs == "best_worst" and found:
            value = batch.value[a:b]
            best = a + next(i for i, v in enumerate(value) if v == value.max())
            worst = a + max(i for i, v in enumerate(value) if v == value.min())
            found = [(best, worst)]
        for i, j in found:
            ij = [i, j]
            each = _paper(loss.kind, beta, ell[ij], batch.log_base[ij], n[ij])
            total = total + each / len(found) / len(batch.contexts)
    rule = Preference(loss=loss, pairs=pairs)
    credit = rule.credit(batch)
    want = -torch.autograd.grad(total, log_policy)[0]
    assert_credit(credit.per_token, want)
    assert rule.value(batch) == pytest.approx(float(total.detach()), rel=of_credit("float64"))
    assert float(abs(credit.per_token).max()) > 1e-3


def test_autograd_of_kto_is_the_credit(make_batch):
    batch = make_batch(lambda x: torch.tensor(x, dtype=torch.float64))
    batch = replace(batch, reference_point=0.3)
    rule = Preference(loss=Kto(desirable=1.3, undesirable=0.7, threshold=0.5))
    beta = 1 / batch.sharpness
    log_policy = batch.log_policy.clone().requires_grad_()
    delta = batch.sequences.sum(log_policy) - batch.log_base
    good = 1.3 * (1 - torch.sigmoid(beta * (delta - 0.3)))
    bad = 0.7 * (1 - torch.sigmoid(beta * (0.3 - delta)))
    total = torch.where(batch.value >= 0.5, good, bad).mean()
    want = -torch.autograd.grad(total, log_policy)[0]
    assert_credit(rule.credit(batch).per_token, want)
    assert rule.value(batch) == pytest.approx(float(total.detach()), rel=of_credit("float64"))


def test_contexts_without_contrast_give_nothing_and_still_count(make_batch):
    batch = make_batch()
    per_candidate = batch.sequences.mean(Preference().credit(batch).per_token)
    assert per_candidate[3] == 0.0  # a singleton
    np.testing.assert_array_equal(per_candidate[9:11], 0.0)  # a tie
    kept, rows = batch.contexts.take(np.array([0, 2, 4]))
    sequences, at = batch.sequences.take(rows)
    some = replace(
        batch,
        contexts=kept,
        sequences=sequences,
        log_policy=batch.log_policy[at],
        value=batch.value[rows],
        log_base=batch.log_base[rows],
    )
    np.testing.assert_array_equal(
        Preference().credit(some).per_token, Preference().credit(batch).per_token[at]
    )


@pytest.mark.parametrize(
    ("loss", "optimum"),
    [
        (ConservativeDpo(epsilon=0.1), math.log(9) / 0.1),
        (Ipo(by_length=False), 1 / 0.2),
        (Exo(epsilon=0.1), math.log(9) / 0.1),
        (Hinge(), 10.0),
    ],
    ids=lambda x: getattr(x, "kind", ""),
)
def test_finite_optima(loss, optimum):
    """β = .1: cDPO at σ(βΔ) = 1 − ε, IPO at Δ = 1/(2β), EXO at its label, hinge at βΔ = 1."""

    def credit(delta):
        batch = _pair(np.asarray, log_pi=(-13 + delta, -14.0))
        return Preference(loss=loss).credit(batch).per_token[0]

    assert abs(credit(optimum)) < of_credit("float64")
    assert credit(optimum - 1.0) > 1e-6
    assert credit(optimum + 1.0) < (of_credit("float64") if loss.kind == "hinge" else -1e-6)


def test_dpo_with_bradley_terry_labels_stops_at_the_target():
    """Labels drawn from σ((r₁ − r₂)/s): the expected credit is 0 at Δ = (r₁ − r₂)·η, η = 1/(sβ)."""
    s, beta, gap = 2.0, 0.4, 1.7
    chosen = 1 / (1 + math.exp(-gap / s))
    eta = 1 / (s * beta)
    for delta, sign in ((eta * gap, 0), (eta * gap - 1, 1), (eta * gap + 1, -1)):
        total = np.zeros(2)
        for value, weight in (((1, 0), chosen), ((0, 1), 1 - chosen)):
            batch = _pair(np.asarray, log_pi=(-13 + delta, -14.0), n=(1, 1), value=value)
            batch = replace(batch, sharpness=eta, noise_scale=s)
            total += weight * Preference().credit(batch).per_token
        assert abs(total[0]) < of_credit("float64") if sign == 0 else total[0] * sign > 1e-3


def test_extreme_margins_do_not_overflow(backend):
    for delta in (1e4, -1e4):
        batch = _pair(backend.make, log_pi=(-2e4 + delta, -2e4), log_ref=(-2e4, -2e4))
        for loss in (Dpo(), ConservativeDpo(), RobustDpo(), Exo(), Nca(), Hinge()):
            assert np.isfinite(to_numpy(Preference(loss=loss).credit(batch).per_token)).all()
            assert math.isfinite(Preference(loss=loss).value(batch))


def test_log1mexp_against_many_digits():
    import mpmath

    for a in (-1e-12, -1e-3, -0.5, -0.6931, -0.6932, -5.0, -50.0):
        with mpmath.workdps(40):
            want = float(mpmath.log1p(-mpmath.exp(mpmath.mpf(a))))
        assert float(log1mexp(np.array([a]))[0]) == pytest.approx(want, rel=double(8))


def test_missing_parts_are_named(make_batch):
    batch = make_batch()
    with pytest.raises(SpecError, match="simpo or orpo"):
        Preference().credit(replace(batch, log_base=None))
    with pytest.raises(SpecError, match="reference_point: 0"):
        Preference(loss=Kto()).credit(batch)
    for sharpness in (0.0, None):
        with pytest.raises(SpecError, match="one positive sharpness"):
            Preference().credit(replace(batch, sharpness=sharpness))
    lean = replace(batch, log_base=None, sharpness=0.0)
    for loss in (SimPo(), OrPo()):
        assert Preference(loss=loss).needs_anchors is False
        assert np.isfinite(Preference(loss=loss).credit(lean).per_token).all()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"loss": "dpoo"}, "unknown kind 'dpoo'.*`dpo`"),
        ({"loss": {"kind": "exo", "epsilon": 0.0}}, r"loss\.epsilon.*greater than 0"),
        ({"loss": {"kind": "cdpo", "epsilon": 0.5}}, r"loss\.epsilon.*less than 0.5"),
        ({"loss": {"kind": "kto", "desirabel": 1}}, r"loss\.desirabel: unknown key"),
        ({"pairs": "some"}, "pairs"),
        ({"beta": 0.1}, "beta: unknown key"),
    ],
)
def test_bad_specs_are_refused(given, message):
    with pytest.raises(SpecError, match=message):
        Preference.parse(given)
    assert Preference.parse({"loss": "kto"}).loss == Kto()
