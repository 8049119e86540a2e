"""The knobs as values: sharpness, and the reference's share of two anchors.

Knobs are plain dictionaries, ``{"eta"}``, ``{"tau", "beta"}`` or all three. Sharpness is eta where
there is one, else 1/(τ+β). The target of one update with two anchors, the optimiser of
E r − τ KL(π‖π_old) − β KL(π‖π_ref), is π_old^{τ/s} π_ref^{β/s} e^{r/s} with s = τ + β: sharpness
1/s and the reference's share β/s are moved one at a time.
"""

from math import exp, isclose, isfinite

from tod.base import SpecError

Values = dict[str, float]


def scale_anchors(tau: float, beta: float, total: float) -> tuple[float, float]:
    """τ, β rescaled to the sum ``total`` at fixed τ:β, so that b_{τ,β} stays exactly the same.

    >>> [round(value, 10) for value in scale_anchors(0.3, 0.1, 0.8)]
    [0.6, 0.2]

    Raises:
        SpecError: A negative coefficient, or a sum that is not positive and finite.
    """
    s = _total(tau, beta)
    if not (isfinite(total) and total > 0):
        raise SpecError(f"tau + beta = {total}: sharpness 1/(tau + beta) needs a positive sum.")
    factor = total / s
    return tau * factor, beta * factor


def weigh_reference(tau: float, beta: float, factor: float) -> tuple[float, float]:
    """β times ``factor``, at most τ+β, with τ giving way: β' = min(s, kβ), τ' = s − β'.

    Sharpness stays; the geometric anchor moves toward the reference (factor > 1) or back.

    Raises:
        SpecError: A negative coefficient or factor, or a sum that is not positive.

    Source: TOD framework, section 6 (equation reference-share)
    """
    s = _total(tau, beta)
    if not factor >= 0:
        raise SpecError(f"factor = {factor}: the reference's weight is multiplied by it; give > 0.")
    heavier = min(s, factor * beta)
    return s - heavier, heavier


def sharpness(knobs: Values) -> float:
    """Eta, or 1/(tau+beta)."""
    return knobs["eta"] if "eta" in knobs else 1.0 / (knobs["tau"] + knobs["beta"])


def with_sharpness(knobs: Values, value: float) -> Values:
    """The same anchor at another sharpness; τ:β unchanged."""
    if "eta" in knobs:
        return {**knobs, "eta": value}
    tau, beta = scale_anchors(knobs["tau"], knobs["beta"], 1.0 / value)
    return {**knobs, "tau": tau, "beta": beta}


def reference_share(knobs: Values) -> float | None:
    """β/(τ+β), in [0, 1]; None without anchors."""
    if "beta" not in knobs:
        return None
    return knobs["beta"] / (knobs["tau"] + knobs["beta"])


def heavier_reference(knobs: Values, log_factor: float) -> Values:
    """β times exp(log_factor), at most all of τ+β, at the same sharpness."""
    tau, beta = weigh_reference(knobs["tau"], knobs["beta"], exp(log_factor))
    return {**knobs, "tau": tau, "beta": beta}


def toward_share(knobs: Values, goal: Values, log_limit: float) -> Values:
    """β one bounded step back to the goal's share, at the same sharpness; exact on arrival."""
    share, wanted = reference_share(knobs), reference_share(goal)
    if share is None or wanted is None or isclose(share, wanted, rel_tol=1e-9):
        return knobs
    total = knobs["tau"] + knobs["beta"]
    lower, upper = share * exp(-log_limit), share * exp(log_limit)
    if lower <= wanted <= upper:
        if "eta" in knobs or sharpness(knobs) == sharpness(goal):
            return {**knobs, "tau": goal["tau"], "beta": goal["beta"]}
        tau, beta = scale_anchors(goal["tau"], goal["beta"], total)
        return {**knobs, "tau": tau, "beta": beta}
    beta = total * (lower if wanted < lower else upper)
    return {**knobs, "tau": total - beta, "beta": beta}


def _total(tau: float, beta: float) -> float:
    s = tau + beta
    if not (tau >= 0 and beta >= 0 and s > 0 and isfinite(s)):
        raise SpecError(
            f"tau = {tau}, beta = {beta}: both must be finite, at least 0, and not both 0 "
            "(their sum is 1/sharpness). Give at least one a positive value."
        )
    return s
