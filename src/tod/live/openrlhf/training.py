"""OpenRLHF's own PPO trainers, watched: what `python -m tod.live.openrlhf` puts in their place.

Its trainers are Ray actors, made by `openrlhf.cli.train_ppo_ray` from the names in their modules.
There is no registry: `watch` puts a class derived from each into its module before the command
runs. The class hands every step's experiences to an `OpenRLHFRecorder`, adds ``tod/…`` to what the
trainer logs, and is else as it was.
"""

import importlib
from collections.abc import Sequence
from typing import Any

from tod.base import SpecError
from tod.live.guard import Guard
from tod.live.openrlhf.recorder import OpenRLHFRecorder
from tod.live.recorder import RecorderSettings

TRAINERS = {
    "openrlhf.trainer.ppo_trainer": "PPOTrainer",
    "openrlhf.trainer.ppo_trainer_async": "TrainingActor",
}
"""Where the command takes the class from that trains, with and without ``train.async_enable``."""
KEY = "tod_arc"
"""Name of the controller's state in what OpenRLHF keeps with a checkpoint."""


def watch(words: Sequence[str], settings: RecorderSettings, version: str) -> None:
    """Put the watched trainers where the command takes them from.

    Args:
        words: The words of the command.
        settings: Of the records.
        version: OpenRLHF's release.
    """
    import ray

    for module_name, name in TRAINERS.items():
        module = importlib.import_module(module_name)
        plain = getattr(module, name).__ray_metadata__.modified_class.__ray_actor_class__
        setattr(module, name, ray.remote(watched(plain, words, settings, version)))


def watched(base: Any, words: Sequence[str], settings: RecorderSettings, version: str) -> Any:
    """A trainer whose steps are recorded.

    Args:
        base: One of OpenRLHF's, no Ray actor yet.
        words: The words of the command.
        settings: Of the records.
        version: OpenRLHF's release.
    """

    class Watched(base):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.tod: OpenRLHFRecorder | None = None
            self.tod_guard = Guard()
            with self.tod_guard("watching the trainer"):
                self.tod = OpenRLHFRecorder(self.args, words, settings, base.__name__, version)
                watch_experiences(self.experience_maker, self.tod, self.tod_guard)
            if settings.arc is not None:
                steer(self)

        def train_step(self, rollout_samples: Any, global_step: int) -> Any:
            status, after = super().train_step(rollout_samples, global_step)
            with self.tod_guard("watching a step"):
                if self.tod is not None:
                    batch, self.experience_maker.tod = self.experience_maker.tod, None
                    self.tod.step(after, batch, status, self.tokenizer)
            return status, after

        def init_checkpoint_states(self) -> Any:
            states = super().init_checkpoint_states()
            if self.tod is not None and self.tod.steering is not None and states["global_step"]:
                self.tod.steering.restore(states.get(KEY), states["global_step"])
            return states

        def save_logs_and_checkpoints(
            self, global_step: int, logs_dict: Any = None, client_states: Any = None
        ) -> None:
            if self.tod is not None and self.tod.steering is not None:
                client_states = {**(client_states or {}), KEY: self.tod.steering.state.to_dict()}
            super().save_logs_and_checkpoints(global_step, logs_dict, client_states)

        def fit(self, *args: Any, **kwargs: Any) -> Any:
            try:
                if self.tod is not None and self.tod.steering is not None:
                    self.tod.steering.begin()
                return super().fit(*args, **kwargs)
            finally:
                with self.tod_guard("ending the records"):
                    if self.tod is not None:
                        self.tod.close()

    Watched.__name__ = Watched.__qualname__ = f"Tod{base.__name__}"
    Watched.__doc__ = f"OpenRLHF's {base.__name__}, watched."
    return Watched


def steer(trainer: Any) -> None:
    """Connect the controller to the coefficient that the trainer holds, ``kl_ctl.value``.

    Raises:
        SpecError: OpenRLHF moves the coefficient itself, or the controller is connected to nothing.
    """
    if trainer.args.algo.kl.target:
        raise SpecError(
            "--tod.arc with --algo.kl.target: OpenRLHF's own controller moves the same "
            "coefficient. Leave one of them out."
        )
    if trainer.tod is None:
        raise SpecError("--tod.arc: the trainer is not watched, see the warning before this.")

    def turn(coefficient: float) -> None:
        trainer.kl_ctl.value = coefficient

    trainer.tod.steer(turn, steps_of(trainer))


def steps_of(trainer: Any) -> int | None:
    """Steps of the whole training; None in `TrainingActor`, which does not hold the prompts."""
    prompts = getattr(trainer, "prompts_dataloader", None)
    if prompts is None or trainer.args.algo.dynamic_filtering_enable:
        return None
    by_step = int(trainer.args.rollout.batch_size)
    return max(1, len(prompts) * int(trainer.args.train.num_episodes) // by_step)


def watch_experiences(maker: Any, recorder: OpenRLHFRecorder, guard: Guard) -> None:
    """Read what the maker makes before the trainer balances it, which drops whose prompt it is.

    The batch lies in ``maker.tod`` until the step is over.
    """
    inner = maker.make_experience_batch
    maker.tod = None

    def make_experience_batch(*args: Any, **kwargs: Any) -> Any:
        experiences = inner(*args, **kwargs)
        with guard("reading the experiences"):
            maker.tod = recorder.read(experiences)
        return experiences

    maker.make_experience_batch = make_experience_batch
