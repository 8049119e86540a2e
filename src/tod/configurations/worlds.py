"""What of a reading depends on settings that were not read: it is compared over their values."""

import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from tod.atlas.effects import SilentChange
from tod.atlas.law import Law
from tod.base import SpecError
from tod.configurations.framework import ANY, Computed, Displaced, Facts, decisive, facts, flat
from tod.configurations.point import Located
from tod.configurations.without_effect import NoEffect

_JOINT = 8
"""Readings in which all unread settings are changed at once, each to one of its values."""
_SINGLE = 12
"""Unread settings up to which each is changed alone as well."""
_WITH_WORD = 16
"""Readings where an unread word may hold any setting."""
Read = Callable[[Mapping[str, Any]], Located]


def over_worlds(framework: str, values: Mapping[str, Any], read: Read) -> Located:
    """A reading of which nothing is claimed that an unread setting could change.

    Every setting that was not read takes other values, alone and together with the others, and the
    file is read anew each time: what comes out the same is known, the rest is open. A word that was
    not read may hold every setting that is not written behind it.

    Args:
        framework: Whose the file is.
        values: Settings, nested or flat; those that were not read are `Computed`.
        read: The framework's reader.

    Raises:
        SpecError: As the reader, where the defaults stand in for what was not read.
    """
    known = facts(framework)
    nested = framework in ("verl", "nemo_rl")
    given = _left_open(known, flat(values) if nested else dict(values))
    base = read(given)
    alone = [name for name, value in given.items() if _is_open(name, value, framework)]
    bags = [name for name in given if name.startswith(ANY)]
    if not alone and not bags:
        return base
    names = [*alone, *(_others(known, base, given) if bags else ())]
    single = (
        {}
        if len(alone) > _SINGLE
        else {
            name: [*_readings(read, [{**given, name: value} for value in _values(known, name)])]
            for name in alone
        }
    )
    joint = [*_readings(read, _joint(known, given, names, _WITH_WORD if bags else _JOINT))]
    every = [*(one for found in single.values() for one in found), *joint]
    if bags or any(aimed_at(one) != aimed_at(base) for one in every):
        causes = tuple(
            n for n in single if any(aimed_at(one) != aimed_at(base) for one in single[n])
        )
        differs = any(aimed_at(one) != aimed_at(base) for one in every) or not joint
        named = [n for n in causes or alone if not isinstance(given[n], Displaced)]
        undetermined = (*bags, *named) if differs else ()
    else:
        undetermined = ()
    return combined(base, every, undetermined)


def _left_open(known: Facts, given: dict[str, Any]) -> dict[str, Any]:
    """Settings that leave a number to the program are not read either."""
    defaults = {name: value for rows in known.defaults.values() for name, value in rows.items()}
    found = dict(given)
    for name, value in given.items():
        number = isinstance(defaults.get(name), int | float) and not isinstance(
            defaults.get(name), bool
        )
        if value is None and number and name not in known.none_is_a_value:
            found[name] = Computed("null")
        elif name in known.left_open and str(value) == known.left_open[name]:
            found[name] = Computed(f"{value}, chosen by the program")
    return found


def _is_open(name: str, value: Any, framework: str) -> bool:
    return isinstance(value, Computed) and not name.startswith(ANY) and name in decisive(framework)


def _others(known: Facts, base: Located, given: Mapping[str, Any]) -> list[str]:
    """Settings of the method that a word which was not read may hold."""
    rows = known.defaults.get(base.method.partition(":")[0])
    if rows is None:
        rows = next(iter(known.defaults.values()))
    written = {known.renamed.get(name, name) for name in given}
    return [name for name in rows if name not in written]


def _values(known: Facts, name: str) -> list[Any]:
    """Other values of a setting than its default, so that all that it tells apart is seen."""
    name = known.renamed.get(name, name)
    if name in known.choices:
        return [*known.choices[name]]
    default = next((rows[name] for rows in known.defaults.values() if name in rows), None)
    if isinstance(default, bool):
        return [not default]
    if isinstance(default, int):
        return [2 * default + 1 if default > 0 else 3, 1 if default != 1 else 4]
    if isinstance(default, float):
        return [default / 2 + 0.17, default / 4] if default else [0.17]
    return [3] if default is None else []


def _joint(
    known: Facts, given: Mapping[str, Any], names: Sequence[str], count: int
) -> Iterator[dict[str, Any]]:
    """Settings in which all of several have other values; the same ones in every run."""
    draw = random.Random(0)  # noqa: S311 - no secret
    for turn in range(count):
        changed = {}
        for name in names:
            values = _values(known, name)
            if values and (turn == 0 or draw.random() < 0.5):
                changed[name] = draw.choice(values)
        yield {**{name: v for name, v in given.items() if name not in changed}, **changed}


def _readings(
    read: Read, worlds: Iterator[dict[str, Any]] | list[dict[str, Any]]
) -> Iterator[Located]:
    """Readings of those settings that the framework would accept."""
    for world in worlds:
        try:
            yield read(world)
        except (SpecError, ValidationError):
            continue


def aimed_at(one: Located) -> tuple[Any, ...]:
    """What a configuration aims at."""
    tilt = None if one.procedure is None else one.procedure.tilt
    return one.law, tilt, one.procedure is None, one.operator is None


def combined(base: Located, every: list[Located], undetermined: tuple[str, ...]) -> Located:
    """What all readings share; the rest is open.

    Args:
        base: One of them, of which the rest is said where it is shared.
        every: The others.
        undetermined: Settings by which they aim elsewhere; empty: they do not.
    """
    parts = base.composition
    other = [one.composition for one in every]
    open_parts = frozenset(
        name for name in parts if any(one and one.get(name, ...) != parts[name] for one in other)
    )
    law = base.law
    if undetermined:
        said = ", ".join(name.removeprefix(ANY) for name in undetermined)
        law = Law("other", why=f"unknown as long as {said} is")

    def shared(name: str) -> Any:
        value = getattr(base, name)
        return value if all(getattr(one, name) == value for one in every) else None

    certain, possible = _changes(base, every)
    return replace(
        base,
        method=_method(base, every),
        law=law,
        procedure=None if undetermined else base.procedure,
        operator=base.operator if _one_kind(base, every) else None,
        rule=None if undetermined else base.rule,
        recipe=shared("recipe"),
        nearest=shared("nearest") or () if shared("recipe") else (),
        target_family=shared("target_family"),
        updates=shared("updates"),
        memory=shared("memory"),
        silent_changes=certain,
        possible_changes=possible,
        without_effect=_idle(base, every),
        promised={
            name: value
            for name, value in base.promised.items()
            if all(one.promised.get(name) == value for one in every)
        },
        undetermined=undetermined,
        open=open_parts.union(_open_whole(base, every), base.open, *(one.open for one in every)),
        stands_in=base.stands_in.union(*(one.stands_in for one in every)),
        notes=(
            *_way_out(undetermined),
            *(note for note in base.notes if all(note in one.notes for one in every)),
        ),
    )


def _open_whole(base: Located, every: list[Located]) -> frozenset[str]:
    """What is open as a whole."""
    found = {
        name
        for name in ("updates", "operator_family", "recipe")
        if any(getattr(one, name) != getattr(base, name) for one in every)
    }
    absent = {one.operator is None for one in (base, *every)}
    sure = len(absent) == 1 and (absent == {True} or _one_kind(base, every))
    return frozenset(found if sure else {*found, "operator"})


def _idle(base: Located, every: list[Located]) -> tuple[NoEffect, ...]:
    """Settings that have no effect in any reading."""
    return tuple(
        idle
        for idle in base.without_effect
        if all(
            any(
                idle.setting == other.setting and idle.why == other.why
                for other in one.without_effect
            )
            for one in every
        )
    )


def _way_out(undetermined: tuple[str, ...]) -> tuple[str, ...]:
    """What was not read, and how to give it."""
    if not undetermined:
        return ()
    words = [name.removeprefix(ANY) for name in undetermined if name.startswith(ANY)]
    names = [name for name in undetermined if not name.startswith(ANY)]
    said = [f"{', '.join(words)} may hold any setting"] if words else []
    said += (
        [f"{', '.join(names)} {'has' if len(names) == 1 else 'have'} no value here"]
        if names
        else []
    )
    return (f"not read: {'; '.join(said)}. Give what it is: --set KEY=VALUE",)


def _one_kind(base: Located, every: list[Located]) -> bool:
    """Whether all readings that have a composition have one of the same kind, the first too."""
    kinds = {one.operator.action.kind for one in every if one.operator is not None}
    return base.operator is not None and kinds <= {base.operator.action.kind}


def _method(base: Located, every: list[Located]) -> str:
    """The method's name, with a question mark for each word that is open."""
    split = [re.split(r"(: |, )", one.method) for one in (base, *every)]
    if len({len(words) for words in split}) > 1:
        return base.method.partition(": ")[0]
    return "".join(words[0] if len(set(words)) == 1 else "?" for words in zip(*split, strict=True))


_NUMBER = re.compile(r"β⁻¹|\d[\d.]*(?:e[+-]?\d+)?")


def _names(change: SilentChange) -> str:
    """The settings that a change names, without their values."""
    return ", ".join(part.partition("=")[0] for part in change.setting.split(", "))


def _changes(
    base: Located, every: list[Located]
) -> tuple[tuple[SilentChange, ...], tuple[SilentChange, ...]]:
    """Silent changes that all readings share, and those of the defaults that only some have."""
    certain, possible = [], []
    for change in base.silent_changes:
        like = [
            [
                other
                for other in one.silent_changes
                if _names(other) == _names(change)
                and _NUMBER.sub("", other.effect) == _NUMBER.sub("", change.effect)
            ]
            for one in every
        ]
        if not all(like):
            possible.append(change)
            continue
        effects = {other.effect for found in like for other in found} | {change.effect}
        plain = len(effects) == 1 or "β⁻¹" in change.effect
        effect = change.effect if plain else _NUMBER.sub("?", change.effect)
        certain.append(SilentChange(change.setting, effect))
    return tuple(certain), tuple(possible)
