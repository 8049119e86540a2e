"""Feasible sharpness when b ≠ μ: ESS can rise, fall and be feasible in separate intervals."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from tod.base import Array, Groups, SpecError, to_numpy
from tod.diagnostics import log_ess


@dataclass(frozen=True, eq=False)
class FeasibleInterval:
    """Per context, the connected interval of feasible η that is nearest to the current one.

    Attributes:
        low: Its lower end, [C]; NaN where no η in [0, eta_max] is feasible.
        high: Its upper end, [C]; NaN likewise. ``eta_max`` where it is cut there.
        contains: Whether the current η lies in it, [C].
    """

    low: Float[np.ndarray, " C"]
    high: Float[np.ndarray, " C"]
    contains: Any


def feasible_interval(
    log_w0: Float[Array, " N"],
    utility: Float[Array, " N"],
    contexts: Groups,
    target: float,
    *,
    eta: float,
    eta_max: float = 100.0,
    resolution: float | None = None,
) -> FeasibleInterval:
    """{η: ESS_rel(log_w0 + ηU) ≥ target}, the component that holds η, or else the nearest one.

    "Largest feasible" is its upper end: a controller that jumped to another component would cross
    infeasible sharpness. Where nothing is feasible the remedy is the anchor or the proposal, not η.
    |∂ log ESS/∂η| ≤ 2(max U − min U), so from a point with margin f no boundary lies within
    f/(2 range): the scan steps by that much, and by ``resolution`` at least.

    Args:
        log_w0: log b − log μ, [N], nats; −∞ outside the support.
        utility: U, [N], finite where log_w0 is.
        contexts: Candidates in contexts.
        target: ESS_rel to keep, in (0, 1].
        eta: The current sharpness.
        eta_max: Upper end of the search.
        resolution: Gaps and islands narrower than this may be missed; eta_max/2048 if None.

    Raises:
        SpecError: The target is outside (0, 1], or η outside [0, eta_max].
    """
    if not 0 < target <= 1 or not 0 <= eta <= eta_max < np.inf:
        raise SpecError(
            f"target = {target}, eta = {eta}, eta_max = {eta_max}: needs 0 < target <= 1 and "
            "0 <= eta <= eta_max, finite."
        )
    scan = _Scan.of(log_w0, utility, contexts, target, eta_max, resolution or eta_max / 2048)
    start = np.full(len(contexts), float(eta))
    inside = scan.margin(start) >= 0
    up, down = scan.march(start, 1, ~inside), scan.march(start, -1, ~inside)
    rise = np.where(scan.margin(up) >= 0, up - eta, np.inf)
    fall = np.where(scan.margin(down) >= 0, eta - down, np.inf)
    seed = np.where(inside, start, np.where(rise <= fall, up, down))
    known = inside | np.isfinite(np.minimum(rise, fall))
    high = scan.march(seed, 1, ~known)
    low = scan.march(seed, -1, ~known)
    return FeasibleInterval(
        np.where(known, low, np.nan), np.where(known, high, np.nan), inside & known
    )


@dataclass(frozen=True, eq=False)
class _Scan:
    """The margin log ESS − log αK as a function of one η per context, and a march along it."""

    log_w0: Any
    utility: Any
    contexts: Any
    goal: Any
    slope: Any
    eta_max: float
    resolution: float

    @classmethod
    def of(
        cls, log_w0: Any, utility: Any, contexts: Any, target: float, top: float, step: float
    ) -> "_Scan":
        base, u = (to_numpy(x).astype(np.float64) for x in (log_w0, utility))
        alive = np.isfinite(base) & np.isfinite(u)
        centre = contexts.spread(contexts.max(np.where(alive, u, -np.inf)))
        level = np.where(alive, u - np.where(np.isfinite(centre), centre, 0.0), 0.0)
        base = np.where(alive | np.isnan(base) | (base > 0), base, -np.inf)
        spread = 2 * (contexts.max(level) - contexts.min(level))
        goal = np.log(target * contexts.sizes)
        return cls(base, level, contexts, goal, np.maximum(spread, 1e-300), top, step)

    def margin(self, eta: Any) -> Any:
        """Log ESS(η) − log αK, [C]; NaN where log-weights are invalid."""
        return log_ess(self.log_w0 + self.contexts.spread(eta) * self.utility, self.contexts) - (
            self.goal
        )

    def march(self, start: Any, direction: int, seek_feasible: Any) -> Any:
        """From ``start`` to the first change of feasibility, or to the end of [0, eta_max].

        Contexts in ``seek_feasible`` are infeasible and look for a feasible point; the others are
        feasible and look for their last feasible point.
        """
        sign = np.where(seek_feasible, -1.0, 1.0)
        here, there = start.copy(), start.copy()
        moving = np.ones(len(start), dtype=bool)
        end = self.eta_max if direction > 0 else 0.0
        room = sign * self.margin(here)
        while True:
            step = np.maximum(np.where(room > 0, room, 0.0) / self.slope, self.resolution)
            ahead = np.clip(here + direction * step, 0.0, self.eta_max)
            there = np.where(moving, ahead, there)
            room = np.where(moving, sign * self.margin(there), room)
            crossed = moving & (room < 0)
            here = np.where(moving & ~crossed, there, here)
            moving = moving & ~crossed & (there != end) & ~np.isnan(room)
            if not moving.any():
                return self._refine(here, there, seek_feasible)

    def _refine(self, here: Any, there: Any, seek_feasible: Any) -> Any:
        """The feasible side of the crossing between ``here`` and ``there``, by bisection."""
        near, far = here.copy(), there.copy()
        for _ in range(60):
            middle = (near + far) / 2
            same = (self.margin(middle) < 0) == seek_feasible
            near, far = np.where(same, middle, near), np.where(same, far, middle)
        return np.where(seek_feasible, far, near)
