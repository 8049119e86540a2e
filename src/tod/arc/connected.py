"""Whether the knob is connected to anything: refused before a run, never found out after it."""

from math import inf

from tod.arc.config import ArcConfig
from tod.base import SpecError

_NO_PULL = (None, "", "none")


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
