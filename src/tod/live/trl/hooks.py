"""Where the batch is taken from: three methods of one trainer, wrapped on the instance.

A wrapped method calls the trainer's own once, with the arguments that it was given, and returns
what that returned; an error of ours is caught. The methods come back with ``detach``.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from inspect import signature
from typing import Any

from tod.base import DataError, SpecError
from tod.live.guard import Guard

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
        receive: Called after every generated training batch, in every process, with what was
            seen of it; None where that failed in this process.
        score: Whether to run one forward for log π_old where the trainer did not. Given up when
            it fails.
        guard: Catches what fails.
    """

    def __init__(
        self, trainer: Any, receive: Callable[[Seen | None], None], score: bool, guard: Guard
    ) -> None:
        self.trainer, self.receive, self.score, self.guard = trainer, receive, score, guard
        self._seen: Seen | None = None
        self._inner = {name: getattr(trainer, name) for name in (GENERATE, REWARDS, FORWARD)}
        wrapped = {GENERATE: self._generate, REWARDS: self._rewards, FORWARD: self._forward}
        for name, method in wrapped.items():
            setattr(trainer, name, method)

    def inner(self, name: str) -> Any:
        """The trainer's own method."""
        return self._inner[name]

    def detach(self) -> None:
        """Give the trainer its own methods back."""
        for name in self._inner:
            if name in vars(self.trainer):
                delattr(self.trainer, name)

    def _generate(self, *args: Any, **kwargs: Any) -> Any:
        training = bool(self.trainer.model.training)
        self._seen = seen = Seen() if training else None
        try:
            output = self._inner[GENERATE](*args, **kwargs)
        finally:
            self._seen = None
        if training:
            with self.guard("reading a batch") as block:
                self._complete(seen, output)
            with self.guard("reading a batch"):
                self.receive(None if block.failed else seen)
        return output

    def _complete(self, seen: Seen | None, output: Any) -> None:
        """What the generator returned, in a mapping of our own, and log π_old."""
        assert seen is not None  # noqa: S101 - made before the generator was called
        seen.output = dict(output)
        check_output(seen)
        if self.score and not {"old_logps", "old_per_token_logps"} & set(seen.output):
            with self.guard("scoring a batch for log_old") as block:
                seen.output["tod_old_logps"] = self._scored(seen.output)
            self.score = not block.failed

    def _rewards(self, *args: Any, **kwargs: Any) -> Any:
        rewards = self._inner[REWARDS](*args, **kwargs)
        with self.guard("reading rewards"):
            if self._seen is not None:
                known = signature(self._inner[REWARDS]).bind(*args, **kwargs).arguments
                _, prompts, completions, ids, *_ = known.values()
                self._seen.prompts, self._seen.completions = list(prompts), list(completions)
                self._seen.ids, self._seen.rewards = list(ids), rewards
        return rewards

    def _forward(self, *args: Any, **kwargs: Any) -> Any:
        found = self._inner[FORWARD](*args, **kwargs)
        with self.guard("reading log-probs"):
            if self._seen is not None:
                self._seen.forwards.append(found[0])
        return found

    def _scored(self, output: dict[str, Any]) -> Any:
        """Log π_old of every completion token, where the trainer left it out as redundant.

        What a model with dropout draws here is not taken from the trainer's random numbers.
        """
        import torch

        ids = torch.cat([output["prompt_ids"], output["completion_ids"]], dim=1)
        mask = torch.cat([output["prompt_mask"], output["completion_mask"]], dim=1)
        extra = {name: output[name] for name in _PIXELS if name in output}
        with torch.no_grad(), torch.random.fork_rng():
            found = self._inner[FORWARD](
                self.trainer.model,
                ids,
                mask,
                output["completion_ids"].size(1),
                batch_size=self.trainer.args.per_device_train_batch_size,
                **extra,
            )
        return found[0]


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
        DataError: The trainer's batch has another shape than that of trl 1.16.
    """
    lacking = [
        name
        for name in ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask")
        if name not in seen.output
    ]
    if lacking or seen.rewards is None:
        raise DataError(
            f"the batch of trl {_version()} has no {', '.join(lacking) or 'rewards'}: the live "
            "hooks are written for trl 1.16. Install it, or remove `instrument`."
        )


def _version() -> str:
    try:
        return version("trl")
    except PackageNotFoundError:
        return "(not installed)"
