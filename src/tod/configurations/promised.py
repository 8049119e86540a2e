"""What a file says of the rewards of its rollouts that its law does not: how many, how bounded."""

from collections.abc import Mapping
from typing import Any

from tod.configurations.framework import Computed, Settings, number

BUFFERS = (
    "reward_model.overlong_buffer.enable",
    "reward_model.reward_kwargs.overlong_buffer_cfg.enable",
    "reward.reward_kwargs.overlong_buffer_cfg.enable",
)
"""verl's length penalty, by the versions that read it."""
SCALING = "grpo.reward_scaling."
"""NeMo-RL's map of the rewards to a range, beyond which they are cut."""


def promised(s: Settings) -> Mapping[str, Any]:
    """What the rewards of a dump can be held against; what is not known is not there.

    * ``reward_names``: TRL's rewards, where the file lists them.
    * ``reward_range``: least and largest reward, in the file's own units, where it cuts them.
    * ``length_penalty``: verl's length penalty of the reward, on or off.

    Args:
        s: The settings.
    """
    told: dict[str, Any] = {}
    named = s.given.get("reward_funcs")
    if isinstance(named, list) and named and all(isinstance(name, str) for name in named):
        told["reward_names"] = tuple(named)
    if f"{SCALING}enabled" in s.defaults and s.flag(f"{SCALING}enabled"):
        ends = [s.given.get(f"{SCALING}target_{end}", None) for end in ("min", "max")]
        if not any(end is None or isinstance(end, Computed) for end in ends):
            told["reward_range"] = tuple(number(SCALING, end) for end in ends)
    buffers = [name for name in BUFFERS if name in s.defaults]
    unread = any(name.startswith("**") or name in buffers for name in s.computed)
    if buffers and not unread:
        told["length_penalty"] = any(map(s.flag, buffers))
    return told
