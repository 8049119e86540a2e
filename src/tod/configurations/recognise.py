"""What a file is: whose configuration, and its settings as plain data. Nothing is executed."""

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

from tod.base import SpecError, read_yaml
from tod.base.text import what_is
from tod.base.yaml_data import MOST_BYTES
from tod.configurations import foreign, nearby
from tod.configurations import notebook as _notebook
from tod.configurations import script as _script
from tod.configurations.framework import ANY, Computed, facts, flat
from tod.configurations.inherited import inherited
from tod.configurations.layers import layers_of, unrecorded
from tod.configurations.shell import options as _options
from tod.configurations.shell.reading import ScriptReader

Framework = Literal[
    "trl",
    "verl",
    "openrlhf",
    "nemo_rl",
    "tod",
    "areal",
    "axolotl",
    "llama_factory",
    "ms_swift",
    "open_instruct",
    "prime_rl",
    "roll",
    "skyrl",
    "slime",
]
FRAMEWORKS: tuple[Framework, ...] = get_args(Framework)

LOOKED_FOR = (
    "TRL (a *Config(...) call in a script, or its fields as JSON or YAML), verl (a key "
    "`actor_rollout_ref`, overrides `a.b=c`, or a script running `verl.trainer...`), OpenRLHF (a "
    "script running `openrlhf.cli...`), NeMo-RL (`loss_fn` and `policy`), AReaL, axolotl, "
    "LLaMA-Factory, ms-swift, open-instruct, prime-rl, ROLL, SkyRL, slime, our own recipe "
    "(`target` and `operator`)"
)
_OVERRIDE = re.compile(r"^([+~]{0,2}[\w][\w./@-]*=|~[\w][\w./@-]*$)")
_NEMO = ("grpo", "dpo", "sft", "distillation", "ppo")


@dataclass(frozen=True)
class ConfigurationFile:
    """A file's settings.

    Attributes:
        framework: Whose.
        values: Settings: nested for YAML, flat for scripts and overrides.
        method: What the file calls the method, if it does.
        program: Module that a shell script runs, if it is one.
        notes: What a reader should know of the reading.
        listing: Name and settings of a file that lists all defaults of the program.
        folder: Where a script starts its program; None if not known, or it is no script.
        of_trainer: What a Python script gives its trainer: model, data, adapters.
    """

    framework: Framework
    values: Mapping[str, Any]
    method: str | None = None
    program: str | None = None
    notes: tuple[str, ...] = field(default_factory=tuple)
    listing: tuple[str, Mapping[str, Any]] | None = None
    folder: Path | None = None
    of_trainer: Mapping[str, Any] = field(default_factory=dict)


def detect(
    path: Path,
    framework: str | None = None,
    method: str | None = None,
    over: Mapping[str, str] | None = None,
) -> ConfigurationFile:
    """Read a file and say whose configuration it is.

    Args:
        path: The file.
        framework: Whose it is, if the reader knows.
        method: Configuration class or subcommand, or the line of a command or a call, if the
            reader knows.
        over: Settings that are laid over the file's; one that a script reads as a variable and
            does not set itself is that variable.

    Raises:
        SpecError: Missing, unreadable, damaged, or of no known framework.
    """
    if framework is not None and framework not in FRAMEWORKS:
        raise SpecError(f"no framework {framework!r}. Known: {', '.join(FRAMEWORKS)}.")
    text, told = _text(path), dict(over or {})
    outside = {name: told.pop(name) for name in [*told] if _is_variable(name, path, text)}
    found = _read(path, text, framework, method, outside)
    if framework is not None and found.program and found.framework != framework:
        raise SpecError(
            f"{path}: this runs {found.program}, a program of {found.framework}, and is not read "
            f"as {framework}, so nothing is said of it. Leave out --framework."
        )
    if not told:
        return found
    if found.framework == "tod":
        raise SpecError(f"{path}: a recipe of ours: change it there, not by --set.")
    laid = {name: _options.value_of(value) for name, value in told.items()}
    return replace(found, values={**_flat_of(found), **laid})


def _flat_of(found: ConfigurationFile) -> dict[str, Any]:
    nested = found.framework not in ("trl", "openrlhf")
    return flat(found.values) if nested else dict(found.values)


def _read(
    path: Path, text: str, framework: str | None, method: str | None, outside: Mapping[str, str]
) -> ConfigurationFile:
    suffix = path.suffix.lower()
    if suffix == ".ipynb":
        text = _notebook.source(text, str(path))
    if suffix in (".ipynb", ".py"):
        values, name, of_trainer = _script.read(text, str(path), method)
        return ConfigurationFile("trl", values, name, of_trainer=of_trainer)
    if suffix in _SHELLS or re.match(r"#!.*sh\b", text):
        return _of_shell(path, text, method, outside)
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    if suffix in _DATA:
        return _of_data(_data(path, text, suffix), path, framework, method)
    if lines and all(map(_OVERRIDE.match, lines)):
        values = _options.overrides(lines)
        return ConfigurationFile("verl", values, program="verl.trainer.main_ppo")
    if ScriptReader(str(path)).commands(text):
        return _of_shell(path, text, method, outside)
    return _of_data(_data(path, text, suffix), path, framework, method)


_SHELLS = (".sh", ".bash", ".slurm", ".sbatch", ".zsh", ".job")
_DATA = (".yaml", ".yml", ".json", ".toml")


def _is_variable(name: str, path: Path, text: str) -> bool:
    """Whether a script reads a name as a variable."""
    script = path.suffix.lower() not in (*_DATA, ".py", ".ipynb")
    plain = re.fullmatch(r"[A-Za-z_]\w*", name) is not None
    return script and plain and re.search(rf"\$\{{?[!#]?{name}\b", text) is not None


def _of_shell(
    path: Path, text: str, method: str | None, outside: Mapping[str, str]
) -> ConfigurationFile:
    """The training command of a script over the layers that stand below it."""
    near = nearby.Near(path, started="#SBATCH" not in text)
    reader = ScriptReader(str(path), near, outside)
    command = reader.command(text, method, LOOKED_FOR)
    layers = layers_of(path, command, reader.marks)
    program = command.program
    named = layers.method or program.method
    own = facts(command.framework).reading
    takes = command.framework == "trl" if own is None else method in own.methods
    if takes and named is None and not str(method).isdecimal():
        named = method
    return ConfigurationFile(
        command.framework,  # type: ignore[arg-type]
        layers.under(command.given.values),
        named,
        program.name,
        (*layers.notes, *reader.notes(command)),
        layers.listing,
        command.folder,
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SpecError(f"{path}: no such file. Check the path.") from None
    except IsADirectoryError:
        raise SpecError(f"{path}: a directory. Name the configuration file in it.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path}: cannot be read as UTF-8 text ({error}).") from None


def _data(path: Path, text: str, suffix: str) -> Any:
    if suffix not in (".json", ".toml"):
        return read_yaml(path)
    if len(text) > MOST_BYTES:
        raise SpecError(
            f"{path}: longer than {MOST_BYTES >> 20} MiB, which no configuration is. Name the "
            "configuration file itself."
        )
    try:
        return json.loads(text) if suffix == ".json" else tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise SpecError(f"{path}: not valid {suffix[1:].upper()}: {error}.") from None


def _of_data(data: Any, path: Path, framework: str | None, method: str | None) -> ConfigurationFile:
    rows = data if isinstance(data, list) else []
    if rows and all(isinstance(row, str) and _OVERRIDE.match(row) for row in rows):
        return ConfigurationFile("verl", _options.overrides(rows), program="verl.trainer.main_ppo")
    if not isinstance(data, dict) or not data:
        kind = "empty" if not data else what_is(data)
        raise SpecError(f"{path}: {kind}, not a configuration. Looked for {LOOKED_FOR}.")
    notes: tuple[str, ...] = ()
    absent: list[str] = []
    if "defaults" in data and _whose(data) in (None, "nemo_rl", "trl", "tod"):
        data, notes = inherited(path, data, absent)
    name = framework or _whose(data)
    if name == "nemo_rl":
        data |= {f"{ANY}{one}": Computed(one) for one in unrecorded("nemo_rl", absent)}
    if name is None and method is None:
        keys = ", ".join(list(map(str, data))[:6])
        lacking = [one for one in ("target", "operator") if one not in data]
        if len(lacking) == 1:
            raise SpecError(
                f"{path}: `{lacking[0]}` is missing. A recipe of ours has `target` and `operator`; "
                "another framework's file: --framework NAME."
            )
        raise SpecError(
            f"{path}: no framework recognised in its keys ({keys}, …). Looked for {LOOKED_FOR}. "
            "If it is one of them: --framework NAME."
        )
    return ConfigurationFile(name or "trl", data, method, notes=notes)  # type: ignore[arg-type]


def _whose(data: Mapping[str, Any]) -> Framework | None:
    of_facts = foreign.whose(data)
    if of_facts is not None:
        return of_facts  # type: ignore[return-value]
    if "actor_rollout_ref" in data or "algorithm" in data:
        return "verl"
    if "target" in data and "operator" in data:
        return "tod"
    if "policy" in data and ("loss_fn" in data or any(name in data for name in _NEMO)):
        return "nemo_rl"
    if "loss_fn" in data and any(name in data for name in _NEMO):
        return "nemo_rl"
    naming = any(isinstance(data.get(key), str) for key in ("config_class", "trainer", "_class"))
    mine = set().union(*facts("trl").own.values(), {"num_generations", "loss_type", "beta"})
    plain = set(data) >= _TRAINING and "stage" not in data  # a stage is LLaMA-Factory's
    return "trl" if naming or mine & set(data) or plain else None


_TRAINING = {"model_name_or_path", "output_dir", "per_device_train_batch_size", "learning_rate"}
"""Keys of a training file that names no method; its folder may."""
