"""Two anchors as knobs: sharpness 1/(τ+β) and the reference's share β/(τ+β), moved one at a time.

The target of one update is π_old^{τ/s} π_ref^{β/s} e^{r/s} with s = τ + β (two-anchor algebra:
the optimiser of E r − τ KL(π‖π_old) − β KL(π‖π_ref)).
"""

from math import isfinite

from tod.base import SpecError


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
    """
    s = _total(tau, beta)
    if not factor >= 0:
        raise SpecError(f"factor = {factor}: the reference's weight is multiplied by it; give > 0.")
    heavier = min(s, factor * beta)
    return s - heavier, heavier


def _total(tau: float, beta: float) -> float:
    s = tau + beta
    if not (tau >= 0 and beta >= 0 and s > 0 and isfinite(s)):
        raise SpecError(
            f"tau = {tau}, beta = {beta}: both must be finite, at least 0, and not both 0 "
            "(their sum is 1/sharpness). Give at least one a positive value."
        )
    return s
