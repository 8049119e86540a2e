"""Multiplicities in the place of copies: the same credit as an explicit, larger batch."""

import numpy as np
import pytest

from tod.base import Groups
from tod.operators import (
    Accepted,
    BatchZScore,
    Clip,
    Exponentiated,
    GroupZScore,
    KLPull,
    Kto,
    LeaveOneOut,
    LeaveOneOutZScore,
    Listwise,
    Operator,
    PolicyGradient,
    Residual,
    ReturnToGo,
    SoftGate,
    TokenMean,
    Totals,
    Unbounded,
    Uniform,
    WeightedRegression,
)
from tod.operators import Preference as PreferenceRule
from tod.procedure import Procedure, batch_of
from tod.study.population import Multiples, Policies
from tod.study.population_credit import _completed, _critic, choice_credit, population_credit
from tod.study.sampled import draw, sampled
from tod.study.world import perturbed
from tod.targets import PreferenceTarget, TwoAnchor, Verifier
from tolerance import double, of_credit

IN_REWARD = KLPull(kind="k1", place="reward")
VERIFIER = Verifier(utility="u", eta=1.3)
ACTIONS = {
    "residual": PolicyGradient(pull=Residual()),
    "leave_one_out": PolicyGradient(advantage=LeaveOneOut(), pull=IN_REWARD),
    "zscore_k3": PolicyGradient(
        advantage=GroupZScore(), trust_region=SoftGate(), pull=KLPull(kind="k3")
    ),
    "loo_zscore": PolicyGradient(advantage=LeaveOneOutZScore(), level="sequence_mean"),
    "batch_zscore": PolicyGradient(advantage=BatchZScore(), aggregation=TokenMean()),
    "whitened": PolicyGradient(advantage=ReturnToGo(whiten={}), pull=IN_REWARD),
    "weights": WeightedRegression(),
    "centred": WeightedRegression(centred=True),
    "accepted": WeightedRegression(weights=Accepted(threshold=0.3)),
    "uniform": WeightedRegression(weights=Uniform(), aggregation=TokenMean()),
    "exponentiated": WeightedRegression(weights=Exponentiated()),
    "listwise": Listwise(),
    "listwise_reverse": Listwise(divergence="reverse"),
    "kto": PreferenceRule(loss=Kto(threshold=0.2)),
}


def _copies(world, rng):
    return rng.integers(1, 9, size=world.base.shape)


def _explicit(procedure, policies, counts, log_mu, log_policy):
    """Credit of an ordinary batch with every sequence copied, added up by token."""
    world = policies.world
    count, width = world.base.shape
    size = int(counts[0].sum())
    rows = np.stack([np.repeat(np.arange(width), counts[c]) for c in range(count)])
    assert rows.shape == (count, size)
    found, at = sampled(policies, procedure.tilt, rows, log_mu, world.tokens(log_mu))
    log_old = world.tokens(log_mu).ravel()[at]
    batch = batch_of(procedure.tilt, found, log_policy.ravel()[at], log_old)
    action = procedure.operator.action
    if isinstance(action, PreferenceRule):
        batch = _completed(action, batch, policies)
    credit = action.credit(batch).per_token
    return np.bincount(at, weights=credit, minlength=log_policy.size).reshape(count, -1)


TWO_ANCHOR = TwoAnchor(tau=0.6, beta=0.2, utility="u")
# KTO reads one reference
PAIRED = [(name, t) for name in ACTIONS for t in (VERIFIER, TWO_ANCHOR)]
PAIRED = [(name, t) for name, t in PAIRED if name != "kto" or t is VERIFIER]


@pytest.mark.parametrize(("name", "target"), PAIRED)
def test_multiplicities_are_copies(name, target, ragged_world, rng):
    policies = Policies.of(ragged_world)
    counts = _copies(ragged_world, rng)
    counts[1] = rng.permutation(counts[0])  # the same K in both contexts
    procedure = Procedure(target=target, operator=Operator(action=ACTIONS[name]))
    log_mu = np.log(counts / counts.sum(axis=1, keepdims=True))
    log_policy = ragged_world.tokens(perturbed(ragged_world, 0.4, 9))
    expected = _explicit(procedure, policies, counts, log_mu, log_policy)
    size = int(counts[0].sum())
    found = population_credit(procedure, policies, log_policy, log_mu, copies=size)
    near = double(size, 100) * np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=near)


def test_multiples_reduce_over_copies(rng):
    counts = rng.integers(1, 5, size=7)
    plain = Groups(np.array([counts[:3].sum(), counts[3:].sum()]))
    multiples = Multiples(np.array([3, 4]), counts.astype(float))
    x = rng.standard_normal(7)
    copied = np.repeat(x, counts)
    for reduce in ("sum", "mean", "max", "min", "logsumexp", "variance"):
        mine, theirs = getattr(multiples, reduce)(x), getattr(plain, reduce)(copied)
        size = np.abs(copied).sum() + (copied**2).max()
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=double(16 + 8, size), err_msg=reduce)
    np.testing.assert_allclose(np.repeat(multiples.softmax(x), counts), plain.softmax(copied))


def test_choices_of_scores_are_pairs_of_candidates(ragged_world, rng):
    """With scores for labels the rule itself decides who wins: a context of two for each pair."""
    policies = Policies.of(ragged_world)
    procedure = Procedure(target=VERIFIER, operator=Operator(action=PreferenceRule()))
    log_mu = perturbed(ragged_world, 0.5, 3)
    log_policy = ragged_world.tokens(perturbed(ragged_world, 0.4, 9))
    found = choice_credit(procedure, policies, log_policy, log_mu)
    width = log_mu.shape[1]
    expected = np.zeros_like(log_policy)
    for i in range(width):
        for j in range(width):
            rows = np.full((2, 2), [i, j])
            c, at = sampled(policies, procedure.tilt, rows, log_mu, log_policy)
            batch = batch_of(
                procedure.tilt,
                c,
                log_policy.ravel()[at],
                log_policy.ravel()[at],
                Totals(len(at), 4, 1),
            )
            mass = np.exp(log_mu[:, i] + log_mu[:, j])
            credit = procedure.operator.action.credit(batch).per_token
            credit = credit * batch.sequences.spread(np.repeat(mass, 2))
            expected += np.bincount(at, credit, log_policy.size).reshape(expected.shape)
    np.testing.assert_allclose(
        found, expected, rtol=0, atol=of_credit("float64") * np.abs(expected).max()
    )


def test_drawn_choices_give_the_expected_gradient_of_the_logistic_regression(flat):
    """DPO on choices: Σ_j μ_i μ_j 2β(p_ij − σ(βΔ_ij)), written from the loss."""
    policies = Policies.of(flat)
    target = PreferenceTarget(utility="u", beta=0.5, noise_scale=1.5)
    procedure = Procedure(target=target, operator=Operator(action=PreferenceRule()))
    log_policy, log_mu = perturbed(flat, 0.4, 9), perturbed(flat, 0.5, 3)
    found = choice_credit(procedure, policies, log_policy, log_mu, label_scale=0.7)
    u, delta, mu = 0.7 * flat.utility, log_policy - flat.base, np.exp(log_mu)
    sigma = lambda x: 1 / (1 + np.exp(-x))  # noqa: E731
    gap = lambda x: x[:, :, None] - x[:, None, :]  # noqa: E731
    push = sigma(gap(u) / 1.5) - sigma(0.5 * gap(delta))
    expected = (2 * 0.5 * mu[:, :, None] * mu[:, None, :] * push).sum(axis=2)
    np.testing.assert_allclose(
        found, expected, rtol=0, atol=of_credit("float64") * np.abs(expected).max()
    )


def test_the_critic_is_the_expected_return(ragged_world):
    policies = Policies.of(ragged_world)
    action = PolicyGradient(advantage={"kind": "gae"}, trust_region=Unbounded())
    procedure = Procedure(target=VERIFIER, operator=Operator(action=action))
    base = ragged_world.base_tokens
    from tod.study.population import candidates

    found = candidates(policies, procedure.tilt, ragged_world.base, ragged_world.base)
    batch = batch_of(procedure.tilt, found, base.ravel(), base.ravel())
    value = _critic(action, batch, policies).reshape(base.shape)
    language, p = ragged_world.language, np.exp(ragged_world.base)
    words = language.sequences.split(language.symbols)
    start = language.sequences.offsets[:-1]
    for c in range(2):
        for y, word in enumerate(words):
            for t in range(len(word)):
                same = [i for i, other in enumerate(words) if other[:t] == word[:t]]
                tilt = 1.3 * ragged_world.utility[c, same]
                expected = (p[c, same] * tilt).sum() / p[c, same].sum()
                assert value[c, start[y] + t] == pytest.approx(expected)


def test_draws_follow_their_law_and_repeat(small):
    law = perturbed(small, 0.8, 4)
    law[:, 5] = -np.inf
    law = law - np.log(np.exp(law).sum(axis=1, keepdims=True))
    rows = draw(law, 60_000, 3, 1)
    np.testing.assert_array_equal(rows, draw(law, 60_000, 3, 1))
    assert (rows != draw(law, 60_000, 3, 2)).any()
    for c in range(2):
        count = np.bincount(rows[c], minlength=27)
        assert count[5] == 0
        p = np.exp(law[c])
        chi2 = ((count - 60_000 * p)[p > 0] ** 2 / (60_000 * p[p > 0])).sum()
        assert chi2 < 60  # 25 degrees of freedom: p-value 1e-4


def test_clip_is_the_one_rule_that_reads_the_fixed_proposal_as_old(small):
    """Off-policy π_old is μ: at π = μ nothing is clipped and ρ is 1."""
    policies = Policies.of(small)
    mu = perturbed(small, 0.5, 3)
    tokens = small.tokens(mu)
    both = [
        population_credit(
            Procedure(
                target=VERIFIER,
                operator=Operator(action=PolicyGradient(trust_region=region, pull=Residual())),
            ),
            policies,
            tokens,
            mu,
        )
        for region in (Clip(), Unbounded())
    ]
    np.testing.assert_allclose(
        both[0], both[1], rtol=0, atol=of_credit("float64") * np.abs(both[0]).max()
    )
