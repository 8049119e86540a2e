"""The parts of a causal language model that the layouts need, found without naming any."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from tod.base import ModelError
from tod.engine.models import plain, text_config


class Unsupported(Exception):
    """A layout cannot serve this architecture; the message says why."""


def body(model: nn.Module) -> Any:
    """The decoder: token ids to last hidden states, the output embedding left out."""
    return plain(model).base_model


def layers_of(model: nn.Module) -> list[nn.Module]:
    """The decoder's layers.

    Raises:
        ModelError: No list of modules of the model is as long as its config says.
    """
    count = text_config(model).num_hidden_layers
    for module in body(model).modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return list(module)
    raise ModelError(
        f"the {count} layers of {type(plain(model)).__name__} cannot be found, so it cannot be put "
        "in shards. Run without `train.sharding`."
    )


def device(model: nn.Module) -> torch.device:
    """Where the model's input goes."""
    return next(model.parameters()).device


def logits(model: nn.Module, states: Tensor) -> Tensor:
    """Next-token logits [m, V] of hidden states [m, d].

    The output embedding, then the scalings that some families put after it: Cohere multiplies
    by ``logit_scale``, Granite divides by ``logits_scaling``, Gemma 2 and 3 squash by
    c·tanh(z/c) with c = ``final_logit_softcapping``.
    """
    inner = plain(model)
    embedding: nn.Module | None = inner.get_output_embeddings()
    if embedding is None:
        raise ModelError(
            f"{type(inner).__name__} has no output embedding, so it gives no token log-probs. "
            "Load the model with its language-modelling head (AutoModelForCausalLM)."
        )
    z: Tensor = embedding(states)
    config = text_config(inner)
    scale, divisor, cap = (
        getattr(config, name, None)
        for name in ("logit_scale", "logits_scaling", "final_logit_softcapping")
    )
    z = z if scale is None else z * scale
    z = z if divisor is None else z / divisor
    return z if cap is None else torch.tanh(z / cap) * cap


def checkpointing(model: nn.Module) -> bool:
    """Whether layers are recomputed in the backward pass (transformers does so in training)."""
    return torch.is_grad_enabled() and any(
        module.training and getattr(module, "gradient_checkpointing", False)
        for module in model.modules()
    )


def windows(model: nn.Module) -> list[int | None]:
    """How many tokens back every layer attends, itself included; None for all of them.

    Raises:
        Unsupported: A layer is neither full nor sliding-window attention.
    """
    config = text_config(model)
    kinds = set(getattr(config, "layer_types", None) or ())
    if kinds - {"full_attention", "sliding_attention"}:
        raise Unsupported(f"layers of kinds {sorted(kinds)}")
    layers = DynamicCache(config=config).layers
    found: list[int | None] = []
    for layer in layers:
        if type(layer) not in (DynamicLayer, DynamicSlidingWindowLayer):
            raise Unsupported(f"cache layers of class {type(layer).__name__}")
        if not kinds and getattr(config, "attention_chunk_size", None) is not None:
            raise Unsupported("chunked attention")
        found.append(getattr(layer, "sliding_window", None))
    return found


@contextmanager
def attention(model: nn.Module, name: str) -> Iterator[None]:
    """The model's layers with the attention function registered under ``name``."""
    configs = {id(c): c for m in model.modules() if (c := getattr(m, "config", None)) is not None}
    held = [
        (config, config._attn_implementation_internal)
        for config in configs.values()
        if hasattr(config, "_attn_implementation_internal")
    ]
    try:
        for config, _ in held:
            config._attn_implementation_internal = name
        yield
    finally:
        for config, before in held:
            config._attn_implementation_internal = before
