"""What a person may say about the controller."""

from typing import Literal, Self

from pydantic import Field, model_validator

from tod.base import Spec


class ArcConfig(Spec):
    """The adaptive regime controller: which knobs, which bounds, how fast.

    The defaults are the setting that did best on exact worlds: a median-ESS target of one half
    to 0.7, a slew limit, and a deadline floor. Without the floor a high target stalls; with it
    the controller ties an open-loop linear ramp, which is therefore always reported beside it.
    """

    knob: Literal["eta", "anchors", "both"] = "eta"
    """What it turns: ``eta``; ``anchors`` (tau and beta of a two-anchor target, sharpness
    1/(tau+beta)); ``both`` (sharpness by eta, drift by tau and beta at fixed tau+beta)."""
    ess_target: float = Field(default=0.5, gt=0, lt=1)
    """ESS_rel to steer for. 0.5 to 0.7; from 0.9 on, or 0.5 on the 10 % quantile, runs stalled."""
    ess_quantile: Literal["median", "q10"] = "median"
    """Which quantile of ESS_rel over informative contexts is steered."""
    tail_limit: float | None = Field(default=0.5, gt=0, le=1)
    """Largest normalised weight, median over contexts; half of it on one candidate is too much."""
    activation_limit: float | None = Field(default=0.29, gt=0, lt=1)
    """Share of the gradient's weight that the trust region may change. 0.29 best separated runs in
    which operators agreed from runs in which they did not (Youden, clip fraction of PPO)."""
    drift_budget: float | None = Field(default=None, gt=0)
    """KL(policy ‖ ref) per sequence, nats, that may not be exceeded. No budget if None."""
    eta_min: float = Field(default=1e-3, gt=0)
    """Sharpness never goes below this."""
    eta_max: float | None = Field(default=None, gt=0)
    """Sharpness never goes above this; the declared value is the goal if None."""
    deadline: int | None = Field(default=None, ge=1)
    """Step by which the full sharpness is reached: a linear ramp under which sharpness does not
    stay while batches are informative and drift is within budget. If None: 80 % of the run when
    its length is known, else no floor."""
    start: float = Field(default=1.0, gt=0, le=1)
    """Sharpness at the first step as a share of the declared one."""
    window: int = Field(default=4, ge=1)
    """Recent informative batches that are averaged; emptied whenever a knob moves, so that an
    average never mixes two settings."""
    hysteresis: float = Field(default=0.1, ge=0, lt=1)
    """Half-width of the dead band, relative: no reaction inside it."""
    dwell: int = Field(default=3, ge=1)
    """Healthy batches in a row before anything is sharpened or swapped, and the least number of
    steps between two changes of operator."""
    slew: float = Field(default=0.3, gt=0)
    """Largest change of ln(sharpness) in one step; of ln(beta) likewise."""
    gain: float = Field(default=0.3, gt=0, lt=2)
    """Share of the deadbeat gain 1/(2 ln(1/ess_target)) applied to the log error; 2 is where the
    loop stops being stable, 0.2 to 0.5 is advised because every step draws new candidates."""
    min_informative: int = Field(default=8, ge=1)
    """Informative contexts a batch needs to be acted on; with fewer everything is frozen."""
    operators: tuple[str, ...] = ()
    """Operators in order, cheapest last; the next is authorised by sustained health."""
    solver: Literal["pi", "gaussian", "feasible"] = "pi"
    """How far sharpness moves: ``pi`` integrates the log error; ``gaussian`` solves
    ln ESS_rel ∝ −eta² at once; ``feasible`` goes to the largest feasible eta that the caller found
    on the batch. All are slew-limited."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.eta_max is not None and self.eta_max < self.eta_min:
            raise ValueError(
                f"eta_max = {self.eta_max} is below eta_min = {self.eta_min}: no sharpness lies "
                "between them. Raise eta_max"
            )
        if len(set(self.operators)) != len(self.operators):
            raise ValueError(
                f"operators = {list(self.operators)} names one twice: the controller moves along "
                "the list and would not know where it is. Name each once"
            )
        return self
