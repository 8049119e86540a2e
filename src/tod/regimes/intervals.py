"""The verdict as a function of sharpness: what can be said when the target was only assumed."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
from jaxtyping import Float

from tod.base import Array, Groups, SpecError, to_numpy
from tod.diagnostics import Summary, measure
from tod.regimes.classify import classify
from tod.regimes.regime import EtaInterval, Verdict
from tod.regimes.thresholds import Thresholds


def verdict_by_eta(
    log_w0: Float[Array, " N"] | None,
    tilt_unit: Float[Array, " N"],
    contexts: Groups,
    etas: Sequence[float],
    *,
    thresholds: Thresholds | None = None,
    log_r: Float[Array, " N"] | None = None,
    base: Summary | None = None,
    assumed_target: bool = True,
) -> tuple[EtaInterval, ...]:
    """Intervals of η over which the verdict is the same, with boundaries to a thousandth of a step.

    Args:
        log_w0: log b − log μ, [N], nats; 0 (b = μ) if None.
        tilt_unit: Utility at η = 1, [N]. Contexts in which it is constant are blind at every η.
        contexts: Candidates in contexts.
        etas: Increasing grid, at least two values; intervals narrower than a cell may be missed.
        thresholds: Bounds; the provisional defaults if None.
        log_r: log π − log μ, for the legs that read the policy.
        base: Summary whose legs, coverage, drift and activation hold at every η.
        assumed_target: Whether to cap at ``transition`` because the target was assumed.

    Raises:
        SpecError: The grid is not increasing, or shorter than two.
    """
    grid = [float(eta) for eta in etas]
    if len(grid) < 2 or any(not a < b for a, b in pairwise(grid)):
        raise SpecError(f"etas = {grid}: intervals need an increasing grid of at least two values.")
    unit = to_numpy(tilt_unit).astype(np.float64)
    start = np.zeros_like(unit) if log_w0 is None else to_numpy(log_w0).astype(np.float64)

    def verdict(eta: float) -> Verdict:
        found = measure(start + _times(eta, unit), unit, contexts, log_r=log_r).summary()
        seen = found if base is None else _completed(found, base)
        return classify(seen, thresholds, assumed_target=assumed_target).verdict

    verdicts = [verdict(eta) for eta in grid]
    edges = [grid[0]]
    names = [verdicts[0]]
    for (low, high), (before, after) in zip(pairwise(grid), pairwise(verdicts), strict=True):
        if before != after:
            for _ in range(10):
                middle = (low + high) / 2
                low, high = (middle, high) if verdict(middle) == before else (low, middle)
            edges.append(high)
            names.append(after)
    ends = [*edges[1:], grid[-1]]
    return tuple(EtaInterval((a, b), v) for a, b, v in zip(edges, ends, names, strict=True))


def _times(eta: float, unit: Float[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
    """η·U, with −∞ (outside the support) kept at η = 0."""
    return np.where(unit == -np.inf, unit, eta * np.where(unit == -np.inf, 0.0, unit))


def _completed(found: Summary, base: Summary) -> Summary:
    """What depends on η from ``found``, the rest from ``base``."""
    measured = {
        name: getattr(found.overlap, name)
        for name in ("policy_proposal", "target_policy")
        if getattr(found.overlap, name) is not None
    }
    on_policy = "policy_proposal" in base.overlap.declared
    overlap = replace(
        found.overlap,
        policy_proposal=measured.get("policy_proposal", base.overlap.policy_proposal),
        target_policy=measured.get(
            "target_policy", found.overlap.target_proposal if on_policy else None
        ),
        declared=base.overlap.declared,
        not_applicable=base.overlap.not_applicable,
    )
    counts = replace(base.contexts, informative=found.contexts.informative)
    return replace(base, contexts=counts, ess_rel=found.ess_rel, tails=found.tails, overlap=overlap)
