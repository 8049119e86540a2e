"""Distillation over the vocabulary: divergences between the next-token laws of teacher and policy.

They are terms of the loss and no credit of the sampled token. Sampled distillation is a policy
gradient with a residual towards the teacher.
"""

import math
from typing import Annotated, Any, Literal

from jaxtyping import Float, Int
from pydantic import Field, FiniteFloat

from tod.base import Array, Spec, namespace
from tod.base.arrays import log_sum_exp, put_along
from tod.operators.aggregation import AggregationSpec, TokenMean

__all__ = ["FullVocabulary", "divergence"]


class FullVocabulary(Spec):
    """weight·Σ_t a_t·D(P_t, Q_t), P the teacher's next-token law and Q the policy's.

    ==========  ==========================================================================
    forward_kl  KL(P‖Q)
    reverse_kl  KL(Q‖P)
    jsd         β·KL(P‖M) + (1 − β)·KL(Q‖M), M = βP + (1 − β)Q, 0 < β < 1
    ==========  ==========================================================================

    The candidates are constants: no gradient through which states are visited. Code that allows
    β = 0 and 1 means forward and reverse KL there, though the JSD itself tends to 0.

    Source: docs/equations.md A.18; GKD, 2306.13649
    """

    divergence: Literal["forward_kl", "reverse_kl", "jsd"] = "reverse_kl"
    """D."""
    beta: Annotated[FiniteFloat, Field(gt=0.0, lt=1.0)] = 0.5
    """β of the JSD."""
    top_k: Annotated[int, Field(ge=1)] | None = None
    """Only the teacher's k most likely tokens; None: the whole vocabulary."""
    rest: Literal["bucket", "dropped", "renormalised"] = "bucket"
    """What becomes of the others: one bucket (at most the full divergence), nothing (can be
    negative), or both laws are renormalised on the k."""
    weight: Annotated[FiniteFloat, Field(gt=0.0)] = 1.0
    """Of this term in the loss."""
    aggregation: AggregationSpec = TokenMean()
    """a_t: weight of every token."""


def divergence(
    term: FullVocabulary,
    log_p: Float[Array, "m V"],
    log_q: Float[Array, "m V"],
    likeliest: Int[Array, "m k"] | None = None,
) -> Float[Array, " m"]:
    """D of every token, [m], nats; at least 0, but for ``rest: dropped``, whose laws are no laws.

    Differentiable in log_q (torch). A token that P forbids adds nothing to KL(P‖Q), and makes
    KL(Q‖P) infinite.

    >>> import numpy as np
    >>> p, q = np.log([[0.5, 0.25, 0.25]]), np.log([[0.25, 0.5, 0.25]])
    >>> divergence(FullVocabulary(divergence="forward_kl"), p, q).round(4)
    array([0.1733])

    Source: docs/equations.md A.18; GKD, 2306.13649
    (equations reverse-kl-token, generalised-jsd, top-k-kl)

    Args:
        term: Which divergence, over which tokens.
        log_p: Log-probs of the teacher, nats; a constant.
        log_q: Log-probs of the policy, nats.
        likeliest: Indices of the teacher's ``top_k`` likeliest tokens; sorted for here if None.
    """
    if term.top_k is not None and term.top_k < log_p.shape[-1]:
        log_p, log_q = _reduced(term, log_p, log_q, likeliest)
    if term.divergence == "forward_kl":
        return _kl(log_p, log_q)  # type: ignore[no-any-return]
    if term.divergence == "reverse_kl":
        return _kl(log_q, log_p)  # type: ignore[no-any-return]
    beta = term.beta
    log_m = namespace(log_q).logaddexp(log_p + math.log(beta), log_q + math.log1p(-beta))
    return beta * _kl(log_p, log_m) + (1.0 - beta) * _kl(log_q, log_m)  # type: ignore[no-any-return]


def _kl(log_a: Any, log_b: Any) -> Any:
    """Σ a(log a − log b), and 0 where a is 0."""
    xp = namespace(log_a)
    none = log_a == -math.inf
    gap = xp.where(none, 0.0, log_a) - xp.where(none, 0.0, log_b)
    return xp.sum(xp.exp(log_a) * gap, axis=-1)


def _reduced(term: FullVocabulary, log_p: Any, log_q: Any, likeliest: Any) -> tuple[Any, Any]:
    """Both laws on the teacher's k likeliest tokens, and on what the rest becomes."""
    xp = namespace(log_p)
    top = xp.argsort(-log_p, axis=-1)[..., : term.top_k] if likeliest is None else likeliest
    p, q = (xp.take_along_axis(x, top, axis=-1) for x in (log_p, log_q))
    if term.rest == "renormalised":
        return p - log_sum_exp(p), q - log_sum_exp(q)
    if term.rest == "dropped":
        return p, q
    return _with_bucket(log_p, p, top), _with_bucket(log_q, q, top)


def _with_bucket(log_law: Any, inside: Any, top: Any) -> Any:
    """The log-probs of some tokens and that of all others together."""
    others = log_sum_exp(put_along(log_law, top, -math.inf))
    return namespace(log_law).concat([inside, others], axis=-1)
