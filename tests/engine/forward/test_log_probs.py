import numpy as np
import pytest
import torch

from tod.base import SpecError
from tod.engine.forward import head as head_module
from tod.engine.forward.log_probs import token_log_probs, token_states, token_statistics
from tod.engine.forward.model_parts import logits
from tolerance import rounding


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.7])
def test_temperature_divides_the_logits(toy, rollouts, temperature):
    model = toy.build("llama", torch.float64)
    expected = toy.oracle(model, rollouts, temperature)
    found = token_log_probs(model, rollouts, temperature=temperature, entropy=True)
    np.testing.assert_allclose(
        found.log_prob.detach(),
        toy.picked(expected, rollouts).detach(),
        rtol=0,
        atol=toy.log_prob("float64"),
    )
    entropy = -(expected.exp() * expected).sum(-1)
    np.testing.assert_allclose(
        found.entropy, entropy.detach(), rtol=0, atol=toy.log_prob("float64")
    )
    assert not found.entropy.requires_grad


def test_entropy_of_an_impossible_token_is_finite():
    z = torch.tensor([[0.0, 0.0, -torch.inf]])
    head = head_module.log_prob_head(torch.tensor([1]), temperature=1.0, entropy=True)
    assert head(z, torch.tensor([0]))[0].tolist() == pytest.approx([-np.log(2), np.log(2)])


@pytest.mark.parametrize("rows", [1, 7, 1000])
def test_chunks_change_nothing(toy, rollouts, rows, monkeypatch):
    model = toy.build("gemma2", torch.float64)  # squashes its logits after the output embedding
    plain = token_log_probs(model, rollouts, entropy=True)
    expected = toy.gradient(model, plain.log_prob)
    monkeypatch.setattr(head_module.apply, "__kwdefaults__", {"limit": rows * 41})
    found = token_log_probs(model, rollouts, entropy=True)
    np.testing.assert_allclose(
        found.log_prob.detach(), plain.log_prob.detach(), rtol=0, atol=toy.log_prob("float64")
    )
    np.testing.assert_allclose(found.entropy, plain.entropy, rtol=0, atol=toy.log_prob("float64"))
    assert toy.apart(toy.gradient(model, found.log_prob), expected) <= toy.of_gradient("float64")


def test_chunks_hold_no_large_logits(toy, rollouts):
    model = toy.build("llama")
    states, _ = token_states(model, rollouts)
    states = states.detach().requires_grad_()
    ids = torch.from_numpy(rollouts.ids)
    head = head_module.log_prob_head(ids, temperature=1.0, entropy=False)

    def saved(limit: int) -> int:
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t: (sizes.append(t.numel() * (t.shape[-1:] == (41,))), t)[1], lambda t: t
        ):
            head_module.apply(model, states, head, limit=limit)
        return sum(sizes)

    assert saved(10**9) >= len(ids) * 41
    assert saved(5 * 41) == 0


def test_no_graph_under_no_grad(toy, rollouts):
    with torch.no_grad():
        found = token_log_probs(toy.build("llama"), rollouts)
    assert not found.log_prob.requires_grad
    assert found.entropy is None


def test_half_precision_weights_give_single_precision_log_probs(toy, rollouts):
    model = toy.build("llama", torch.bfloat16)
    found = token_log_probs(model, rollouts).log_prob
    assert found.dtype == torch.float32
    expected = toy.picked(toy.oracle(model.float(), rollouts), rollouts)
    # the weights are exact; every layer rounds its states, which sum up, and the head its logits
    near = rounding("bfloat16", 2 * 3 + 2, 10 * 3**0.5, sigmas=1)
    assert float((found - expected).detach().abs().max()) < near


def test_full_vocabulary_loss_between_two_models(toy, rollouts):
    model, teacher = toy.build("llama", torch.float64), toy.build("qwen3", torch.float64, seed=5)
    with torch.no_grad():
        theirs, _ = token_states(teacher, rollouts)

    def forward_kl(z: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
        log_t = torch.log_softmax(logits(teacher, theirs[at]), -1)
        return (log_t.exp() * (log_t - torch.log_softmax(z, -1))).sum(-1)

    found, _ = token_statistics(model, rollouts, forward_kl)
    log_p, log_t = toy.oracle(model, rollouts), toy.oracle(teacher, rollouts).detach()
    expected = (log_t.exp() * (log_t - log_p)).sum(-1)
    np.testing.assert_allclose(
        found.detach(), expected.detach(), rtol=0, atol=toy.log_prob("float64")
    )
    assert toy.apart(toy.gradient(model, found), toy.gradient(model, expected)) <= toy.of_gradient(
        "float64"
    )


def test_temperature_zero_is_refused(toy, rollouts):
    with pytest.raises(SpecError, match="temperature is 0"):
        token_log_probs(toy.build("llama"), rollouts, temperature=0)
