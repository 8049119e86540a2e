"""Where a word begins: one band for every leg, and the bounds of what no leg can see."""

from typing import Any, Self

from pydantic import Field, model_validator

from tod.base import Spec

__all__ = ["Thresholds"]

RETIRED = {
    "ess_two_stable": "overlap_stable",
    "ess_two_dominated": "overlap_dominated",
    "ess_median_stable": "overlap_stable",
    "ess_median_dominated": "overlap_dominated",
    "ess_q10_stable": "ess_q10_dominated",
    "max_weight_stable": None,
    "max_weight_dominated": None,
    "log_w_variance_stable": None,
    "pareto_k_stable": None,
    "min_informative": None,
    "min_informative_stable": None,
    "share_at_one_k": None,
    "min_candidates": None,
}
"""Bounds of version 0.1 that read sample statistics at one K, and what is read in their place."""


class Thresholds(Spec):
    """Provisional bounds of the regimes; application dependent, refit them with `calibrate`.

    A leg is read on the population of prompts (`tod.population`), so that one band serves every
    leg, every K and every number of steps. Operators "apart" means: on exact, enumerable worlds
    (512 sequences) the seed-debiased disagreement E of operators that share a target is over 0.1.
    None of it was fitted on a language model.
    """

    overlap_stable: float = Field(default=0.7, gt=0, le=1)
    """Population median of a leg's ESS_rel: a leg is stable where its whole interval is at or above
    it. With all three legs above it and modes covered, E stayed below 0.03 in every condition
    tried (median 0.004, largest 0.022)."""
    overlap_dominated: float = Field(default=0.3, gt=0, le=1)
    """Population median of a leg's ESS_rel: dominated where the whole interval is below it.
    Youden's threshold for "apart" (sensitivity 0.83, specificity 0.90)."""
    ess_q10_dominated: float = Field(default=0.26, gt=0, le=1)
    """10 % quantile over prompts of ESS_rel: a leg whose interval of it lies wholly below has a
    fragile tenth and is not stable. Youden's threshold (0.74 / 0.93)."""
    activation_stable: float = Field(default=0.29, gt=0, lt=1)
    """Share of the gradient's weight that the trust region changes: Youden's threshold for the clip
    fraction of PPO during training (0.80 / 0.84); above it at most `transition`."""
    mean_rho_z: float = Field(default=3.0, gt=0)
    """|z| of mean rho against its expectation 1, standard error clustered by context: at 3, at
    most 1 % false alarms where the policy/proposal leg is above 0.5."""
    mean_rho_gap: float = Field(default=0.05, gt=0)
    """|mean rho - 1| below which a significant z is too small to matter: a twentieth of the
    policy's mass, well inside `missing_mass_stable`."""
    missing_mass_stable: float = Field(default=0.35, gt=0, lt=1)
    """Target mass in answers not yet drawn (weighted Good-Turing): the safe cell was found and
    confirmed with less than 0.35 of the target uncovered."""
    zero_information_share: float = Field(default=0.5, gt=0, le=1)
    """Share of groups without variance above which the typical prompt shows no signal: then a
    stable leg needs the bound that holds for all prompts, whatever those groups are."""

    @model_validator(mode="before")
    @classmethod
    def _not_retired(cls, data: Any) -> Any:
        for name in data if isinstance(data, dict) else ():
            if name in RETIRED:
                instead = RETIRED[name]
                way = f"give {instead}" if instead else "leave it out"
                raise ValueError(
                    f"{name} is no longer read: legs are judged on the population of prompts, with "
                    f"one band for all. So {way}"
                )
        return data

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        low, high = self.overlap_dominated, self.overlap_stable
        if low > high:
            raise ValueError(
                f"overlap_dominated = {low} exceeds overlap_stable = {high}: the band between them "
                "is the transition region. Lower the first or raise the second"
            )
        return self
