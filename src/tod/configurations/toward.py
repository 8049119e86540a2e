"""What must change in one configuration for it to aim at the target of another; tried, not said."""

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tod.atlas.compare import Side, compare
from tod.atlas.law import Law, close
from tod.base import SpecError
from tod.configurations.framework import Settings, facts, flat
from tod.configurations.locate import read_settings, reader, side
from tod.configurations.recognise import ConfigurationFile, detect
from tod.configurations.told import Told

__all__ = ["Toward", "toward", "toward_settings"]

Edits = Mapping[str, Any]
MOST_TRIALS = 600
"""Changed files that are located before the search is given up."""


@dataclass(frozen=True)
class Toward:
    """The fewest changes that were found.

    Attributes:
        changes: Setting: its value now and the one to set, as the framework spells them; None if
            none of the trials aims at the target.
        trials: Changed files that were located.
        left: Why the nearest of them does not aim at it; empty where one does.
    """

    changes: Mapping[str, tuple[Any, Any]] | None
    trials: int
    left: str


def toward(target: Side, path: Path, told: Told | None = None) -> Toward:
    """The fewest settings of a file to change for it to aim at the target of a side.

    Best first by how much of the law still differs: every set of changes is laid over the file,
    located, and compared; a set is given only if the comparison says one target.

    Args:
        target: The side whose target it is to be.
        path: The file to change.
        told: What the person says of the file.

    Raises:
        SpecError: The file cannot be read, its framework has no settings to try, or the side has
            no finite target.
    """
    if not target.law.finite:
        raise SpecError(
            f"{target.name} has no finite target ({target.law.letters}), so nothing can aim at it."
        )
    told = told or Told()
    file = detect(path, told.framework, told.method, told.settings)
    method = reader(file, str(path), told.version).method
    return toward_settings(target, file, method, str(path), told.version)


def toward_settings(
    target: Side,
    file: ConfigurationFile,
    method: str,
    where: str = "here",
    version: str | None = None,
) -> Toward:
    """The same for settings that are no file.

    Args:
        target: The side whose target it is to be; it has a finite one.
        file: The settings.
        method: What the framework calls their method.
        where: What to call them in a message.
        version: Release whose defaults fill in what they leave out; found out if None.

    Raises:
        SpecError: Nothing is recorded of what decides the method.
    """
    s, options = _options(file, method, _beta(target.law), where)
    nearest, trials, best = "", 0, 10**9
    heap: list[tuple[int, int, int, Edits]] = [(0, 0, 0, {})]
    seen, order = {frozenset[tuple[str, str]]()}, count()
    while heap and trials < MOST_TRIALS:
        edits, trials = heapq.heappop(heap)[-1], trials + 1
        try:
            tried = side(read_settings(_changed(file, edits), where))
            verdict, apart = compare(target, tried), _apart(target, tried)
            if verdict.same_target == "yes":  # by the quick reading: now by the whole one
                verdict = compare(target, side(reader(_changed(file, edits), where, version)))
        except (SpecError, ValidationError):
            continue
        if verdict.same_target == "yes":
            return Toward({name: (s[name], value) for name, value in edits.items()}, trials, "")
        if apart < best:
            best, nearest = apart, verdict.reasons[0]
        for name, value in options:
            more = {**edits, name: value}
            mark = frozenset((other, str(of_other)) for other, of_other in more.items())
            if name not in edits and mark not in seen:
                seen.add(mark)
                heapq.heappush(heap, (2 * apart + len(more), len(more), next(order), more))
    return Toward(None, trials, nearest)


def _options(
    file: ConfigurationFile, method: str, beta: float | None, where: str
) -> tuple[Settings, list[tuple[str, Any]]]:
    """The settings of a file, and every single change of one that is worth a trial.

    Raises:
        SpecError: Nothing is recorded of what decides its method.
    """
    if file.framework == "tod":
        raise SpecError(f"{where}: a recipe of ours; say its `target` and it aims at it.")
    known = facts(file.framework).law_settings
    key = next((key for key in known if _of_method(key, method)), None)
    if key is None:
        raise SpecError(f"{where}: nothing is recorded of what decides {method}.")
    s = Settings.of(file.framework, key, flat(file.values))
    options = [
        (name, beta if value == "{beta}" else value)
        for name, values in known[key].items()
        for value in values
        if not (value == "{beta}" and beta is None) and value != s[name]
    ]
    return s, options


def _changed(file: ConfigurationFile, edits: Edits) -> ConfigurationFile:
    return replace(file, values={**flat(file.values), **edits})


def _of_method(key: str, method: str) -> bool:
    """Whether a key of the facts is the method that a file was located as."""
    return method == key or method.startswith(f"{key}:") or key == "ppo"


def _beta(law: Law) -> float | None:
    """One over the sharpness, for a law that is drawn to π_ref by one utility."""
    etas = list(law.etas.values())
    return 1.0 / etas[0] if len(etas) == 1 and etas[0] > 0 else None


def _apart(target: Side, found: Side) -> int:
    """How many things of the two laws differ."""
    return sum(_differences(target, found))


def _differences(target: Side, found: Side) -> Iterator[bool]:
    a, b = target.law, found.law
    yield a.finite != b.finite
    yield a.shape != b.shape
    yield a.scale != b.scale
    yield a.by_token != b.by_token
    yield a.by_length != b.by_length
    yield a.holds != b.holds
    yield not close(a.anchor, b.anchor)
    yield sorted(round(x, 9) for x in a.etas.values()) != sorted(
        round(x, 9) for x in b.etas.values()
    )
    yield from (change.kind == "target" for change in found.changes)
