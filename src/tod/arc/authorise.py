"""Authorise a cheaper operator after sustained health, watch it, and take it back.

Operators are listed in order, cheapest last; what each costs is read off the ledger of the steps
that it made. Batches are judged by windows that do not overlap. After ``windows`` healthy ones in a
row (legs, damage, coverage) the next operator takes over, where its credit on the same batches
points the same way:

    cos(a, b) = Σ_t a_t·b_t / (|a|·|b|)      a, b: what two operators give every token

It is taken back on the first window that is not healthy, or in which its credit has turned away
from that of the operator before it, or where the ledger shows that it is not cheaper; then the next
swap waits for a cooldown that doubles with every return. What is unknown decides nothing, and a
window of which nothing is known is not healthy. An operator's form is never changed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from math import isfinite
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from tod.arc.config import Authorise
from tod.arc.health import average
from tod.arc.state import BoundCheck
from tod.diagnostics.summary import Summary

__all__ = ["AuthoriseState", "Authorised", "authorise", "credit_cosine", "watched"]

NEXT, WATCH = "credit.next", "credit.watch"
"""Cosine of the credit in force with that of the cheaper operator, and of the one before it."""
DOUBLINGS = 6
"""Returns that double the cooldown, at most."""


@dataclass(frozen=True)
class AuthoriseState:
    """What authorisation remembers; plain data, JSON both ways.

    Attributes:
        operator: In force.
        seen: Readings of the window under way.
        healthy: Healthy windows in a row.
        cooldown: Windows to wait before the next swap.
        returns: How often an operator was taken back.
        costs: Operations and steps of every operator, from the ledger.
        refused: Operators that turned out to be no cheaper.
    """

    operator: str
    seen: tuple[dict[str, float], ...] = ()
    healthy: int = 0
    cooldown: int = 0
    returns: int = 0
    costs: dict[str, list[float]] = field(default_factory=dict)
    refused: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            **asdict(self),
            "seen": [dict(item) for item in self.seen],
            "refused": [*self.refused],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "AuthoriseState":
        """The state of such data."""
        seen = tuple(dict(item) for item in data["seen"])
        return cls(**{**data, "seen": seen, "refused": tuple(data["refused"])})

    def cost(self, operator: str) -> float | None:
        """Mean operations of a step under an operator; None before its first."""
        total, steps = self.costs.get(operator, (0.0, 0.0))
        return total / steps if steps else None


@dataclass(frozen=True)
class Authorised:
    """What was decided on a batch, and on what grounds; ``hold`` in the middle of a window."""

    action: Literal["hold", "swap", "revert"]
    why: str = ""
    compared: tuple[BoundCheck, ...] = ()


def credit_cosine(a: Float[np.ndarray, " M"], b: Float[np.ndarray, " M"]) -> float | None:
    """Cosine of two credits of the same tokens, in [−1, 1]; None where one of them is 0.

    Source: derived: angle of two updates before the optimiser (equation swap-probe)
    """
    norms = float(np.linalg.norm(a)) * float(np.linalg.norm(b))
    if not (norms > 0 and isfinite(norms)):
        return None
    return float(np.clip(a @ b / norms, -1.0, 1.0))


def watched(summary: Summary, cosines: Mapping[str, float | None]) -> dict[str, float]:
    """What authorisation reads of a batch, by its path; what is unknown is absent."""
    probe, path = summary.probe, summary.path
    found: dict[str, float | None] = {
        "overlap.policy_proposal": summary.overlap.policy_proposal,
        "overlap.target_policy": summary.overlap.target_policy,
        "path.delta": None if path is None else path.delta,
        "probe.delta": None if probe is None else probe.delta,
        "coverage.mean_rho_z": summary.coverage.mean_rho_z,
        **cosines,
    }
    return {name: value for name, value in found.items() if value is not None}


def authorise(
    settings: Authorise,
    operators: Sequence[str],
    watch: AuthoriseState,
    seen: Mapping[str, float],
    flops: float | None,
) -> tuple[AuthoriseState, Authorised]:
    """Read one batch: hold, hand over to the next operator, or take the one in force back.

    Args:
        settings: Bounds and patience.
        operators: Their names in order, cheapest last.
        watch: What was remembered.
        seen: `watched` of the batch.
        flops: Operations of the step, from its ledger.
    """
    watch = replace(watch, seen=(*watch.seen, dict(seen)), costs=_costs(watch, flops))
    if len(watch.seen) < settings.window:
        return watch, Authorised("hold")
    mean = average(watch.seen)
    checks = _checks(settings, mean)
    known = [item.ok for item in checks if item.ok is not None]
    healthy = bool(known) and all(known)
    watch = replace(
        watch,
        seen=(),
        healthy=watch.healthy + 1 if healthy else 0,
        cooldown=max(0, watch.cooldown - 1),
    )
    place = operators.index(watch.operator)
    if place:
        back = _taken_back(settings, watch, operators[place - 1], checks)
        if back is not None:
            return back
    following = operators[place + 1] if place + 1 < len(operators) else None
    if following is None or following in watch.refused:
        return watch, Authorised("hold", "", checks)
    return _handed_over(settings, watch, following, checks, mean.get(NEXT))


def _taken_back(
    settings: Authorise, watch: AuthoriseState, before: str, checks: tuple[BoundCheck, ...]
) -> tuple[AuthoriseState, Authorised] | None:
    """The return to the operator before, where the window gives cause for it."""
    missed = [f"{c.what} {c.value:.3g} against {c.threshold:g}" for c in checks if c.ok is False]
    cost, other = watch.cost(watch.operator), watch.cost(before)
    dear = cost is not None and other is not None and cost >= other
    if not missed and not dear:
        return None
    why = ", ".join(missed) or f"a step costs {cost:.3g} operations, under {before} {other:.3g}"
    after = replace(
        watch,
        operator=before,
        healthy=0,
        cooldown=settings.cooldown * 2 ** min(watch.returns, DOUBLINGS),
        returns=watch.returns + 1,
        refused=(*watch.refused, watch.operator) if dear else watch.refused,
    )
    said = f"{before} again in the place of {watch.operator}: {why}"
    return after, Authorised("revert", said, checks)


def _handed_over(
    settings: Authorise,
    watch: AuthoriseState,
    following: str,
    checks: tuple[BoundCheck, ...],
    cosine: float | None,
) -> tuple[AuthoriseState, Authorised]:
    """The swap to the next operator, where health lasted and its credit points the same way."""
    agrees = None if cosine is None else cosine >= settings.cosine
    checks = (*checks, BoundCheck(NEXT, cosine, settings.cosine, agrees))
    if watch.healthy < settings.windows or watch.cooldown or not agrees:
        return watch, Authorised("hold", "", checks)
    why = f"{following} in the place of {watch.operator}: healthy for {watch.healthy} windows"
    return replace(watch, operator=following, healthy=0), Authorised("swap", why, checks)


def _checks(settings: Authorise, mean: Mapping[str, float]) -> tuple[BoundCheck, ...]:
    """Every reading of a window against its bound; readings that are unknown stay so."""
    bounds = (
        ("overlap.policy_proposal", settings.leg, True),
        ("overlap.target_policy", settings.target_leg, True),
        ("path.delta", settings.damage, False),
        ("probe.delta", settings.damage, False),
        ("coverage.mean_rho_z", settings.coverage, True),
        (WATCH, settings.cosine, True),
    )
    found = []
    for name, bound, least in bounds:
        if bound is None or name not in mean:
            continue
        value = mean[name]
        found.append(BoundCheck(name, value, bound, value >= bound if least else value <= bound))
    return tuple(found)


def _costs(watch: AuthoriseState, flops: float | None) -> dict[str, list[float]]:
    if flops is None:
        return watch.costs
    total, steps = watch.costs.get(watch.operator, (0.0, 0.0))
    return {**watch.costs, watch.operator: [total + flops, steps + 1]}
