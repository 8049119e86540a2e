"""Auxiliary terms on a population: exact slopes in the logits of every state."""

import math
from typing import Any

import numpy as np
from jaxtyping import Float

from tod.base import SpecError
from tod.operators import Auxiliary, EntropyBonus, FullVocabulary
from tod.study.population import COPIES, Policies, totals_of
from tod.study.world import Law

Slope = Float[np.ndarray, "C S V"]


def auxiliary_slope(
    auxiliary: Auxiliary, policies: Policies, log_cond: Slope, log_mu: Law
) -> Slope:
    """−∂(auxiliary terms)/∂logits, visiting the states that μ visits, [C, S, V].

    The engine computes these terms with autograd; here they are written out, for the same
    formulas over the whole vocabulary.

    Raises:
        SpecError: A divergence is over fewer symbols than there are.
    """
    slope = np.zeros_like(log_cond)
    if auxiliary.distillation is not None:
        log_teacher = policies.world.language.conditionals(policies.teacher)
        by_state = _visits(auxiliary.distillation, policies, log_mu)
        slope -= by_state * divergence_slope(auxiliary.distillation, log_teacher, log_cond)
    if auxiliary.entropy is not None:
        slope += _visits(auxiliary.entropy, policies, log_mu) * entropy_slope(log_cond)
    return slope


def divergence_slope(term: FullVocabulary, log_p: Slope, log_q: Slope) -> Slope:
    """∂D(P, Q)/∂z of Q = softmax(z), state by state.

    Forward Q − P; reverse Q(log Q/P − KL); JSD (1 − β)Q(log Q/M − KL(Q‖M)), since what depends on
    Q through M cancels. With ``top_k`` all but the teacher's k likeliest symbols are one: P and Q
    of such a symbol are its bucket's, of which it moves its own share.

    Raises:
        SpecError: What is outside the top k is dropped or renormalised away.
    """
    p, q = np.exp(log_p), np.exp(log_q)
    whole_p, whole_q = _buckets(term, p, p), _buckets(term, p, q)
    if term.divergence == "forward_kl":
        gap: Slope = q - whole_p * q / whole_q
        return gap
    log_p, log_q = np.log(whole_p), np.log(whole_q)
    if term.divergence == "reverse_kl":
        return _centred(q, log_q - log_p, q)
    parts = math.log(term.beta) + log_p, math.log1p(-term.beta) + log_q
    return _centred((1.0 - term.beta) * q, log_q - np.logaddexp(*parts), q)


def _buckets(term: FullVocabulary, p: Slope, x: Slope) -> Slope:
    """Mass of every symbol, of those outside the top k by p the sum."""
    if term.top_k is None or term.top_k >= p.shape[-1]:
        return x
    if term.rest != "bucket":
        raise SpecError(
            f"rest = {term.rest!r} of a top_k: no law is aimed at that an audit could compare. "
            "Use `bucket`, or leave top_k out."
        )
    order = np.argsort(-p, axis=-1, kind="stable")
    outside = np.argsort(order, axis=-1) >= term.top_k
    return np.where(outside, (x * outside).sum(axis=-1, keepdims=True), x)


def entropy_slope(log_q: Slope) -> Slope:
    """∂H/∂z = −Q(log Q + H), state by state."""
    return _centred(-np.exp(log_q), log_q, np.exp(log_q))


def _centred(factor: Slope, x: Slope, q: Slope) -> Slope:
    """factor·(x − E_q x)."""
    slope: Slope = factor * (x - (q * x).sum(axis=-1, keepdims=True))
    return slope


def _visits(term: FullVocabulary | EntropyBonus, policies: Policies, log_mu: Law) -> Slope:
    """weight·Σ a_t over the tokens of every state, [C, S, 1]."""
    language, sequences = policies.world.language, policies.sequences
    totals = totals_of(policies, log_mu, COPIES)
    share: Any = term.aggregation.weights(sequences, totals, np.zeros(sequences.total))
    copies = np.repeat(COPIES * np.exp(log_mu), language.sequences.sizes, axis=1)
    by_choice = language.by_choice(copies * share.reshape(copies.shape))
    visits: Slope = term.weight * by_choice.sum(axis=2, keepdims=True)
    return visits
