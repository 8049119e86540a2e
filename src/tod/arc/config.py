"""Settings of the controller, and the recipes with which it is refused before a run."""

from collections.abc import Iterable
from math import inf
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from tod.base import Spec, SpecError

__all__ = ["ArcConfig", "Authorise", "check_connected", "check_path"]

_NO_PULL = (None, "", "none")
"""Names of a pull that is none."""


Plan = Literal[
    "ramp",
    "set_point",
    "fixed",
    "linear",
    "cosine",
    "geodesic",
    "ess_tempering",
    "adaptive_kl",
    "adaptive_entropy",
]
"""Names of the controllers."""

LAID_OUT: frozenset[str] = frozenset({"ramp", "linear", "cosine", "geodesic"})
"""Plans that are laid over the run, and need to know where it ends."""

_OF_SET_POINT = ("ess_target", "ess_quantile", "gain", "solver", "start")
"""Settings by which a controller of version 0.1, which names no plan, is told from others."""

_READ_BY: dict[str, tuple[str, ...]] = {
    "gain": ("set_point", "adaptive_kl", "adaptive_entropy"),
    "solver": ("set_point",),
    "start": ("set_point", "ess_tempering", "adaptive_kl", "adaptive_entropy"),
    "overlap_limit": ("ramp",),
    "goal": ("adaptive_kl", "adaptive_entropy"),
    "shares": ("geodesic",),
    "increment": ("ess_tempering",),
}
"""Settings that not every plan reads, and the plans that do."""


class Authorise(Spec):
    """When a cheaper operator may take over, and when it is taken back."""

    window: int = Field(default=4, ge=1)
    """Batches of a window; windows do not overlap."""
    windows: int = Field(default=3, ge=1)
    """Healthy windows in a row before a swap."""
    cooldown: int = Field(default=3, ge=0)
    """Windows after a return before the next swap; doubled by every further return."""
    leg: float | None = Field(default=0.5, gt=0, le=1)
    """Least ESS_rel(π/μ), the leg by which operators part; None: not asked."""
    target_leg: float | None = Field(default=None, gt=0, le=1)
    """Least ESS_rel(q*/π). None: not asked, for under a verifier it tends to the success share."""
    damage: float | None = Field(default=0.4, gt=0)
    """Most damage off the path, nats², on own rollouts and on the probe; None: not asked."""
    coverage: float | None = Field(default=-3.0, lt=0)
    """Least z of mean π/μ: below, the sampler misses part of the policy; None: not asked."""
    cosine: float = Field(default=0.7, ge=-1, le=1)
    """Least cosine of the credit of two operators on the same batch."""
    optimiser: Literal["keep", "reset"] = "keep"
    """What becomes of the optimiser's moments when the operator changes."""


class ArcConfig(Spec):
    """The adaptive regime controller: which plan, which knobs, which bounds, how fast.

    ``ramp`` plans the way to the declared sharpness over the run and brakes where the policy leaves
    the path; ``set_point`` is the controller of the TOD framework, which steers ESS into a range.
    The others are what both are compared with. A set of settings that names ``ess_target`` or
    another setting of a set point and no plan is a ``set_point``, as in version 0.1.
    """

    plan: Plan = "ramp"
    """Which controller: ``ramp``, ``set_point``, or a baseline: ``fixed``, ``linear``, ``cosine``,
    ``geodesic``, ``ess_tempering``, ``adaptive_kl``, ``adaptive_entropy``."""
    knob: Literal["eta", "anchors", "both"] = "eta"
    """What it turns: ``eta``; ``anchors`` (tau and beta of a two-anchor target, sharpness
    1/(tau+beta)); ``both`` (sharpness by eta, drift by tau and beta at fixed tau+beta)."""
    damage_limit: float | None = Field(default=0.4, gt=0)
    """Off-path damage ``path.delta``, nats², above which the plan ``ramp`` and the step size
    ``damage`` slow down; None: never."""
    overlap_limit: float | None = Field(default=0.5, gt=0, le=1)
    """ESS_rel(π/μ) below which a stale proposal slows the plan ``ramp``, by the square of the
    share that is left; None: never."""
    step_size: Literal["damage", "within", "ess"] | None = None
    """What also slows the learning rate: ``damage``; ``within``, damage of every context by itself,
    which leaves out that contexts differ in speed; ``ess``, by the root of ESS_rel(π/μ)."""
    ess_target: float = Field(default=0.5, gt=0, lt=1)
    """ESS_rel to steer for with ``set_point``, and to be healthy at for a cheaper operator. 0.5 to
    0.7; from 0.9 on, or 0.5 on the 10 % quantile, runs stalled."""
    ess_quantile: Literal["median", "q10"] = "median"
    """Which quantile of ESS_rel over informative contexts is steered."""
    goal: float | None = Field(default=None, gt=0)
    """What ``adaptive_kl`` steers KL(policy ‖ ref) to, nats per sequence, and ``adaptive_entropy``
    the entropy, nats per token."""
    shares: tuple[float, ...] = ()
    """Shares of the declared sharpness at evenly spaced times up to the deadline, for
    ``geodesic``."""
    increment: float = Field(default=0.98, gt=0, lt=1)
    """ESS_rel of one step's change of sharpness, for ``ess_tempering``."""
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
    """Batches until the full sharpness is reached; a plan that is laid over the run takes 80 % of
    it if None. For ``set_point``: a linear ramp under which sharpness does not stay while batches
    are informative and drift is within budget; none if None."""
    start: float = Field(default=1.0, gt=0, le=1)
    """Sharpness at the first step as a share of the declared one, where no plan says it."""
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
    authorise: Authorise | None = None
    """How: by windows of legs, damage, coverage and credit. None: by the health that the plan
    reads."""
    solver: Literal["pi", "gaussian", "feasible"] = "pi"
    """How far sharpness moves: ``pi`` integrates the log error; ``gaussian`` solves
    ln ESS_rel ∝ −eta² at once; ``feasible`` goes to the largest feasible eta of the
    batch, which the caller computes. All are slew-limited."""

    @model_validator(mode="before")
    @classmethod
    def _of_first_version(cls, data: Any) -> Any:
        """Settings of a set point without a plan are those of version 0.1."""
        named = isinstance(data, dict) and any(name in data for name in _OF_SET_POINT)
        return {**data, "plan": "set_point"} if named and "plan" not in data else data

    @model_validator(mode="after")
    def _read(self) -> Self:
        """Refuse settings that the plan does not read."""
        for name, plans in _READ_BY.items():
            default = type(self).model_fields[name].default
            if self.plan not in plans and getattr(self, name) != default:
                raise ValueError(
                    f"{name} = {getattr(self, name)} is read by plan {' and '.join(plans)}, and "
                    f"plan is {self.plan}: it would change nothing. Remove it"
                )
        needed = {"geodesic": "shares", "adaptive_kl": "goal", "adaptive_entropy": "goal"}
        name = needed.get(self.plan, "")
        if name and not getattr(self, name):
            raise ValueError(f"plan {self.plan} needs {name}, and there is none. Give it")
        return self

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
        if self.authorise is not None and len(self.operators) < 2:
            raise ValueError(
                "authorise has nothing to choose from: list two operators or more, cheapest last"
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


def check_path(config: ArcConfig, moving: Iterable[str], recorded: bool = True) -> None:
    """Refuse a controller that asks for damage off a path that has no fixed beginning.

    Args:
        config: The controller.
        moving: Policies in the target's anchor that move with the policy.
        recorded: Whether log-probs of the others are recorded.

    Raises:
        SpecError: With the reason and the way out.
    """
    if not reads_path(config):
        return
    names = list(moving)
    if names or not recorded:
        why = (
            f"the anchor of the target is {names[0]}, which moves with the policy"
            if names
            else "the log-probs of the target's anchor are not recorded"
        )
        raise SpecError(
            f"arc.damage_limit = {config.damage_limit}: off-path damage is measured from log b, "
            f"and {why}. Anchor the target at ref, or set arc.damage_limit: null to keep the plan "
            "without its brake."
        )


def reads_path(config: ArcConfig) -> bool:
    """Whether the controller asks for damage off the path."""
    slows = config.plan == "ramp" or config.step_size in ("damage", "within")
    return slows and config.damage_limit is not None


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
