"""Tiny random models of several architectures, and forwards without any trick."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf

from tod.engine.rollouts import Rollouts

VOCABULARY = 41
WINDOW = 6  # shorter than every sequence the exactness test compares
_BASE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 96,
    "bos_token_id": None,
    "eos_token_id": 3,
    "pad_token_id": 0,
}
_SIZES_2 = {"bos_token_id": None, "eos_token_id": 3, "pad_token_id": 0, "vocab_size": VOCABULARY}
_LAYERS = ["sliding_attention", "full_attention"]


def _built(kind: str) -> Any:
    if kind == "llama":
        return hf.LlamaForCausalLM(hf.LlamaConfig(**_BASE))
    if kind == "qwen3":
        return hf.Qwen3ForCausalLM(hf.Qwen3Config(**_BASE))
    if kind == "gemma3":
        config = hf.Gemma3TextConfig(**_BASE, sliding_window=WINDOW, layer_types=_LAYERS)
        return hf.Gemma3ForCausalLM(config)
    if kind == "mistral":
        return hf.MistralForCausalLM(hf.MistralConfig(**_BASE, sliding_window=WINDOW))
    if kind == "gpt2":
        config = hf.GPT2Config(**_SIZES_2, n_embd=32, n_layer=2, n_head=4, n_positions=96)
        return hf.GPT2LMHeadModel(config)
    if kind == "mamba":
        return hf.MambaForCausalLM(
            hf.MambaConfig(**_SIZES_2, hidden_size=32, num_hidden_layers=2, state_size=8)
        )
    if kind == "falcon_h1":
        config = hf.FalconH1Config(
            **_BASE, mamba_d_ssm=32, mamba_n_heads=4, mamba_d_head=8, mamba_d_state=8
        )
        return hf.FalconH1ForCausalLM(config)
    raise ValueError(kind)


@cache
def _model(kind: str, dtype: torch.dtype = torch.float32) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(7)
        model = _built(kind).eval().to(dtype)
        for parameter in model.parameters():
            if parameter.ndim == 2:  # sharp enough that a wrong mask shows
                torch.nn.init.normal_(parameter, std=0.2)
    return model


@pytest.fixture
def tiny_model() -> Callable[..., Any]:
    """A random model by architecture and type; the same object for the whole session."""
    return _model


@pytest.fixture
def uneven_prompts() -> list[np.ndarray]:
    """Prompts of very different lengths, the longest not last."""
    rng = np.random.default_rng(11)
    return [rng.integers(4, VOCABULARY, size=n) for n in (2, 29, 9, 1, 17)]


@torch.no_grad()
def plain_log_probs(model: Any, prompt: np.ndarray, answer: np.ndarray) -> np.ndarray:
    """Raw log-probs of an answer: one full forward, one row, no cache, no padding."""
    ids = torch.from_numpy(np.concatenate([prompt, answer]))[None]
    logits = model(input_ids=ids, use_cache=False).logits[0, len(prompt) - 1 : -1].double()
    picked = torch.log_softmax(logits, -1).gather(-1, torch.from_numpy(answer)[:, None])
    return picked[:, 0].numpy()


@pytest.fixture
def teacher_forced() -> Callable[[Any, Rollouts], list[np.ndarray]]:
    """Raw log-probs of every candidate of some rollouts, by plain forwards."""

    def score(model: Any, rollouts: Rollouts) -> list[np.ndarray]:
        answers = np.split(rollouts.ids, rollouts.sequences.offsets[1:-1])
        owner = rollouts.contexts.owner
        return [
            plain_log_probs(model, rollouts.prompts[c], y)
            for c, y in zip(owner, answers, strict=True)
        ]

    return score
