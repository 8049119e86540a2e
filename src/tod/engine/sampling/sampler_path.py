"""Which path samples a model: decided by trying it once, not by its name."""

from typing import Any, Literal
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache

from tod.engine.models import plain
from tod.engine.sampling.batching import left_padded
from tod.engine.sampling.cache import as_rows, new_cache, uncovered
from tod.engine.sampling.next_logits import evaluating, next_logits

SamplerPath = Literal["native", "generate"]
_known: WeakKeyDictionary[Any, tuple[SamplerPath, str]] = WeakKeyDictionary()

# Largest difference of log-probs, as a share of their spread over the vocabulary. A wrong mask or
# a cache row gone astray differs by order one; rounding by 1e-6 in float32, by percents in bf16.
_CLOSE = {torch.float64: 1e-6, torch.float32: 1e-3}
_CLOSE_HALF = 0.2


def sampler_path(model: Any) -> tuple[SamplerPath, str]:
    """Which path will sample this model, and why.

    ``native`` when every cache layer can expand and drop rows, and a trial (two prompts of
    different length side by side, a row dropped, tokens decoded) equals plain forwards without
    cache or padding; otherwise ``generate``. The answer is remembered per model.
    """
    model = plain(model)
    if model not in _known:
        reason = _why_not(model)
        _known[model] = ("generate", reason) if reason else ("native", "trial decode matches")
    return _known[model]


def _why_not(model: Any) -> str | None:
    if getattr(model.config, "is_encoder_decoder", False):
        return "the model is an encoder-decoder"
    try:
        cache = DynamicCache(config=model.config)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        return f"no dynamic cache for this config ({type(error).__name__}: {error})"
    missing = uncovered(cache)
    if missing is not None:
        return missing
    try:
        with evaluating(model):
            return _trial(model)
    except (RuntimeError, TypeError, ValueError, AttributeError, IndexError) as error:
        return f"the trial decode failed ({type(error).__name__}: {error})"


def _trial(model: Any) -> str | None:
    """Compare cached, padded, expanded and reordered decoding with plain forwards."""
    vocabulary = model.get_input_embeddings().num_embeddings
    token = np.random.default_rng(0).integers(0, vocabulary, size=32)
    prompts, answers = [token[:3], token[3:9]], token[9:21].reshape(4, 3)
    ids, mask = left_padded(prompts, int(token[31]), model.device)
    real = torch.ones_like(ids) if mask is None else mask
    state = _Trial(model, new_cache(model.config, 1), real)
    gaps = [state.gap(ids, prompts)]
    state.cache.batch_repeat_interleave(2)
    # a step of four rows, then three of them in another order: a state that a layer keeps
    # outside the two batch methods would now have the wrong size or belong to another row
    for rows, t in (([0, 0, 1, 1], 0), ([3, 0, 2], 1), ([2, 1], 2)):
        if t:
            state.cache.batch_select_indices(as_rows(rows, model.device))
            answers = answers[rows]
        prompts = [prompts[i] for i in rows]
        state.take(rows)
        column = as_rows(answers[:, t : t + 1], model.device)
        gaps.append(
            state.gap(
                column,
                [np.concatenate([p, a[: t + 1]]) for p, a in zip(prompts, answers, strict=True)],
            )
        )
    limit = _CLOSE.get(next(model.parameters()).dtype, _CLOSE_HALF)
    if max(gaps) <= limit:
        return None
    return f"the trial decode differs from plain forwards by {max(gaps):.2g} (limit {limit:.2g})"


class _Trial:
    """The rows of a trial: one cached forward at a time, each compared with plain ones."""

    def __init__(self, model: Any, cache: Any, mask: Tensor) -> None:
        self.model, self.cache, self.mask = model, cache, mask

    def take(self, rows: list[int]) -> None:
        """Choose rows and make space for one more token."""
        mask = self.mask[as_rows(rows, self.mask.device)]
        self.mask = torch.cat([mask, mask.new_ones((len(rows), 1))], dim=1)

    def gap(self, ids: Tensor, sequences: list[np.ndarray]) -> float:
        """Largest difference of log-probs to plain forwards of ``sequences``, over their spread."""
        positions = (self.mask.cumsum(-1) - 1).clamp_(min=0)[:, -ids.shape[1] :]
        seen = next_logits(self.model, ids, self.mask, positions, self.cache)
        return max(_distance(self.model, s, x) for s, x in zip(sequences, seen, strict=True))


def _distance(model: Any, sequence: np.ndarray, logits: Tensor) -> float:
    """Largest difference of log-probs to a plain forward, over their spread."""
    ids = as_rows(sequence[None], model.device)
    positions = torch.arange(ids.shape[1], device=ids.device)[None]
    truth = torch.log_softmax(next_logits(model, ids, None, positions, None)[0].double(), -1)
    gap = (torch.log_softmax(logits.double(), -1) - truth).abs().max() / truth.std()
    return float(gap) if bool(torch.isfinite(gap)) else float("inf")
