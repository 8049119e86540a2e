"""What a trainer's settings say in the words of the theory."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tod.arc import ArcConfig, check_connected
from tod.base import SpecError
from tod.targets import Target, TargetSpec, Tilt

TOTAL = "reward"
"""Name of the weighted total of the reward functions."""


@dataclass(frozen=True)
class Aim:
    """The target in force, where it comes from, and what must be said about it."""

    spec: TargetSpec
    source: Literal["declared", "located", "assumed"]
    notes: tuple[str, ...] = ()


def total_name(names: tuple[str, ...]) -> str:
    """Name of the total among the reward functions' names; ``total`` when one is so called."""
    return "total" if TOTAL in names and len(names) > 1 else TOTAL


def advantage(trainer: Any) -> str:
    """The advantage in the words of `tod.arc.check_connected`."""
    if hasattr(trainer, "normalize_advantages"):
        return "leave_one_out_whiten" if trainer.normalize_advantages else "leave_one_out"
    if getattr(trainer, "multi_objective_aggregation", "") == "normalize_then_sum":
        return "batch_zscore"
    scale = getattr(trainer, "scale_rewards", "group")
    return "group_mean" if scale == "none" else f"{scale}_zscore"


def pull(trainer: Any) -> str | None:
    """How the reference enters the update; None when beta is 0."""
    if not trainer.beta:
        return None
    return "kl_in_reward_frozen" if hasattr(trainer, "normalize_advantages") else "kl_at_current"


def aim(trainer: Any, declared: TargetSpec | Mapping[str, Any] | None) -> Aim:
    """The declared target, or the one that the settings imply, or one assumed and said to be.

    With unscaled rewards and beta > 0 the settings imply q* ∝ π_ref·exp(reward/beta). With
    beta = 0, or with rewards divided by a spread, they imply no finite target at all.

    Raises:
        SpecError: The declared target is none.
    """
    if declared is not None:
        return Aim(_spec(declared), "declared", _notes(trainer))
    total = total_name(tuple(trainer.reward_func_names))
    scaled = "zscore" in advantage(trainer) or "whiten" in advantage(trainer)
    if trainer.beta and not scaled:
        tilt = Tilt(utility=total, eta=1.0 / trainer.beta)
        return Aim(Target(anchor={"ref": 1.0}, tilts=(tilt,)), "located", _notes(trainer))
    why = (
        f"rewards are divided by a spread ({advantage(trainer)}): sharpness is 1/(beta·spread), "
        "another one in every group"
        if scaled
        else "beta = 0: nothing holds the policy, so the fixed point is the argmax of the reward"
    )
    guess = Target(anchor={"mu": 1.0}, tilts=(Tilt(utility=total, eta=1.0),))
    return Aim(guess, "assumed", (f"no finite target: {why}; assumed {guess}", *_notes(trainer)))


def sampled_exactly(trainer: Any) -> str | None:
    """Why log μ is not log π_old at the sampling temperature; None when it is."""
    if getattr(trainer, "use_vllm", False) or getattr(trainer, "rollout_func", None) is not None:
        return "another engine samples: its log-probs are taken where the batch holds them"
    found = [
        f"{name}={value}"
        for name, neutral in (
            ("top_p", (None, 1.0)),
            ("top_k", (None, 0)),
            ("min_p", (None, 0.0)),
            ("repetition_penalty", (None, 1.0)),
        )
        if (value := getattr(trainer, name, None)) not in neutral
    ]
    if getattr(trainer.args, "generation_kwargs", None):
        found.append(f"generation_kwargs={trainer.args.generation_kwargs}")
    if not found:
        return None
    return (
        f"{', '.join(found)} changes what is sampled and TRL keeps no log-probs of it: log_mu is "
        "unknown. Sample with temperature alone, or with vLLM, to record it"
    )


def check_arc(trainer: Any, config: ArcConfig, target: TargetSpec) -> None:
    """Refuse a controller that TRL does not connect to anything.

    The one knob is beta: with unscaled rewards the fixed point is π_ref·exp(reward/beta), so
    eta = 1/beta.

    Raises:
        SpecError: With the reason and the way out.
    """
    check_connected(
        config,
        advantage=advantage(trainer),
        updates_per_batch=int(getattr(trainer, "num_iterations", 1)),
        pull=pull(trainer),
        refresh=1,
        target_kind="tilt",
        beta=trainer.beta,
    )
    total = total_name(tuple(trainer.reward_func_names))
    general = target.target
    fits = general.anchor == {"ref": 1.0} and [t.utility for t in general.tilts] == [total]
    if not fits or set(target.knobs()) != {"eta"}:
        raise SpecError(
            f"arc with the target {general}: in TRL the one connected knob is beta, and eta = "
            f"1/beta belongs to q* ∝ π_ref·exp(eta·{total}). Declare {{anchor: {{ref: 1.0}}, "
            f"tilts: [{{utility: {total}, eta: ...}}]}}, or leave target out."
        )


def _spec(declared: TargetSpec | Mapping[str, Any]) -> TargetSpec:
    if not isinstance(declared, Mapping):
        return declared
    from pydantic import TypeAdapter, ValidationError

    adapter: TypeAdapter[TargetSpec] = TypeAdapter(TargetSpec)
    try:
        return adapter.validate_python({"kind": "tilt", **declared})
    except ValidationError as error:
        raise SpecError(f"target {dict(declared)} is none: {error.errors()[0]['msg']}.") from None


def _notes(trainer: Any) -> tuple[str, ...]:
    """Settings under which the fixed point is not the target that beta suggests."""
    notes = []
    on_loss = trainer.beta and not hasattr(trainer, "normalize_advantages")
    if on_loss and not getattr(trainer.args, "use_bias_correction_kl", False):
        notes.append(
            "beta·k3 as a loss without use_bias_correction_kl: its gradient is that of "
            "KL(π_ref‖π), so the fixed point is not π_ref·exp(reward/beta)"
        )
    return tuple(notes)
