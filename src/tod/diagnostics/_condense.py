"""From per-context diagnostics to one record; reached through ``Diagnostics.summary``."""

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tod.diagnostics.classes import INFORMATIVE, INVALID, SINGLETON, ZERO_INFORMATION
from tod.diagnostics.overlap import LEGS
from tod.diagnostics.quantiles import quantile, quantile_interval
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
    return Summary(
        contexts=_counts(d),
        ess_rel=_ess_rel(d),
        tails=_tails(d),
        overlap=_overlap(d),
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


def _ess_rel(d: "Diagnostics") -> EssRel:
    x = d.ess_rel[d.informative]
    if not x.size:
        return EssRel()
    return EssRel(
        median=quantile(x, 0.5),
        q10=quantile(x, 0.1),
        mean=float(x.mean()),
        median_ci90=_bounds(quantile_interval(x, 0.5)),
        q10_ci90=_bounds(quantile_interval(x, 0.1)),
    )


def _tails(d: "Diagnostics") -> Tails:
    return Tails(
        max_weight_median=_median(d.max_weight[d.informative]),
        log_w_variance_median=_median(d.log_w_variance[d.informative]),
        top_mass_median=_median(d.top_mass[d.informative]),
        pareto_k_pooled=d.pareto_k_pooled,
    )


def _overlap(d: "Diagnostics") -> Overlap:
    """Medians over contexts of the most common K, the larger on a tie; never over unequal K.

    Legs with q* read informative contexts, π/μ every one that is neither singleton nor invalid.
    """
    readable = (d.codes == INFORMATIVE) | (d.codes == ZERO_INFORMATION)
    k = _modal(d.k[d.informative]) or _modal(d.k[readable])
    sets = {
        "target_proposal": (d.ess_rel, d.informative & (d.k == k)),
        "policy_proposal": (d.policy_proposal, readable & (d.k == k)),
        "target_policy": (d.target_policy, d.informative & (d.k == k)),
    }
    applicable = [leg for leg in LEGS if leg not in d.legs_not_applicable]
    values = {leg: sets[leg][0][sets[leg][1]] for leg in applicable if sets[leg][0] is not None}  # type: ignore[index]
    medians = {leg: _median(x) for leg, x in values.items()}
    declared = _declared(d, medians)
    medians |= declared
    known = [value for value in medians.values() if value is not None]
    carried = None if d.carried_by is None else d.carried_by[sets["target_policy"][1]]
    return Overlap(
        **{leg: medians.get(leg) for leg in LEGS},
        minimum=min(known, default=None),
        not_applicable=d.legs_not_applicable,
        declared=tuple(declared),
        k=k,
        q10={leg: q for leg, x in values.items() if (q := _quantile(x, 0.1)) is not None},
        carried_by=None if carried is None else _median(carried),
        unknown=max((int(np.isnan(x).sum()) for x in values.values()), default=0),
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


def _modal(k: Any) -> int | None:
    """The most common size above 1, the larger on a tie."""
    counts = np.bincount(k[k > 1])
    return int(np.flatnonzero(counts == counts.max())[-1]) if counts.size else None


def _quantile(x: Any, p: float) -> float | None:
    x = x[~np.isnan(x)]
    return _finite(quantile(x, p)) if x.size else None


def _median(x: Any) -> float | None:
    return _quantile(x, 0.5)


def _bounds(interval: tuple[float, float]) -> tuple[float | None, float | None]:
    return _finite(interval[0]), _finite(interval[1])


def _finite(value: Any) -> float | None:
    return float(value) if math.isfinite(value) else None
