"""Every diagnostic of one batch, per context."""

import numpy as np
from jaxtyping import Float, Int

from tod.base import Array, DataError, Groups
from tod.diagnostics.classes import INFORMATIVE, class_codes, passing, precision
from tod.diagnostics.coverage import RhoSums, missing_mass
from tod.diagnostics.kernel import RHO, TILT, per_context
from tod.diagnostics.overlap import LEGS
from tod.diagnostics.pareto import pareto_k_pooled
from tod.diagnostics.summary import Diagnostics

__all__ = ["measure"]


def measure(
    log_w: Float[Array, " N"],
    tilt: Float[Array, " N"] | None,
    contexts: Groups,
    *,
    utility: Float[Array, " N"] | None = None,
    log_r: Float[Array, " N"] | None = None,
    answers: Int[np.ndarray, " N"] | None = None,
    legs_declared: tuple[str, ...] = (),
    legs_not_applicable: tuple[str, ...] = (),
    top: int = 2,
) -> Diagnostics:
    """Diagnostics of every context of a batch, in float64.

    Args:
        log_w: log q̃*/μ, nats, up to a constant per context; −∞ outside the target's support.
        tilt: Σ_k η_k U_k, for the zero-information class; None for a target without tilts.
        contexts: Candidates in contexts.
        utility: U, for its mean and maximum, and for passes when it is binary.
        log_r: log π − log μ with π the policy before it saw these candidates, for two legs.
        answers: Codes of the answers, equal for the same answer, for the missing mass.
        legs_declared: Legs known without measurement: ``policy_proposal`` (on-policy, π = μ) is
            1 and makes ``target_policy`` equal ``target_proposal``. Measured legs win.
        legs_not_applicable: Legs without meaning here: at test time no policy is trained.
        top: How many of the largest weights ``top_mass`` adds.

    Raises:
        DataError: Arrays of another length than the contexts, or an unknown leg.
    """
    for leg in legs_declared + legs_not_applicable:
        if leg not in LEGS:
            raise DataError(f"no leg {leg!r}: the legs are {', '.join(LEGS)}.")
    columns = per_context(contexts, log_w, tilt=tilt, utility=utility, log_r=log_r, top=top)
    low, high = (columns.pop(name, None) for name in TILT)
    eps = 0.0 if tilt is None else precision(tilt)
    codes = class_codes(np.isnan(columns["log_z"]), contexts.sizes, low, high, eps)
    if log_r is not None:
        largest, total, squares = (columns.pop(name) for name in RHO)
        columns["rho"] = RhoSums(largest, total, squares, contexts.sizes)
        for leg in LEGS[1:]:  # Cauchy and Schwarz hold to rounding only
            np.minimum(columns[leg], 1.0, out=columns[leg])
    if answers is not None:
        columns["missing_mass"] = missing_mass(log_w, answers, contexts)
    if utility is not None:
        columns |= passing(utility, columns["utility_min"], columns["utility_max"])
    return Diagnostics(
        k=contexts.sizes,
        codes=codes,
        ess_rel=columns["ess"] / contexts.sizes,
        pareto_k_pooled=pareto_k_pooled(
            log_w, contexts, codes == INFORMATIVE, columns["max_weight"]
        ),
        legs_declared=legs_declared,
        legs_not_applicable=legs_not_applicable,
        **columns,
    )
