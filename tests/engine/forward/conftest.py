"""Tiny random models of five families, ragged rollouts, and a one-sequence-at-a-time oracle."""

import logging
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from torch import nn

from tod.base import Groups
from tod.engine.rollouts import Rollouts
from tolerance import decoder_path, of_gradient, of_log_prob

logging.getLogger("transformers").setLevel(logging.ERROR)
VOCABULARY = 41
_SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_MIXED = ["sliding_attention", "full_attention", "sliding_attention"]


def _gpt2() -> nn.Module:
    config = hf.GPT2Config(
        vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4, n_positions=128, eos_token_id=2
    )
    return hf.GPT2LMHeadModel(config)


FAMILIES: dict[str, Callable[[], nn.Module]] = {
    "llama": lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**_SHAPE)),
    "qwen3": lambda: hf.Qwen3ForCausalLM(hf.Qwen3Config(**_SHAPE, head_dim=8)),
    "mistral": lambda: hf.MistralForCausalLM(hf.MistralConfig(**_SHAPE, sliding_window=5)),
    "gemma3": lambda: hf.Gemma3ForCausalLM(
        hf.Gemma3TextConfig(**_SHAPE, head_dim=8, sliding_window=5, layer_types=_MIXED)
    ),
    "gemma2": lambda: hf.Gemma2ForCausalLM(
        hf.Gemma2Config(**_SHAPE, head_dim=8, sliding_window=5, final_logit_softcapping=3.0)
    ),
    "gpt2": _gpt2,
}


def build(family: str, dtype: torch.dtype = torch.float32, seed: int = 0) -> nn.Module:
    """A model whose weights are large enough for every token to matter."""
    torch.manual_seed(seed)
    model = FAMILIES[family]().to(dtype).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    if dtype == torch.float64:
        _norms_in_double(model)
    return model


def _norms_in_double(model: nn.Module) -> None:
    """The libraries' RMS norms compute in float32 whatever the model; here in double."""

    def forward(self: nn.Module, x: torch.Tensor) -> torch.Tensor:
        eps = getattr(self, "variance_epsilon", None) or self.eps
        scale = 1 + self.weight if "Gemma" in type(self).__name__ else self.weight
        return scale * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps)

    for module in model.modules():
        if type(module).__name__.endswith("RMSNorm"):
            module.forward = types.MethodType(forward, module)


def ragged_rollouts(seed: int = 0, contexts: int = 6) -> Rollouts:
    """Skewed: singletons, one-token completions and prompts, long ones beside short ones."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 6, contexts)
    sizes[0] = 1
    groups = Groups(sizes)
    lengths = rng.integers(1, 14, groups.total)
    lengths[:2] = [1, 23]
    prompts = [int(n) for n in rng.integers(2, 15, contexts)]
    prompts[-1] = 1
    sequences = Groups(lengths)
    return Rollouts(
        prompts=tuple(rng.integers(0, VOCABULARY, n) for n in prompts),
        contexts=groups,
        sequences=sequences,
        ids=rng.integers(0, VOCABULARY, sequences.total),
        log_mu=None,
        truncated=np.zeros(groups.total, dtype=bool),
    )


def oracle(model: nn.Module, rollouts: Rollouts, temperature: float = 1.0) -> torch.Tensor:
    """log softmax [M, V] before every token: one unpadded forward per sequence."""
    found = []
    for i, c in enumerate(rollouts.contexts.owner):
        start, end = rollouts.sequences.offsets[i : i + 2]
        row = np.concatenate([rollouts.prompts[c], rollouts.ids[start:end]])
        z = model(input_ids=torch.from_numpy(row)[None]).logits[0]
        found.append(torch.log_softmax(z / temperature, -1)[len(rollouts.prompts[c]) - 1 : -1])
    return torch.cat(found)


def picked(log_p: torch.Tensor, rollouts: Rollouts) -> torch.Tensor:
    return log_p[torch.arange(len(rollouts.ids)), torch.from_numpy(rollouts.ids)]


def gradient(model: nn.Module, value: torch.Tensor, seed: int = 1) -> torch.Tensor:
    """∇ Σ weight · value for fixed weights of both signs, flattened."""
    torch.manual_seed(seed)
    model.zero_grad()
    (value * torch.randn(len(value), dtype=torch.float64).to(value.dtype)).sum().backward()
    trained = [p for p in model.parameters() if p.requires_grad]
    return torch.cat(
        [(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in trained]
    )


def apart(a: torch.Tensor, b: torch.Tensor) -> float:
    """‖a − b‖ / ‖b‖."""
    return float((a - b).norm() / b.norm())


PATH = decoder_path(3, 32, 48, 8, 40, VOCABULARY)


def log_prob(dtype: Any) -> float:
    """How far two layouts are apart in log π of a token."""
    return of_log_prob(dtype, PATH)


def gradient_apart(dtype: Any) -> float:
    """How far two orders of a gradient's sums are apart: some 400 tokens with random weights."""
    return of_gradient(dtype, PATH, tokens=400, rows=400)


@pytest.fixture(scope="session")
def toy() -> types.SimpleNamespace:
    """The functions above, for the test files of this folder."""
    return types.SimpleNamespace(
        build=build,
        rollouts=ragged_rollouts,
        oracle=oracle,
        picked=picked,
        gradient=gradient,
        apart=apart,
        log_prob=log_prob,
        of_gradient=gradient_apart,
    )


@pytest.fixture
def rollouts() -> Rollouts:
    return ragged_rollouts()
