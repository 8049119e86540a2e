"""Where the verdict changes: one field per statistic, each with the source of its default."""

from typing import Self

from pydantic import Field, model_validator

from tod.base import Spec

__all__ = ["Thresholds"]


class Thresholds(Spec):
    """Provisional bounds of the regimes; application dependent, refit them with `calibrate`.

    A band belongs to the statistic on which it was fitted and is never read for another one: the
    same number means different things for a median, a low quantile, a minimum of three legs and
    a mean over steps. "Fitted" below means: on exact, enumerable worlds (512 sequences, K = 16),
    against the seed-debiased disagreement E of operators that share a target, "apart" meaning
    E > 0.1. None of it was fitted on a language model.
    """

    overlap_stable: float = Field(default=0.7, gt=0, le=1)
    """``overlap.minimum`` of one batch, the smallest of the three legs: above it, with modes
    covered, E stayed below 0.03 in every condition tried (median 0.004, largest 0.022)."""
    overlap_dominated: float = Field(default=0.3, gt=0, le=1)
    """``overlap.minimum`` of one batch: Youden's threshold for "apart" (sensitivity 0.83,
    specificity 0.90)."""
    ess_two_stable: float = Field(default=0.9, gt=0, le=1)
    """``ess_two``, the smaller of the step-means of the first two legs of a run: above it none of
    27 held-out conditions was apart."""
    ess_two_dominated: float = Field(default=0.4, gt=0, le=1)
    """``ess_two``: below it 0.88 to 1.00 of 50 held-out conditions were apart."""
    ess_median_stable: float = Field(default=0.7, gt=0, le=1)
    """Median ESS_rel, plain phase diagram only: above it 0.17 or less of the conditions were
    apart, up to 0.95, beyond which distant starts and missed modes gather (0.36)."""
    ess_median_dominated: float = Field(default=0.47, gt=0, le=1)
    """Median ESS_rel, plain phase diagram only: Youden's threshold (0.73 / 0.92)."""
    ess_q10_stable: float = Field(default=0.5, gt=0, le=1)
    """10 % quantile of ESS_rel, plain phase diagram only. Not fitted: half of K, the usual
    resampling threshold of sequential Monte Carlo."""
    ess_q10_dominated: float = Field(default=0.26, gt=0, le=1)
    """10 % quantile of ESS_rel: Youden's threshold (0.74 / 0.93). Below it a tenth of the contexts
    is fragile and the verdict is at most `transition`."""
    max_weight_stable: float = Field(default=0.3, gt=0, le=1)
    """Median over contexts of the largest normalised weight. From ESS <= 1/max^2: at K = 16 a
    context with ESS_rel 0.7 cannot exceed 1/sqrt(11.2) = 0.299."""
    max_weight_dominated: float = Field(default=0.5, gt=0, le=1)
    """Median of the largest weight: half of a typical context's weight sits on one candidate."""
    log_w_variance_stable: float = Field(default=1.2, gt=0)
    """Median variance of log w, nats²; above it at most `transition`. Gaussian log-weights of
    variance -ln 0.3 = 1.2 have ESS_rel 0.3. No upper band: a few very low weights raise the
    variance and harm nobody."""
    pareto_k_stable: float = Field(default=0.7, gt=0)
    """Pooled Pareto k-hat (Vehtari et al. 2024, section 3.2): above 0.7 the weights' mean does not
    settle at practical sample sizes; at most `transition`."""
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
    """Share of non-singleton contexts whose candidates all have the same tilt: above one half the
    median context carries no evidence; at most `transition`."""
    min_informative: int = Field(default=8, ge=1)
    """Informative contexts below which nothing is said: 8 is the smallest n whose
    distribution-free 90 % interval of the median excludes the two extremes."""
    min_informative_stable: int = Field(default=29, ge=1)
    """Informative contexts that `swap_stable` needs: 29 is the smallest n with a distribution-free
    90 % lower bound for the 10 % quantile (0.9^29 < 0.05)."""
    share_at_one_k: float = Field(default=0.9, gt=0, le=1)
    """Share of the informative contexts that have the common K, whose medians are read: with fewer
    the worst tenth may lie wholly among those that are not; at most `transition`."""
    min_candidates: int = Field(default=16, ge=2)
    """Candidates per context that `swap_stable` needs: ESS_rel never reads below 1/K and is biased
    upward; its first-order bias is reliable from K = 16 (a low leg is evidence at any K, a high
    leg at small K is not)."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        for name in ("overlap", "ess_two", "ess_median", "ess_q10"):
            low, high = getattr(self, f"{name}_dominated"), getattr(self, f"{name}_stable")
            if low > high:
                raise ValueError(
                    f"{name}_dominated = {low} exceeds {name}_stable = {high}: the band between "
                    "them is the transition region. Lower the first or raise the second"
                )
        if self.max_weight_stable > self.max_weight_dominated:
            raise ValueError(
                f"max_weight_stable = {self.max_weight_stable} exceeds max_weight_dominated = "
                f"{self.max_weight_dominated}: a larger weight is worse. Swap them"
            )
        return self
