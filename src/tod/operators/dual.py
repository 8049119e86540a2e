"""Sharpness from a KL budget: the temperature dual of REPS and MPO."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from tod.base import Array, Groups, SpecError, to_numpy
from tod.base.roots import falling_roots


@dataclass(frozen=True)
class KLBudget:
    """One sharpness for all contexts that spends the budget exactly.

    Attributes:
        eta: Sharpness; ∞ where no finite one spends the budget.
        temperature: T = 1/η.
        dual: g(T) = Tε + T·mean_c[LSE(ω₀ + U/T) − LSE(ω₀)], at its minimum over T > 0.
    """

    eta: float
    temperature: float
    dual: float


def kl_budget(
    utility: Float[Array, " N"],
    contexts: Groups,
    budget: float,
    *,
    log_w0: Float[Array, " N"] | None = None,
) -> KLBudget:
    """The η with mean over contexts of KL(softmax(ω₀+ηU) ‖ softmax ω₀) = budget.

    The dual is convex and its stationarity is that equation; the left side rises with η because
    ∂KL/∂η = η Var_w̄(U) ≥ 0. With ω₀ = 0, softmax ω₀ is uniform and a budget ε is a perplexity
    target e^{−ε}. A root exists iff the budget is below the mean of −log(base mass of the ties at
    max U); else T → 0, η = ∞ and the dual is mean max U.
    Sources: Peters et al. 2010 (REPS); Abdolmaleki et al., arXiv 1806.06920, section 4.2.

    Args:
        utility: U, [N], finite.
        contexts: Candidates in contexts.
        budget: ε > 0, nats.
        log_w0: log b − log μ, [N], nats; 0 if None.

    Raises:
        SpecError: The budget is not positive, or values are not finite.
    """
    if not budget > 0:
        raise SpecError(f"budget = {budget}: a KL budget in nats is positive. 0.1 is usual.")
    groups: Any = contexts  # its reductions of numpy arrays are numpy arrays
    u = to_numpy(utility).astype(np.float64)
    base = np.zeros_like(u) if log_w0 is None else to_numpy(log_w0).astype(np.float64)
    if not bool(np.isfinite(u).all() and (base < np.inf).all()):
        raise SpecError("the KL dual needs finite utilities and log-weights below +inf.")
    top = groups.max(np.where(base > -np.inf, u, -np.inf))
    if not bool(np.isfinite(top).all()):
        raise SpecError("a context has no candidate inside the support: drop it before the dual.")
    depth = u - groups.spread(top)
    log_base = base - groups.spread(groups.logsumexp(base))
    ties = groups.logsumexp(np.where(depth == 0, log_base, -np.inf))
    if budget >= -float(np.mean(ties)):
        return KLBudget(np.inf, 0.0, float(np.mean(top)))
    spread = -groups.min(np.where(base > -np.inf, depth, 0.0))
    guess = np.array([1.0 / np.median(spread[spread > 0])])
    eta = float(falling_roots(lambda x: _left(depth, log_base, contexts, budget, x), guess)[0])
    shift = groups.logsumexp(log_base + eta * depth) + eta * top
    return KLBudget(eta, 1 / eta, (budget + float(np.mean(shift))) / eta)


def _left(depth: Any, log_base: Any, contexts: Any, budget: float, eta: Any) -> tuple[Any, Any]:
    """Budget left at η, and its slope −mean η Var_w̄(U)."""
    tilted = log_base + eta * depth
    log_z = contexts.logsumexp(tilted)
    weight = np.exp(tilted - contexts.spread(log_z))
    level = np.where(weight > 0, depth, 0.0)
    mean = contexts.sum(weight * level)
    variance = contexts.sum(weight * (level - contexts.spread(mean)) ** 2)
    spent = np.mean(eta * mean - log_z)
    return np.array([budget - spent]), -eta * np.mean(variance)
