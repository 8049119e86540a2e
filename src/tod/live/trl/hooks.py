"""Where the batch is taken from: three methods of one trainer, wrapped on the instance.

Nothing of the batch is changed, and the methods come back with ``detach``.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from tod.base import SpecError

GENERATE = "_generate_and_score_completions"
REWARDS = "_calculate_rewards"
FORWARD = "_get_per_token_logps_and_entropies"
NEEDED = (
    GENERATE,
    REWARDS,
    FORWARD,
    "_metrics",
    "accelerator",
    "reward_func_names",
    "reward_weights",
    "num_generations",
)
_PIXELS = (
    "pixel_values",
    "image_grid_thw",
    "num_images",
    "pixel_attention_mask",
    "spatial_shapes",
    "num_tiles",
    "image_sizes",
    "token_type_ids",
    "mm_token_type_ids",
    "image_position_ids",
)
"""What a model with images is given beside tokens, under the names of the batch."""


@dataclass
class Seen:
    """What one call of the generator showed in this process; rewards are those of all processes."""

    prompts: list[Any] = field(default_factory=list)
    completions: list[Any] = field(default_factory=list)
    ids: list[Any] = field(default_factory=list)
    rewards: Any = None
    forwards: list[Any] = field(default_factory=list)
    output: dict[str, Any] = field(default_factory=dict)


class Hooks:
    """The wrapped methods of a ``GRPOTrainer`` or ``RLOOTrainer``.

    Args:
        trainer: The trainer, of the shape that `check` wants.
        receive: Called with every generated training batch, in every process.
        score: Whether to run one forward for log π_old where the trainer did not.
    """

    def __init__(self, trainer: Any, receive: Callable[[Seen], None], score: bool) -> None:
        self.trainer, self.receive, self.score = trainer, receive, score
        self._seen: Seen | None = None
        self._inner = {name: getattr(trainer, name) for name in (GENERATE, REWARDS, FORWARD)}
        wrapped = {GENERATE: self._generate, REWARDS: self._rewards, FORWARD: self._forward}
        for name, method in wrapped.items():
            setattr(trainer, name, method)

    def detach(self) -> None:
        """Give the trainer its own methods back."""
        for name in self._inner:
            if name in vars(self.trainer):
                delattr(self.trainer, name)

    def _generate(self, *args: Any, **kwargs: Any) -> Any:
        if not self.trainer.model.training:
            return self._inner[GENERATE](*args, **kwargs)
        self._seen = seen = Seen()
        try:
            seen.output = self._inner[GENERATE](*args, **kwargs)
        finally:
            self._seen = None
        check_output(seen)
        if self.score and "old_logps" not in seen.output:
            seen.output = {**seen.output, **self._scored(seen.output)}
            given = {k: v for k, v in seen.output.items() if k != "tod_old_logps"}
        else:
            given = seen.output
        self.receive(seen)
        return given

    def _rewards(self, inputs: Any, prompts: Any, completions: Any, ids: Any) -> Any:
        rewards = self._inner[REWARDS](inputs, prompts, completions, ids)
        if self._seen is not None:
            self._seen.prompts, self._seen.completions = list(prompts), list(completions)
            self._seen.ids, self._seen.rewards = list(ids), rewards
        return rewards

    def _forward(self, *args: Any, **kwargs: Any) -> Any:
        found = self._inner[FORWARD](*args, **kwargs)
        if self._seen is not None:
            self._seen.forwards.append(found[0])
        return found

    def _scored(self, output: dict[str, Any]) -> dict[str, Any]:
        """Log π_old of every completion token, where the trainer left it out as redundant."""
        if "old_per_token_logps" in output:
            return {}
        import torch

        ids = torch.cat([output["prompt_ids"], output["completion_ids"]], dim=1)
        mask = torch.cat([output["prompt_mask"], output["completion_mask"]], dim=1)
        extra = {name: output[name] for name in _PIXELS if name in output}
        with torch.no_grad():
            found = self._inner[FORWARD](
                self.trainer.model,
                ids,
                mask,
                output["completion_ids"].size(1),
                batch_size=self.trainer.args.per_device_train_batch_size,
                **extra,
            )
        return {"tod_old_logps": found[0]}


def check(trainer: Any) -> None:
    """Refuse what is not a trainer of the shape that the hooks know.

    Raises:
        SpecError: With the names that are missing and the version that is there.
    """
    lacking = [name for name in NEEDED if not hasattr(trainer, name)]
    if lacking:
        raise SpecError(
            f"{type(trainer).__name__} of trl {_version()} has no {', '.join(lacking)}: the live "
            "hooks are written for GRPOTrainer and RLOOTrainer of trl 1.16. Install trl 1.16, or "
            "train with log_completions=True and run `tod diagnose OUTPUT_DIR/completions`."
        )
    if GENERATE in vars(trainer):
        raise SpecError(
            "this trainer is instrumented already. Call detach() on the first callback before "
            "another one takes its place."
        )


def check_output(seen: Seen) -> None:
    """Refuse a batch without the parts that are read.

    Raises:
        SpecError: The trainer's batch has another shape than that of trl 1.16.
    """
    lacking = [
        name
        for name in ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask")
        if name not in seen.output
    ]
    if lacking or seen.rewards is None:
        raise SpecError(
            f"the batch of trl {_version()} has no {', '.join(lacking) or 'rewards'}: the live "
            "hooks are written for trl 1.16. Install it, or remove `instrument`."
        )


def _version() -> str:
    try:
        return version("trl")
    except PackageNotFoundError:
        return "(not installed)"
