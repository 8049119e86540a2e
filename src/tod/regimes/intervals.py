"""The verdict as a function of sharpness: what could be said, were the target declared."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float, Int

from tod.base import Array, Groups, SpecError, to_numpy
from tod.diagnostics import Summary
from tod.procedure import measured_at
from tod.regimes.classify import classify
from tod.regimes.regime import ORDER, EtaInterval, Verdict
from tod.regimes.thresholds import Thresholds

__all__ = ["capped", "verdict_by_eta"]


def verdict_by_eta(
    log_w0: Float[Array, " N"] | None,
    tilt_unit: Float[Array, " N"],
    contexts: Groups,
    etas: Sequence[float],
    *,
    thresholds: Thresholds | None = None,
    log_r: Float[Array, " N"] | None = None,
    base: Summary | None = None,
    steps: Int[np.ndarray, " C"] | None = None,
) -> tuple[EtaInterval, ...]:
    """Intervals of η over which the verdict is the same, with boundaries to a thousandth of a step.

    Each is the verdict of the target declared at that η: with ``base`` and ``steps`` of what was
    judged, the one at the η in force is the verdict itself, apart from the cap of an assumed one.

    Args:
        log_w0: log b − log μ, [N], nats; 0 (b = μ) if None.
        tilt_unit: Utility at η = 1, [N]. Contexts in which it is constant are blind at every η.
        contexts: Candidates in contexts.
        etas: Increasing grid, at least two values; intervals narrower than a cell may be missed.
        thresholds: Bounds; the provisional defaults if None.
        log_r: log π − log μ, for the legs that read the policy.
        base: The summary that was judged, whose counts, policy/proposal leg, coverage, drift and
            activation hold at every η.
        steps: Step of every context, where the verdict is that of a run: its target/proposal leg
            is then the mean over steps of their medians, on the bands of step-means.

    Raises:
        SpecError: The grid is not increasing, or shorter than two.
    """
    grid = [float(eta) for eta in etas]
    if len(grid) < 2 or any(not a < b for a, b in pairwise(grid)):
        raise SpecError(f"etas = {grid}: intervals need an increasing grid of at least two values.")
    unit = to_numpy(tilt_unit).astype(np.float64)
    start = None if log_w0 is None else to_numpy(log_w0).astype(np.float64)

    def verdict(eta: float) -> Verdict:
        measured = measured_at(start, unit, contexts, eta, log_r)
        found = measured.summary()
        seen = found if base is None else _completed(found, base)
        if steps is None:
            return classify(seen, thresholds).verdict
        leg = _mean_of_medians(measured.ess_rel, steps, measured.compared)
        overlap = replace(seen.overlap, target_proposal=leg)
        return classify(replace(seen, overlap=overlap), thresholds, band="ess_two").verdict

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


def capped(parts: Sequence[EtaInterval], cap: Verdict) -> tuple[EtaInterval, ...]:
    """The same with no verdict better than ``cap``; neighbours that become equal are joined."""
    joined: list[EtaInterval] = []
    for part in parts:
        verdict, start = max(part.verdict, cap, key=ORDER.index), part.eta[0]
        if joined and joined[-1].verdict == verdict:
            start = joined.pop().eta[0]
        joined.append(EtaInterval((start, part.eta[1]), verdict))
    return tuple(joined)


def _mean_of_medians(
    x: Float[np.ndarray, " C"], steps: Int[np.ndarray, " C"], keep: Bool[np.ndarray, " C"]
) -> float | None:
    """Mean over steps of the median over their kept contexts; None without any."""
    if not keep.any():
        return None
    x, steps = x[keep], steps[keep]
    order = np.lexsort((x, steps))
    _, first, count = np.unique(steps[order], return_index=True, return_counts=True)
    return float(x[order][first + (count + 1) // 2 - 1].mean())


def _completed(found: Summary, base: Summary) -> Summary:
    """What depends on η from ``found``, the rest from ``base``."""
    policy, both = base.overlap.policy_proposal, found.overlap.target_policy
    if both is None and "policy_proposal" in base.overlap.declared:
        both = found.overlap.target_proposal
    overlap = replace(
        found.overlap,
        policy_proposal=found.overlap.policy_proposal if policy is None else policy,
        target_policy=both,
        declared=base.overlap.declared,
        not_applicable=base.overlap.not_applicable,
        contexts=base.overlap.contexts,
    )
    return replace(base, ess_rel=found.ess_rel, tails=found.tails, overlap=overlap)
