"""The one training command of a script: whose it is, its settings, and what was not read."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tod.base import SpecError
from tod.configurations.framework import ANY, decisive, facts
from tod.configurations.nearby import Near
from tod.configurations.shell.commands import Command, Script
from tod.configurations.shell.marks import ARGUMENTS, Marks, plain
from tod.configurations.shell.programs import Program
from tod.configurations.shell.recorded import given_recorded
from tod.configurations.shell.recorded_programs import recorded
from tod.configurations.shell.settings import Given, given_options, given_overrides, together

_VERL = ("actor_rollout_ref.", "algorithm.", "critic.", "data.train_batch_size")
_NEMO = ("grpo.", "loss_fn.", "policy.", "dpo.", "sft.", "distillation.")
_NOT_TRAINING = ("generation", "eval", "merge", "convert", "preprocess", "serve", "chat", "vllm")


@dataclass(frozen=True)
class TrainingCommand:
    """A training command, read.

    Attributes:
        framework: Whose.
        program: Which program.
        line: Where it is started.
        given: What it is given.
        own: Whether the program's own defaults are recorded; if not, they are one more layer.
        folder: Where it is started, on every way to it; None if not known.
    """

    framework: str
    program: Program
    line: int
    given: Given
    own: bool = True
    folder: Path | None = None

    def __str__(self) -> str:
        """For a list of them."""
        return f"{self.program.name} (line {self.line})"


@dataclass
class ScriptReader:
    """Reads scripts.

    Attributes:
        where: The script's name, for messages.
        files: Those around it.
        outside: Variables that are told to be set outside.
        marks: What marks stand for.
    """

    where: str
    files: Near = field(default_factory=Near)
    outside: Mapping[str, str] = field(default_factory=dict)
    marks: Marks = field(default_factory=Marks)

    def commands(self, text: str) -> list[TrainingCommand]:
        """Every training command of a script; none where it has none known here."""
        script = Script(self.marks, self.files)
        grouped: dict[tuple[int, str], list[Command]] = {}
        for command in script.read(text, dict(self.outside)):
            grouped.setdefault((command.run.line, command.program.name), []).append(command)
        found = [self._whole(group) for group in grouped.values()]
        return sorted((one for one in found if one is not None), key=lambda one: one.line)

    def command(self, text: str, choose: str | None, known: str) -> TrainingCommand:
        """The one training command of a script.

        Args:
            text: The script.
            choose: Its line, or its method, where there are several.
            known: What was looked for, for the message.

        Raises:
            SpecError: It runs no training program known here, or several.
        """
        found = self.commands(text)
        trains = [one for one in found if not _aside(one)] or found
        if not trains:
            raise SpecError(
                f"{self.where}: a script that runs no training program known here. Looked for "
                f"{known}."
            )
        chosen = [one for one in trains if _is(one, choose)] or trains
        if choose and choose.isdecimal() and not any(_is(one, choose) for one in trains):
            there = ", ".join(map(str, trains))
            raise SpecError(f"{self.where}: no training command in line {choose}. There: {there}.")
        if len(chosen) > 1 and not _alike(chosen):
            there = ", ".join(map(str, chosen[:6])) + (", …" if len(chosen) > 6 else "")
            raise SpecError(
                f"{self.where}: {len(chosen)} training commands: {there}. Say which by its line: "
                f"--method {chosen[-1].line}."
            )
        return chosen[0]

    def notes(self, one: TrainingCommand) -> tuple[str, ...]:
        """What the reading assumed of the outside."""
        read = decisive(one.framework)
        names = set(one.given.missing)
        for name, assumed in one.given.assumed.items():
            names |= assumed if name in read or name.startswith(ANY) else frozenset()
        said = []
        if ARGUMENTS in names:
            said.append("run without arguments of its own (what they add: --set KEY=VALUE)")
        names -= {ARGUMENTS}
        if names:
            said.append(f"{', '.join(sorted(names))} unset outside")
        return (f"read as {' and with '.join(said)}",) if said else ()

    def _whole(self, group: list[Command]) -> TrainingCommand | None:
        program, line = group[0].program, group[0].run.line
        framework = program.framework or _framework(group[0], self.files.text)
        if framework is None:
            return None
        if recorded(framework):
            given = together([given_recorded(one, self.marks, framework) for one in group])
            return TrainingCommand(framework, program, line, given, folder=_folder(group))
        give = given_options if framework in ("trl", "openrlhf") else given_overrides
        given = together([give(command, self.marks) for command in group])
        own = program.framework is not None or framework == "trl"
        return TrainingCommand(framework, program, line, given, own, _folder(group))


def _folder(group: list[Command]) -> Path | None:
    """The folder that a command is started in, where every way to it is in the same."""
    (first, *others) = {command.folder for command in group}
    return None if others or first is None else Path(first)


def _framework(command: Command, file: Callable[[str], str | None]) -> str | None:
    """Whose a program of any name is, by the words that it is given."""
    words = [plain(word).lstrip("+~") for word in command.words]
    if any(word.startswith(_VERL) for word in words):
        return "verl"
    if any(word.startswith(_NEMO) and "=" in word for word in words):
        return "nemo_rl"
    flags = {word[2:].partition("=")[0] for word in words if word.startswith("--")}
    method = command.program.method
    if method and command.program.name.rpartition("/")[2].startswith("run_"):
        yaml = any(word.endswith((".yaml", ".yml")) and "=" not in word for word in words[:1])
        return "trl" if yaml or flags - {"config"} else "nemo_rl"
    if flags & _OURS and (method or len(flags & decisive("trl")) > 1):
        return "trl"
    if flags and command.program.file:
        text = file(command.program.name) or ""
        return "trl" if any(name in text for name in facts("trl").defaults) else None
    return None


_OURS = frozenset(
    [
        "model_name_or_path",
        "output_dir",
        "learning_rate",
        "per_device_train_batch_size",
        "dataset_name",
        "config",
        "num_generations",
        "beta",
        "gradient_accumulation_steps",
        "max_steps",
        "num_train_epochs",
    ]
)
"""Options of TRL's scripts."""


def _is(one: TrainingCommand, choose: str | None) -> bool:
    if choose is None:
        return True
    wanted = choose.lower().removesuffix("config").removesuffix("trainer")
    return choose == str(one.line) or (one.program.method or "") == wanted


def _aside(one: TrainingCommand) -> bool:
    """Whether a program of a framework does not train."""
    name = one.program.name.rpartition(".")[2] if not one.program.file else one.program.name
    return any(word in name for word in _NOT_TRAINING)


def _alike(chosen: list[TrainingCommand]) -> bool:
    """Whether several commands give one program the same settings, as far as they decide."""
    first = chosen[0]
    read = decisive(first.framework)

    def what(one: TrainingCommand) -> Any:
        kept = {k: repr(v) for k, v in one.given.values.items() if k in read or k.startswith(ANY)}
        return one.framework, one.program.name, kept, one.given.layers

    return all(what(one) == what(first) for one in chosen)
