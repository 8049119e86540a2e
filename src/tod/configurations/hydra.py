"""A primary configuration of Hydra with its list of defaults. Only read."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tod.base import SpecError
from tod.configurations import nearby
from tod.configurations.inherited import merged

_PACKAGE = re.compile(r"#\s*@package\s+(\S+)")
_CHOICE = re.compile(r"\$\{([\w./@]+)\}")
_DEEPEST = 12


@dataclass
class Composed:
    """What a primary configuration comes to.

    Attributes:
        folders: Where its parts are looked for.
        values: Nested settings.
        read: Names of the files that were read.
        missing: Names of those that are not there.
        choices: Group: which of its files.
    """

    folders: list[Path]
    values: dict[str, Any] = field(default_factory=dict)
    read: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    choices: dict[str, str] = field(default_factory=dict)


def compose(file: Path, folders: list[Path], choices: Mapping[str, str] | None = None) -> Composed:
    """A primary configuration over the files of its list of defaults.

    Later entries win; ``_self_`` stands for the file's own settings, behind all others where it is
    not listed. A group that an override of the command chooses is read from that choice.

    Args:
        file: It.
        folders: Where groups lie besides its own folder and those of its search path.
        choices: Group: the file that the command chooses.

    Raises:
        SpecError: A file is damaged, or the lists name one another in a circle.
    """
    data = _mapping(file)
    search = data.get("hydra", {})
    named = search.get("searchpath", []) if isinstance(search, Mapping) else []
    more = [place for name in named or [] for place in _places(file, str(name))]
    composed = Composed([file.parent, *more, *folders], choices=dict(choices or {}))
    composed.values = _one(composed, file, "", "", _DEEPEST)
    composed.values.pop("hydra", None)
    return composed


def _mapping(file: Path) -> dict[str, Any]:
    data = nearby.settings_of(file)
    if data is not None and not isinstance(data, dict):
        raise SpecError(f"{file}: no mapping of settings.")
    return data or {}


def _places(file: Path, name: str) -> Iterator[Path]:
    """Folders of one entry of a search path."""
    kind, _, rest = name.partition("://")
    rest = rest.replace(".", "/") if kind == "pkg" else rest
    if "$" in rest:
        rest = re.sub(r".*\$\{[^}]*\}", "", rest)
    if rest.strip("/"):
        yield from (place for place in nearby.candidates(file, rest.lstrip("/")) if place.is_dir())


def _one(composed: Composed, file: Path, group: str, package: str, deep: int) -> dict[str, Any]:
    """One file over the entries of its list."""
    if deep == 0:
        raise SpecError(f"{file}: its `defaults:` name one another in a circle. Cut it.")
    generated = file.with_name(f"_generated_{file.name}")
    whole_already = not composed.choices and generated.is_file()
    data = _mapping(generated if whole_already else file)
    composed.read.append(file.stem)
    own = {key: value for key, value in data.items() if key != "defaults"}
    entries = data.get("defaults") or []
    entries = entries if isinstance(entries, list) else [entries]
    entries = entries if "_self_" in entries else [*entries, "_self_"]
    whole: dict[str, Any] = {}
    for entry in entries:
        if entry == "_self_":
            whole = merged(whole, _packed(own, _header(file, package)))
            continue
        for name, inside, into in _chosen(composed, entry, group, package):
            where = _find(composed, name)
            if where is None:
                composed.missing.append(name)
            else:
                whole = merged(whole, _one(composed, where, inside, into, deep - 1))
    return whole


def _header(file: Path, package: str) -> str:
    """The package that a file's first lines give it."""
    with file.open(encoding="utf-8") as lines:
        found = _PACKAGE.search("".join(line for line, _ in zip(lines, range(5), strict=False)))
    said = found.group(1) if found else "_group_"
    return "" if said == "_global_" else package if said == "_group_" else said


def _packed(values: dict[str, Any], package: str) -> dict[str, Any]:
    for name in reversed(package.split(".")) if package else ():
        values = {name: values}
    return values


def _chosen(
    composed: Composed, entry: Any, group: str, package: str
) -> Iterator[tuple[str, str, str]]:
    """Name, group and package of every file that one entry stands for."""
    if isinstance(entry, str):
        name, _, into = entry.partition("@")
        whole = _path(group, name)
        yield whole, whole.rpartition("/")[0], into or package
        return
    if not isinstance(entry, Mapping):
        return
    for key, options in entry.items():
        key = re.sub(r"^(optional|override)\s+", "", str(key))
        option = composed.choices.get(key, options)
        spelled, _, into = key.partition("@")
        inside = _path(group, spelled)
        own = into.removeprefix("_here_.") if into else spelled.strip("/.").replace("/", ".")
        target = "" if into == "_global_" else package if into == "_here_" else own
        whole = target if into == "_global_" or not package else f"{package}.{target}".strip(".")
        for one in option if isinstance(option, list) else [option]:
            if one is not None:
                name = _CHOICE.sub(lambda f: composed.choices.get(f.group(1), f.group(0)), str(one))
                composed.choices.setdefault(spelled, name)
                yield f"{inside}/{name}".strip("/"), inside, target if into == "_here_" else whole


def _path(group: str, name: str) -> str:
    """A name relative to a group."""
    if name.startswith("/"):
        return name.strip("/")
    steps = [*([group] if group else []), *name.split("/")]
    found: list[str] = []
    for step in "/".join(steps).split("/"):
        if step == "..":
            found = found[:-1]
        elif step not in ("", "."):
            found.append(step)
    return "/".join(found)


def _find(composed: Composed, name: str) -> Path | None:
    name = name if name.endswith((".yaml", ".yml")) else f"{name}.yaml"
    return next((f / name for f in composed.folders if (f / name).is_file()), None)
