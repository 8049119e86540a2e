"""Our advantages as verl's estimators: a number a rollout from the sum of its token rewards.

With ``algorithm.use_kl_in_reward=true`` and ``kl_penalty=kl`` verl's token rewards add up to
β·log q̃*/π_old, where q̃* = π_ref·exp(U/β): U − β·(log π_old − log π_ref). So the log-ratio variance
and the weights of a weighted likelihood can be had from verl's signature, at the policy that opened
the batch. At the current policy, after the first update of a batch, they cannot: the signature has
neither log π_θ nor, in a loss, the groups.

All token rewards of a rollout are summed, as verl's own estimators do, without the mask: its KL is
masked already, the reward may be on a tool's token, and a rollout correction takes what it rejects
out of the mask before the estimator is asked.
"""

from collections.abc import Callable, Mapping
from typing import Any

from tod.base import Groups, SpecError
from tod.operators import GroupMean, GroupZScore, LeaveOneOut


def _shares(log_w: Any, contexts: Groups) -> Any:
    """K·softmax(log w) within the context: 1 on average."""
    return contexts.softmax(log_w) * contexts.spread(contexts.sizes_like(log_w))


Compared = Callable[[Any, Groups], Any]
ADVANTAGES: Mapping[str, tuple[bool, Compared]] = {
    "tod_group_mean": (False, GroupMean()),
    "tod_leave_one_out": (False, LeaveOneOut()),
    "tod_group_zscore": (False, GroupZScore(epsilon=1e-6)),
    "tod_log_ratio_variance": (True, GroupMean()),
    "tod_target_weights": (True, _shares),
    "tod_centred_weights": (True, lambda log_w, contexts: _shares(log_w, contexts) - 1.0),
}
"""Name: whether it reads log q̃*/π_old, and what it makes of the values of a context."""


def advantage(name: str) -> Callable[..., tuple[Any, Any]]:
    """The estimator of a name of `ADVANTAGES`, with the signature of ``register_adv_est``."""
    in_nats, compared = ADVANTAGES[name]

    def estimate(
        token_level_rewards: Any,
        response_mask: Any,
        index: Any = None,
        config: Any = None,
        **_: Any,
    ) -> tuple[Any, Any]:
        if index is None:
            raise SpecError(f"algorithm.adv_estimator={name} compares within prompts: no uid here.")
        unit = _beta(name, config) if in_nats else 1.0
        contexts, order = Groups.from_keys(index)
        value = token_level_rewards.sum(-1) / unit
        compare = compared(value[order.tolist()], contexts)
        found = value.new_zeros(value.shape)
        found[order.tolist()] = compare
        tokens = found.unsqueeze(-1) * response_mask
        return tokens, tokens

    estimate.__name__ = name
    return estimate


def _beta(name: str, config: Any) -> float:
    """The weight of the KL in the reward.

    Raises:
        SpecError: The token rewards do not add up to β·log q̃*/π_old.
    """
    control = config.kl_ctrl
    plain = config.use_kl_in_reward and str(config.kl_penalty) in ("kl", "k1")
    if not plain or float(control.kl_coef) <= 0.0 or str(control.type) != "fixed":
        raise SpecError(
            f"algorithm.adv_estimator={name} reads log q*/pi_old off the rewards: set "
            "algorithm.use_kl_in_reward=true, algorithm.kl_penalty=kl, "
            "algorithm.kl_ctrl.type=fixed and algorithm.kl_ctrl.kl_coef to 1/eta, above 0."
        )
    return float(control.kl_coef)
