"""What a training configuration says that the files of its run can be held against."""

from collections.abc import Mapping
from typing import Any

from tod.configurations import Located

RULES = (
    "group_mean",
    "leave_one_out",
    "group_zscore",
    "leave_one_out_zscore",
    "batch_zscore",
    "raw",
)
"""Baselines that the detector of advantages can recompute from rewards alone."""
OTHER_REWARD = (
    "reward_weights",
    "multi_objective_aggregation",
    "reward_clip",
    "penalt",
    "penalty_coef",
    "overlong",
    "reward_shaping",
    "_advantage",
    "normalize_advantages",
    "use_pf_ppo",
)
"""In the names of settings by which advantages are made of another reward than the one recorded,
or of more than it."""


def expected_of(located: Located) -> Mapping[str, object]:
    """Settings by the names of `TrainingRun.expected`; one that the file leaves open is absent.

    * ``samples_per_prompt``: K of the proposal.
    * ``longest_answer``: tokens of an answer at most, of one turn.
    * ``advantage``: the baseline, where advantages are made of the reward alone: no KL penalty in
      the reward, no critic, no weights, penalties or clips of the reward; ``whitened_tokens`` and
      ``centred_whitened_tokens`` where it is z-scored over the tokens of a step.
    * ``advantage_epsilon``: what is added to its standard deviation.
    * ``reward_names``, ``reward_range``, ``length_penalty``: see `tod.configurations.promised`.
    * ``max_lag``: versions that a rollout may be old, of our own recipes: μ is copied every n
      steps, so that it is n − 1 versions old at most. What other frameworks' files say of it is
      read by `lag_limit`.

    Args:
        located: The configuration.
    """
    if located.read is None:
        return dict(located.promised)
    told: dict[str, object] = {}
    proposal: Any = located.read.proposal
    action: Any = located.read.action
    size, refresh = getattr(proposal, "size", None), getattr(proposal, "refresh", None)
    if type(size) is int and size >= 1 and not {"proposal.size", "operator"} & located.not_said:
        told["samples_per_prompt"] = size
    longest = getattr(proposal, "max_new_tokens", None)
    if type(longest) is int and not {"proposal.max_new_tokens", "operator"} & located.not_said:
        told["longest_answer"] = longest
    rule = None if _of_other_reward(located) else _rule(action)
    if rule is not None and not {"action.advantage", "action.pull", "operator"} & located.not_said:
        told["advantage"] = rule
        told |= _epsilon(action)
    told |= located.promised
    if located.framework == "tod" and type(refresh) is int and located.updates == 1:
        told["max_lag"] = refresh - 1
    return told


def _rule(action: Any) -> str | None:
    """The baseline of an update whose advantages are functions of the reward alone."""
    advantage, pull = getattr(action, "advantage", None), getattr(action, "pull", None)
    if advantage is None or (pull is not None and getattr(pull, "place", "") != "loss"):
        return None
    kind = getattr(advantage, "kind", None)
    if kind == "return_to_go" and advantage.discount == 1.0 and advantage.whiten is not None:
        inner = advantage.baseline.kind
        return {"raw": "whitened_tokens", "group_mean": "centred_whitened_tokens"}.get(inner)
    return kind if kind in RULES else None


def _epsilon(action: Any) -> dict[str, object]:
    advantage = action.advantage
    epsilon = getattr(getattr(advantage, "whiten", None) or advantage, "epsilon", None)
    return {} if epsilon is None else {"advantage_epsilon": float(epsilon)}


def _of_other_reward(located: Located) -> bool:
    """Whether a setting puts another reward than the recorded one into the advantages."""
    changes = (*located.silent_changes, *located.possible_changes)
    return any(
        part in change.name
        for change in changes
        for part in OTHER_REWARD
        if change.plain != "reward_weights=None"
    )
