"""Which of our operators verl can train by, and the settings that make it do so."""

from collections.abc import Mapping
from typing import Any

from tod.base import SpecError
from tod.live.verl.advantages import ADVANTAGES, advantage
from tod.live.verl.losses import LIKELIHOOD, LOSSES, policy_loss
from tod.operators import (
    ConstantLength,
    GroupMean,
    KLPull,
    Mask,
    PolicyGradient,
    Residual,
    SequenceMeanTokenMean,
    SequenceMeanTokenSum,
    TargetWeights,
    TokenMean,
    Truncate,
    Unbounded,
    UpdateRule,
    WeightedRegression,
)

ACTOR = "actor_rollout_ref.actor."
_REGIONS: Mapping[Any, str] = {
    (level, type(region(0.2, 0.2, 3.0))): name
    for name, (level, region) in LOSSES.items()
    if name != LIKELIHOOD
}
_ADVANTAGES: Mapping[Any, str] = {
    type(compared): name for name, (in_nats, compared) in ADVANTAGES.items() if not in_nats
}
_AGGREGATIONS = {
    TokenMean: "token-mean",
    SequenceMeanTokenMean: "seq-mean-token-mean",
    SequenceMeanTokenSum: "seq-mean-token-sum",
    ConstantLength: "seq-mean-token-sum-norm",
}
_KINDS = {"k1": "k1", "k2": "k2", "k3": "low_var_kl"}


def register() -> None:
    """Put our losses and advantages into verl's registries; a second call changes nothing."""
    from verl.trainer.ppo import core_algos as verl

    for name in ADVANTAGES:
        if name not in verl.ADV_ESTIMATOR_REGISTRY:
            verl.register_adv_est(name)(advantage(name))
    for name in LOSSES:
        if name not in verl.POLICY_LOSS_REGISTRY:
            verl.register_policy_loss(name)(policy_loss(name))


def settings_of(action: UpdateRule, eta: float | None = None, updates: int = 1) -> dict[str, Any]:
    """Settings of verl by which it trains with an action of ours.

    verl's rewards are in their own unit and ours in nats: its loss is 1/eta times ours.

    Args:
        action: The action.
        eta: Sharpness of the target π_ref·exp(eta·U), where a pull or weights need it.
        updates: Optimiser steps on every batch of rollouts.

    Raises:
        SpecError: verl's signatures cannot carry it: why, and what they can.
    """
    if isinstance(action, WeightedRegression):
        return _weighted(action, eta, updates)
    if not isinstance(action, PolicyGradient):
        raise SpecError(
            f"action {action.kind}: a loss of verl sees one micro-batch of tokens, without the "
            "prompts that its rollouts belong to, so that none that compares rollouts can be "
            "computed there. Use policy_gradient or weighted_regression, or our own engine."
        )
    return {
        **_loss(action),
        **_advantage(action, eta, updates),
        ACTOR + "loss_agg_mode": _AGGREGATIONS[type(action.aggregation)],
        **_length(action.aggregation),
    }


def _loss(action: PolicyGradient) -> dict[str, Any]:
    region: Any = action.trust_region
    name = _REGIONS.get((action.level, type(region)))
    if isinstance(region, Truncate) and region.floor is not None:
        name = LIKELIHOOD if region.cap == region.floor == 1.0 else None
    if name is None:
        raise SpecError(
            f"trust_region {region.kind} at level {action.level} has no loss here: verl's widths "
            f"carry {', '.join(f'{kind.__name__} at {level}' for level, kind in _REGIONS)}."
        )
    if action.correction is not None:
        raise SpecError(
            f"correction {action.correction.kind}: verl makes its own weights of the sampler. Set "
            "algorithm.rollout_correction there, and correction: null here."
        )
    settings: dict[str, Any] = {ACTOR + "policy_loss.loss_mode": name}
    if isinstance(region, Mask):
        return settings | _widths(1 - region.low, region.high - 1)
    if isinstance(region, Truncate):
        return settings | _widths(None, region.cap - 1)
    if isinstance(region, Unbounded):
        return settings
    settings |= _widths(region.low, region.high)
    return settings | ({ACTOR + "clip_ratio_c": region.cap} if hasattr(region, "cap") else {})


def _widths(low: float | None, high: float) -> dict[str, Any]:
    settings = {ACTOR + "clip_ratio_low": low, ACTOR + "clip_ratio_high": high}
    return {name: value for name, value in settings.items() if value is not None}


def _advantage(action: PolicyGradient, eta: float | None, updates: int) -> dict[str, Any]:
    advantage, pull = action.advantage, action.pull
    name = _ADVANTAGES.get(type(advantage))
    if name is None:
        raise SpecError(
            f"advantage {advantage.kind} is none of those by rollout that are registered: "
            f"{', '.join(x.model_fields['kind'].default for x in _ADVANTAGES)}."
        )
    named = {"algorithm.adv_estimator": name}
    if pull is None:
        return named
    if isinstance(pull, Residual):
        return _residual(action, pull, eta, updates)
    if pull.importance:
        raise SpecError("pull.importance: verl's KL in the loss has no ratio. Leave it out.")
    return named | _kl(pull, eta)


def _residual(
    action: PolicyGradient, pull: Residual, eta: float | None, updates: int
) -> dict[str, Any]:
    if pull.at == "current":
        _one_update("pull residual at the current policy", "`at: old`", updates)
    if not isinstance(action.advantage, GroupMean):
        raise SpecError("pull residual is registered with the advantage group_mean alone.")
    return {"algorithm.adv_estimator": "tod_log_ratio_variance"} | _in_reward(eta)


def _one_update(what: str, instead: str, updates: int) -> None:
    """Refuse what is carried at the policy that opened the batch alone.

    Raises:
        SpecError: There are more updates.
    """
    if updates != 1:
        raise SpecError(
            f"{what} with {updates} updates a batch: after the first one it needs log pi_theta of "
            "a prompt's other rollouts, and a loss of verl has neither them nor the prompts. Make "
            f"one update a batch (ppo_mini_batch_size = train_batch_size), or use {instead}."
        )


def _kl(pull: KLPull, eta: float | None) -> dict[str, Any]:
    beta = 1.0 / _known(eta)
    if pull.place == "reward":
        if pull.kind != "k1":
            raise SpecError(f"pull {pull.kind} in the reward: only k1 is carried here.")
        return _in_reward(eta)
    return {
        ACTOR + "use_kl_loss": True,
        ACTOR + "kl_loss_type": _KINDS[pull.kind],
        ACTOR + "kl_loss_coef": beta,
    }


def _in_reward(eta: float | None) -> dict[str, Any]:
    return {
        "algorithm.use_kl_in_reward": True,
        "algorithm.kl_penalty": "kl",
        "algorithm.kl_ctrl.type": "fixed",
        "algorithm.kl_ctrl.kl_coef": 1.0 / _known(eta),
    }


def _known(eta: float | None) -> float:
    if eta is None or eta <= 0.0:
        raise SpecError("the target's eta is needed, above 0: verl holds it as kl_coef = 1/eta.")
    return eta


def _length(aggregation: Any) -> dict[str, Any]:
    if isinstance(aggregation, ConstantLength):
        return {ACTOR + "loss_scale_factor": aggregation.length}
    return {}


def _weighted(action: WeightedRegression, eta: float | None, updates: int) -> dict[str, Any]:
    """w̄_i/C on every token is K·w̄_i by 1/B: an advantage K·w̄ under a loss without a ratio."""
    if not isinstance(action.weights, TargetWeights) or action.by_probability:
        raise SpecError(
            f"weighted_regression with weights {action.weights.kind}"
            f"{' by_probability' if action.by_probability else ''}: verl's estimators carry "
            "weights: target alone."
        )
    if action.centred:
        _one_update("centred weighted_regression", "`centred: false`", updates)
    if action.aggregation is not None and type(action.aggregation) not in _AGGREGATIONS:
        raise SpecError("weighted_regression: this aggregation is none of verl's.")
    mode = "seq-mean-token-sum"
    if action.aggregation is not None:
        mode = _AGGREGATIONS[type(action.aggregation)]
    return {
        "algorithm.adv_estimator": "tod_centred_weights"
        if action.centred
        else "tod_target_weights",
        ACTOR + "policy_loss.loss_mode": LIKELIHOOD,
        ACTOR + "loss_agg_mode": mode,
        **_length(action.aggregation),
        **_in_reward(eta),
    }
