"""log π of every sampled token: differentiable, without padding waste, prompts shared."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from tod.base import SpecError
from tod.engine.costs import ForwardWork
from tod.engine.forward.head import Head, apply, log_prob_head
from tod.engine.forward.layout import LAYOUTS, Layout, choose
from tod.engine.forward.model_parts import device
from tod.engine.rollouts import Rollouts


@dataclass(frozen=True)
class LogProbs:
    """What a model says about sampled tokens, in the flat order of ``rollouts.ids``.

    Attributes:
        log_prob: log π(token | past) at the asked temperature [M], nats, <= 0.
        entropy: Entropy of π(· | past) over the whole vocabulary [M], nats, detached; None when
            it was not asked for.
        work: What the forward computed, for the ledger.
    """

    log_prob: Tensor
    entropy: Tensor | None
    work: ForwardWork


def token_log_probs(
    model: nn.Module,
    rollouts: Rollouts,
    *,
    temperature: float = 1.0,
    entropy: bool = False,
    layout: Layout = "auto",
) -> LogProbs:
    """The log-prob, log softmax(z / temperature), of every completion token, first included.

    Differentiable in the parameters when gradients are enabled; under ``torch.no_grad`` it
    scores. Float32 at least, whatever the model's precision. Dropout acts as the model's mode
    says: put a model that has any into ``eval()`` for exact log-probs.

    Args:
        model: Causal language model of transformers, with or without adapters.
        rollouts: The tokens; their log_mu is not used.
        temperature: > 0; 1 is the model's own distribution.
        entropy: Whether to return the entropy too.
        layout: How the batch is laid out; results agree to rounding.

    Raises:
        SpecError: temperature <= 0, or a layout that cannot serve this model.
        ModelError: No layout reproduces the model's own forward.
    """
    if not temperature > 0:
        raise SpecError(
            f"temperature is {temperature}: log-probs divide the logits by it. Use a positive one."
        )
    ids = torch.from_numpy(rollouts.ids.astype("int64")).to(device(model))
    head = log_prob_head(ids, temperature=temperature, entropy=entropy)
    value, work = token_statistics(model, rollouts, head, layout=layout)
    if not entropy:
        return LogProbs(value, None, work)
    return LogProbs(value[:, 0], value[:, 1].detach(), work)


def scored_log_probs(
    model: nn.Module, rollouts: Rollouts, temperature: float = 1.0
) -> tuple[Float[np.ndarray, " M"], ForwardWork]:
    """The log-prob of every completion token, [M], nats, on the host and without graph; the work.

    Errors as in ``token_log_probs``.
    """
    with torch.no_grad():
        out = token_log_probs(model, rollouts, temperature=temperature)
    return out.log_prob.double().cpu().numpy(), out.work


def token_statistics(
    model: nn.Module, rollouts: Rollouts, head: Head, *, layout: Layout = "auto"
) -> tuple[Tensor, ForwardWork]:
    """``head`` of the logits that predict every completion token: [M] or [M, s], and the work.

    ``head(z, at)`` gets logits [m, V] and the flat indices [m] of the tokens they predict, a
    chunk at a time; it may be called again in the backward pass, so it must be a function of
    its arguments and of constants. For losses over the whole vocabulary between two models,
    take ``token_states`` of the other model first and its ``logits`` inside the head.
    """
    states, work = token_states(model, rollouts, layout=layout)
    return apply(model, states, head), work


def token_states(
    model: nn.Module, rollouts: Rollouts, *, layout: Layout = "auto"
) -> tuple[Tensor, ForwardWork]:
    """The last hidden state [M, d] that predicts every completion token, and the work."""
    way = LAYOUTS[choose(model, layout)]
    batch = way.plan(rollouts)
    return way.states(model, batch), batch.work
