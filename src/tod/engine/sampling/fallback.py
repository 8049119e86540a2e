"""The path for any architecture: generate() drives the model, the draws stay ours."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt64
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from tod.base.uniforms import uniforms
from tod.engine.sampling.batching import DrawnBatch, Wanted
from tod.engine.sampling.params import SamplingParams
from tod.engine.sampling.processors import next_tokens


class _Draw(LogitsProcessor):  # type: ignore[misc]
    """Draws the token itself, and leaves generate() nothing but that token to choose."""

    def __init__(self, keys: UInt64[np.ndarray, " n"], params: SamplingParams) -> None:
        self.keys, self.params = keys, params
        self.tokens: list[Tensor] = []
        self.log_mu: list[Tensor] = []

    def __call__(self, _: Int[Tensor, "n L"], scores: Float[Tensor, "n V"]) -> Tensor:
        u = torch.from_numpy(uniforms(self.keys, len(self.tokens))).to(scores.device)
        token, log_mu = next_tokens(scores, u, self.params)
        self.tokens.append(token)
        self.log_mu.append(log_mu)
        return torch.full_like(scores, float("-inf")).scatter_(-1, token[:, None], 0.0)


def generate(model: Any, wanted: Wanted) -> DrawnBatch:
    """Draw one completion for every row through ``model.generate``.

    The prompts have one length, so that nothing depends on how a model treats padding. The
    random numbers and the recorded log μ are those of the fast path.
    """
    ids = torch.from_numpy(np.stack([wanted.prompts[i] for i in wanted.owner])).to(model.device)
    drawn = _Draw(wanted.keys, wanted.params)
    config = GenerationConfig(
        max_new_tokens=wanted.params.max_new_tokens,
        do_sample=False,
        eos_token_id=list(wanted.eos_ids) or None,
        pad_token_id=wanted.pad_id,
    )
    with _only(model, config):
        model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            generation_config=config,
            logits_processor=LogitsProcessorList([drawn]),
        )
    tokens = torch.stack(drawn.tokens, dim=1).cpu().numpy()
    ended = np.isin(tokens, np.array(sorted(wanted.eos_ids)))
    done: np.ndarray = np.asarray(ended.any(axis=1))
    lengths = np.where(done, ended.argmax(axis=1) + 1, tokens.shape[1])
    return DrawnBatch(
        tokens, torch.stack(drawn.log_mu, dim=1).float().cpu().numpy(), lengths, ~done
    )


@contextmanager
def _only(model: Any, config: GenerationConfig) -> Iterator[None]:
    """Hide the model's own generation settings: penalties in them would enter μ unasked."""
    own = model.generation_config
    model.generation_config = config
    try:
        yield
    finally:
        model.generation_config = own
