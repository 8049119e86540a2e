"""The plugin of verl's V1 trainers: two settings, and a training is watched.

    VERL_USE_EXTERNAL_MODULES=tod.live.verl.plugin \
        python -m verl.trainer.main_ppo trainer.v1.trainer_mode=tod_sync ...

Loading this module registers ``tod_sync``, ``tod_colocate_async`` and ``tod_separate_async``:
verl's own trainers, which after computing a step's metrics hand its batch to a `VerlRecorder`,
closed when ``fit`` ends, however it ends. It also registers our losses and advantages. In verl 0.9
much depends on the mode being called ``sync`` (which replay buffer samples, whether prompts are
written for a restart), so that the trainer runs under the mode of its own kind, and only its class
is ours.
"""

import logging
from importlib.metadata import version
from typing import Any

from tod.base import SpecError
from tod.live.guard import Guard
from tod.live.verl.names import MODES, PREFIX
from tod.live.verl.operators import register
from tod.live.verl.recorder import VerlRecorder
from tod.live.verl.steering import keep, steer

logger = logging.getLogger("tod.live")


def trainers() -> dict[str, Any]:
    """Our trainers by the mode that chooses them; registered in verl if they are not yet.

    Raises:
        SpecError: verl has no V1 trainers.
    """
    try:
        from verl.trainer.ppo.v1 import get_trainer_cls, register_trainer
    except ImportError as error:
        raise SpecError(
            f"tod.live.verl.plugin is for verl 0.9 and its trainers of trainer.use_v1; this one is "
            f"verl {version('verl')} and has none ({error}). Leave VERL_USE_EXTERNAL_MODULES out."
        ) from None
    found = {}
    for mode in MODES:
        try:
            base = get_trainer_cls(mode)
        except ValueError:  # a release that has not this one
            continue
        try:
            found[PREFIX + mode] = get_trainer_cls(PREFIX + mode)
        except ValueError:
            found[PREFIX + mode] = register_trainer(PREFIX + mode)(watched(base, mode))
    return found


def watched(base: Any, mode: str) -> Any:
    """A trainer of verl's that hands every step's batch to a recorder, and is else as it was.

    Args:
        base: One of verl's V1 trainers.
        mode: The mode that it is registered under.
    """

    class Watched(base):  # type: ignore[misc]
        def __init__(self, config: Any) -> None:
            _named(config, mode)
            super().__init__(config)
            self.tod: VerlRecorder | None = None
            self.tod_guard = Guard()
            self.tod_saved: int | None = None
            with self.tod_guard("reading verl's configuration"):
                self.tod = _recorder(config, mode)

        def fit(self, *args: Any, **kwargs: Any) -> Any:
            try:
                steer(self)
                return super().fit(*args, **kwargs)
            finally:
                with self.tod_guard("ending the records"):
                    if self.tod is not None:
                        self.tod.close()

        def _compute_metrics(
            self, batch: Any, metrics: Any, timing_raw: Any, *args: Any, **kwargs: Any
        ) -> Any:
            answer = super()._compute_metrics(batch, metrics, timing_raw, *args, **kwargs)
            with self.tod_guard("watching a step"):
                _watch(self, batch, metrics)
                if self.tod_saved == self.global_steps:  # verl saves before it computes metrics
                    keep(self)
            return answer

        def _save_checkpoint(self) -> None:
            with self.tod_guard("keeping the state of the controller"):
                self.tod_saved = self.global_steps
                keep(self)
            super()._save_checkpoint()

    Watched.__name__ = Watched.__qualname__ = f"Tod{base.__name__}"
    Watched.__doc__ = f"verl's {base.__name__}, watched; chosen by trainer_mode={PREFIX}{mode}."
    return Watched


def _named(config: Any, mode: str) -> None:
    """Put the mode of its own kind into the configuration: verl compares its name."""
    from omegaconf import open_dict

    with open_dict(config):
        config.trainer.v1.trainer_mode = mode


def _recorder(config: Any, mode: str) -> VerlRecorder:
    from omegaconf import OmegaConf

    settings: Any = OmegaConf.to_container(config, resolve=True)
    return VerlRecorder(settings, mode, version("verl"))


def _watch(trainer: Any, batch: Any, metrics: dict[str, Any]) -> None:
    """One step: ask the queue, and record."""
    if trainer.tod is None:
        return
    import transfer_queue as tq

    def get(keys: list[str], fields: list[str]) -> Any:
        return tq.kv_batch_get(keys=keys, partition_id=batch.partition_id, select_fields=fields)

    tokenizer = getattr(trainer, "tokenizer", None)
    trainer.tod.step(int(trainer.global_steps), get, batch.keys, batch.tags, metrics, tokenizer)


register()
trainers()
