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


def expected_of(located: Located) -> Mapping[str, object]:
    """Settings by the names of `TrainingRun.expected`; one that the file leaves open is absent.

    * ``samples_per_prompt``: K of the proposal.
    * ``advantage``: the baseline, where advantages are made of the reward alone: no KL penalty in
      the reward, no further whitening, no critic.
    * ``max_lag``: versions that a rollout may be old, of our own recipes: μ is copied every n
      steps, so that it is n − 1 versions old at most. What other frameworks' files say of it is
      read by `lag_limit`.

    Args:
        located: The configuration.
    """
    if located.operator is None:
        return {}
    told: dict[str, object] = {}
    proposal: Any = located.operator.proposal
    action: Any = located.operator.action
    size, refresh = getattr(proposal, "size", None), getattr(proposal, "refresh", None)
    if isinstance(size, int) and size > 1 and "proposal.size" not in located.open:
        told["samples_per_prompt"] = size
    rule = _rule(action)
    if rule is not None and not {"action.advantage", "action.pull"} & located.open:
        told["advantage"] = rule
    if located.framework == "tod" and type(refresh) is int and located.updates == 1:
        told["max_lag"] = refresh - 1
    return told


def _rule(action: Any) -> str | None:
    """The baseline of an update whose advantages are functions of the reward alone."""
    advantage, pull = getattr(action, "advantage", None), getattr(action, "pull", None)
    if advantage is None or (pull is not None and getattr(pull, "place", "") != "loss"):
        return None
    kind = getattr(advantage, "kind", None)
    return kind if kind in RULES else None
