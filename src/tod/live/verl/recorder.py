"""What the plugin does with a step of a verl trainer."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tod.configurations.recognise import ConfigurationFile
from tod.live.aim import ConfiguredTarget, configured
from tod.live.export import LiveBatch
from tod.live.guard import harmless
from tod.live.recorder import Recorder, RecorderSettings
from tod.live.verl.names import as_verl_names
from tod.live.verl.queue import Get, asked, batch_of, fetched

_CLIPPED = ("actor/pg_clipfrac", "actor/pg_clipfrac_lower")
_CLIPPING = ("vanilla", "gspo", "tod_clip", "tod_sequence_clip")
"""Losses whose ``pg_clipfrac`` is a share of all tokens."""


class VerlRecorder(Recorder):
    """The records of one verl training; settings of its own are ``trainer.tod``.

    Args:
        settings: verl's configuration, nested and resolved.
        mode: The trainer's mode.
        version: verl's release.
        strict: Raise what would otherwise be said once.
    """

    framework = "verl"
    option = "+trainer.tod.{}"

    def __init__(
        self, settings: Mapping[str, Any], mode: str, version: str, strict: bool = False
    ) -> None:
        super().__init__(strict)
        self._settings, self._mode, self._version = settings, mode, version

    @harmless("reading verl's configuration")
    def begin(self) -> None:
        """Read the configuration, once."""
        trainer = self._settings.get("trainer", {})
        self.plugin = RecorderSettings.parse(dict(trainer.get("tod") or {}), "trainer.tod")
        self._configured = target_of(self._settings, self._version, self.plugin.target)

    @harmless("recording a step")
    def step(
        self,
        step: int,
        get: Get,
        keys: Sequence[str],
        tags: Sequence[Mapping[str, Any]],
        logged: dict[str, Any],
        tokenizer: Any = None,
    ) -> None:
        """Examine what a step trained on, write it, and put ``tod/…`` into what verl logs.

        Args:
            step: verl's ``global_steps``.
            get: Asks the queue.
            keys: Keys of the batch.
            tags: Its tags.
            logged: What verl is about to log; gains our figures.
            tokenizer: Spells ids.
        """

        def read() -> LiveBatch:
            rows = asked(keys, tags)
            return batch_of(fetched(get, rows, self.plugin.extras), rows, tokenizer)

        self.examine(step, read, logged, tokenizer)

    def _clipped(self, logged: Mapping[str, Any]) -> float | None:
        """Share of tokens that the clip changed; None of a loss whose figure is none of tokens."""
        mode = _at(self._settings, "actor_rollout_ref.actor.policy_loss.loss_mode")
        values = [logged.get(name) for name in _CLIPPED]
        if mode not in _CLIPPING or values[0] is None:
            return None
        return float(sum(float(x) for x in values if x is not None))

    def _entropy(self, logged: Mapping[str, Any]) -> float | None:
        """Mean entropy of a token, nats; None where verl averages it otherwise."""
        value = logged.get("actor/entropy")
        mean = _at(self._settings, "actor_rollout_ref.actor.loss_agg_mode") == "token-mean"
        return float(value) if mean and value is not None else None

    def _folder(self) -> Path:
        return Path(str(_at(self._settings, "trainer.default_local_dir") or "."))

    def _trainer(self) -> dict[str, Any]:
        return {
            "trainer": f"verl {self._version} {self._mode}",
            "advantage": _at(self._settings, "algorithm.adv_estimator"),
            "loss": _at(self._settings, "actor_rollout_ref.actor.policy_loss.loss_mode"),
        }


def target_of(
    settings: Mapping[str, Any], version: str, declared: Mapping[str, Any] | None = None
) -> ConfiguredTarget:
    """The target of verl's settings, or the one of ``trainer.tod.target``.

    Raises:
        SpecError: The declared target is none.
    """
    file = ConfigurationFile("verl", as_verl_names(settings), program="main_ppo")
    return configured(file, version, declared, "trainer.tod.target")


def _at(settings: Mapping[str, Any], name: str) -> Any:
    """A setting by its dotted name; None where it is not there."""
    value: Any = settings
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value
