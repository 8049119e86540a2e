"""Our policy gradients as verl's policy losses: the same credit, on the tensors that verl hands in.

verl's signature has log π_old, log π_θ and an advantage of every token [B, T], and the sizes of the
whole step in ``config.global_batch_info``. That carries every level and every trust region of
`tod.operators.PolicyGradient` with an advantage by rollout. The loss is −Σ credit·log π_θ with the
credit held fixed: its gradient is the update, its value is that of our engine.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tod.base import Groups, SpecError
from tod.operators import (
    Batch,
    Clip,
    ConstantLength,
    Credit,
    DualClip,
    Mask,
    PolicyGradient,
    Raw,
    RootLengthClip,
    SequenceMeanTokenMean,
    SequenceMeanTokenSum,
    TokenMean,
    Totals,
    Truncate,
    Unbounded,
)

LIKELIHOOD = "tod_likelihood"
"""A loss that weighs every token by 1: maximum likelihood with the advantage as weight."""
LOSSES: Mapping[str, tuple[Any, Callable[[float, float, float], Any]]] = {
    "tod_clip": ("token", lambda low, high, _: Clip(low=low, high=high)),
    "tod_dual_clip": ("token", lambda low, high, cap: DualClip(low=low, high=high, cap=cap)),
    "tod_sequence_clip": ("sequence_mean", lambda low, high, _: Clip(low=low, high=high)),
    "tod_sequence_sum_clip": ("sequence_sum", lambda low, high, _: Clip(low=low, high=high)),
    "tod_root_length_clip": (
        "sequence_sum",
        lambda low, high, _: RootLengthClip(low=low, high=high),
    ),
    "tod_geometric_clip": (
        "sequence_mean_of_clipped",
        lambda low, high, _: Clip(low=low, high=high),
    ),
    "tod_mask": ("token", lambda low, high, _: Mask(low=1 - low, high=1 + high)),
    "tod_truncate": ("token", lambda _, high, __: Truncate(cap=1 + high)),
    "tod_unbounded": ("token", lambda *_: Unbounded()),
    LIKELIHOOD: ("token", lambda *_: Truncate(cap=1.0, floor=1.0)),
}
"""Name: level, and trust region of ``clip_ratio_low``, ``clip_ratio_high``, ``clip_ratio_c``."""
_AGGREGATIONS = {
    "token-mean": TokenMean(),
    "seq-mean-token-mean": SequenceMeanTokenMean(),
    "seq-mean-token-sum": SequenceMeanTokenSum(),
}


def policy_loss(name: str) -> Callable[..., tuple[Any, dict[str, Any]]]:
    """The loss function of a name of `LOSSES`, with the signature of ``register_policy_loss``."""
    level, region = LOSSES[name]

    def loss(
        old_log_prob: Any,
        log_prob: Any,
        advantages: Any,
        response_mask: Any,
        loss_agg_mode: str = "token-mean",
        config: Any = None,
        rollout_is_weights: Any = None,
    ) -> tuple[Any, dict[str, Any]]:
        rule = PolicyGradient(
            level=level,
            trust_region=region(*_widths(config)),
            advantage=Raw(),
            aggregation=_aggregation(loss_agg_mode, config, response_mask.shape[-1]),
        )
        mask = response_mask.bool()
        if not bool(mask.any()):
            return (log_prob * 0.0).sum(), _metrics(None, None)
        batch = _batch(name, old_log_prob, log_prob, advantages, mask, config)
        credit = rule.credit(batch)
        per_token: Any = credit.per_token
        if rollout_is_weights is not None:
            per_token = per_token * rollout_is_weights[mask]
        scale = _info(config).get("dp_size") or 1
        total = -(per_token.detach() * log_prob[mask]).sum() * scale
        return total, _metrics(credit, batch)

    loss.__name__ = name
    loss.__doc__ = f"{level} ratio, {name}: see tod.live.verl.losses."
    return loss


def _widths(config: Any) -> tuple[float, float, float]:
    """The clip's widths, as verl reads them: ``clip_ratio`` where one of the two is not set."""
    both = float(config.clip_ratio)
    low, high = config.clip_ratio_low, config.clip_ratio_high
    cap = config.get("clip_ratio_c", 3.0)
    return both if low is None else float(low), both if high is None else float(high), float(cap)


def _aggregation(mode: str, config: Any, width: int) -> Any:
    """How tokens are summed.

    Raises:
        SpecError: No aggregation of ours is that one.
    """
    if mode in _AGGREGATIONS:
        return _AGGREGATIONS[mode]
    if mode == "seq-mean-token-sum-norm":
        return ConstantLength(length=int(_info(config).get("loss_scale_factor") or width))
    known = ", ".join((*_AGGREGATIONS, "seq-mean-token-sum-norm"))
    raise SpecError(
        f"actor.loss_agg_mode={mode} has no aggregation in this algebra: use one of {known}."
    )


def _info(config: Any) -> Mapping[str, Any]:
    return getattr(config, "global_batch_info", None) or {}


def _batch(name: str, old: Any, new: Any, advantages: Any, mask: Any, config: Any) -> Batch:
    """The micro-batch as our operators see it; every rollout is a context of its own."""
    sizes = mask.sum(-1).cpu().numpy().astype(np.int64)
    sequences = Groups(sizes[sizes > 0])
    contexts = Groups(np.ones(len(sequences), dtype=np.int64))
    tokens = advantages[mask].detach()
    value = sequences.mean(tokens)
    _check_by_rollout(name, tokens, value, sequences)
    info = _info(config)
    here = Totals.of(sequences, contexts)
    totals = Totals(
        tokens=int(info.get("batch_num_tokens") or here.tokens),
        candidates=int(info.get("global_batch_size") or here.candidates),
        contexts=int(info.get("global_batch_size") or here.contexts),
    )
    return Batch(
        contexts=contexts,
        sequences=sequences,
        log_policy=new[mask].detach(),
        log_old=old[mask].detach(),
        value=value,
        tilt=value,
        sharpness=1.0,
        totals=totals,
    )


def _check_by_rollout(name: str, tokens: Any, value: Any, sequences: Groups) -> None:
    """Refuse an advantage that is another one at every token.

    Raises:
        SpecError: It is.
    """
    apart = float((tokens - sequences.spread(value)).abs().max())
    if apart > 1e-4 * (1.0 + float(tokens.abs().max())):
        raise SpecError(
            f"actor.policy_loss.loss_mode={name} takes one advantage a rollout, and "
            "algorithm.adv_estimator gives another one to every token (gae, reinforce_plus_plus). "
            "Use an estimator by rollout (grpo, rloo, tod_group_mean), or a loss of verl's."
        )


def _metrics(credit: Credit | None, batch: Batch | None) -> dict[str, Any]:
    """What verl logs of a loss, under its names."""
    if credit is None or batch is None:
        return {"actor/pg_clipfrac": 0.0, "actor/ppo_kl": 0.0, "actor/pg_clipfrac_lower": 0.0}
    gate: Any = credit.gate
    apart: Any = batch.log_old - batch.log_policy
    return {
        "actor/pg_clipfrac": float((gate != 1).to(apart.dtype).mean()),
        "actor/ppo_kl": float(apart.mean()),
        "actor/pg_clipfrac_lower": 0.0,
    }
