"""Divergences over the vocabulary from logits, differentiable."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import log_softmax

from tod.operators import FullVocabulary
from tod.operators import divergence as of_laws


def divergence(
    term: FullVocabulary, student: Float[Tensor, "m V"], teacher: Float[Tensor, "m V"]
) -> Float[Tensor, " m"]:
    """D of every token, nats, from logits that are already divided by the temperature.

    The teacher gets no gradient. Half precision is computed in float32. See
    `tod.operators.divergence` for the equation.
    """
    log_q, log_p = (log_softmax(_exact(z), dim=-1) for z in (student, teacher.detach()))
    few = term.top_k is not None and term.top_k < log_p.shape[-1]
    top = log_p.topk(term.top_k or 1, dim=-1).indices if few else None
    return of_laws(term, log_p, log_q, top)  # type: ignore[return-value]


def _exact(z: Tensor) -> Tensor:
    return z if z.dtype == torch.float64 else z.float()
