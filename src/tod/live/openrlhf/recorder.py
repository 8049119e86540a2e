"""What is done with a step of OpenRLHF's PPO trainer."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tod.configurations.recognise import ConfigurationFile
from tod.configurations.shell.reading import ScriptReader
from tod.live.aim import configured
from tod.live.export import LiveBatch
from tod.live.guard import harmless
from tod.live.openrlhf.experiences import batch_of
from tod.live.recorder import Recorder, RecorderSettings

PROGRAM = "openrlhf.cli.train_ppo_ray"
_KEPT_BY = {
    "mu": "--algo.advantage.is_correction_level token keeps what vLLM reports",
    "ref": "--algo.kl.init_coef above 0 makes a reference",
}


class OpenRLHFRecorder(Recorder):
    """The records of one training.

    Args:
        args: The program's arguments, nested, as its trainers hold them.
        words: The words of the command, as they were written.
        settings: Of the records.
        mode: The trainer's class.
        version: OpenRLHF's release.
        strict: Raise what would otherwise be said once.
    """

    framework = "openrlhf"
    option = "--tod.{}"

    def __init__(
        self,
        args: Any,
        words: Sequence[str],
        settings: RecorderSettings,
        mode: str,
        version: str,
        strict: bool = False,
    ) -> None:
        super().__init__(strict)
        self.plugin = settings
        self._args, self._words = args, tuple(words)
        self._mode, self._version = mode, version

    @harmless("reading OpenRLHF's command")
    def begin(self) -> None:
        """Read the command, once, as `tod atlas locate` reads one in a script."""
        target, option = self.plugin.target, self.option.format("target")
        found = configured(command_of(self._words), "", target, option)
        self._configured = replace(found, kept_by=_KEPT_BY)

    @harmless("reading the experiences")
    def read(self, experiences: Sequence[Any]) -> LiveBatch:
        """The experiences as they were made, before the trainer balances them."""
        return batch_of(
            experiences,
            int(self._args.rollout.n_samples_per_prompt),
            summed_reference=self._args.algo.kl.init_coef > 0 and not self._args.algo.kl.use_loss,
            extras=self.plugin.extras,
        )

    @harmless("recording a step")
    def step(
        self, step: int, batch: LiveBatch | None, logged: dict[str, Any], tokenizer: Any = None
    ) -> None:
        """Examine what a step trained on, write it, and put ``tod/…`` into what is logged.

        Args:
            step: The trainer's number of it.
            batch: By `read`; None where it could not be read.
            logged: What the trainer is about to log; gains our figures.
            tokenizer: Spells ids.
        """
        if batch is None:
            self.count(step)
            return
        self.examine(step, lambda: batch, logged, tokenizer)

    def _clipped(self, logged: Mapping[str, Any]) -> float | None:
        """Share of tokens that the clip changed; GSPO clips whole answers."""
        value = logged.get("ppo_clip_ratio")
        by_token = self._args.actor.policy_loss_type == "ppo"
        return float(value) if by_token and value is not None else None

    def _folder(self) -> Path:
        return Path(str(self._args.ckpt.path))

    def _trainer(self) -> dict[str, Any]:
        return {
            "trainer": f"openrlhf {self._version} {self._mode}",
            "advantage": self._args.algo.advantage.estimator,
            "loss": self._args.actor.policy_loss_type,
        }


def command_of(words: Sequence[str]) -> ConfigurationFile:
    """The settings that a command writes."""
    reader = ScriptReader("the command")
    text = shlex.join(["python3", "-m", PROGRAM, *words])
    command = reader.command(text, None, PROGRAM)
    return ConfigurationFile("openrlhf", command.given.values, program=PROGRAM)
