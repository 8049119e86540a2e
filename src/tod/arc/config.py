"""Settings of the controller, and the recipes with which it is refused before a run."""

from math import inf
from typing import Literal, Self

from pydantic import Field, model_validator

from tod.base import Spec, SpecError

__all__ = ["ArcConfig", "check_connected"]

_NO_PULL = (None, "", "none")
"""Names of a pull that is none."""


class ArcConfig(Spec):
    """The adaptive regime controller: which knobs, which bounds, how fast.

    The defaults are the setting that did best on exact worlds: a median-ESS target of one half
    to 0.7, a slew limit, and a deadline floor. Without the floor a high target stalls; with it
    the controller ties an open-loop linear ramp, which is therefore always reported with it.
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
    ln ESS_rel ∝ −eta² at once; ``feasible`` goes to the largest feasible eta of the
    batch, which the caller computes. All are slew-limited."""

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


def check_connected(
    config: ArcConfig,
    *,
    advantage: str | None,
    updates_per_batch: int,
    pull: str | None,
    refresh: float | None,
    target_kind: str,
    beta: float | None = None,
) -> None:
    """Refuse a controller whose knob changes nothing, or whose readings nothing can change.

    Args:
        config: The controller.
        advantage: Name of the advantage, e.g. ``group_mean``; a name that holds ``zscore`` or
            ``whiten`` divides by the spread of the shaped reward. None or ``weights`` for operators
            whose weights are q*/μ themselves: every knob of the target is in them.
        updates_per_batch: Optimiser updates on one batch.
        pull: How anchors enter the credit: ``none``; a name that holds ``frozen`` or ends in
            ``old`` for a pull evaluated once at π_old; anything else is evaluated at the current
            policy.
        refresh: Batches between two refreshes of the proposal; None, 0 or ∞ mean never.
        target_kind: Kind of the target, ``two_anchor`` or another.
        beta: Declared weight of the reference of a two-anchor target; None or 0 means that τ
            stands alone.

    Raises:
        SpecError: With the reason and the way out.
    """
    _check_refresh(refresh)
    _check_target(config, target_kind)
    if advantage in (None, "weights"):
        return
    if "zscore" in advantage or "whiten" in advantage:
        turned = "eta" if config.knob != "anchors" else "1/(tau+beta)"
        raise SpecError(
            f"arc.knob = {config.knob!r} but advantage = {advantage!r}: z-scoring divides {turned} "
            "out of the credit, so the controller would turn a knob that is connected to nothing. "
            "Use 'group_mean' or 'leave_one_out'."
        )
    if pull in _NO_PULL:
        raise SpecError(
            f"arc.knob = {config.knob!r} but the operator has no pull: the knob would only rescale "
            "the step, which an adaptive optimiser divides out again. Add pull: {kind: residual, "
            "at: current}."
        )
    if config.knob == "anchors":
        _check_tau(updates_per_batch, pull, beta)


def _check_refresh(refresh: float | None) -> None:
    if refresh is None or not 0 < refresh < inf:
        raise SpecError(
            f"operator.proposal.refresh = {refresh}: a proposal that is never refreshed does not "
            "follow the policy, so ESS cannot recover and sharpness stays pinned wherever the "
            "first batches put it. Set refresh to 1 or a few batches, or arc: null."
        )


def _check_target(config: ArcConfig, kind: str) -> None:
    if kind == "two_anchor" and config.knob != "anchors":
        raise SpecError(
            f"arc.knob = {config.knob!r} but target.kind = 'two_anchor': its sharpness is "
            "1/(tau+beta), there is no eta of its own. Use knob: anchors."
        )
    if kind != "two_anchor" and config.knob == "anchors":
        raise SpecError(
            f"arc.knob = 'anchors' but target.kind = {kind!r} has no tau and beta. Use knob: eta, "
            "or a two_anchor target."
        )


def _check_tau(updates_per_batch: int, pull: str | None, beta: float | None) -> None:
    if beta:
        return
    frozen = "frozen" in str(pull) or str(pull).endswith("old")
    if updates_per_batch <= 1:
        raise SpecError(
            f"arc.knob = 'anchors' with beta = 0 and updates_per_batch = {updates_per_batch}: at "
            "the first update of a batch the policy is pi_old, so tau pulls toward nothing. Take "
            "two or more updates per batch, or give the reference a weight beta > 0."
        )
    if frozen:
        raise SpecError(
            f"arc.knob = 'anchors' with beta = 0 and pull = {pull!r}: a pull frozen at pi_old is "
            "zero there, so tau is a dead knob. Use pull: {kind: residual, at: current}."
        )
