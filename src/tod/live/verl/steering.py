"""The controller in verl: it turns the coefficient of a KL in the reward.

That is the one setting of its target that the trainer's process reads anew at every step
(``kl_ctrl_in_reward.value``); the coefficient of a KL in the loss is copied into the workers when
they start. The state lies in ``tod_arc.json`` of every checkpoint. verl saves a checkpoint before
it computes the step's metrics, on which the decision is made, so that the file is written again
after it.
"""

import json
from pathlib import Path
from typing import Any

from tod.base import RunError, SpecError
from tod.runs.atomic import write_atomic

FILE = "tod_arc.json"


def steer(trainer: Any) -> None:
    """Connect the controller that the settings ask for, and go on from a checkpoint's state.

    Raises:
        SpecError: It would be connected to nothing, or the checkpoint has no state.
        RunError: The checkpoint's state cannot be read.
    """
    recorder = trainer.tod
    if not _asked(trainer):
        return
    if recorder is None:
        raise SpecError("trainer.tod.arc: the trainer is not watched, see the warning before this.")
    control = getattr(trainer, "kl_ctrl_in_reward", None)
    if control is None:
        raise SpecError(
            "trainer.tod.arc needs a KL in the reward (algorithm.use_kl_in_reward=true, "
            "algorithm.kl_penalty=kl): of a KL in the loss the coefficient is copied into the "
            "workers when they start, and nothing can turn it."
        )
    if str(trainer.config.algorithm.kl_ctrl.type) != "fixed":
        raise SpecError(
            "trainer.tod.arc with algorithm.kl_ctrl.type=adaptive: verl's own controller moves the "
            "same coefficient. Set algorithm.kl_ctrl.type=fixed."
        )

    def turn(coefficient: float) -> None:
        control.value = coefficient

    recorder.steer(turn, int(trainer.total_training_steps))
    if recorder.steering is not None and trainer.global_steps > 0:
        recorder.steering.restore(_kept(trainer), int(trainer.global_steps))
    if recorder.steering is not None:
        recorder.steering.begin()


def keep(trainer: Any) -> None:
    """Write the state into the checkpoint of the step."""
    recorder = trainer.tod
    if recorder is not None and recorder.steering is not None:
        place = _folder(trainer)
        place.mkdir(parents=True, exist_ok=True)
        state = json.dumps(recorder.steering.state.to_dict())
        write_atomic(place / FILE, state.encode(), durable=True)


def _asked(trainer: Any) -> bool:
    """Whether ``trainer.tod.arc`` is set, read without the recorder, which may have failed."""
    own = trainer.config.trainer.get("tod") or {}
    return own.get("arc") is not None


def _folder(trainer: Any) -> Path:
    """The directory of the checkpoint of the step that the trainer is at."""
    return (
        Path(str(trainer.config.trainer.default_local_dir)) / f"global_step_{trainer.global_steps}"
    )


def _kept(trainer: Any) -> dict[str, Any] | None:
    """The state of the checkpoint that is resumed; None where it has none.

    Raises:
        RunError: The file cannot be read.
    """
    settings = trainer.config.trainer
    named = str(settings.get("resume_from_path") or "")
    by_path = str(settings.get("resume_mode")) == "resume_path" and named
    file = (Path(named) if by_path else _folder(trainer)) / FILE
    if not file.exists():
        return None
    try:
        states: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{file}: the controller's state cannot be read ({error}).") from None
    return states
