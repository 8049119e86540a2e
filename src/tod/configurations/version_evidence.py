"""What says which release of a framework a file was written for; nothing is run."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from tempfile import gettempdir
from typing import Any

from tod.base import SpecError
from tod.configurations.framework import facts, flat
from tod.configurations.nearby import settings_of
from tod.configurations.versions import ABSENT, Versions, at, ever, numbers

__all__ = ["Evidence", "asked", "by_keys", "lists_all", "own_defaults", "pins"]

PINNING = re.compile(r"requirements[\w.-]*\.txt|setup\.py|pyproject\.toml|environment\.ya?ml")
"""Files that say which releases a repository installs."""
HIGHEST = 4
"""Folders above a file that are looked into where none of them is a repository's."""
MOST_BYTES = 1_000_000
"""Of a file that may pin; a larger one is not read."""
_INSTALL = re.compile(r"pip3?\s+install\s+([^\n]*)")
_SPECIFIER = r"(?:==|>=|<=|~=|!=|<|>)\s*[\w.*]+"
_RELEASE = re.compile(r"v?(\d+(?:\.\d+)*(?:\.post\d+)?)")
_HOMES = {"trl": "huggingface/trl", "verl": "(?:volcengine|verl-project)/verl"}


@dataclass(frozen=True)
class Evidence:
    """What one thing says.

    Attributes:
        said: It, in a phrase.
        releases: Those that it leaves; none where it names none that is recorded.
        between: Whether the file is of a state between those releases, so that the newest of them
            is no better a guess than another.
    """

    said: str
    releases: frozenset[str]
    between: bool = False


def asked(versions: Versions, version: str) -> Evidence:
    """A release that a person names; of one that is not recorded the last before it.

    Raises:
        SpecError: No release, or older than all that are recorded.
    """
    wanted = numbers(version)
    short = version.count(".") < 2
    exact = {v for v in versions.releases if short and v.startswith(f"{version}.")}
    before = [v for v in versions.releases if numbers(v) <= wanted]
    if not exact and not before:
        raise SpecError(
            f"version {version}: older than all that are recorded ({versions.releases[0]} to "
            f"{versions.newest})."
        )
    said = f"--version {version}"
    if not exact and numbers(before[-1]) != wanted:
        said += ", which is not recorded: the last before it"
    return Evidence(said, frozenset({max(exact, key=numbers)} if exact else before[-1:]))


def pins(
    versions: Versions, framework: str, path: Path, text: str, folder: Path | None = None
) -> Evidence | None:
    """What installs the framework: a line of the file, else a file where it lies, or above.

    Before these the folder that a script starts its program in, and those above.
    """
    own = [_pin(versions, framework, line[1]) for line in _INSTALL.finditer(text)]
    for pin in own:
        if pin is not None:
            return replace(pin, said=f"pinned in the file ({pin.said})")
    started = () if folder is None else _folders(folder / path.name)
    for place in dict.fromkeys([*started, *_folders(path)]):
        for file in sorted(place.iterdir()) if place.is_dir() else ():
            if PINNING.fullmatch(file.name):
                pin = _pin(versions, framework, _uncommented(file))
                if pin is not None:
                    return replace(pin, said=f"pinned in {file.name} ({pin.said})")
        source = place / "verl" / "version" / "version"
        if framework == "verl" and source.is_file():
            return _of_source(versions, _uncommented(source).strip())
    return None


def _folders(path: Path) -> Iterator[Path]:
    """The file's folder and those above it, to the root of its repository."""
    above = list(path.resolve().parents)
    roots = [place for place, folder in enumerate(above) if (folder / ".git").exists()]
    last = roots[0] if roots else HIGHEST
    outside = {Path.home(), Path(gettempdir()).resolve(), Path("/")}
    for folder in above[: last + 1]:
        if folder in outside:
            return
        yield folder


def _uncommented(file: Path) -> str:
    try:
        if file.stat().st_size > MOST_BYTES:
            return ""
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return ""
    return "\n".join(line for line in lines if not line.lstrip().startswith("#"))


def _pin(versions: Versions, framework: str, text: str) -> Evidence | None:
    """The first requirement of the framework in a text, with the releases that meet it."""
    name = rf"(?<![\w./-]){framework}(?:\[[^\]]*\])?"
    git = re.search(rf"github\.com/{_HOMES[framework]}(?:\.git)?@([\w./-]+)", text)
    if git:
        release = _RELEASE.fullmatch(git[1])
        span = next((span for at, span in versions.between.items() if git[1].startswith(at)), None)
        if span is not None:
            within = versions.within(span)
            said = " to ".join(dict.fromkeys(span.split("..")))
            between = len(within) > 1
            return Evidence(f"{framework} @ {git[1][:7]}, as {said}", within, between)
        named = {v for v in versions.releases if release and numbers(v) == numbers(release[1])}
        return Evidence(f"{framework} @ {git[1][:12]}", frozenset(named))
    match = re.search(rf"{name}\s*\(?({_SPECIFIER}(?:\s*,\s*{_SPECIFIER})*)", text, re.IGNORECASE)
    if match is None:
        match = re.search(rf"^\s*-\s*{framework}=([\w.]+)", text, re.MULTILINE)
        if match is None:
            return None
        return Evidence(f"{framework}={match[1]}", _meeting(versions, f"=={match[1]}"))
    said = re.sub(r"\s+", "", match[1])
    return Evidence(f"{framework}{said}", _meeting(versions, said))


def _meeting(versions: Versions, specifiers: str) -> frozenset[str]:
    """Releases that meet every specifier, as `>=0.14,<0.18`."""
    found = set(versions.releases)
    for one in specifiers.split(","):
        sign = re.match(r"[=<>~!]+", one)
        if sign is not None:
            found &= set(_meets(versions, sign[0], one[sign.end() :].strip()))
    return frozenset(found)


def _meets(versions: Versions, sign: str, bound: str) -> Iterator[str]:
    prefix = bound.removesuffix(".*")
    number = _RELEASE.match(prefix)
    if number is None:
        return
    wanted = numbers(number[1])
    width = prefix.count(".") + 1 if bound.endswith(".*") else len(wanted)
    for version in versions.releases:
        here = numbers(version)
        same = here[:width] == wanted[:width]
        compatible = here >= wanted and here[: prefix.count(".")] == wanted[: prefix.count(".")]
        if {
            "==": same,
            "!=": not same,
            ">=": here >= wanted,
            "<=": here <= wanted,
            ">": here > wanted,
            "<": here < wanted,
            "~=": compatible,
        }.get(sign, False):
            yield version


def _of_source(versions: Versions, said: str) -> Evidence:
    """The version file of a checkout of verl; one between releases is of neither."""
    span = versions.between.get(said)
    if span is None:
        release = _RELEASE.fullmatch(said)
        named = {v for v in versions.releases if release and numbers(v) == numbers(release[1])}
        return Evidence(f"its own verl is {said}", frozenset(named))
    return Evidence(f"its own verl is {said}", versions.within(span), between=True)


def by_keys(
    versions: Versions, method: str, names: Iterable[str], added: Iterable[str] = ()
) -> list[Evidence]:
    """What every name says that not all releases have, the strictest first.

    Args:
        versions: What is recorded.
        method: Key of the defaults.
        names: Settings of the file.
        added: Those that the file adds to what the release has (`+a.b=c`): no evidence.
    """
    found = []
    for name in set(names) - set(added):
        having = versions.having(method, name)
        all_of_it = versions.of_method(method)
        if having and len(having) < len(all_of_it):
            ordered = [v for v in all_of_it if v in having]
            oldest, newest = ordered[0] == all_of_it[0], ordered[-1] == versions.newest
            short = name.rpartition(".")[2]
            span = f"from {ordered[0]} to {ordered[-1]}"
            if newest:
                span = f"since {ordered[0]}"
            elif oldest:
                span = f"up to {ordered[-1]}"
            found.append(Evidence(f"{short} exists {span}", having))
    return sorted(found, key=lambda one: (len(one.releases), one.said))


def of_forks(
    versions: Versions, method: str, names: Iterable[str], added: Iterable[str]
) -> tuple[str, ...]:
    """Settings of verl's algorithm, actor and rollout that no release has.

    Hydra refuses an override of what is not there unless it is added by ``+``, so that such a file
    is of a fork, or of a state after the newest release, and its defaults are not recorded.

    Args:
        versions: What is recorded.
        method: Key of the defaults.
        names: Settings of the file.
        added: Those that it adds.
    """
    known = facts("verl")
    sections = tuple(name for part in known.sections.values() for name in part)
    every = frozenset(versions.of_method(method))
    return tuple(
        name
        for name in names
        if name.startswith(SECTIONS)
        and name not in {*added}
        and name not in known.neutral
        and name not in known.defaults[method]
        and name not in known.renamed
        and name not in ever("verl")
        and not name.startswith(sections)
        and versions.having(method, name) == every  # none of them is recorded to have it
    )


SECTIONS = ("algorithm.", "actor_rollout_ref.actor.", "actor_rollout_ref.rollout.")
"""Where verl's settings decide."""


def added_keys(text: str) -> set[str]:
    """Names that Hydra overrides add to the configuration, `+a.b=c` and `++a.b=c`."""
    return set(re.findall(r"(?<![\w.+])\+{1,2}([\w.]+)=", text))


def own_defaults(path: Path) -> tuple[str, dict[str, Any]] | None:
    """Verl's trainer YAML of the repository that holds the file, as it names it, and its values."""
    places = ("verl/trainer/config", "verl/verl/trainer/config")
    for folder, place in product(_folders(path), places):
        for name in ("_generated_ppo_trainer.yaml", "ppo_trainer.yaml"):
            file = folder / place / name
            if file.is_file() and file.resolve() != path.resolve():
                try:
                    data = settings_of(file)
                except SpecError:
                    return None
                return (name, flat(data)) if lists_all(data) else None
    return None


def lists_all(data: Any) -> bool:
    """Whether a trainer YAML of verl holds its values itself, not the names of other files."""
    return (
        isinstance(data, dict)
        and isinstance(data.get("actor_rollout_ref"), dict)
        and ("entropy_coeff" in (data["actor_rollout_ref"].get("actor") or {}))
    )


def like(versions: Versions, method: str, own: Mapping[str, Any]) -> frozenset[str]:
    """Releases whose settings a complete listing has most nearly: fewest there and not here."""
    rows = versions.defaults[method]

    def strange(version: str) -> int:
        return sum((at(row, version) == ABSENT) == (name in own) for name, row in rows.items())

    fewest = min(map(strange, versions.releases))
    return frozenset(v for v in versions.releases if strange(v) == fewest)
