"""The layers below a command's own settings: files that it names, and its program's defaults."""

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tod.base import SpecError
from tod.configurations import nearby
from tod.configurations import script as python
from tod.configurations.framework import ANY, Computed, Displaced, decisive, facts, flat
from tod.configurations.hydra import Composed, compose
from tod.configurations.inherited import inherited, of_config
from tod.configurations.shell.marks import Marks, known
from tod.configurations.shell.reading import TrainingCommand
from tod.configurations.shell.recorded_programs import recorded
from tod.configurations.trainer import trainer_of
from tod.configurations.version_evidence import lists_all

_MAIN = re.compile(r"hydra\.main\(([^)]*)\)")
_NAMED = re.compile(r"config_(path|name)\s*=\s*['\"]([^'\"]*)['\"]")
_DEFAULT = re.compile(r"['\"]configs['\"]\s*,\s*['\"]([\w.-]+\.ya?ml)['\"]")


@dataclass(frozen=True)
class Layers:
    """What stands below a command's own settings.

    Attributes:
        values: Flat settings.
        notes: What was read.
        unread: Layers that are not here: each may hold any setting.
        method: What a file of a program says of the method.
        above: Settings that a program writes over what it is given.
        listing: Name and settings of a file that lists all of a program's own defaults.
    """

    values: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    method: str | None = None
    above: Mapping[str, Any] = field(default_factory=dict)
    listing: tuple[str, Mapping[str, Any]] | None = None

    def under(self, own: Mapping[str, Any]) -> dict[str, Any]:
        """A command's settings over these."""
        bags = {f"{ANY}{name}": Computed(name) for name in self.unread}
        below = {**self.values, **bags}
        if any(name.startswith(ANY) for name in own):
            below = {
                name: value if isinstance(value, Computed) else Displaced(f"{value}, or set later")
                for name, value in below.items()
            }
        above = {name: _passed(value, own) for name, value in self.above.items()}
        return {**below, **own, **above}


def _passed(value: Any, own: Mapping[str, Any]) -> Any:
    """The option that a program hands on as ``args.name``."""
    name = str(value).rpartition(".")[2] if isinstance(value, Computed) else ""
    return own.get(name, value)


def layers_of(path: Path, command: TrainingCommand, marks: Marks) -> Layers:
    """The layers below a training command of a script.

    Args:
        path: The script; files are looked for in its folder and in those above.
        command: The command.
        marks: What its words' marks stand for.
    """
    read = {"verl": _verl, "nemo_rl": _nemo, "trl": _trl}.get(command.framework)
    if recorded(command.framework):
        read = _of_facts
    return Layers({}) if read is None else read(path, command, marks)


def _verl(path: Path, command: TrainingCommand, marks: Marks) -> Layers:
    module, given = command.program.name, command.given.layers
    folder = file_of(module).rpartition("/")[0]
    program = nearby.find(path, file_of(module))
    text = nearby.text_near(path, file_of(module)) or ""
    changes = () if command.own else _of_trainer(path, module, text)
    main = _main_of(text)
    name = given.get("name") or main.get("name", "")
    place = given.get("path") or main.get("path", "config")
    if program is not None and (program.parent / place / _yaml(name)).is_file():
        place = str(program.parent / place)
    known_facts = facts("verl")
    if name:
        found = _composed(path, place, name, folder, command.given.values)
        if found is not None and not set(map(_base, found.missing)) - set(known_facts.bases):
            layers = _of_composed(found)
            whole = not command.own and lists_all(found.values)
            listing = (_yaml(name), flat(found.values)) if whole else None
            return replace(layers, listing=listing, unread=changes)
        if found is not None:
            away = ", ".join(found.missing)
            return replace(_of_composed(found), unread=(f"{away}.yaml of {name} is not here",))
    stem = _base(name)
    recorded = known_facts.programs.get(module)
    if recorded is not None and (not name or stem in known_facts.bases) and known(name):
        return Layers(flat(known_facts.bases.get(stem, {}) if name else recorded))
    said = marks.shown(f"{given.get('path', '')}/{name}".strip("/")) if name else ""
    return Layers({}, unread=(f"--config-name {said}" if said else f"the defaults of {module}",))


def file_of(program: str) -> str:
    """The file that a program is, named as one or as a module."""
    return program if program.endswith(".py") else program.replace(".", "/") + ".py"


def _of_facts(path: Path, command: TrainingCommand, marks: Marks) -> Layers:
    """The file of settings that a command of a framework names which is read by its facts."""
    layers = command.given.layers
    name = layers.get("file") or "/".join(filter(None, map(layers.get, ("path", "name"))))
    if not name:
        return Layers({}, method=_method_of(command))
    folder = command.program.name.rpartition("/")[0]
    for file in (name, f"{name}.yaml"):
        where = _here(path, file, marks, folder) if known(file) else None
        if where is not None:
            data = flat(data_of(where))
            said = (f"settings read from {marks.shown(name)}",)
            return Layers(data, said, method=_method_of(command))
    return Layers({}, unread=(f"the settings of {marks.shown(name)}",), method=_method_of(command))


def _method_of(command: TrainingCommand) -> str | None:
    """What the program's name says of the method, where that is one of the framework's."""
    reading = facts(command.framework).reading
    said = command.program.method
    return said if reading is not None and said in reading.methods else None


def data_of(where: Path) -> dict[str, Any]:
    """A file of settings: YAML, JSON or TOML.

    Raises:
        SpecError: It is damaged, or no mapping.
    """
    if where.suffix == ".toml":
        try:
            return tomllib.loads(where.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise SpecError(f"{where}: not valid TOML: {error}.") from None
    return of_config(where, where.name)[0]


def _base(name: str) -> str:
    return name.removesuffix(".yaml").removesuffix(".yml").rpartition("/")[2]


_SPLIT = "main_ppo_split.py"
"""Of verl's examples: its loop is the trainer's own on other devices."""


def _yaml(name: str) -> str:
    return name if name.endswith((".yaml", ".yml")) else f"{name}.yaml"


def _main_of(text: str) -> dict[str, str]:
    """Folder and name of the configuration that a program of Hydra starts from."""
    found = _MAIN.search(text)
    return dict(_NAMED.findall(found.group(1))) if found else {}


def _of_trainer(path: Path, program: str, text: str) -> tuple[str, ...]:
    """What a program of one's own makes of verl's trainer, as a layer that was not read.

    Raises:
        SpecError: By its imports it trains by another one.
    """
    trainer = trainer_of(text)
    if trainer is None:
        return ()
    if trainer.package == "verl":
        changed = trainer.changed and not program.endswith(_SPLIT)
        return (f"what {program} makes of {trainer.name}",) if changed else ()
    whose = f"{trainer.package}'s {trainer.name}" if trainer.package else trainer.name
    raise SpecError(
        f"{path}: {program} takes verl's settings but trains by {whose}, which is not read here: "
        "nothing is said of it."
    )


def _composed(
    path: Path, place: str, name: str, folder: str, values: Mapping[str, Any]
) -> Composed | None:
    file = nearby.find(path, f"{place}/{_yaml(name)}", folder)
    if file is None or not known(name):
        return None
    programs = [one for one in nearby.candidates(path, f"{folder}/config") if one.is_dir()]
    base = [one for one in nearby.candidates(path, "verl/trainer/config") if one.is_dir()]
    choices = {k: str(v) for k, v in values.items() if "." not in k and isinstance(v, str)}
    return compose(file, [*programs, *base], choices)


def _of_composed(found: Composed) -> Layers:
    names = list(dict.fromkeys(found.read))
    said = f"defaults read from {names[0]}.yaml" + (
        f" and {len(names) - 1} files that it names" if len(names) > 1 else ""
    )
    read = decisive("verl")
    deciding = {name: value for name, value in flat(found.values).items() if name in read}
    return Layers(deciding, (said,))


def _nemo(path: Path, command: TrainingCommand, marks: Marks) -> Layers:
    name = command.given.layers.get("file")
    if name is None:
        text = nearby.text_near(path, command.program.name)
        if text is None:
            return Layers({})
        default = _DEFAULT.search(text)
        script = nearby.find(path, command.program.name)
        if default is None or script is None:
            return Layers({}, unread=(f"the defaults of {command.program.name}",))
        name = str(script.parent / "configs" / default.group(1))
    where = _here(path, name, marks)
    if where is None:
        return Layers({}, unread=(f"--config {_shown(path, marks, name)}",))
    absent: list[str] = []
    data, notes = inherited(where, of_config(where, where.name)[0], absent)
    said = (f"settings read from {_shown(path, marks, name)}", *notes)
    return Layers(flat(data), said, unrecorded("nemo_rl", absent))


def _here(path: Path, name: str, marks: Marks, below: str = "") -> Path | None:
    """A file of settings that is here and that the script does not write itself."""
    where = nearby.find(path, name, below)
    return None if where is None or str(where.absolute()) in marks.rewritten else where


def _shown(path: Path, marks: Marks, name: str) -> str:
    """A file's name as the script spells it; a whole path as it is seen from near the script."""
    return nearby.short(path, marks.shown(name))


def unrecorded(framework: str, names: Iterable[str]) -> tuple[str, ...]:
    """Of files that are not here those whose settings are not recorded either."""
    return tuple(name for name in names if _base(name) not in facts(framework).bases)


def _trl(path: Path, command: TrainingCommand, marks: Marks) -> Layers:
    values: dict[str, Any] = {}
    own: dict[str, Any] = {}
    notes: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    method = None
    name = command.given.layers.get("file")
    if name is not None:
        where = _here(path, name, marks)
        if where is None:
            unread = (f"--config {_shown(path, marks, name)}",)
        else:
            values, notes = (
                of_config(where, where.name)[0],
                (f"settings read from {_shown(path, marks, name)}",),
            )
    if command.program.file and "trl/scripts/" not in command.program.name:
        own, method = _of_program(path, command)
        notes = (
            *notes,
            f"{command.program.name} read"
            if method
            else f"{command.program.name} is not here: taken to train with what it is given",
        )
    return Layers(values, notes, unread, method, own)


def _of_program(path: Path, command: TrainingCommand) -> tuple[dict[str, Any], str | None]:
    """What a Python program writes over what it is given, and its configuration class."""
    text = nearby.text_near(path, command.program.name)
    if text is None and command.folder is not None:
        text = nearby.text_near(command.folder / path.name, command.program.name)
    if text is None:
        return {}, None
    try:
        values, method, _ = python.read(text, command.program.name, None)
    except SpecError:
        return {}, None
    own = {name: value for name, value in values.items() if name != python.COMMAND_LINE}
    return own, method
