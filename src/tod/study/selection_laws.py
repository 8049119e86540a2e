"""Exact laws of what is put out at test time, over an enumerated language. No sampling.

K candidates are drawn from μ; each function gives log-probs of the sequence that is put out.
"""

from itertools import product
from math import lgamma

import numpy as np
from jaxtyping import Float, Int

from tod.study.world import Law, normalised

_GRID = 4000
"""Points of the integral over s; it converges like a trapezoid of an analytic function."""


def law_of_best(log_mu: Law, u: Law, size: int) -> Law:
    """F(u)^K − F(u⁻)^K shared out over ties by μ, [C, Y]. Source: order statistics."""
    mu = np.exp(log_mu)
    below = (mu[:, None, :] * (u[:, None, :] < u[:, :, None])).sum(axis=2)
    level = (mu[:, None, :] * (u[:, None, :] == u[:, :, None])).sum(axis=2)
    with np.errstate(divide="ignore"):
        law: Law = np.log(((below + level) ** size - below**size) * mu / level)
    return law


def law_of_resampled(log_mu: Law, log_w: Law, size: int) -> Law:
    """E[w̄] over candidate sets, [C, Y]: K·μ·w·∫₀^∞ e^{−s·w} φ(s)^{K−1} ds, φ(s) = E_μ e^{−s·w}.

    From 1/(w + W) = ∫ e^{−s(w + W)} ds, W the sum of the other K − 1 weights.
    """
    log_w = log_w - log_w.max(axis=1, keepdims=True)
    w = np.exp(log_w)
    x = np.linspace(-40.0, np.log(60.0) - log_w.min(), _GRID)
    decay = np.exp(-np.exp(x)[None, :, None] * w[:, None, :])
    phi = (np.exp(log_mu)[:, None, :] * decay).sum(axis=2)
    weight = np.exp(x) * (x[1] - x[0]) * phi ** (size - 1)
    inner = (weight[:, :, None] * decay).sum(axis=1)
    return normalised(np.log(size * inner) + log_mu + log_w)


def law_of_accepted(log_mu: Law, log_w: Law, log_bound: float) -> Law:
    """∝ μ·min(w, M) for every K, given that one was accepted; q* if M bounds w, [C, Y]."""
    return normalised(log_mu + np.minimum(log_w, log_bound))


def law_of_majority(log_mu: Law, answers: Int[np.ndarray, " Y"], size: int) -> Law:
    """P(a wins)·μ(y|a) by every count of answers, ties shared, [C, Y].

    The first candidate with the winning answer is a draw of μ(·|a), whatever the counts.
    """
    mu = np.exp(log_mu)
    count = int(answers.max()) + 1
    mass = np.stack([mu[:, answers == a].sum(axis=1) for a in range(count)], axis=1)
    won = np.zeros_like(mass)
    for head in product(range(size + 1), repeat=count - 1):
        last = size - sum(head)
        if last < 0:
            continue
        votes = np.array([*head, last])
        log_ways = lgamma(size + 1) - sum(lgamma(n + 1) for n in votes)
        chance = np.exp(log_ways + (votes * np.log(mass)).sum(axis=1))
        top = votes == votes.max()
        won += chance[:, None] * top / top.sum()
    with np.errstate(divide="ignore"):
        law: Law = np.log(won[:, answers] * mu / mass[:, answers])
    return law


def mode_of_answers(log_p: Law, log_mu: Law, answers: Int[np.ndarray, " Y"]) -> Law:
    """μ(·|a) of the answer of the largest mass under p: where votes go as K → ∞, [C, Y]."""
    p = np.exp(log_p)
    mass = np.stack([p[:, answers == a].sum(axis=1) for a in range(int(answers.max()) + 1)], axis=1)
    kept = mass.argmax(axis=1)[:, None] == answers
    return normalised(np.where(kept, log_mu, -np.inf))


def all_on(score: Float[np.ndarray, "C Y"], log_mu: Law) -> Law:
    """μ given the largest score: where the best by a score goes as K → ∞, [C, Y]."""
    top = np.isclose(score, score.max(axis=1, keepdims=True), rtol=0, atol=1e-12)
    return normalised(np.where(top, log_mu, -np.inf))
