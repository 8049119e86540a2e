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
    Q through M cancels.

    Raises:
        SpecError: Only some of the vocabulary is compared.
    """
    size = log_q.shape[-1]
    if term.top_k is not None and term.top_k < size:
        raise SpecError(
            f"top_k = {term.top_k} of {size} symbols: the audit compares whole vocabularies. "
            "Leave top_k out, or audit a larger one."
        )
    q = np.exp(log_q)
    if term.divergence == "forward_kl":
        gap: Slope = q - np.exp(log_p)
        return gap
    if term.divergence == "reverse_kl":
        return _centred(q, log_q - log_p, q)
    parts = math.log(term.beta) + log_p, math.log1p(-term.beta) + log_q
    return _centred((1.0 - term.beta) * q, log_q - np.logaddexp(*parts), q)


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
