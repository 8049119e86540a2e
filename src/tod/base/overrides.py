"""Dotted overrides of plain data: ``operator.proposal.size=16``."""

from typing import Any

from tod.base.errors import SpecError
from tod.base.yaml_data import parse_yaml

DEEPEST = 64
"""Names on the way to a setting: as deep as a YAML file may be."""


def apply_override(data: dict[str, Any], override: str) -> None:
    """Set one dotted path of plain data to a YAML value, in place.

    A number steps into a list; the one after its last item appends.

    Raises:
        SpecError: Not ``path=value``, or the path runs through something that is no mapping and
            no list.
    """
    path, separator, text = override.partition("=")
    if not separator or not path:
        raise SpecError(f"override {override[:80]!r} is not `path=value`, as in `train.steps=20`.")
    assign(data, path, parse_yaml(text, f"override {override!r:.200}"), override)


def assign(data: dict[str, Any], path: str, value: Any, override: str) -> None:
    """Set one dotted path of plain data to a value, in place.

    A number steps into a list; the one after its last item appends.

    Args:
        data: The mapping.
        path: Such as ``operator.proposal.size``.
        value: What is put there.
        override: What was written, for messages.

    Raises:
        SpecError: The path runs through something that is no mapping and no list.
    """
    *parents, last = path.split(".")
    if len(parents) > DEEPEST:
        raise SpecError(
            f"override {override[:80]!r}: {len(parents) + 1:,} names deep, and no recipe is deeper "
            f"than {DEEPEST}."
        )
    here: Any = data
    for depth, part in enumerate(parents):
        where = ".".join(parents[:depth]) or "the recipe"
        if isinstance(here, list):
            here = here[_place(here, part, where, override, end=len(here))]
        else:
            here = _mapping(here, where, override).setdefault(part, {})
    where = ".".join(parents) or "the recipe"
    if isinstance(here, list):
        place = _place(here, last, where, override, end=len(here) + 1)
        here[place : place + 1] = [value]
    else:
        _mapping(here, where, override)[last] = value


def _mapping(here: Any, where: str, override: str) -> dict[str, Any]:
    if isinstance(here, dict):
        return here
    shown = "empty" if here is None else f"{here!r:.40}"
    raise SpecError(
        f"override {override!r}: {where} is {shown}, not a mapping or a list, so nothing is "
        f"inside. Give {where} as a whole."
    )


def _place(here: list[Any], part: str, where: str, override: str, end: int) -> int:
    """Index ``part`` of a list, below ``end``."""
    if part.isdecimal() and int(part) < end:
        return int(part)
    first = f"`{where}.0` is the first" if here else f"`{where}.0=…` adds one"
    raise SpecError(
        f"override {override!r}: {where} is a list of {len(here)} and has no {part!r}; {first}."
    )
