"""Where a policy is on the path b·exp(ηU) from the anchor to the target, and how far off it.

With x = Σ_k η_k U_k and y = log π − log b of K candidates of a context, both less their mean over
it, and one slope for all contexts,

    s = Σxy/Σx²       η̂ = s·η      how far along
    lag   = (1 − s)²·mean_c Σx²/(K−1)           behind on the path: harmless, in nats²
    delta = mean_c Σ(y − s·x)²/(K−1)            off the path: damage, in nats²

and −ln ESS_rel(q*/π) is lag + delta to second order. Constants of a context cancel, log Z(c) among
them. ESS_rel on policy is blind to damage that is done: candidates of a collapsed policy agree.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from tod.base import Groups
from tod.diagnostics.overlap import leg_of_sums
from tod.diagnostics.quantiles import common_k, quantile
from tod.diagnostics.record import Record

__all__ = ["Path", "PathSums", "path_of", "path_sums"]

PLACES = (*np.linspace(0.0, 2.0, 11).tolist(), 3.0, 4.0, 6.0, 8.0)
"""Where its largest ESS_rel is looked for, in units of the target's sharpness, and then refined."""
MOST = 256
"""Contexts of one size that this search reads, evenly spaced, however many there are."""
LARGEST = 1e100
"""Above it in size a value is unusable: its square leaves the float range."""
_GOLDEN = (5**0.5 - 1) / 2


@dataclass(frozen=True)
class Path(Record):
    """Where the policy of a batch is on the path of its target; see the file for the equations."""

    eta_hat: float | None = None
    """Sharpness that the policy has reached, s times the target's; None where contexts have
    sharpness of their own."""
    progress: float | None = None
    """The slope s: 0 at the anchor, 1 at the target."""
    lag: float | None = None
    """What is still to go, nats²."""
    delta: float | None = None
    """What no place on the path explains, nats²."""
    within: float | None = None
    """The same with a slope of every context and K − 2 degrees of freedom; None below K = 3."""
    variance: float | None = None
    """Mean variance of Σ_k η_k U_k within a context, nats²."""
    ess_best: float | None = None
    """Largest median over contexts of ESS_rel(q*_η/π), over η; exp(−delta) to second order."""
    eta_best: float | None = None
    """Where on the path it is; None where contexts have sharpness of their own."""
    contexts: int = 0
    """Informative contexts behind all this."""


@dataclass(frozen=True)
class PathSums:
    """Sums over the candidates of every context, [..., C]; they add up over nothing but contexts.

    Attributes:
        size: Candidates K.
        tilt: Σx².
        cross: Σxy.
        gap: Σy².
    """

    size: Float[np.ndarray, "*r C"]
    tilt: Float[np.ndarray, "*r C"]
    cross: Float[np.ndarray, "*r C"]
    gap: Float[np.ndarray, "*r C"]

    @property
    def slope(self) -> Float[np.ndarray, "*r"]:
        """S = Σxy/Σx² over the last axis; NaN where no x differs."""
        return _ratio(self.cross.sum(axis=-1), self.tilt.sum(axis=-1))  # type: ignore[no-any-return]

    @property
    def variance(self) -> Float[np.ndarray, "*r"]:
        """Mean over contexts of Σx²/(K−1), nats²."""
        return _ratio(self.tilt, self.size - 1).mean(axis=-1)  # type: ignore[no-any-return]

    @property
    def lag(self) -> Float[np.ndarray, "*r"]:
        """(1 − s)²·mean_c Σx²/(K−1), nats².

        Source: derived: see the file (equation path-lag)
        """
        return (1 - self.slope) ** 2 * self.variance  # type: ignore[no-any-return]

    @property
    def delta(self) -> Float[np.ndarray, "*r"]:
        """mean_c Σ(y − s·x)²/(K−1), nats².

        Source: derived: see the file (equation path-delta)
        """
        s = self.slope[..., None]
        left = self.gap - 2 * s * self.cross + s * s * self.tilt
        return _ratio(np.maximum(left, 0.0), self.size - 1).mean(axis=-1)  # type: ignore[no-any-return]

    @property
    def within(self) -> Float[np.ndarray, "*r"]:
        """mean_c (Σy² − (Σxy)²/Σx²)/(K−2), nats²: spread of s over contexts is left out of it.

        Source: derived: see the file (equation path-within)
        """
        own = np.divide(self.cross**2, self.tilt, out=np.zeros_like(self.gap), where=self.tilt > 0)
        left = np.maximum(self.gap - own, 0.0)
        return _ratio(left, np.where(self.size > 2, self.size - 2, np.nan)).mean(axis=-1)  # type: ignore[no-any-return]

    def take(self, at: Any) -> "PathSums":
        """Some contexts."""
        return PathSums(self.size[at], self.tilt[at], self.cross[at], self.gap[at])


def path_sums(
    tilt: Float[np.ndarray, " N"], gap: Float[np.ndarray, " N"], contexts: Groups
) -> PathSums:
    """Σx², Σxy and Σy² of every context.

    Args:
        tilt: Σ_k η_k U_k, finite.
        gap: log π − log b, nats, finite, up to a constant of the context.
        contexts: Candidates in contexts.
    """
    x, y = (v - contexts.spread(contexts.mean(v)) for v in (tilt, gap))
    sums = (np.asarray(contexts.sum(v), dtype=np.float64) for v in (x * x, x * y, y * y))
    return PathSums(contexts.sizes.astype(np.float64), *sums)


def path_of(
    tilt: Float[np.ndarray, " N"],
    gap: Float[np.ndarray, " N"],
    log_r: Float[np.ndarray, " N"] | None,
    contexts: Groups,
    read: Bool[np.ndarray, " C"],
    *,
    eta: float | None = None,
    step: Int[np.ndarray, " C"] | None = None,
) -> Path | None:
    """The path of a batch; None where no context may be read.

    Several steps have a slope each, for the policy moved between them; numbers are means over all
    their contexts.

    Args:
        tilt: Σ_k η_k U_k of every candidate.
        gap: log π − log b, nats.
        log_r: log π/μ, nats; None on policy, where it is 0.
        contexts: Candidates in contexts.
        read: Contexts that are informative; those with a value that is not finite are left out.
        eta: Sharpness of the target; None where contexts have their own.
        step: Step of every context; one if None.
    """
    usable = (np.abs(tilt) < LARGEST) & (np.abs(gap) < LARGEST)
    at = np.flatnonzero(np.asarray(read & (contexts.min(usable.astype(np.float64)) > 0)))
    if not at.size:
        return None
    some, rows = contexts.take(at)
    x, y = tilt[rows], gap[rows]
    r = np.zeros(len(rows)) if log_r is None else log_r[rows]
    sums = path_sums(x, y, some)
    parts = [sums] if step is None else [sums.take(step[at] == s) for s in np.unique(step[at])]
    share = np.array([len(part.size) for part in parts]) / at.size

    def mean(name: str) -> float | None:
        value = float(share @ np.array([getattr(part, name) for part in parts]))
        return value if np.isfinite(value) else None

    progress = mean("slope")
    best, place = _largest(x, y, r, some)
    return Path(
        eta_hat=None if eta is None or progress is None else progress * eta,
        progress=progress,
        **{name: mean(name) for name in ("lag", "delta", "within", "variance")},
        ess_best=best,
        eta_best=None if eta is None or place is None else place * eta,
        contexts=int(at.size),
    )


def _largest(x: Any, y: Any, r: Any, contexts: Groups) -> tuple[float | None, float | None]:
    """Largest median leg q*_η/π over η ≥ 0, and η in units of the target's sharpness."""
    size = common_k(contexts.sizes) or 1
    at = np.flatnonzero(contexts.sizes == size)
    at = at[np.linspace(0, len(at) - 1, min(len(at), MOST)).astype(np.int64)]
    _, rows = contexts.take(at)
    x, y, r = (v[rows].reshape(-1, size) for v in (x, y, r))
    rho = np.exp(r - r.max(axis=1, keepdims=True))
    total = rho.sum(axis=1)

    def leg(s: float) -> float:
        v = s * x - y
        v = np.exp(v - v.max(axis=1, keepdims=True))
        w = rho * v
        with np.errstate(invalid="ignore"):
            legs = leg_of_sums(w.sum(axis=1), total, np.einsum("ck,ck->c", w, v))
        return quantile(np.nan_to_num(legs), 0.5)

    values = [leg(s) for s in PLACES]
    top = int(np.argmax(values))
    low, high = PLACES[max(top - 1, 0)], PLACES[min(top + 1, len(PLACES) - 1)]
    for _ in range(8):
        a, b = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        low, high = (a, high) if leg(a) < leg(b) else (low, b)
    middle = 0.5 * (low + high)
    return max((leg(middle), middle), (values[top], PLACES[top]))


def _ratio(a: Any, b: Any) -> Any:
    """a/b; NaN where b is not positive."""
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    return np.divide(a, b, out=np.full(np.broadcast(a, b).shape, np.nan), where=b > 0)
