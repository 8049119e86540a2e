"""Slopes of the auxiliary terms against autograd on the same formulas."""

import numpy as np
import pytest
import torch

from tod.base import SpecError
from tod.operators import (
    Auxiliary,
    EntropyBonus,
    FullVocabulary,
    NoCredit,
    Operator,
    SequenceMeanTokenMean,
)
from tod.procedure import Procedure
from tod.study.audit import OTHER, SAME, audit
from tod.study.auxiliary_slope import auxiliary_slope, divergence_slope, entropy_slope
from tod.study.population import COPIES, Policies
from tod.study.world import log_softmax, perturbed
from tod.targets import Teacher
from tolerance import double

TERMS = [
    FullVocabulary(divergence="forward_kl"),
    FullVocabulary(divergence="reverse_kl"),
    FullVocabulary(divergence="jsd", beta=0.3),
    FullVocabulary(divergence="forward_kl", top_k=2),
    FullVocabulary(divergence="reverse_kl", top_k=3),
    FullVocabulary(divergence="jsd", beta=0.3, top_k=1),
]


def _divergence(term, log_p, log_q):
    if term.top_k is not None:
        inside = log_p.topk(term.top_k, dim=-1).indices
        outside = torch.ones_like(log_p).scatter(-1, inside, 0.0)
        log_p, log_q = (
            torch.cat([x.gather(-1, inside), (x.exp() * outside).sum(-1, keepdim=True).log()], -1)
            for x in (log_p, log_q)
        )
    p, q = log_p.exp(), log_q.exp()
    kl = lambda a, log_a, log_b: (a * (log_a - log_b)).sum(-1)  # noqa: E731
    if term.divergence == "forward_kl":
        return kl(p, log_p, log_q)
    if term.divergence == "reverse_kl":
        return kl(q, log_q, log_p)
    log_m = (term.beta * p + (1 - term.beta) * q).log()
    return term.beta * kl(p, log_p, log_m) + (1 - term.beta) * kl(q, log_q, log_m)


@pytest.mark.parametrize("term", TERMS, ids=str)
def test_divergences_against_autograd(term, rng):
    z = torch.tensor(rng.standard_normal((2, 3, 5)), requires_grad=True)
    log_p = torch.log_softmax(torch.tensor(rng.standard_normal((2, 3, 5))), -1)
    _divergence(term, log_p, torch.log_softmax(z, -1)).sum().backward()
    found = divergence_slope(term, log_p.numpy(), log_softmax(z.detach().numpy()))
    np.testing.assert_allclose(found, z.grad.numpy(), rtol=0, atol=double(5 + 16, 8))


def test_entropy_against_autograd(rng):
    z = torch.tensor(rng.standard_normal((2, 3, 5)), requires_grad=True)
    log_q = torch.log_softmax(z, -1)
    (-(log_q.exp() * log_q).sum()).backward()
    found = entropy_slope(log_softmax(z.detach().numpy()))
    np.testing.assert_allclose(found, z.grad.numpy(), rtol=0, atol=double(5 + 16, 8))


@pytest.mark.parametrize("aggregation", [None, SequenceMeanTokenMean()])
def test_states_weigh_what_mu_visits(aggregation, ragged_world, rng):
    """Σ_y μ(y) Σ_t a_t D(s_t), differentiated by torch through the logits."""
    policies, mu = Policies.of(ragged_world), perturbed(ragged_world, 0.5, 3)
    extra = {} if aggregation is None else {"aggregation": aggregation}
    term = FullVocabulary(divergence="reverse_kl", weight=0.7, **extra)
    bonus = EntropyBonus(weight=0.2, **extra)
    z = torch.tensor(rng.standard_normal(ragged_world.base_logits.shape), requires_grad=True)
    language = ragged_world.language
    log_q = torch.log_softmax(z, -1)
    log_p = torch.tensor(language.conditionals(policies.teacher))
    each = 0.7 * _divergence(term, log_p, log_q) + 0.2 * (log_q.exp() * log_q).sum(-1)
    length = language.sequences.sizes
    p = np.exp(mu)
    if aggregation is None:
        share = np.repeat(p, length, axis=1) / (p * length).sum()
    else:
        share = np.repeat(p / length, length, axis=1) / len(p)
    (torch.tensor(share) * each[:, language.states]).sum().backward()
    found = auxiliary_slope(
        Auxiliary(distillation=term, entropy=bonus),
        policies,
        log_softmax(z.detach().numpy()),
        mu,
    )
    whole = 1 / (2 * COPIES * (p * length).sum())  # totals count whole tokens
    np.testing.assert_allclose(found, -z.grad.numpy(), rtol=whole, atol=double(15 + 16, 8))


@pytest.mark.parametrize("term", TERMS[:3], ids=lambda term: term.divergence)
def test_full_vocabulary_distillation_reaches_the_teacher(term):
    procedure = Procedure(
        target=Teacher(eta=1.0, student="ref"),
        operator=Operator(action=NoCredit(), auxiliary=Auxiliary(distillation=term)),
    )
    found = audit(procedure)
    assert found.measured == "yes"
    assert found.on_policy.predicted == "q*"
    assert found.on_policy.predicted_tv <= SAME / 20


def test_an_entropy_bonus_moves_the_rest_point_off_the_teacher():
    terms = Auxiliary(distillation=FullVocabulary(), entropy=EntropyBonus(weight=1.0))
    procedure = Procedure(
        target=Teacher(eta=1.0, student="ref"),
        operator=Operator(action=NoCredit(), auxiliary=terms),
    )
    assert audit(procedure).measured == "no"


@pytest.mark.parametrize("divergence", ["forward_kl", "reverse_kl"])
def test_of_a_bucket_only_its_mass_is_fitted(divergence):
    """Asked for 8 of 3 symbols the audit takes 1: two are outside, or the claim would be empty."""
    term = FullVocabulary(divergence=divergence, top_k=8)
    procedure = Procedure(
        target=Teacher(eta=1.0, student="ref"),
        operator=Operator(action=NoCredit(), auxiliary=Auxiliary(distillation=term)),
    )
    found = audit(procedure)
    assert (found.measured, found.on_policy.predicted) == ("no", None)
    assert found.on_policy.tv > OTHER


@pytest.mark.parametrize("rest", ["dropped", "renormalised"])
def test_a_part_without_the_rest_is_refused(rest):
    term = FullVocabulary(top_k=2, rest=rest)
    with pytest.raises(SpecError, match=rest):
        divergence_slope(term, np.zeros((1, 1, 3)), np.zeros((1, 1, 3)))
