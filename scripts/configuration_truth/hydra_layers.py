"""Configurations as Hydra composes them: a program's own YAML, its layers, a command's overrides.

Needs hydra-core and omegaconf, which the project itself does not; install them elsewhere.
"""

import ast
import contextlib
import copy
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

OPEN = "?"
"""A value that only the machine of a run knows: an interpolation of its environment, or none."""


class NotComposedError(ValueError):
    """The program's own loader refuses the command, or its layers are not in the checkout."""


def flat(data: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings as dotted keys."""
    made: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, Mapping) and value:
            made |= flat(value, f"{prefix}{key}.")
        else:
            made[f"{prefix}{key}"] = value
    return made


def quick_yaml() -> None:
    """Let omegaconf read YAML by libyaml, to the same values ten times as fast."""
    if yaml.__with_libyaml__:
        yaml.SafeLoader = yaml.CSafeLoader  # type: ignore[misc]


def plain(config: Any, sections: Sequence[str] = ()) -> dict[str, Any]:
    """A composed configuration as flat plain data; what cannot be resolved is `OPEN`.

    Args:
        config: The configuration.
        sections: Those of it that are wanted; all if none is named.
    """
    from omegaconf import DictConfig, ListConfig, OmegaConf

    def value(node: Any, key: Any) -> Any:
        try:
            if OmegaConf.is_missing(node, key):
                return OPEN
            item = node[key]
        except Exception:
            return OPEN
        if isinstance(item, DictConfig):
            return {str(name): value(item, name) for name in item}
        if isinstance(item, ListConfig):
            return [value(item, at) for at in range(len(item))]
        return item

    if not sections:
        return flat({str(name): value(config, name) for name in config})
    wanted = {name: OmegaConf.select(config, name) for name in sections}
    return flat(
        {
            n: {str(k): value(c, k) for k in c}
            for n, c in wanted.items()
            if isinstance(c, DictConfig)
        }
    )


VERL_SECTIONS = (
    "algorithm",
    "data",
    "distillation",
    "actor_rollout_ref.actor",
    "actor_rollout_ref.rollout",
)
"""Sections of a verl configuration that hold decisive settings."""


def main_file(program: str, root: Path, where: str, script: str) -> Path:
    """The file that a program is, nearest to where it is started.

    Raises:
        NotComposedError: It is not in the checkout.
    """
    relative = program if program.endswith(".py") else program.replace(".", "/") + ".py"
    if relative.startswith("/"):
        relative = relative.removeprefix("/repo/").lstrip("/")
    for start in (where, ".", str(Path(script).parent)):
        if (root / start / relative).is_file():
            return root / start / relative
    name = Path(relative).name
    end = "/" + relative.lstrip("./")
    matches = [path for path in _named(root, name) if str(path).endswith(end)]
    if not matches:
        raise NotComposedError(f"no {relative} in the checkout")
    return max(matches, key=lambda path: (_shared(path, root / script), -len(path.parts)))


@cache
def _named(root: Path, name: str) -> tuple[Path, ...]:
    return tuple(root.rglob(name))


@cache
def _config_folders(root: Path) -> tuple[Path, ...]:
    """Folders of verl's own layers in a checkout."""
    return tuple(path for path in root.rglob("verl/trainer/config") if path.is_dir())


def _shared(one: Path, other: Path) -> int:
    return len(Path(os.path.commonpath([one, other])).parts)


def entry_point(path: Path) -> tuple[str, str]:
    """Folder and name of the configuration that a program's ``hydra.main`` names.

    Raises:
        NotComposedError: It has none.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        for call in getattr(node, "decorator_list", []):
            if isinstance(call, ast.Call) and ast.unparse(call.func).endswith("hydra.main"):
                named = {word.arg: word.value for word in call.keywords}
                texts = [named.get("config_path"), named.get("config_name")]
                folder, name = (n.value if isinstance(n, ast.Constant) else None for n in texts)
                return str(folder or "."), str(name or "config").removesuffix(".yaml")
    raise NotComposedError(f"{path.name} has no hydra.main")


def compose(
    program: str, words: Sequence[str], root: Path, where: str, script: str
) -> dict[str, Any]:
    """What a command's program is configured with, flat.

    Args:
        program: Module or file.
        words: The command's words behind the program.
        root: The checkout.
        where: Working directory, relative to it.
        script: The script, relative to it.

    Raises:
        NotComposedError: Its layers are not there, or its own loader refuses the words.
    """
    path = main_file(program, root, where, script)
    overrides, options = split(words)
    try:
        folder, name = entry_point(path)
    except NotComposedError:
        if "path" not in options and "name" not in options:
            raise
        folder, name = ".", "config"
    folder, name = options.get("path", folder), options.get("name", name)
    config_dir = _in_checkout(folder, path.parent, root)
    name = name.removesuffix(".yaml").removesuffix(".yml")
    if not config_dir.is_dir():
        raise NotComposedError("its folder of configurations is not in the checkout")
    with _layers(root, script, path) as start:
        made = _composed(config_dir, name, overrides, start, options.get("dir"), root)
        return made, start / "verl"


def split(words: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Overrides, and Hydra's own options ``path``, ``name`` and ``dir``."""
    long = {"--config-path": "path", "-cp": "path", "--config-name": "name", "-cn": "name"}
    long |= {"--config-dir": "dir", "-cd": "dir"}
    overrides: list[str] = []
    options: dict[str, str] = {}
    at = 0
    while at < len(words):
        name, bar, value = words[at].partition("=")
        if name in long:
            if not bar:
                at += 1
                value = words[at] if at < len(words) else ""
            options[long[name]] = value
        elif words[at].startswith("--"):
            raise NotComposedError(f"an option that Hydra has not: {name}")
        elif words[at]:
            overrides.append(words[at])
        at += 1
    return overrides, options


def _composed(
    config_dir: Path, name: str, overrides: list[str], start: Path, more: str | None, root: Path
) -> dict[str, Any]:
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from hydra.core.override_parser.overrides_parser import OverridesParser

    quick_yaml()
    overrides = [word for word in overrides if _ours(word)]
    layers = tuple(word.replace("/repo/", f"{root}/") for word in overrides if _chooses_layer(word))
    if more:
        layers += (f"hydra.searchpath=[file://{_in_checkout(more, start, start)}]",)
    try:
        parser = OverridesParser.create()
        parsed = parser.parse_overrides([w for w in overrides if not _chooses_layer(w)])
        config = copy.deepcopy(_base(config_dir.resolve(), name, layers, start))
        ConfigLoaderImpl._apply_overrides_to_config(parsed, config)
        return plain(config, VERL_SECTIONS)
    except Exception as error:
        raise NotComposedError(f"{type(error).__name__}: {str(error).splitlines()[0]}") from None


@cache
def _base(config_dir: Path, name: str, layers: tuple[str, ...], start: Path) -> Any:
    """A program's configuration before any value of a command; composed once."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from omegaconf import OmegaConf

    GlobalHydra.instance().clear()
    before = os.getcwd()
    try:
        os.chdir(start)
        with initialize_config_dir(str(config_dir), version_base=None):
            config = hydra_compose(name, list(layers))
    finally:
        os.chdir(before)
    OmegaConf.set_struct(config, True)
    return config


def _chooses_layer(word: str) -> bool:
    """An override of the list of layers: a name without a dot, or with a slash or a package."""
    name = word.lstrip("+~").partition("=")[0]
    if name == "hydra.searchpath":
        return True
    return "." not in name or "/" in name or "@" in name


def _ours(word: str) -> bool:
    """Not an override of Hydra's own running, which a composition alone has not."""
    if word.startswith("hydra.searchpath="):
        return True
    return not word.lstrip("+~").startswith(("hydra.", "hydra/"))


def _in_checkout(folder: str, beside: Path, root: Path) -> Path:
    """A folder as a path of the checkout; relative ones are beside the program."""
    folder = folder.removeprefix("file://")
    if folder.startswith("pkg://"):
        return root / folder.removeprefix("pkg://").replace(".", "/")
    if folder.startswith("/repo"):
        return root / folder.removeprefix("/repo").lstrip("/")
    return Path(os.path.normpath(beside / folder))


@contextlib.contextmanager
def _layers(root: Path, script: str, main: Path) -> Iterator[Path]:
    """Where ``file://verl/…`` and ``pkg://verl.…`` of a search path are."""
    near = _config_folders(root)
    best = max(
        near, key=lambda path: (_shared(path, main), _shared(path, root / script)), default=None
    )
    start = root if best is None else best.parents[2]
    shadow = Path(tempfile.mkdtemp(prefix="layers-"))
    mine = [name for name in sys.modules if name.split(".")[0] == "verl"]
    before = {name: sys.modules.pop(name) for name in mine}
    try:
        if best is not None:
            shutil.copytree(best, shadow / "verl/trainer/config")
            experimental = best.parents[1] / "experimental"
            for path in experimental.rglob("*.yaml") if experimental.is_dir() else ():
                copy = shadow / "verl" / path.relative_to(best.parents[1])
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, copy)
            for folder in [
                shadow / "verl",
                *(p for p in (shadow / "verl").rglob("*") if p.is_dir()),
            ]:
                (folder / "__init__.py").write_text("")  # layers, not their package's code
        sys.path.insert(0, str(shadow))
        yield start
    finally:
        sys.path.remove(str(shadow))
        for name in [name for name in sys.modules if name.split(".")[0] == "verl"]:
            del sys.modules[name]
        sys.modules.update(before)
        shutil.rmtree(shadow, ignore_errors=True)
