"""What a file is: whose configuration, and its settings as plain data. Nothing is executed."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from tod.base import SpecError, read_yaml
from tod.base.text import what_is
from tod.configurations import notebook as _notebook
from tod.configurations import script as _script
from tod.configurations import shell as _shell
from tod.configurations.framework import facts, flat
from tod.configurations.inherited import inherited, of_config

Framework = Literal["trl", "verl", "openrlhf", "nemo_rl", "tod"]
FRAMEWORKS: tuple[Framework, ...] = ("trl", "verl", "openrlhf", "nemo_rl", "tod")

LOOKED_FOR = (
    "TRL (a *Config(...) call in a script, or its fields as JSON or YAML), verl (a key "
    "`actor_rollout_ref`, overrides `a.b=c`, or a script running `verl.trainer...`), OpenRLHF (a "
    "script running `openrlhf.cli...`), NeMo-RL (`loss_fn` and `policy`), our own recipe (`target` "
    "and `operator`)"
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
    """

    framework: Framework
    values: Mapping[str, Any]
    method: str | None = None
    program: str | None = None
    notes: tuple[str, ...] = field(default_factory=tuple)


def detect(
    path: Path, framework: str | None = None, method: str | None = None
) -> ConfigurationFile:
    """Read a file and say whose configuration it is.

    Args:
        path: The file.
        framework: Whose it is, if the reader knows.
        method: Configuration class or subcommand, if the reader knows.

    Raises:
        SpecError: Missing, unreadable, damaged, or of no known framework.
    """
    if framework is not None and framework not in FRAMEWORKS:
        raise SpecError(f"no framework {framework!r}. Known: {', '.join(FRAMEWORKS)}.")
    text = _text(path)
    suffix = path.suffix.lower()
    if suffix == ".ipynb":
        values, name = _script.read(_notebook.source(text, str(path)), str(path), method)
        return ConfigurationFile("trl", values, name)
    if suffix == ".py":
        values, name = _script.read(text, str(path), method)
        return ConfigurationFile("trl", values, name)
    if suffix in (".sh", ".bash") or text.startswith("#!") or _shell.runs(text):
        return _with_config(path, ConfigurationFile(*_shell.read(text, f"{path}", LOOKED_FOR)))
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    if suffix not in (".yaml", ".yml", ".json") and lines and all(map(_OVERRIDE.match, lines)):
        return ConfigurationFile("verl", _shell.overrides(lines), program="verl.trainer.main_ppo")
    return _of_data(_data(path, text, suffix), path, framework, method)


def _with_config(path: Path, found: ConfigurationFile) -> ConfigurationFile:
    """A command with the file that its `--config` names; its own options win over it."""
    name = found.values.get("config")
    if found.framework not in ("trl", "nemo_rl") or name is None:
        return found
    own = {k: v for k, v in found.values.items() if k != "config"}
    if found.framework == "nemo_rl":
        return _over_nemo(path, replace(found, values=own), str(name))
    below, _ = of_config(path, str(name))
    values = {**below, **own}
    return replace(found, values=values, notes=(*found.notes, f"settings read from {name}"))


def _over_nemo(path: Path, found: ConfigurationFile, name: str) -> ConfigurationFile:
    """NeMo-RL's overrides over its `--config`; where it is missing, over its examples' defaults."""
    try:
        below, where = of_config(path, name)
    except SpecError:
        missing = f"--config {name} is not here: the defaults of NeMo-RL's examples stand in for it"
        return replace(found, notes=(*found.notes, missing))
    data, notes = inherited(where, below)
    said = (f"settings read from {name}", *notes)
    return replace(found, values={**flat(data), **found.values}, notes=(*found.notes, *said))


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
    if suffix != ".json":
        return read_yaml(path)
    try:
        return json.loads(text)
    except ValueError as error:
        raise SpecError(f"{path}: not valid JSON: {error}.") from None


def _of_data(data: Any, path: Path, framework: str | None, method: str | None) -> ConfigurationFile:
    rows = data if isinstance(data, list) else []
    if rows and all(isinstance(row, str) and _OVERRIDE.match(row) for row in rows):
        return ConfigurationFile("verl", _shell.overrides(rows), program="verl.trainer.main_ppo")
    if not isinstance(data, dict) or not data:
        kind = "empty" if not data else what_is(data)
        raise SpecError(f"{path}: {kind}, not a configuration. Looked for {LOOKED_FOR}.")
    notes: tuple[str, ...] = ()
    if "defaults" in data and _whose(data) != "verl":
        data, notes = inherited(path, data)
    name = framework or _whose(data)
    if name is None and method is None:
        keys = ", ".join(list(map(str, data))[:6])
        raise SpecError(
            f"{path}: no framework recognised in its keys ({keys}, …). Looked for {LOOKED_FOR}. "
            "If it is one of them: --framework NAME."
        )
    return ConfigurationFile(name or "trl", data, method, notes=notes)  # type: ignore[arg-type]


def _whose(data: Mapping[str, Any]) -> Framework | None:
    if "actor_rollout_ref" in data or "algorithm" in data:
        return "verl"
    if "target" in data and "operator" in data:
        return "tod"
    if "policy" in data and ("loss_fn" in data or any(name in data for name in _NEMO)):
        return "nemo_rl"
    if "loss_fn" in data and any(name in data for name in _NEMO):
        return "nemo_rl"
    naming = any(key in data for key in ("config_class", "trainer", "_class"))
    mine = set().union(*facts("trl").own.values(), {"num_generations", "loss_type", "beta"})
    return "trl" if naming or mine & set(data) else None
