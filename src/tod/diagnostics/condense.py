"""From per-context diagnostics to one record; reached through ``Diagnostics.summary``."""

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tod.diagnostics.classes import INVALID, SINGLETON, ZERO_INFORMATION
from tod.diagnostics.overlap import LEGS
from tod.diagnostics.quantiles import Ordered, quantile
from tod.diagnostics.summary import (
    ContextCounts,
    Coverage,
    Drift,
    EssRel,
    Mismatch,
    Overlap,
    Summary,
    Tails,
)

if TYPE_CHECKING:
    from tod.diagnostics.measure import Diagnostics


def condense(
    d: "Diagnostics",
    coverage: Coverage | None,
    mismatch: Mismatch | None,
    staleness: Mismatch | None,
    drift: Drift | None,
    activation: float | None,
    entropy: float | None,
) -> Summary:
    """The record of a batch. Whatever is not finite, or unknown, is None."""
    columns = _Sorted(d)
    return Summary(
        contexts=_counts(d),
        ess_rel=_ess_rel(columns),
        tails=_tails(d, columns),
        overlap=_overlap(d, columns),
        coverage=_coverage(d, coverage),
        mismatch=mismatch,
        staleness=staleness,
        drift=drift or Drift(),
        activation=activation,
        entropy=entropy,
    )


def _counts(d: "Diagnostics") -> ContextCounts:
    blind = d.codes == ZERO_INFORMATION
    return ContextCounts(
        total=len(d),
        informative=int(d.informative.sum()),
        zero_information=int(blind.sum()),
        all_pass=None if d.all_pass is None else int((blind & d.all_pass).sum()),
        all_fail=None if d.all_fail is None else int((blind & d.all_fail).sum()),
        singleton=int((d.codes == SINGLETON).sum()),
        invalid=int((d.codes == INVALID).sum()),
        candidates_per_context={
            "min": int(d.k.min()),
            "median": int(quantile(d.k.astype(np.float64), 0.5)),
            "max": int(d.k.max()),
        }
        if len(d)
        else {},
    )


class _Sorted:
    """Columns over the contexts that may be read, each sorted once.

    Attributes:
        k: The most common K among informative contexts, else among readable ones.
    """

    def __init__(self, d: "Diagnostics") -> None:
        self._d = d
        self._informative = d.informative
        self._readable = self._informative | (d.codes == ZERO_INFORMATION)
        self.k = common_k(d.k[self._informative]) or common_k(d.k[self._readable])
        self._equal = bool((d.k == self.k).all())
        self._known: dict[tuple[str, bool, bool], Ordered] = {}

    def __call__(self, name: str, *, readable: bool = False, at_k: bool = False) -> Ordered:
        """The column of informative (or all readable) contexts, perhaps of the common K only."""
        key = (name, readable, at_k and not self._equal)
        if key not in self._known:
            chosen = self._readable if readable else self._informative
            chosen = chosen & (self._d.k == self.k) if key[2] else chosen
            self._known[key] = Ordered(getattr(self._d, name)[chosen])
        return self._known[key]


def _ess_rel(columns: _Sorted) -> EssRel:
    """Over informative contexts of the most common K, as the legs: its floor and bias are of K."""
    x = columns("ess_rel", at_k=True)
    if not len(x):
        return EssRel()
    return EssRel(
        median=x.quantile(0.5),
        q10=x.quantile(0.1),
        mean=float(x.values.mean()),
        median_ci90=_bounds(x.interval(0.5)),
        q10_ci90=_bounds(x.interval(0.1)),
    )


def _tails(d: "Diagnostics", columns: _Sorted) -> Tails:
    """Medians at the most common K; the pooled k̂ reads K w̄, of mean 1 whatever K is."""
    return Tails(
        max_weight_median=columns("max_weight", at_k=True).quantile(0.5),
        log_w_variance_median=columns("log_w_variance", at_k=True).quantile(0.5),
        top_mass_median=columns("top_mass", at_k=True).quantile(0.5),
        pareto_k_pooled=d.pareto_k_pooled,
    )


def _overlap(d: "Diagnostics", columns: _Sorted) -> Overlap:
    """Medians over contexts of the most common K, the larger on a tie; never over unequal K.

    Legs with q* read informative contexts, π/μ every one that is neither singleton nor invalid.
    """
    found: dict[str, Ordered] = {}
    for leg in LEGS:
        name = "ess_rel" if leg == "target_proposal" else leg
        if leg not in d.legs_not_applicable and getattr(d, name) is not None:
            found[leg] = columns(name, readable=leg == "policy_proposal", at_k=True)
    medians = {leg: x.quantile(0.5) for leg, x in found.items()}
    declared = _declared(d, medians)
    medians |= declared
    known = [value for value in medians.values() if value is not None]
    carried = None if d.carried_by is None else columns("carried_by", at_k=True)
    return Overlap(
        **{leg: medians.get(leg) for leg in LEGS},
        minimum=min(known, default=None),
        not_applicable=d.legs_not_applicable,
        declared=tuple(declared),
        k=columns.k,
        contexts=len(columns("ess_rel", at_k=True)),
        q10={leg: q for leg, x in found.items() if (q := x.quantile(0.1)) is not None},
        carried_by=None if carried is None else carried.quantile(0.5),
        unknown=max((x.unknown for x in found.values()), default=0),
    )


def _declared(d: "Diagnostics", medians: dict[str, Any]) -> dict[str, Any]:
    """Legs that follow from π = μ and were not measured (C.12, coincidences)."""
    on_policy = "policy_proposal" in d.legs_declared and "policy_proposal" not in medians
    found: dict[str, Any] = {"policy_proposal": 1.0} if on_policy else {}
    if "target_policy" not in medians and (on_policy or "target_policy" in d.legs_declared):
        found["target_policy"] = medians.get("target_proposal")
    return {
        leg: v for leg, v in found.items() if leg not in d.legs_not_applicable and v is not None
    }


def _coverage(d: "Diagnostics", given: Coverage | None) -> Coverage:
    rho = d.mean_rho
    mass = None if d.missing_mass is None else d.missing_mass[d.informative]
    measured = Coverage(
        pass_at_k=_share_passed(d),
        missing_mass=None if mass is None or not mass.size else _finite(mass.mean()),
        mean_rho=None if rho is None else _finite(rho.value),
        mean_rho_z=None if rho is None or rho.z is None else _finite(rho.z),
    )
    known = {name: v for name, v in (given.to_dict() if given else {}).items() if v is not None}
    return replace(measured, **known)


def _share_passed(d: "Diagnostics") -> float | None:
    """Share of valid contexts with at least one pass: pass@K at every context's own K."""
    valid = d.codes != INVALID
    if d.all_fail is None or not valid.any():
        return None
    return float((~d.all_fail[valid]).mean())


def common_k(k: Any) -> int | None:
    """The most common size above 1, the larger on a tie."""
    counts = np.bincount(k[k > 1])
    return int(np.flatnonzero(counts == counts.max())[-1]) if counts.size else None


def _bounds(interval: tuple[float, float]) -> tuple[float | None, float | None]:
    return _finite(interval[0]), _finite(interval[1])


def _finite(value: Any) -> float | None:
    return float(value) if math.isfinite(value) else None
