"""Divergences between two next-token laws over the vocabulary, per token, differentiable.

P is the teacher's and Q the student's. Source: GKD, 2306.13649.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import log_softmax

from tod.operators import FullVocabulary


def divergence(
    spec: FullVocabulary, student: Float[Tensor, "m V"], teacher: Float[Tensor, "m V"]
) -> Float[Tensor, " m"]:
    """D of every token, nats, from logits that are already divided by the temperature.

    At least 0, but for ``rest: dropped``, whose laws do not add up to one. The teacher gets no
    gradient.
    """
    log_q = log_softmax(_exact(student), dim=-1)
    log_p = log_softmax(_exact(teacher.detach()), dim=-1)
    if spec.top_k is not None and spec.top_k < log_p.shape[-1]:
        log_p, log_q = _reduced(log_p, log_q, spec.top_k, spec.rest)
    if spec.divergence == "forward_kl":
        return _kl(log_p, log_q)
    if spec.divergence == "reverse_kl":
        return _kl(log_q, log_p)
    beta = torch.tensor(spec.beta, dtype=log_p.dtype, device=log_p.device)
    log_m = torch.logaddexp(log_p + beta.log(), log_q + (-beta).log1p())
    return spec.beta * _kl(log_p, log_m) + (1.0 - spec.beta) * _kl(log_q, log_m)


def _kl(log_a: Tensor, log_b: Tensor) -> Tensor:
    """Σ a(log a − log b), and 0 where a is 0."""
    none = torch.isneginf(log_a)
    safe = log_a.masked_fill(none, 0.0)
    gap = safe - log_b.masked_fill(none, 0.0)
    return (log_a.exp() * gap.masked_fill(none, 0.0)).sum(-1)


def _reduced(log_p: Tensor, log_q: Tensor, k: int, rest: str) -> tuple[Tensor, Tensor]:
    """Both laws on the teacher's k most likely tokens, and on what the rest becomes."""
    chosen = log_p.topk(k, dim=-1).indices
    p, q = log_p.gather(-1, chosen), log_q.gather(-1, chosen)
    if rest == "dropped":
        return p, q
    if rest == "renormalised":
        return log_softmax(p, dim=-1), log_softmax(q, dim=-1)
    return _with_bucket(log_p, p, chosen), _with_bucket(log_q, q, chosen)


def _with_bucket(whole: Tensor, kept: Tensor, chosen: Tensor) -> Tensor:
    """The kept log-probs and that of all others together."""
    outside = whole.scatter(-1, chosen, float("-inf"))
    return torch.cat([kept, outside.logsumexp(-1, keepdim=True)], dim=-1)


def _exact(z: Any) -> Tensor:
    """Float32 at least."""
    return z if z.dtype == torch.float64 else z.float()  # type: ignore[no-any-return]
