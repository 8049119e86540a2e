import numpy as np
import pytest
import torch
import transformers as hf
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from tod.base import Groups
from tod.engine.costs import ForwardWork, ModelCost, spent
from tod.engine.forward.index import Index
from tod.engine.forward.layout import LAYOUTS
from tod.engine.forward.log_probs import token_log_probs
from tod.engine.rollouts import Rollouts


def model(**changed) -> hf.PreTrainedModel:
    torch.manual_seed(0)
    shape = {
        "vocab_size": 53, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "pad_token_id": 0,
    }  # fmt: skip
    return hf.LlamaForCausalLM(hf.LlamaConfig(**shape | changed)).eval()


@pytest.fixture
def rollouts(rng) -> Rollouts:
    groups = Groups(np.array([3, 1, 5, 4]))
    sequences = Groups(rng.integers(1, 12, groups.total))
    return Rollouts(
        tuple(rng.integers(53, size=n) for n in (4, 9, 1, 6)),
        groups,
        sequences,
        rng.integers(53, size=sequences.total),
        None,
        np.zeros(groups.total, dtype=bool),
    )


def counted(run) -> int:
    """Operations by torch's own counter, with attention as plain matrix products."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def rotary(policy, work: ForwardWork) -> int:
    """What torch may count beside the model: the table of angles, one product a position."""
    return policy.config.head_dim * work.tokens


@pytest.mark.parametrize("layout", list(LAYOUTS))
@pytest.mark.parametrize("tied", [True, False])
def test_forward_and_training_agree_with_torchs_counter(rollouts, layout, tied):
    policy = model(tie_word_embeddings=tied)
    cost, work = ModelCost.of(policy), LAYOUTS[layout].plan(rollouts).work
    token_log_probs(policy, rollouts, layout=layout)  # the trial of the layout is done

    def score() -> None:
        with torch.no_grad():
            token_log_probs(policy, rollouts, layout=layout)

    def train() -> None:
        token_log_probs(policy, rollouts, layout=layout).log_prob.sum().backward()

    near = rotary(policy, work)
    assert cost.forward(work) == pytest.approx(counted(score), abs=near)
    assert cost.training(work) == pytest.approx(counted(train), abs=near)


def test_frozen_weights_cost_no_weight_gradient(rollouts):
    policy = model()
    for name, parameter in policy.named_parameters():
        parameter.requires_grad_("mlp" in name)
    cost, work = ModelCost.of(policy), LAYOUTS["packed"].plan(rollouts).work
    assert not cost.head_trained
    token_log_probs(policy, rollouts, layout="packed")
    found = counted(lambda: token_log_probs(policy, rollouts).log_prob.sum().backward())
    # nothing below the first feed-forward needs a gradient here; the formula charges it
    first = policy.model.layers[0]
    below = [*first.self_attn.parameters(), first.mlp.gate_proj.weight, first.mlp.up_proj.weight]
    unneeded = 2 * sum(p.numel() for p in below) * work.tokens
    unneeded += 8 * (cost.attention // 2) * work.pairs
    assert cost.training(work) - unneeded == pytest.approx(found, abs=rotary(policy, work))


def test_useful_work_by_enumeration(rollouts):
    tokens = pairs = 0
    for c, prompt in enumerate(rollouts.prompts):
        tokens += len(prompt)
        pairs += sum(range(1, len(prompt) + 1))
        for size in rollouts.sequences.sizes[rollouts.contexts.owner == c]:
            tokens += size - 1
            pairs += sum(len(prompt) + j for j in range(1, size))
    useful = Index(rollouts).useful
    assert useful == ForwardWork(tokens, pairs, rollouts.sequences.total)
    for layout in LAYOUTS.values():
        work = layout.plan(rollouts).work
        assert work.tokens >= useful.tokens
        assert work.pairs >= useful.pairs
        assert work.states == useful.states


def test_recomputation_adds_a_forward_of_the_layers():
    cost = ModelCost(100, 100, 8, 50, head_trained=True)
    work = ForwardWork(10, 30, 4)
    extra = cost.training(work, recomputed=True) - cost.training(work)
    assert extra == cost.forward(ForwardWork(10, 30, 0))
    assert cost.training(work) == 3 * cost.forward(work)


def test_embeddings_are_no_matrices_and_experts_count_as_used():
    policy = model(tie_word_embeddings=False)
    layers = sum(p.numel() for p in policy.model.layers.parameters() if p.ndim == 2)
    assert ModelCost.of(policy).matrices == layers
    assert ModelCost.of(policy).head == 53 * 64
    config = hf.MixtralConfig(
        vocab_size=53, hidden_size=32, intermediate_size=48, num_hidden_layers=1,
        num_attention_heads=4, num_key_value_heads=4, num_local_experts=4, num_experts_per_tok=2,
        pad_token_id=0,
    )  # fmt: skip
    cost = ModelCost.of(hf.MixtralForCausalLM(config))
    assert cost.matrices == 4 * 32 * 32 + 4 * 32 + 2 * 3 * 32 * 48


def test_a_steps_ledger_adds_up():
    cost, other = ModelCost(7, 5, 3, 2, head_trained=False), ModelCost(3, 0, 2, 2, False)
    drawn, work = ForwardWork(6, 11, 4), ForwardWork(9, 20, 5)
    total = spent((cost, drawn), [(cost, work), (other, work)], [(cost, work), (cost, drawn)])
    assert (total.sample_tokens, total.score_tokens, total.train_tokens) == (4, 10, 5)
    assert total.sample_flops == cost.forward(drawn)
    assert total.score_flops == cost.forward(work) + other.forward(work)
    assert total.train_flops == cost.training(work) + cost.training(drawn)
    assert total.flops == total.sample_flops + total.score_flops + total.train_flops


def test_a_search_trains_nothing():
    cost, drawn = ModelCost(7, 5, 3, 2, head_trained=False), ForwardWork(6, 11, 4)
    total = spent((cost, drawn))
    assert (total.score_tokens, total.train_tokens, total.train_flops) == (0, 0, 0.0)
    assert total.flops == cost.forward(drawn)
