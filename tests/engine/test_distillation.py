"""Divergences over the vocabulary: reference values, naive sums, and what a run makes of them."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from tod.engine.losses import auxiliary_loss, divergence, forward
from tod.engine.prepare import prepare
from tod.engine.proposals.propose import propose
from tod.engine.session import open_session
from tod.engine.settings import RunSettings
from tod.operators import Auxiliary, FullVocabulary, Totals
from tolerance import double, of_gradient, printed

Make = Callable[..., RunSettings]
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

STUDENT = torch.tensor([[1.0, 0.0, -1.0]], dtype=torch.float64)
TEACHER = torch.tensor([[0.5, 0.5, -2.0]], dtype=torch.float64)

VALUES = [
    ({"divergence": "forward_kl"}, 0.1348117471),
    ({"divergence": "reverse_kl"}, 0.1260506459),
    ({"divergence": "jsd", "beta": 0.1}, 0.0119777291),
    ({"divergence": "jsd", "beta": 0.5}, 0.0320634465),
    ({"divergence": "jsd", "beta": 0.9}, 0.0113543674),
    ({"divergence": "forward_kl", "top_k": 2, "rest": "dropped"}, 0.1673670093),
    ({"divergence": "forward_kl", "top_k": 2, "rest": "bucket"}, 0.1348117471),
    ({"divergence": "forward_kl", "top_k": 2, "rest": "renormalised"}, 0.1201145070),
]
SLOPES = [
    ("reverse_kl", [0.1328573897, -0.1958529688, 0.0629955791]),
    ("forward_kl", [0.1849531670, -0.2355593177, 0.0506061507]),
]


@pytest.mark.parametrize(("spec", "value"), VALUES, ids=lambda x: str(x))
def test_reference_values(spec: dict, value: float) -> None:
    found = divergence(FullVocabulary(**spec), STUDENT, TEACHER)
    assert found.item() == pytest.approx(value, abs=printed(10))


@pytest.mark.parametrize(("kind", "slope"), SLOPES)
def test_reference_gradients(kind: str, slope: list[float]) -> None:
    z = STUDENT.clone().requires_grad_()
    divergence(FullVocabulary(divergence=kind), z, TEACHER).sum().backward()
    assert z.grad is not None
    assert z.grad[0].tolist() == pytest.approx(slope, abs=printed(10))


def naive(spec: FullVocabulary, z: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """The definitions with probabilities, one token after the other."""
    total = []
    for row_z, row_t in zip(z, t, strict=True):
        q, p = torch.softmax(row_z, 0), torch.softmax(row_t, 0)
        if spec.top_k is not None:
            kept = torch.argsort(p, descending=True)[: spec.top_k]
            inside_p, inside_q = p[kept], q[kept]
            if spec.rest == "bucket":
                p = torch.cat([inside_p, (1 - inside_p.sum())[None]])
                q = torch.cat([inside_q, (1 - inside_q.sum())[None]])
            elif spec.rest == "renormalised":
                p, q = inside_p / inside_p.sum(), inside_q / inside_q.sum()
            else:
                p, q = inside_p, inside_q
        if spec.divergence == "jsd":
            m = spec.beta * p + (1 - spec.beta) * q
            value = spec.beta * (p * (p / m).log()).sum()
            value = value + (1 - spec.beta) * (q * (q / m).log()).sum()
        elif spec.divergence == "forward_kl":
            value = (p * (p / q).log()).sum()
        else:
            value = (q * (q / p).log()).sum()
        total.append(value)
    return torch.stack(total)


@pytest.mark.parametrize("kind", ["forward_kl", "reverse_kl", "jsd"])
@pytest.mark.parametrize("rest", [None, "bucket", "dropped", "renormalised"])
def test_values_and_gradients_are_those_of_the_definitions(kind: str, rest: str | None) -> None:
    top = {} if rest is None else {"top_k": 3, "rest": rest}
    spec = FullVocabulary(divergence=kind, beta=0.3, **top)
    draws = torch.Generator().manual_seed(3)
    z = (3 * torch.randn(5, 7, generator=draws, dtype=torch.float64)).requires_grad_()
    t = 3 * torch.randn(5, 7, generator=draws, dtype=torch.float64)
    ours, theirs = divergence(spec, z, t), naive(spec, z, t)
    rest_of = [1 - x.softmax(-1).topk(3, -1).values.sum(-1).max() for x in (t, z.detach())]
    left = float(min(rest_of)) if rest == "bucket" else 1.0  # a bucket is what is left of one
    near = double(7 + 16, 4 * 10 / left)
    torch.testing.assert_close(ours, theirs, rtol=near, atol=near)
    (one,) = torch.autograd.grad(ours.sum(), z)
    (other,) = torch.autograd.grad(theirs.sum(), z)
    torch.testing.assert_close(one, other, rtol=near, atol=near)


def test_a_teacher_that_forbids_a_token() -> None:
    forbidding = torch.tensor([[0.0, 0.0, -float("inf")]], dtype=torch.float64)
    z = STUDENT.clone().requires_grad_()
    value = divergence(FullVocabulary(divergence="forward_kl"), z, forbidding)
    value.sum().backward()
    assert torch.isfinite(value).all()
    assert z.grad is not None
    assert torch.isfinite(z.grad).all()


TAUGHT = {
    "anchors": {"teacher": "tod://tiny-teacher"},
    "target": {"kind": "teacher", "eta": 1.0},
    "train__dtype": "float64",
    "train__updates_per_batch": 1,
}


def full(small: Make, name: str, **changes: object) -> RunSettings:
    action = {"kind": "auxiliary"}
    return small(
        name,
        **{**TAUGHT, "operator__action": action, **changes},
        operator__auxiliary={"distillation": {"divergence": "reverse_kl"}},
    )


def test_in_a_run_it_is_the_mean_over_all_tokens_however_they_are_split(small: Make) -> None:
    found = []
    for name, most in (("whole", 16384), ("parts", 40)):
        settings = full(small, name, train__max_tokens_per_micro_batch=most)
        session = open_session(settings)
        evidence = propose(session, 1)
        target, action = settings.procedure.tilt, settings.operator.update
        prepared = prepare(session, evidence, target, action, evidence.candidates())
        total = 0.0
        for chosen in np.array_split(np.arange(6), 1 if name == "whole" else 3):
            rollouts = evidence.rollouts.take(chosen)
            out = forward(session, rollouts, entropy=False)
            part = auxiliary_loss(out, session.operator.auxiliary, rollouts, prepared.totals)
            part.backward()
            total += float(part.detach())
        found.append((total, torch.cat([p.grad.flatten() for p in session.parameters])))
    near = of_gradient("float64")
    assert found[0][0] == pytest.approx(found[1][0], rel=near)
    assert float((found[0][1] - found[1][1]).norm() / found[1][1].norm()) <= near


def test_sampled_reverse_kl_agrees_with_the_full_one_on_average(small: Make) -> None:
    """Both are Σ_t ∇KL(π‖π_T) with the states held fixed; sampling adds noise that averages out."""
    changes = {"operator__proposal": {"prompts": 48, "size": 8, "max_new_tokens": 20}}
    sampled = small(
        "sampled",
        **TAUGHT,
        **changes,
        operator__action={
            "kind": "policy_gradient",
            "trust_region": "unbounded",
            "aggregation": "token_mean",
            "advantage": {"kind": "return_to_go", "discount": 0.0},
            "pull": {"kind": "residual", "at": "current"},
        },
    )
    gradients = []
    for settings in (full(small, "full", **changes), sampled):
        session = open_session(settings)
        evidence = propose(session, 1)
        seen: list[torch.Tensor] = []
        session.optimiser.step = lambda seen=seen, session=session: seen.append(  # type: ignore[method-assign]
            torch.cat([p.grad.flatten() for p in session.parameters])
        )
        from tod.engine.update import update

        update(session, evidence, settings.procedure.tilt, settings.operator.update, 1)
        gradients.append(seen[0])
    cosine = torch.nn.functional.cosine_similarity(gradients[0], gradients[1], dim=0)
    assert cosine > 0.7


def test_the_entropy_bonus_is_differentiable(small: Make) -> None:
    settings = small(operator__auxiliary={"entropy": {"weight": 0.5}}, train__dtype="float64")
    session = open_session(settings)
    rollouts = propose(session, 1).rollouts
    out = forward(session, rollouts, entropy=True)
    totals = Totals.of(rollouts.sequences, rollouts.contexts)
    loss = auxiliary_loss(out, session.operator.auxiliary, rollouts, totals)
    assert out.entropy is not None
    assert float(loss.detach()) == pytest.approx(-0.5 * float(out.entropy.detach().mean()))
    loss.backward()
    moved = sum(float((p.grad**2).sum()) for p in session.parameters)
    with torch.no_grad():
        for p in session.parameters:
            p -= 1e-3 * p.grad / moved**0.5
    after = forward(session, rollouts, entropy=True)
    assert after.entropy is not None
    assert after.entropy.detach().mean() > out.entropy.detach().mean()


def test_nothing_is_added_without_terms(small: Make) -> None:
    session = open_session(small())
    out = forward(session, propose(session, 1).rollouts, entropy=False)
    assert out.entropy is None
    assert out.divergence is None
    assert auxiliary_loss(out, Auxiliary(), None, None) == 0.0  # type: ignore[arg-type]
