"""Names under which our operators are registered in verl, and the trainers by their modes."""

from collections.abc import Mapping
from typing import Any

PREFIX = "tod_"
MODES = ("sync", "colocate_async", "separate_async")
"""Trainers of verl 0.9, by ``trainer.v1.trainer_mode``; ours are these behind ``tod_``."""
ADVANTAGE_KIN = {"tod_group_mean": "grpo", "tod_leave_one_out": "rloo", "tod_group_zscore": "grpo"}
"""Advantages of ours with one of verl's that has the same fixed point."""
LOSS_KIN = {"tod_clip": "vanilla", "tod_sequence_clip": "gspo", "tod_unbounded": "gpg"}
"""Losses of ours with one of verl's of the same level and kind of trust region."""


def as_verl_names(settings: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with the names of ours replaced by those of verl's kin, to be read.

    ``trainer.tod`` is left out: it is no setting of verl.
    """
    trainer = dict(settings.get("trainer", {}))
    trainer.pop("tod", None)
    algorithm = dict(settings.get("algorithm", {}))
    own = algorithm.get("adv_estimator")
    if own in ADVANTAGE_KIN:
        algorithm["adv_estimator"] = ADVANTAGE_KIN[own]
        algorithm["norm_adv_by_std_in_grpo"] = own == "tod_group_zscore"
    whole = dict(settings.get("actor_rollout_ref", {}))
    actor = dict(whole.get("actor", {}))
    loss = dict(actor.get("policy_loss", {}))
    if loss.get("loss_mode") in LOSS_KIN:
        loss["loss_mode"] = LOSS_KIN[loss["loss_mode"]]
    whole["actor"] = {**actor, **({"policy_loss": loss} if loss else {})}
    named = {"trainer": trainer, "algorithm": algorithm, "actor_rollout_ref": whole}
    return {**settings, **named}
