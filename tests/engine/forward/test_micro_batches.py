import numpy as np
import pytest
import torch

from tod.base import SpecError
from tod.engine.forward.layout import LAYOUTS
from tod.engine.forward.log_probs import token_log_probs
from tod.engine.forward.micro_batches import context_tokens, micro_batches


def split_gradient(toy, model, rollouts, parts, layout):
    """∇ Σ weight · log π, one backward a part; the weights belong to the whole batch."""
    torch.manual_seed(7)
    weights = torch.randn(len(rollouts.ids), dtype=torch.float64)
    weights = weights.to(next(model.parameters()).dtype)
    tokens = rollouts.sequences.within(rollouts.contexts)
    model.zero_grad()
    for part in parts:
        _, own = tokens.take(part)
        value = token_log_probs(model, rollouts.take(part), layout=layout).log_prob
        (value * weights[torch.from_numpy(own)]).sum().backward()
    return torch.cat([p.grad.flatten() for p in model.parameters()])


@pytest.mark.parametrize("layout", list(LAYOUTS))
@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_parts_give_the_gradient_of_the_whole(toy, family, layout, dtype):
    model, rollouts = toy.build(family, dtype), toy.rollouts(2, contexts=16)
    whole = split_gradient(toy, model, rollouts, [np.arange(16)], layout)
    total = int(context_tokens(rollouts).sum())
    counts, near = set(), toy.of_gradient(dtype)
    for share in (1, 2, 4, 8):
        parts = micro_batches(rollouts, -(-total // share) + 20)
        counts.add(len(parts))
        assert toy.apart(split_gradient(toy, model, rollouts, parts, layout), whole) <= near
    assert counts >= {1, 2, 4}


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("max_tokens", [1, 60, 150, 10**6])
def test_whole_contexts_once_within_the_bound_and_balanced(toy, seed, max_tokens):
    rollouts = toy.rollouts(seed, contexts=23)
    cost = context_tokens(rollouts)
    parts = micro_batches(rollouts, max_tokens)
    assert sorted(np.concatenate(parts).tolist()) == list(range(23))
    loads = [int(cost[p].sum()) for p in parts]
    assert all(load <= max_tokens or len(p) == 1 for load, p in zip(loads, parts, strict=True))
    shared = [load for load in loads if load <= max_tokens]
    if len(shared) > 1:
        assert max(shared) - min(shared) <= int(cost[cost <= max_tokens].max())
    again = micro_batches(rollouts, max_tokens)
    assert all(np.array_equal(a, b) for a, b in zip(parts, again, strict=True))


def test_cost_counts_the_prompt_once_per_candidate(toy, rollouts):
    expected = np.zeros(len(rollouts.contexts), dtype=int)
    for i, c in enumerate(rollouts.contexts.owner):
        expected[c] += len(rollouts.prompts[c]) + rollouts.sequences.sizes[i]
    assert context_tokens(rollouts).tolist() == expected.tolist()


def test_no_room_for_a_token_is_refused(toy, rollouts):
    with pytest.raises(SpecError, match="max_tokens is 0"):
        micro_batches(rollouts, 0)
