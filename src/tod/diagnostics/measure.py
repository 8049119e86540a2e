"""Every diagnostic of one batch, per context; ``summary`` condenses them into one record."""

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from tod.base import Array, DataError, Groups, to_numpy
from tod.candidates import Labels
from tod.diagnostics.classes import (
    CLASSES,
    INFORMATIVE,
    binary_levels,
)
from tod.diagnostics.condense import common_k, condense
from tod.diagnostics.coverage import MeanRho, RhoSums, missing_mass, usable_mean_rho
from tod.diagnostics.overlap import LEGS
from tod.diagnostics.pareto import pareto_k_pooled
from tod.diagnostics.per_context import per_context, rho_sums
from tod.diagnostics.summary import Coverage, Drift, Mismatch, Summary


@dataclass(frozen=True, eq=False)
class Diagnostics:
    """Diagnostics per context, [C] each, float64; NaN = not defined there, None = not recorded.

    Attributes:
        k: Candidates per context.
        codes: Class of every context, a position in ``CLASSES``.
        ess: Effective sample size, in [1, k].
        ess_rel: ess/k.
        max_weight: Largest normalised weight.
        top_mass: Mass of the ``top`` largest.
        log_w_variance: Variance of the finite log-weights, nats².
        log_z: log Ẑ, nats.
        utility_mean: Mean utility, or None.
        utility_max: Largest utility, or None.
        utility_min: Smallest utility, or None.
        all_pass: Contexts in which every candidate passes; None unless the utility is binary.
        all_fail: Contexts in which no candidate passes; None unless the utility is binary.
        policy_proposal: ESS_rel(π/μ), or None.
        target_policy: Third leg of the overlap, or None.
        carried_by: Candidates that carry the third leg, or None.
        missing_mass: Weighted Good–Turing over answers, or None.
        rho: Sums of π/μ behind its mean over the batch, or None.
        pareto_k_pooled: k̂ of the pooled informative contexts, or None.
        legs_declared: Legs of the overlap known by declaration.
        legs_not_applicable: Legs that mean nothing here (test time).
    """

    k: Int[np.ndarray, " C"]
    codes: Int[np.ndarray, " C"]
    ess: Float[np.ndarray, " C"]
    ess_rel: Float[np.ndarray, " C"]
    max_weight: Float[np.ndarray, " C"]
    top_mass: Float[np.ndarray, " C"]
    log_w_variance: Float[np.ndarray, " C"]
    log_z: Float[np.ndarray, " C"]
    utility_mean: Float[np.ndarray, " C"] | None = None
    utility_max: Float[np.ndarray, " C"] | None = None
    utility_min: Float[np.ndarray, " C"] | None = None
    all_pass: Bool[np.ndarray, " C"] | None = None
    all_fail: Bool[np.ndarray, " C"] | None = None
    policy_proposal: Float[np.ndarray, " C"] | None = None
    target_policy: Float[np.ndarray, " C"] | None = None
    carried_by: Float[np.ndarray, " C"] | None = None
    missing_mass: Float[np.ndarray, " C"] | None = None
    rho: RhoSums | None = None
    pareto_k_pooled: float | None = None
    legs_declared: tuple[str, ...] = ()
    legs_not_applicable: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Number of contexts C."""
        return len(self.k)

    @property
    def informative(self) -> Bool[np.ndarray, " C"]:
        """Contexts that can say something about the target."""
        return self.codes == INFORMATIVE  # type: ignore[no-any-return]

    @property
    def compared(self) -> Bool[np.ndarray, " C"]:
        """Informative contexts of their most common K: those behind the quantiles of a summary."""
        return self.informative & (self.k == common_k(self.k[self.informative]))  # type: ignore[no-any-return]

    def part(self, at: slice, log_w: Float[Array, " N"], contexts: Groups) -> "Diagnostics":
        """Some consecutive contexts; ``log_w`` and ``contexts`` are those of the whole."""
        offsets = contexts.offsets
        rows = slice(int(offsets[at.start]), int(offsets[at.stop]))
        known = {item.name: getattr(self, item.name) for item in fields(self)}
        columns: dict[str, Any] = {n: x[at] for n, x in known.items() if isinstance(x, np.ndarray)}
        rho = None if self.rho is None else self.rho.take(at)
        cut = replace(self, rho=rho, **columns)
        k = pareto_k_pooled(log_w[rows], Groups(cut.k), cut.informative, cut.max_weight, cut.log_z)
        return replace(cut, pareto_k_pooled=k)

    @property
    def mean_rho(self) -> MeanRho | None:
        """Mean of π/μ over the batch; None without usable log-probs of π."""
        return None if self.rho is None else usable_mean_rho(self.rho)

    def summary(
        self,
        *,
        coverage: Coverage | None = None,
        mismatch: Mismatch | None = None,
        staleness: Mismatch | None = None,
        drift: Drift | None = None,
        activation: float | None = None,
        entropy: float | None = None,
    ) -> Summary:
        """One record of the batch; parts that need more than log-weights are handed in.

        Fields of ``coverage`` that are not None replace what was measured here.
        """
        return condense(self, coverage, mismatch, staleness, drift, activation, entropy)

    def rows(self, labels: Labels | None = None) -> dict[str, Any]:
        """Columns of one row per context; what was not recorded is a column of None.

        ``context`` is the label, or the position in the batch; ``step`` is None when unlabelled.
        """
        unknown = [None] * len(self)
        given = labels or Labels()
        return {
            "step": unknown if given.step is None else to_numpy(given.step),
            "context": np.arange(len(self)) if given.context is None else list(given.context),
            "k": self.k,
            "ess": self.ess,
            "ess_rel": self.ess_rel,
            "max_weight": self.max_weight,
            "top_mass": self.top_mass,
            "log_w_variance": self.log_w_variance,
            "log_z": self.log_z,
            "utility_mean": unknown if self.utility_mean is None else self.utility_mean,
            "utility_max": unknown if self.utility_max is None else self.utility_max,
            "class": np.array(CLASSES, dtype=object)[self.codes].tolist(),
        }


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
    _check(contexts, legs_declared + legs_not_applicable, log_w, tilt, utility, log_r, answers)
    if top < 1:
        raise DataError(f"top={top}: the mass of the largest weights needs at least one of them.")
    log_w, tilt, utility, log_r = (_numpy(x) for x in (log_w, tilt, utility, log_r))
    found = per_context(contexts, log_w, tilt, utility, log_r, top)
    rho = rho_sums(found, contexts)
    if answers is not None:
        found["missing_mass"] = missing_mass(log_w, answers, contexts)
    informative = found["codes"] == INFORMATIVE
    return Diagnostics(
        k=contexts.sizes,
        ess_rel=found["ess"] / contexts.sizes,
        rho=rho,
        pareto_k_pooled=pareto_k_pooled(log_w, contexts, informative, found["max_weight"]),
        legs_declared=legs_declared,
        legs_not_applicable=legs_not_applicable,
        **found,
        **({} if utility is None else _passing(utility, found)),
    )


def _passing(utility: Any, parts: dict[str, Any]) -> dict[str, Any]:
    """Contexts in which all, or no, candidates pass, if the utility is binary in the batch."""
    levels = binary_levels(utility)
    if levels is None:
        return {}
    fail, passed = levels
    return {
        "all_pass": parts["utility_min"] == passed,
        "all_fail": parts["utility_max"] == fail,
    }


def _numpy(x: Any) -> Any:
    return None if x is None else to_numpy(x)


def _check(contexts: Groups, legs: tuple[str, ...], *arrays: Any) -> None:
    for x in arrays:
        if x is not None and tuple(x.shape) != (contexts.total,):
            raise DataError(
                f"an array of shape {tuple(x.shape)} for {contexts.total} candidates: measure "
                "takes one value per candidate, contexts contiguous."
            )
    for leg in legs:
        if leg not in LEGS:
            raise DataError(f"no leg {leg!r}: the legs are {', '.join(LEGS)}.")
