"""One forward of any causal language model: the arguments it understands, nothing more."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Evaluation mode without gradients; the training mode is put back afterwards.

    Inference mode saves a tenth of a small model's step over ``no_grad``. Sharded parameters do
    not support it, so processes that share a model use ``no_grad``.
    """
    shared = torch.distributed.is_available() and torch.distributed.is_initialized()
    training = model.training
    if training:
        model.eval()
    try:
        with torch.no_grad() if shared else torch.inference_mode():
            yield
    finally:
        if training:
            model.train()


@lru_cache(maxsize=64)
def _accepts(kind: Any) -> frozenset[str]:
    return frozenset(inspect.signature(kind.forward).parameters)


def next_logits(
    model: Any,
    ids: Int[Tensor, "n T"],
    mask: Int[Tensor, "n L"] | None,
    positions: Int[Tensor, "n T"],
    cache: Any,
) -> Float[Tensor, "n V"]:
    """Logits after the last of ``ids``, which are appended to ``cache``.

    Args:
        model: A bare transformers causal language model.
        ids: New tokens of every row.
        mask: 1 on every real token of cache and ids, 0 on padding; None when there is no padding.
            Always two-dimensional: a raw 4D mask would disable sliding windows.
        positions: Place of every new token in its own sequence.
        cache: What came before; None to run without one.
    """
    kind: Any = type(model)
    known = _accepts(kind)
    extra: dict[str, Any] = {}
    if "position_ids" in known:
        extra["position_ids"] = positions
    if "logits_to_keep" in known:
        extra["logits_to_keep"] = 1
    if cache is not None:
        extra["past_key_values"] = cache
    output = model(input_ids=ids, attention_mask=mask, use_cache=cache is not None, **extra)
    logits: Tensor = output.logits[:, -1]
    return logits
