"""Missed modes: what self-normalised weights cannot see, and what can.

Weights are normalised on the candidates that were drawn, so a region that μ never proposes leaves
no trace in them. The mean of π/μ, target samples, passes and answer clusters do leave one.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from tod.base import Array, DataError, Groups, namespace, to_numpy
from tod.diagnostics.ess import ess_of_sums, weights

__all__ = ["mean_rho", "reverse_ess"]

ROUNDING = 1e-9
"""Relative error of ρ below which all are the same: sums of 10⁶ nats hold 2·10⁻¹⁰ in float64."""
FEWEST = 100
"""Effective candidates (Σρ)²/Σρ² below which z of mean ρ alarms falsely too often."""


@dataclass(frozen=True)
class MeanRho:
    """Mean of ρ = π/μ over all candidates; π and μ are normalised, so it should be 1.

    Attributes:
        value: (1/n) Σ e^r, expectation π(supp μ).
        z: (value − 1)/se with se clustered by context; None under two contexts or when
            ``effective`` < 100; ±∞ where ρ is the same everywhere and not 1: no error to compare
            with. Below −3: μ misses part of π. Above 3: the log-probs are wrong.
        effective: (Σρ)²/Σρ² over the batch.
        share: effective/n, how even ρ is: 1 where it is the same for all.
    """

    value: float
    z: float | None
    effective: float
    share: float


@dataclass(frozen=True, eq=False)
class RhoSums:
    """Σρ and Σρ² of every context, [C], as far as ``mean_rho`` reads them; parts may be joined.

    Attributes:
        largest: The largest r, nats; NaN or +∞ where the log-probs are of no use, −∞ where π
            gives no candidate anything.
        total: Σ exp(r − largest).
        squares: Σ exp(2(r − largest)).
        k: Candidates.
    """

    largest: Float[np.ndarray, " C"]
    total: Float[np.ndarray, " C"]
    squares: Float[np.ndarray, " C"]
    k: Int[np.ndarray, " C"]

    @classmethod
    def of(cls, log_r: Float[Array, " N"], contexts: Groups) -> "RhoSums":
        """Of all contexts."""
        r: Any = to_numpy(log_r).astype(np.float64)
        largest: Any = contexts.max(r)
        shift = np.where(np.isfinite(largest), largest, 0.0)
        with np.errstate(over="ignore", invalid="ignore"):
            e = np.exp(r - contexts.spread(shift))
            total: Any = contexts.sum(e)
            squares: Any = contexts.sum(e * e)
        return cls(largest, total, squares, contexts.sizes)

    @classmethod
    def join(cls, batches: Sequence["RhoSums"]) -> "RhoSums | None":
        """Of all contexts of several batches; None of none."""
        columns = zip(*(batch.columns for batch in batches), strict=True)
        return cls(*map(np.concatenate, columns)) if batches else None

    def take(self, places: Any) -> "RhoSums":
        """Some contexts."""
        return RhoSums(*(x[places] for x in self.columns))

    @property
    def columns(self) -> tuple[Any, Any, Any, Any]:
        """The four, in order."""
        return self.largest, self.total, self.squares, self.k


def mean_rho(log_r: Float[Array, " N"], contexts: Groups) -> MeanRho:
    """Mean of π/μ with its clustered z; silent (value 1, z 0) when π = μ.

    Args:
        log_r: log π − log μ, nats, both normalised; −∞ where π forbids the candidate.
        contexts: Candidates in contexts; the clusters of the standard error.

    Raises:
        DataError: log_r holds NaN or +∞, or is −∞ throughout.

    Source: derived: π and μ are normalised (equation mean-rho)
    """
    return mean_rho_of(RhoSums.of(log_r, contexts))


@dataclass(frozen=True)
class RhoTotals:
    """What mean ρ needs of any number of contexts; ``a + b`` is that of the contexts of both.

    Sums are of ρ·e^(−top); deviations are from the mean of these contexts, so that adding loses
    nothing where ρ is nearly the same everywhere (Chan, Golub and LeVeque 1979).

    Attributes:
        top: Largest log ρ, nats; −∞ where π gives no candidate anything.
        contexts: Their number C.
        candidates: Σ K_c.
        candidates_squared: Σ K_c².
        total: Σ_c S_c, S_c = Σ_i ρ_i.
        squares: Σ ρ_i².
        deviation: Σ_c (S_c − K_c m)², m the mean of ρ.
        slope: Σ_c K_c (S_c − K_c m); 0 where all K are equal.
    """

    top: float
    contexts: int
    candidates: int
    candidates_squared: float
    total: float
    squares: float
    deviation: float
    slope: float

    @classmethod
    def of(cls, sums: RhoSums) -> "RhoTotals":
        """Of some contexts, none of them with NaN or +∞."""
        top = float(np.max(sums.largest, initial=-math.inf))
        none = not math.isfinite(top)
        scale = np.zeros(len(sums.k)) if none else np.exp(sums.largest - top)
        scaled, n = sums.total * scale, int(sums.k.sum())
        total = float(scaled.sum())
        off = scaled - sums.k * (total / n if n else 0.0)
        return cls(
            top,
            len(sums.k),
            n,
            float(np.sum(sums.k.astype(np.float64) ** 2)),
            total,
            float(np.sum(sums.squares * scale * scale)),
            float(np.sum(off * off)),
            float(np.sum(sums.k * off)),
        )

    def __add__(self, other: "RhoTotals") -> "RhoTotals":
        """Of the contexts of both."""
        top = max(self.top, other.top)
        a, b = self._scaled(top), other._scaled(top)
        n = a.candidates + b.candidates
        total = a.total + b.total
        mean = total / n if n else 0.0
        (q1, r1), (q2, r2) = a._about(mean), b._about(mean)
        return RhoTotals(
            top,
            a.contexts + b.contexts,
            n,
            a.candidates_squared + b.candidates_squared,
            total,
            a.squares + b.squares,
            q1 + q2,
            r1 + r2,
        )

    def _scaled(self, top: float) -> "RhoTotals":
        """The same in units of another e^top."""
        scale = math.exp(self.top - top) if math.isfinite(self.top) else 0.0
        return replace(
            self,
            total=self.total * scale,
            squares=self.squares * scale * scale,
            deviation=self.deviation * scale * scale,
            slope=self.slope * scale,
        )

    def _about(self, mean: float) -> tuple[float, float]:
        """Deviation and slope about another mean."""
        apart = (self.total / self.candidates if self.candidates else 0.0) - mean
        slope = self.slope + apart * self.candidates_squared
        return self.deviation + apart * (self.slope + slope), slope

    def mean_rho(self) -> MeanRho:
        """Mean of ρ, its z clustered by context, and the effective candidates.

        Raises:
            DataError: All log ρ are −∞, or there are none.
        """
        if not math.isfinite(self.top):
            raise DataError(f"the largest log π − log μ is {self.top}: leave invalid prompts out.")
        mean = self.total / self.candidates
        effective = ess_of_sums(self.total, self.squares)
        share = min(1.0, effective / self.candidates)  # rounding
        value = mean * math.exp(self.top) if self.top < 700 else math.inf
        if self.contexts < 2 or effective < FEWEST:
            return MeanRho(value, None, effective, share)
        clustered = self.contexts / (self.contexts - 1) * self.deviation
        error = math.sqrt(clustered) / self.candidates
        gap = mean - math.exp(-self.top)
        rounding = ROUNDING * mean
        if error <= rounding:
            same = abs(gap) <= rounding
            z = 0.0 if same else math.copysign(math.inf, gap)
            return MeanRho(value, z, effective, share)
        return MeanRho(value, gap / error, effective, share)


def mean_rho_of(sums: RhoSums) -> MeanRho:
    """``mean_rho`` from the sums of the contexts.

    Raises:
        DataError: Some context's log-probs are of no use, or all are −∞.
    """
    top = float(np.max(sums.largest, initial=-math.inf))
    if not math.isfinite(top):
        raise DataError(f"the largest log π − log μ is {top}: leave invalid prompts out first.")
    return RhoTotals.of(sums).mean_rho()


def usable(sums: RhoSums) -> RhoSums:
    """Those contexts whose log-probs can be used: neither NaN nor +∞.

    All −∞ stays: π gives those candidates nothing.
    """
    fit = sums.largest < np.inf
    return sums if fit.all() else sums.take(fit)


def usable_mean_rho(sums: RhoSums) -> MeanRho | None:
    """``mean_rho`` over the contexts whose log-probs are usable; None when there are none."""
    fit = usable(sums)
    return mean_rho_of(fit) if np.isfinite(fit.largest).any() else None


def reverse_ess(
    log_w: Float[Array, " N"],
    contexts: Groups,
    log_w_target: Float[Array, " M"],
    target_contexts: Groups,
) -> Float[Array, " C"]:
    """exp(LSE ω(y) − ln K − LSE ω(z) + ln m) → 1/(1+χ²(q*‖μ)), from target samples z ~ q*.

    Not censored by K; may exceed 1. Needs log μ(z); both log-weights share one constant. Far below
    the forward ESS_rel: modes that μ never proposes. Pool contexts with ``harmonic_mean``.

    Args:
        log_w: ω of the candidates, y ~ μ.
        contexts: Candidates in contexts.
        log_w_target: ω of the target samples.
        target_contexts: Target samples in the same contexts, in the same order.

    Source: derived: 1/(1+χ²(q*‖μ)) (equation reverse-ess)
    """
    if len(contexts) != len(target_contexts):
        raise DataError(
            f"{len(target_contexts)} prompts of target samples for {len(contexts)} prompts of "
            "rollouts: select the prompts that have both."
        )
    forward, back = contexts.logsumexp(log_w), target_contexts.logsumexp(log_w_target)
    scale = target_contexts.sizes_like(log_w) / contexts.sizes_like(log_w)
    return namespace(log_w).exp(forward - back) * scale  # type: ignore[no-any-return]


def pass_at_k(
    drawn: Int[np.ndarray, " C"], passed: Int[np.ndarray, " C"], k: int
) -> Float[np.ndarray, " C"]:
    """Unbiased pass@k = 1 − C(n−c, k)/C(n, k) per context (arXiv 2107.03374, eq. 1).

    >>> pass_at_k(np.array([10]), np.array([3]), 4).round(10).tolist()
    [0.8333333333]

    Raises:
        DataError: k exceeds the number of draws of a context.

    Source: Chen et al. 2021, 2107.03374 (equation pass-at-k)
    """
    n, c = np.asarray(drawn, dtype=np.float64), np.asarray(passed, dtype=np.float64)
    if k < 1 or bool((n < k).any()):
        raise DataError(f"pass@{k} needs at least {k} draws per prompt and k ≥ 1.")
    missed = np.ones_like(n)
    for j in range(k):
        missed *= np.maximum(n - c - j, 0) / (n - j)
    return 1 - missed


def missing_mass(
    log_w: Float[Array, " N"], answers: Int[np.ndarray, " N"], contexts: Groups
) -> Float[np.ndarray, " C"]:
    """Weighted Good–Turing: Σ w̄_i over candidates whose answer was seen once, in [0, 1].

    Its expectation is about the q*-mass not drawn yet, Σ q*(y)(1−μ(y))^(K−1). With log_w = 0 it is
    Good and Turing's own estimate of μ's missing mass. Cluster by answer: on free text every
    candidate is seen once and it says nothing. NaN for invalid contexts.

    Source: Good 1953, weighted (equation missing-mass)
    """
    codes = np.unique(np.asarray(answers), return_inverse=True)[1].astype(np.int64)
    span = int(codes.max(initial=0)) + 1
    _, where, count = np.unique(
        contexts.owner * span + codes, return_inverse=True, return_counts=True
    )
    once = (count[where] == 1).astype(np.float64)
    return contexts.sum(to_numpy(weights(log_w, contexts)) * once)  # type: ignore[return-value]


def expected_coverage(
    mass: Float[np.ndarray, " *n"], draws: Int[np.ndarray, "..."]
) -> Float[np.ndarray, " *n"]:
    """P(some y_i ∈ S) = 1 − (1 − μ(S))^K.

    >>> round(float(expected_coverage(np.array(0.05), np.array(64))), 10)
    0.9624758608

    Source: independent draws (equation expected-coverage)
    """
    with np.errstate(divide="ignore"):
        return np.asarray(-np.expm1(draws * np.log1p(-np.asarray(mass))))
