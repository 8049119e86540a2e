"""Reads a file under every release that it may be of, and says what hangs on which."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from tod.atlas.law import Law
from tod.base import SpecError
from tod.configurations.framework import ANY, Facts
from tod.configurations.point import Located
from tod.configurations.spans import Span, spans
from tod.configurations.version_evidence import (
    Evidence,
    added_keys,
    asked,
    by_keys,
    like,
    of_forks,
    own_defaults,
    pins,
)
from tod.configurations.versions import Versions, facts_at, recorded
from tod.configurations.worlds import aimed_at, combined, over_worlds

__all__ = ["Choice", "choose", "locate_by_version"]

NEIGHBOURS = 2
"""A state between two releases one after the other may be as either is."""
Reader = Callable[[Mapping[str, Any], Facts], Located]
"""A framework's reader of settings, over what is recorded of the framework."""


@dataclass(frozen=True)
class Choice:
    """Releases that a file may be of.

    Attributes:
        possible: Oldest first; never none.
        because: What that rests on.
        assumed: Whether the newest is taken though nothing says so.
        notes: What contradicts it.
        own: Defaults of the repository's own YAML, which go before a release's.
        strange: Settings that no release has, written as if it had them: the file is of a fork
            whose defaults are not here.
    """

    possible: tuple[str, ...]
    because: str
    assumed: bool = False
    notes: tuple[str, ...] = ()
    own: Mapping[str, Any] | None = None
    strange: tuple[str, ...] = ()


def choose(
    framework: str,
    method: str,
    values: Mapping[str, Any],
    path: Path | None = None,
    version: str | None = None,
    listing: tuple[str, Mapping[str, Any]] | None = None,
    folder: Path | None = None,
) -> Choice:
    """The releases that a file may be of: as asked, else as pinned, else as its keys say.

    Weaker evidence narrows stronger, or contradicts it and is noted. Where nothing excludes the
    newest release that one is assumed; keys that no release has together leave all of them.

    Args:
        framework: One whose releases are recorded.
        method: Key of its defaults.
        values: The file's settings, flat.
        path: The file; None: there is none, and no pin.
        version: As asked.
        listing: Name and settings of a file that lists all defaults of the program.
        folder: Where the program is started; None: not known.

    Raises:
        SpecError: ``version`` is no release, or older than all that are recorded of the method.
    """
    versions = recorded(framework)
    text = _text(path)
    own = listing
    if own is None and path is not None and framework == "verl":
        own = own_defaults(path)
    keys = by_keys(versions, method, values, added_keys(text))
    if own is not None:
        keys = [Evidence(f"defaults of its own {own[0]}", like(versions, method, own[1]))]
    pin = None if path is None else pins(versions, framework, path, text, folder)
    if own is not None and pin is not None and pin.between and len(pin.releases) == NEIGHBOURS:
        keys = []  # its keys may be those of one, and what it does with them that of the other
    wanted = None if version is None else asked(versions, version)
    releases = versions.of_method(method)
    if wanted is not None and not wanted.releases & set(releases):
        raise SpecError(f"version {version}: there is no {method} before {releases[0]}.")
    stronger = [one for one in (wanted, pin) if one is not None]
    chosen = _narrowed(versions, releases, stronger, keys)
    if own is None and framework == "verl":
        return replace(chosen, strange=of_forks(versions, method, values, added_keys(text)))
    return chosen if own is None or version else replace(chosen, own=dict(own[1]))


def _text(path: Path | None) -> str:
    try:
        return "" if path is None else path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _narrowed(
    versions: Versions, releases: tuple[str, ...], stronger: list[Evidence], keys: list[Evidence]
) -> Choice:
    """The intersection of evidence, strongest first, what contradicts it being noted."""
    left, said, notes = frozenset(releases), list[str](), list[str]()
    for one in stronger:
        if left & one.releases:
            left &= one.releases
            said.append(one.said)
        else:
            none = "names no release that is recorded"
            against = "is against it" if said else "is older than the method"
            notes.append(f"{one.said} {against if one.releases else none}")
    fixed = bool(said)
    together = frozenset(releases).intersection(*(one.releases for one in keys))
    if keys and not together and not fixed:
        strict = " and ".join(one.said for one in _clashing(keys))
        return Choice(releases, f"no release has all its keys: {strict}", notes=tuple(notes))
    for one in keys:
        if left & one.releases:
            if not left <= one.releases:
                said.append(one.said)
            left &= one.releases
        else:
            notes.append(f"{', '.join(said)}, but {one.said}: the first is taken")
    possible = tuple(v for v in versions.releases if v in left)
    between = any(one.between for one in stronger)
    assumed = versions.newest in left and len(possible) > 1 and not between
    if assumed:
        said = ["newest recorded", *(said or ["nothing in the file says"])]
    return Choice(possible, ", ".join(said[:3]), assumed, tuple(notes[:2]))


def _clashing(keys: list[Evidence]) -> tuple[Evidence, Evidence]:
    """Two that no release meets together, or the two strictest."""
    for place, one in enumerate(keys):
        for other in keys[place + 1 :]:
            if not one.releases & other.releases:
                return one, other
    return keys[0], keys[1]


def locate_by_version(
    framework: str,
    method: str,
    values: Mapping[str, Any],
    read: Reader,
    choice: Choice,
) -> Located:
    """The point that a file is, at the newest release that it may be of.

    A setting that the file leaves out, and that the releases left fill in otherwise so that it
    matters, is unknown, with both; where the newest is assumed it is said instead.

    Raises:
        SpecError: The method was another one altogether at every release that is left.
    """
    versions = recorded(framework)
    possible = _of_this_kind(versions, method, choice.possible)
    given, unread = _readable(versions, method, values, frozenset(possible))
    at = {v: _facts(framework, v, method, given, choice) for v in possible}
    newest = possible[-1]
    located = over_worlds(framework, given, _at(read, at[newest]))
    by_release: dict[str, tuple[Span, ...]] = {}
    if choice.assumed:
        matters = _otherwise(given, method, read, at)
        by_release = _by_release(located, given, method, read, at) if matters else {}
    else:
        matters, aiming = _between(given, method, read, at)
        every = _readings(framework, given, read, [at[v] for v in possible[:-1]])
        located = combined(located, every, tuple(aiming)) if matters else located
    law_settings = list(at[newest].law_settings.get(method, ()))  # those that decide the law first
    matters.sort(
        key=lambda name: law_settings.index(name) if name in law_settings else len(law_settings)
    )
    other = tuple(f"{name.rpartition('.')[2]} {_both(name, method, at)}" for name in matters)
    return replace(
        _unknown_by(located, unread),
        version=newest,
        version_from=("assumed: " if choice.assumed else "") + choice.because,
        other_releases=other,
        by_release=by_release,
        notes=(*located.notes, *choice.notes),
    )


def _of_this_kind(versions: Versions, method: str, possible: tuple[str, ...]) -> tuple[str, ...]:
    left, why = set(possible), ""
    for span, what in versions.other.get(method, {}).items():
        left -= versions.within(span)
        why = f"{method} of {span.replace('..', ' to ')} is {what}: no reader."
    if not left:
        raise SpecError(f"{why} Say another release with --version if that is not the one.")
    return tuple(v for v in possible if v in left)


def _readable(
    versions: Versions, method: str, values: Mapping[str, Any], possible: frozenset[str]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The settings, and those set that a release which is left had and that no reader knows."""
    unread = {
        name: why
        for name, why in versions.unread.get(method, {}).items()
        if possible & versions.having(method, name)
    }
    given = {name: value for name, value in values.items() if name not in unread}
    unset = (None, False, "False", "false", "null")
    names = (name for name in values if name in unread and values[name] not in unset)
    return given, tuple(f"{name} ({unread[name]})" for name in names)


def _unknown_by(located: Located, names: tuple[str, ...]) -> Located:
    """A point of which no target is claimed, for settings that no reader here knows."""
    if not names:
        return located
    undetermined = (*located.undetermined, *names)
    why = f"unknown as long as {', '.join(undetermined)} is"
    return replace(
        located,
        law=Law("other", why=why),
        procedure=None,
        rule=None,
        undetermined=undetermined,
        notes=(f"{', '.join(names)}: no reader here knows that", *located.notes),
    )


def _facts(
    framework: str, version: str, method: str, values: Mapping[str, Any], choice: Choice
) -> Facts:
    known = facts_at(framework, version, method, values)
    own = {} if choice.own is None else choice.own
    mine = {name: own[name] for name in known.defaults[method] if name in own}
    if not mine:
        return known
    defaults = {**known.defaults, method: {**known.defaults[method], **mine}}
    return known.model_copy(update={"defaults": defaults})


def _left_out(given: Mapping[str, Any], method: str, at: Mapping[str, Facts]) -> list[str]:
    """Settings that the file does not write and that the releases fill in differently."""
    first = next(iter(at.values()))
    older = {first.renamed[name] for name in given if name in first.renamed}
    return [
        name
        for name in [*first.defaults[method], *first.behaviour]
        if name not in given
        and name not in older
        and len({repr(_value(facts, method, name)) for facts in at.values()}) > 1
    ]


def _value(facts: Facts, method: str, name: str) -> Any:
    """A setting's default, or what the release does of itself."""
    return facts.behaviour.get(name, facts.defaults[method].get(name))


def _with(facts: Facts, method: str, name: str, value: Any) -> Facts:
    if name in facts.behaviour:
        return facts.model_copy(update={"behaviour": {**facts.behaviour, name: value}})
    defaults = {**facts.defaults[method], name: value}
    return facts.model_copy(update={"defaults": {**facts.defaults, method: defaults}})


def _otherwise(
    given: Mapping[str, Any], method: str, read: Reader, at: Mapping[str, Facts]
) -> list[str]:
    """Settings that matter at the newest release if they had another release's value."""
    newest = list(at.values())[-1]
    here = _essence(read, given, newest)
    found = []
    for name in _left_out(given, method, at):
        values = {repr(_value(f, method, name)): _value(f, method, name) for f in at.values()}
        if any(
            _essence(read, given, _with(newest, method, name, v)) != here for v in values.values()
        ):
            found.append(name)
    return found


def _by_release(
    located: Located,
    given: Mapping[str, Any],
    method: str,
    read: Reader,
    at: Mapping[str, Facts],
) -> dict[str, tuple[Span, ...]]:
    """What the file comes to by release, where that is not one thing at all of them.

    Where a word was not read that may hold any setting, what it leaves open at the newest release
    is open at all, and nothing is said of it.
    """
    bags = any(name.startswith(ANY) for name in given)
    names = _left_out(given, method, at)
    made: dict[str, Located | None] = {}
    readings: dict[str, Located] = {}
    for version, known in at.items():
        filled_in = repr([_value(known, method, name) for name in names])
        if filled_in not in made:
            one = _at(read, known)
            try:
                made[filled_in] = one(given) if bags else over_worlds(located.framework, given, one)
            except SpecError:  # the release would refuse it
                made[filled_in] = None
        reading = made[filled_in]
        if reading is not None:
            readings[version] = reading
    found = spans({version: one.claims for version, one in readings.items()})
    return {name: found[name] for name in _said(located, found)} if bags else found


def _said(located: Located, found: Mapping[str, tuple[Span, ...]]) -> list[str]:
    """Of the parts that hang on the release those that are not open."""
    changes = {f"changes.{change.name}" for change in located.silent_changes}
    shown = {name for name in found if name.startswith(("proposal.", "action.", "auxiliary."))}
    shown = (shown | {"updates"}) - located.not_said if "operator" not in located.open else set()
    shown |= changes | (set() if located.undetermined else {"law"})
    return [name for name in found if name in shown]


def _readings(
    framework: str, given: Mapping[str, Any], read: Reader, every: list[Facts]
) -> list[Located]:
    """The file by every release that fills it in differently."""
    found: dict[str, Facts] = {}
    for known in every:
        found.setdefault(repr((known.defaults, known.behaviour)), known)
    return [over_worlds(framework, given, _at(read, known)) for known in found.values()]


def _at(read: Reader, known: Facts) -> Callable[[Mapping[str, Any]], Located]:
    """The reader over one release."""
    return lambda values: read(values, known)


def _between(
    given: Mapping[str, Any], method: str, read: Reader, at: Mapping[str, Facts]
) -> tuple[list[str], list[str]]:
    """Settings by which the file is another point at one release than at the next.

    All of them, and those by which it aims elsewhere.
    """
    names = _left_out(given, method, at)
    classes = {repr([_value(f, method, name) for name in names]): f for f in at.values()}
    matters: dict[str, None] = {}
    aiming: dict[str, None] = {}
    for older, newer in pairwise(classes.values()):
        changed = [n for n in names if _value(older, method, n) != _value(newer, method, n)]
        for found, essence in ((matters, _essence), (aiming, _aim)):
            here = essence(read, given, older)
            if essence(read, given, newer) == here:
                continue
            alone = [
                name
                for name in changed
                if essence(read, given, _with(older, method, name, _value(newer, method, name)))
                != here
            ]
            found |= dict.fromkeys(alone or changed)
    return list(matters), list(aiming)


def _aim(read: Reader, given: Mapping[str, Any], facts: Facts) -> object:
    """What a file aims at."""
    try:
        return aimed_at(read(given, facts))
    except SpecError as error:
        return str(error)


def _essence(read: Reader, given: Mapping[str, Any], facts: Facts) -> str:
    """What is claimed of a file but for sizes and spelling."""
    try:
        located = read(given, facts)
    except SpecError as error:
        return str(error)
    data = located.to_dict()
    operator = data["operator"]
    if isinstance(operator.get("proposal"), dict):
        sizes = ("prompts", "max_new_tokens")
        operator["proposal"] = {k: v for k, v in operator["proposal"].items() if k not in sizes}
    changes = [
        (change.setting.partition("=")[0], change.effect, change.kind)
        for change in located.silent_changes
    ]
    said = (data["target"]["implied"], operator, changes, located.status, located.updates)
    return json.dumps(said, default=str, sort_keys=True)


def _both(name: str, method: str, at: Mapping[str, Facts]) -> str:
    """A setting's values by release: ``0.04 up to 0.18.2, 0.0 since 0.19.0``."""
    rows: list[tuple[Any, str, str]] = []
    for version, facts in at.items():
        value = _value(facts, method, name)
        if rows and repr(rows[-1][0]) == repr(value):
            rows[-1] = (value, rows[-1][1], version)
        else:
            rows.append((value, version, version))
    said = []
    for place, (value, first, last) in enumerate(rows):
        when = f"since {first}" if place == len(rows) - 1 else f"up to {last}"
        said.append(f"{value} {when}")
    return ", ".join(said)
