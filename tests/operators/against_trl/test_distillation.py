"""Divergences over the vocabulary and sampled distillation against TRL 1.16's own code."""

from typing import Any

import numpy as np
import pytest
import torch
from trl.experimental.gkd import GKDTrainer
from trl.experimental.iw_opd.iw_opd_trainer import IWOPDTrainer
from trl.experimental.sdpo.loss_utils import compute_divergence
from trl.experimental.server_distillation.server_distillation_trainer import _add_tail_bucket

from tod.engine.losses import divergence
from tod.operators import FullVocabulary, PolicyGradient
from tolerance import of_credit

TOL = of_credit("float64")
FORMS = {
    0.0: {"divergence": "forward_kl"},
    1.0: {"divergence": "reverse_kl"},
    0.1: {"divergence": "jsd", "beta": 0.1},
    0.5: {"divergence": "jsd", "beta": 0.5},
    0.9: {"divergence": "jsd", "beta": 0.9},
}


def logits(seed: int, shape: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """Student with gradient, teacher: skewed, far from one another."""
    random = torch.Generator().manual_seed(seed)
    student = 2.0 * torch.randn(*shape, generator=random)
    teacher = student + 1.5 * torch.randn(*shape, generator=random) ** 2
    return student.requires_grad_(), teacher


def gradient(value: torch.Tensor, leaf: torch.Tensor) -> np.ndarray:
    return torch.autograd.grad(value, leaf)[0].numpy()


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("beta", FORMS)
def test_gkd(beta: float, temperature: float, draw: Any, gap: Any) -> None:
    """Its mean over the valid tokens is our token mean; β = 0 and 1 are the two KLs in both."""
    mask = draw.mask
    student, teacher = logits(len(mask), (*mask.shape, 11))
    labels = torch.where(mask == 1, 0, -100)
    theirs = GKDTrainer.generalized_jsd_loss(
        student, teacher, labels, beta=beta, temperature=temperature
    )
    flat = mask.bool()
    each = divergence(
        FullVocabulary(**FORMS[beta]), student[flat] / temperature, teacher[flat] / temperature
    )
    assert float(each.mean().detach()) == pytest.approx(float(theirs.detach()), rel=TOL)
    assert gap(gradient(each.mean(), student), gradient(theirs, student)) <= TOL


@pytest.mark.parametrize("rest", ["bucket", "renormalised"])
@pytest.mark.parametrize("beta", FORMS)
def test_top_k(beta: float, rest: str, gap: Any) -> None:
    """TRL's divergence and tail bucket on the teacher's support, which is ours."""
    student, teacher = logits(3, (17, 23))
    log_q, log_p = student.log_softmax(-1), teacher.log_softmax(-1)
    at = log_p.topk(5, dim=-1).indices
    p, q = log_p.gather(-1, at), log_q.gather(-1, at)
    left = min(1 - float(x.detach().exp().sum(-1).max()) for x in (p, q))
    near = TOL / left if rest == "bucket" else TOL  # the bucket is what is left of one
    if rest == "bucket":
        p, q = (_add_tail_bucket(x, torch.ones_like(at, dtype=torch.bool))[0] for x in (p, q))
    else:
        p, q = p.log_softmax(-1), q.log_softmax(-1)
    theirs = compute_divergence(q, p, beta).sum()
    spec = FullVocabulary(**FORMS[beta], top_k=5, rest=rest)
    ours = divergence(spec, student, teacher).sum()
    assert float(ours.detach()) == pytest.approx(float(theirs.detach()), rel=near)
    assert gap(gradient(ours, student), gradient(theirs, student)) <= near


SAMPLED = PolicyGradient.parse(
    {
        "kind": "policy_gradient",
        "trust_region": "unbounded",
        "advantage": {"kind": "return_to_go", "discount": 0.0},
        "aggregation": "token_mean",
        "pull": {"kind": "residual", "at": "old"},
    }
)


def opd(draw: Any, bare: Any, policy: np.ndarray) -> np.ndarray:
    """TRL's importance-weighted distillation with γ = 0; ``log_ref`` plays the teacher."""
    mask = draw.mask
    leaf = draw.padded(policy, fill=-1.0).requires_grad_()
    them = bare(IWOPDTrainer, temperature=1.0, iw_opd_gamma=0.0, iw_opd_epsilon=1e-8)
    both = torch.stack([leaf, torch.log(-torch.expm1(leaf))], dim=-1)
    loss = them._compute_iw_opd_loss(
        both,
        torch.zeros_like(mask),
        torch.where(mask == 1, 0, -100),
        draw.padded(draw.log_ref),
        draw.padded(draw.log_old),
    )
    loss.backward()
    return -leaf.grad[mask.bool()].numpy()


def test_sampled_distillation_on_policy(draw: Any, bare: Any, gap: Any) -> None:
    zero = np.zeros(len(draw.reward))
    batch = draw.batch(log_policy=draw.log_old, tilt=zero, value=zero)
    credit = SAMPLED.credit(batch).per_token
    assert gap(credit, opd(draw, bare, draw.log_old)) <= TOL


def test_sampled_distillation_after_an_update(draw: Any, bare: Any, gap: Any) -> None:
    """TRL leaves π_θ/π_old out; ours keeps it, so that the expectation stays the policy's."""
    zero = np.zeros(len(draw.reward))
    credit = np.asarray(SAMPLED.credit(draw.batch(tilt=zero, value=zero)).per_token)
    theirs = opd(draw, bare, draw.log_policy)
    assert gap(credit, theirs) > 0.1
    assert gap(credit, np.exp(draw.log_policy - draw.log_old) * theirs) <= TOL
