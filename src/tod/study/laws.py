"""Laws that operators really aim at, in closed form: what the audit's wrong answers should be.

All are over enumerated sequences, log-probs in nats, [C, Y]. U is the utility, b the anchor.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float

from tod.study.language import Language
from tod.study.world import Law, normalised

Sharpness = float | Float[np.ndarray, " C"]


def tilted(log_b: Law, eta: Sharpness, u: Law) -> Law:
    """b·exp(ηU), one η for all contexts or one for each."""
    return normalised(log_b + np.reshape(np.asarray(eta), (-1, 1)) * u)


def weighted(log_mu: Law, log_weight: Law) -> Law:
    """μ·w: where weighted likelihood goes when nothing divides μ out."""
    return normalised(log_mu + log_weight)


def token_exponential(language: Language, log_b: Law, eta: Sharpness, u: Law) -> Law:
    """π(v|s) ∝ b(v|s)·exp(ηQ(s, v)), Q(s, v) = E_π[U | s, v], from the last token backwards.

    The fixed point of a utility with the KL *in the loss*, term by term (k2, or k3 with the
    importance ratio): a token's KL term is not credited for the tokens before it, so that the
    soft value log E e^{ηU} of q* is replaced by the plain mean. With one token it is b·exp(ηU).
    """
    return _backwards(language, log_b, eta, u, lambda log_p, x: log_p + x)


def token_rational(language: Language, log_b: Law, eta: Sharpness, u: Law) -> Law:
    """π(v|s) = b(v|s)/(1 − η(Q(s, v) − V(s))), V = E_π Q: the fixed point of k3 in the loss.

    Its gradient is that of KL(b‖π), so the tilt is rational. With one token it is
    b/(1 − η(U − Ū_q)).
    """
    return _backwards(language, log_b, eta, u, _rational)


def standardised_sharpness(
    law: Callable[[Float[np.ndarray, " C"]], Law], eta: float, u: Law
) -> Float[np.ndarray, " C"] | None:
    """The sharpness s of every context with s·σ = η, σ the deviation of U under ``law(s)``.

    A z-scored advantage beside a separate KL divides the utility by a σ that shrinks as the law
    sharpens: b·exp(ηU/σ_q), self-consistently. The smallest root is taken, which is the one that
    is reached from b; None where some context has none and sharpens without bound.
    """

    def excess(s: Float[np.ndarray, " C"]) -> Float[np.ndarray, " C"]:
        p = np.exp(law(s))
        mean = (p * u).sum(axis=1, keepdims=True)
        return s * np.sqrt((p * (u - mean) ** 2).sum(axis=1)) - eta  # type: ignore[no-any-return]

    grid = np.geomspace(0.05, 60.0, 400)
    values = np.array([excess(np.full(len(u), s)) for s in grid])
    crossed = (values > 0).argmax(axis=0)
    if not bool((values > 0).any(axis=0).all()):
        return None
    low, high = grid[np.maximum(crossed - 1, 0)], grid[crossed]
    for _ in range(50):
        middle = 0.5 * (low + high)
        above = excess(middle) > 0
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    return 0.5 * (low + high)  # type: ignore[no-any-return]


def squared_choices(log_b: Law, log_mu: Law, beta: float, u: Law, scale: float) -> Law:
    """b·exp(f), f(y) = E_{y'~μ} tanh((U(y) − U(y'))/2s)/(2β): the fixed point of IPO on choices.

    The regression of ±1/(2β) on pairs fits the mean label 2σ(ΔU/s) − 1, not its log-odds; over
    product weights its least-squares solution is the mean over partners.
    """
    gap = u[:, :, None] - u[:, None, :]
    fitted = (np.tanh(0.5 * gap / scale) * np.exp(log_mu)[:, None, :]).sum(axis=2)
    return normalised(log_b + fitted / (2.0 * beta))


def _backwards(
    language: Language,
    log_b: Law,
    eta: Sharpness,
    u: Law,
    update: Callable[[Any, Any], Any],
) -> Law:
    """One sweep a depth; after the n-th the last n tokens of every sequence are right."""
    base = language.conditionals(log_b)
    scale = np.reshape(np.asarray(eta), (-1, 1, 1))
    log_cond = base
    for _ in range(language.length):
        p = np.exp(language.of_sequences(language.of_tokens(log_cond)))
        by_token = language.sequences.sizes
        mass = language.by_choice(np.repeat(p, by_token, axis=1))
        value = language.by_choice(np.repeat(p * u, by_token, axis=1)) / mass
        log_cond = normalised(update(base, scale * value))
    return language.of_sequences(language.of_tokens(log_cond))


def _rational(log_b: Any, x: Any) -> Any:
    """Log of b/(λ − x) with Σ = 1: then λ = 1 + E x. λ > max x by bisection on λ − max x."""
    b, top = np.exp(log_b), x.max(axis=-1, keepdims=True)
    low, high = np.zeros_like(top), np.ones_like(top) + top - x.min(axis=-1, keepdims=True)
    for _ in range(80):
        middle = 0.5 * (low + high)
        above = (b / (middle + top - x)).sum(axis=-1, keepdims=True) > 1.0
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return log_b - np.log(0.5 * (low + high) + top - x)
