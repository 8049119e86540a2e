"""L10: recipes that are algebraically equal are numerically equal; degenerate settings by name."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tod.base import Groups
from tod.operators import (
    Accepted,
    Clip,
    DualClip,
    GroupMean,
    GroupZScore,
    KLPull,
    LeaveOneOut,
    Mask,
    PolicyGradient,
    Raw,
    Residual,
    SequenceMeanTokenSum,
    SoftGate,
    TokenMean,
    Truncate,
    Unbounded,
    WeightedRegression,
)
from tolerance import assert_credit, double, of_credit


def credit(rule, batch):
    return rule.credit(batch).per_token


def test_gspo_is_its_token_form(make_batch):
    """s_{b,t} = sg[s_b]·exp(ℓ − sg ℓ) per token, token-averaged: same gradient (2507.18071)."""
    batch = make_batch(lambda x: torch.tensor(x, dtype=torch.float64))
    rule = PolicyGradient(level="sequence_mean", trust_region=Clip(low=0.1, high=0.12))
    a = batch.sequences.spread(rule.credit(batch).advantage)
    log_policy = batch.log_policy.clone().requires_grad_()
    s = batch.sequences.spread(batch.sequences.mean(batch.log_policy - batch.log_old)).exp()
    token = s * torch.exp(log_policy - batch.log_policy)
    value = torch.minimum(token * a, token.clamp(0.9, 1.12) * a)
    objective = (value * batch.sequences.spread(1 / batch.sequences.sizes_like(a))).sum() / 15
    want = torch.autograd.grad(objective, log_policy)[0]
    assert_credit(credit(rule, batch), want)


def test_rloo_is_a_stretched_group_mean_where_groups_are_equal(make_batch):
    batch = make_batch()
    k = batch.contexts.spread(batch.contexts.sizes.astype(float))
    stretch = batch.sequences.spread(np.where(k > 1, k / np.maximum(k - 1, 1), 0))
    rloo, mean = (credit(PolicyGradient(advantage=a), batch) for a in (LeaveOneOut(), GroupMean()))
    assert_credit(rloo, stretch * mean)


SOFT = 1e-6
"""τ of a gate that hardly closes."""


@pytest.mark.parametrize(
    ("region", "same"),
    [
        (DualClip(cap=1e9), Clip()),
        (Truncate(cap=1e9), Unbounded()),
        (Mask(low=0.0, high=1e9), Unbounded()),
        (Clip(low=1.0, high=1e9), Unbounded()),
        (SoftGate(tau_pos=SOFT, tau_neg=SOFT), Unbounded()),
    ],
    ids=lambda region: region.kind,
)
@pytest.mark.parametrize("level", ["token", "sequence_mean", "sequence_sum"])
def test_a_region_without_bounds_is_unbounded(make_batch, region, same, level):
    batch = make_batch()
    got, want = (credit(PolicyGradient(level=level, trust_region=r), batch) for r in (region, same))
    # 4p(1 − p) of a soft gate is 1 − (τ(ρ − 1)/2)²
    rho = np.exp(np.abs(batch.sequences.sum(abs(batch.log_policy - batch.log_old))).max())
    softness = (SOFT * rho / 2) ** 2 if region.kind == "soft_gate" else 0.0
    np.testing.assert_allclose(got, want, rtol=of_credit("float64") + softness)


def test_every_level_and_region_agrees_at_the_first_update(make_batch):
    """π_θ = π_old: ρ = 1, no gate acts, and the only difference left is none."""
    batch = make_batch()
    batch = replace(batch, log_old=batch.log_policy)
    want = credit(PolicyGradient(trust_region=Unbounded()), batch)
    for region in (Clip(), DualClip(), SoftGate(), Truncate(), Mask(low=0.5, high=2.0)):
        for level in ("token", "sequence_mean", "sequence_sum"):
            got = credit(PolicyGradient(level=level, trust_region=region), batch)
            assert_credit(got, want)
    assert_credit(credit(PolicyGradient(level="sequence_mean_of_clipped"), batch), want)


def test_weighted_mle_at_large_sharpness_is_rejection_sampling(make_batch):
    """η → ∞ with b = μ is uniform over the best; here the best is what is accepted."""
    batch = make_batch()
    best = batch.contexts.spread(batch.contexts.max(batch.value))
    passed = (batch.value >= best).astype(float)
    sharp = replace(batch, value=passed, log_w=1e4 * passed)
    assert_credit(
        credit(WeightedRegression(), sharp),
        credit(WeightedRegression(weights=Accepted(threshold=1.0)), sharp),
    )


def test_k2_with_a_weight_of_one_is_k1_in_the_reward_without_a_future(make_batch):
    """At π_θ = π_old and one token a sequence, k2 in the loss pulls as k1 in the reward does."""
    batch = make_batch()
    n = batch.contexts.total
    rng = np.random.default_rng(3)
    log_policy, ref = -rng.gamma(2.0, 1.0, n), -rng.gamma(2.0, 1.0, n)
    single = replace(
        batch,
        sequences=Groups.equal(n, 1),
        log_policy=log_policy,
        log_old=log_policy,
        pulled={"ref": (ref, 0.7)},
    )
    rule = {"advantage": Raw(), "trust_region": Unbounded(), "aggregation": TokenMean()}
    in_loss = PolicyGradient(**rule, pull=KLPull(kind="k2"))
    in_reward = PolicyGradient(**rule, pull=KLPull(kind="k1", place="reward"))
    assert_credit(credit(in_loss, single), credit(in_reward, single))


def test_expected_gradients_of_the_estimators():
    """The table of `tod.operators.pulls`, on a categorical policy, exactly (no sampling)."""
    rng = np.random.default_rng(5)
    logits, ref = rng.standard_normal(6), rng.standard_normal(6)
    log_pi = torch.tensor(logits).log_softmax(0)
    log_ref = torch.tensor(ref).log_softmax(0)

    def kl_gradient(reverse: bool) -> np.ndarray:
        z = torch.tensor(logits, requires_grad=True)
        lp = z.log_softmax(0)
        kl = (
            (lp.exp() * (lp - log_ref)).sum() if reverse else (log_ref.exp() * (log_ref - lp)).sum()
        )
        return torch.autograd.grad(kl, z)[0].numpy()

    pi = log_pi.exp().numpy()
    score = np.eye(6) - pi[None, :]
    x = (log_ref - log_pi).numpy()
    loss = {
        "k1": -np.ones(6),
        "k2": x,
        "k3": np.expm1(x),
    }
    expected = {kind: -(pi * c) @ score for kind, c in loss.items()}
    near = double(6 + 16, np.abs(np.expm1(x)).max() + np.abs(x).max())
    np.testing.assert_allclose(expected["k1"], 0, rtol=0, atol=near)
    np.testing.assert_allclose(expected["k2"], kl_gradient(True), rtol=0, atol=near)
    np.testing.assert_allclose(expected["k3"], kl_gradient(False), rtol=0, atol=near)
    k3 = np.expm1(x) - x
    weighted = -(pi * (np.expm1(x) - k3)) @ score
    np.testing.assert_allclose(weighted, kl_gradient(True), rtol=0, atol=near)
    in_reward = {"k1": -x, "k3": k3}
    got = {kind: (pi * k) @ score for kind, k in in_reward.items()}
    np.testing.assert_allclose(got["k1"], kl_gradient(True), rtol=0, atol=near)
    np.testing.assert_allclose(got["k3"], kl_gradient(True) - kl_gradient(False), rtol=0, atol=near)


@pytest.mark.parametrize("kind", ["k1", "k2", "k3"])
@pytest.mark.parametrize("importance", [False, True])
def test_a_pull_has_the_slope_the_table_needs(make_batch, kind, importance):
    """The credit of the pull is −∂loss/∂log π: −1, x, eˣ − 1, or ρ times (that less k)."""
    batch = make_batch()
    ref, exponent = batch.pulled["ref"]
    x, rho = ref - batch.log_policy, np.exp(batch.log_policy - batch.log_old)
    slope = {"k1": -np.ones_like(x), "k2": x, "k3": np.expm1(x)}[kind]
    k = {"k1": -x, "k2": x * x / 2, "k3": np.expm1(x) - x}[kind]
    want = exponent * (rho * (slope - k) if importance else slope)
    got = KLPull(kind=kind, importance=importance).credit(batch)
    assert_credit(got, want)


def test_residual_is_the_reward_with_k1_at_the_old_policy(make_batch):
    """R at π_old = tilt − Σ_t k1 when b = π_ref: one formula, two names."""
    batch = make_batch()
    rule = {"aggregation": SequenceMeanTokenSum()}
    ref = batch.pulled["ref"][0]
    batch = replace(batch, log_base=batch.sequences.sum(ref))
    assert_credit(
        credit(PolicyGradient(**rule, pull=Residual(at="old")), batch),
        credit(PolicyGradient(**rule, pull=KLPull(kind="k1", place="reward")), batch),
    )


def test_a_zscore_of_residuals_is_scale_free(make_batch):
    batch = make_batch()
    rule = PolicyGradient(advantage=GroupZScore(epsilon=0.0), pull=Residual())
    policy = batch.sequences.sum(batch.log_policy)
    doubled = replace(batch, tilt=2 * batch.tilt, log_base=2 * batch.log_base - policy)
    assert_credit(credit(rule, doubled), credit(rule, batch))
