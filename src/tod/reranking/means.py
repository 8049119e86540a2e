"""Means over prompts with their standard errors."""

from typing import Any

import numpy as np
from jaxtyping import Float

from tod.diagnostics.student import critical_t


def errors_95(contexts: int) -> float:
    """Standard errors on either side of a 95 % interval, by Student's t; 12.7 of two contexts."""
    return critical_t(0.05, contexts - 1)


def mean_over_contexts(
    total: Float[np.ndarray, " C"], weight: Float[np.ndarray, " C"] | None = None
) -> dict[str, Any]:
    """Σ total/Σ weight with its standard error, contexts being the clusters.

    se² = C/(C−1)·Σ_c (total_c − mean·weight_c)² / (Σ weight)². Without weights the ordinary mean.
    The interval is Student's. None where nothing was weighed; the error is None below two contexts.
    """
    weight = np.ones(len(total)) if weight is None else weight
    mass, n = float(weight.sum()), len(total)
    if mass == 0:
        return {"value": None, "se": None, "ci95": None}
    mean = float(total.sum()) / mass
    if n < 2:
        return {"value": mean, "se": None, "ci95": None}
    off = total - mean * weight
    error = float(np.sqrt(n / (n - 1) * np.sum(off * off))) / mass
    half = errors_95(n) * error
    return {"value": mean, "se": error, "ci95": [mean - half, mean + half]}


def named(
    name: str,
    total: Float[np.ndarray, " C"] | None,
    weight: Float[np.ndarray, " C"] | None = None,
    *,
    within: bool = False,
) -> dict[str, Any]:
    """The keys of a mean over contexts under a name; all None where it is not known.

    ``within``: whether it lies within [0, 1], at which its interval then ends.
    """
    mean = {} if total is None else mean_over_contexts(total, weight)
    if within and mean.get("ci95") is not None:
        mean["ci95"] = [min(max(end, 0.0), 1.0) for end in mean["ci95"]]
    keys = {name: "value", f"{name}_se": "se", f"{name}_ci95": "ci95"}
    return {key: mean.get(part) for key, part in keys.items()}
