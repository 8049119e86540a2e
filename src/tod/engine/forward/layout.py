"""Which layout serves a model, decided by trying it on a handful of tokens."""

from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Literal
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

from tod.base import Groups, ModelError, SpecError
from tod.engine.forward import model_parts, packed, padded_rows, shared_prompt
from tod.engine.models import plain
from tod.engine.rollouts import Rollouts

Layout = Literal["auto", "packed", "shared_prompt", "rows"]
LAYOUTS: dict[str, ModuleType] = {
    "packed": packed,
    "shared_prompt": shared_prompt,
    "rows": padded_rows,
}
"""Each has ``plan(rollouts)`` with a ``work``, and ``states(model, plan)``; best first."""

_REFUSALS = (
    model_parts.Unsupported,
    TypeError,
    ValueError,
    RuntimeError,
    AttributeError,
    LookupError,
)


@dataclass
class _Verdicts:
    """Why a layout does not serve a model; None for one that does."""

    reasons: dict[str, str | None] = field(default_factory=dict)


_KNOWN: "WeakKeyDictionary[nn.Module, _Verdicts]" = WeakKeyDictionary()


def choose(model: nn.Module, layout: Layout = "auto") -> str:
    """The layout to use: the first that reproduces the model's own forward.

    Under gradient checkpointing only ``rows`` is offered: the others hold state (a cache, the
    plan of attention) that is gone when the backward pass recomputes a layer.

    Raises:
        SpecError: ``layout`` is not one of the layouts, or cannot serve this model.
        ModelError: No layout reproduces the model's own log-probs.
    """
    names = list(LAYOUTS) if layout == "auto" else [layout]
    if not set(names) <= set(LAYOUTS):
        raise SpecError(f"layout {layout!r} is none of {['auto', *LAYOUTS]}. Use 'auto'.")
    recomputed = model_parts.checkpointing(model)
    why = {}
    for name in names:
        if recomputed and name != "rows":
            why[name] = "gradient checkpointing recomputes layers without it"
            continue
        reason = refusal(model, name)
        if reason is None:
            return name
        why[name] = reason
    text = "; ".join(f"{name}: {reason}" for name, reason in why.items())
    kind = type(plain(model)).__name__
    if layout == "auto":
        raise ModelError(f"no layout reproduces the forward of {kind} ({text}). Use another model.")
    raise SpecError(f"layout {layout!r} cannot serve {kind} ({text}). Use layout='auto'.")


def refusal(model: nn.Module, name: str) -> str | None:
    """Why a layout does not serve a model, or None; tried once per model and remembered.

    The layout's log-probs of a few random tokens are compared with one plain forward per
    sequence. Tolerance: the square root of the precision of the model's weights, and no
    less than 1e-6 since norms compute in float32 even in a double model.
    """
    verdicts = _KNOWN.setdefault(model, _Verdicts())
    if name not in verdicts.reasons:
        training = [module for module in model.modules() if module.training]
        model.eval()
        try:
            # a caller's autocast would be judged by the precision of the weights
            with torch.autocast(model_parts.device(model).type, enabled=False):
                verdicts.reasons[name] = _trial(model, name)
        finally:
            for module in training:
                module.training = True
    return verdicts.reasons[name]


@torch.no_grad()
def _trial(model: nn.Module, name: str) -> str | None:
    embedding = plain(model).get_input_embeddings()
    rollouts = _sample(int(embedding.weight.shape[0]))
    try:
        states = LAYOUTS[name].states(model, LAYOUTS[name].plan(rollouts))
        ours = torch.log_softmax(model_parts.logits(model, states).double(), -1)
    except _REFUSALS as error:
        return f"{type(error).__name__}: {error}"
    theirs = torch.log_softmax(_one_by_one(model, rollouts).double(), -1)
    apart = float((ours - theirs).abs().max())
    tolerance = max(1e-6, float(torch.finfo(embedding.weight.dtype).eps) ** 0.5)
    if apart <= tolerance:
        return None
    return f"log-probs differ by {apart:.2g} nats from the model's own forward"


def _sample(vocabulary: int) -> Rollouts:
    """Random tokens: prompts of 3, 11 and 1, completions of 1 to 9, one to three candidates."""
    rng = np.random.default_rng(0)
    contexts, sequences = Groups(np.array([2, 3, 1])), Groups(np.array([4, 9, 1, 6, 2, 5]))
    return Rollouts(
        prompts=tuple(rng.integers(vocabulary, size=size) for size in (3, 11, 1)),
        contexts=contexts,
        sequences=sequences,
        ids=rng.integers(vocabulary, size=sequences.total),
        log_mu=None,
        truncated=np.zeros(len(sequences), dtype=bool),
    )


def _one_by_one(model: Any, rollouts: Rollouts) -> Tensor:
    """Logits [M, V] that predict every token, one plain forward per sequence."""
    found = []
    for i, c in enumerate(rollouts.contexts.owner):
        own = rollouts.ids[rollouts.sequences.offsets[i] : rollouts.sequences.offsets[i + 1]]
        row = torch.from_numpy(np.concatenate([rollouts.prompts[c], own])[None])
        z = model(input_ids=row.to(model_parts.device(model)), use_cache=False).logits[0]
        found.append(z[len(rollouts.prompts[c]) - 1 : -1])
    return torch.cat(found)
