"""Staleness that a file brings in by mini-batches: which settings, and whether anything sees it."""

import tod.operators as op
from tod.configurations.framework import Settings
from tod.configurations.point import Located

UPDATES = {
    "trl": ("steps_per_generation", "num_iterations"),
    "verl": ("actor_rollout_ref.actor.ppo_mini_batch_size", "actor_rollout_ref.actor.ppo_epochs"),
    "openrlhf": ("train.batch_size", "train.max_epochs"),
    "nemo_rl": ("policy.train_global_batch_size",),
}
"""Settings that make several updates of one batch of rollouts, by framework."""
PASSES = {
    "trl": "num_iterations",
    "verl": "actor_rollout_ref.actor.ppo_epochs",
    "openrlhf": "train.max_epochs",
}
"""The one of them that says how often each rollout is used; the others cut the batch."""


def passes_of(framework: str, s: Settings) -> int | None:
    """How often each rollout of a batch is used; None where it is not known.

    Args:
        framework: Whose settings they are.
        s: The settings.
    """
    if framework == "nemo_rl":
        return 1
    name = PASSES.get(framework, "")
    return s.whole(name) if name in s.defaults else None


def updates_by(framework: str, s: Settings) -> str:
    """The settings that say how many updates a batch gets, with their values.

    Args:
        framework: Whose settings they are.
        s: The settings.
    """
    names = [name for name in UPDATES.get(framework, ()) if name in s.defaults]
    return ", ".join(s.said(name).removesuffix(" (default)") for name in names)


def staleness(located: Located) -> tuple[bool, str] | None:
    """Whether the updates of a batch need a look, and what is said; None where there is one alone.

    From the second update on π has left the policy that drew. A ratio sees that, and its trust
    region bounds it; a weight that is 1 whatever ρ is does not.

    Args:
        located: The configuration.
    """
    action = None if located.operator is None else located.operator.action
    unread = {"updates", "operator", "action.trust_region", "action.level"} & located.open
    several = located.updates is not None and located.updates > 1
    if unread or not several or not isinstance(action, op.PolicyGradient):
        return None
    count = f"{located.updates} updates a batch"
    if weightless(action):
        return True, f"{count} and no weight by ρ: all but the first are off-policy, uncorrected"
    return False, f"{count}: μ is stale for all but the first; ρ and its trust region see it"


def weightless(action: op.PolicyGradient) -> bool:
    """Whether a token counts the same whatever ρ is."""
    region = action.trust_region
    constant = isinstance(region, op.Truncate) and region.cap == region.floor
    return constant and action.correction is None
