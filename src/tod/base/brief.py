"""A short repr for objects that hold many numbers: a line a field, arrays by type and shape."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from tod.base.text import visible

__all__ = ["LINES", "WIDTH", "Brief", "first_lines"]

LINES, WIDTH = 12, 80
"""Lines of a repr and columns of a line, at the most."""
_NAME = 16


class Brief:
    """A dataclass whose repr has at most `LINES` lines of `WIDTH` columns, whatever it holds.

    Arrays are named by their type and shape, collections by their size, other objects by their
    class. What is None is left out. Dataclasses that inherit it are declared with ``repr=False``.
    """

    def __repr__(self) -> str:
        return "\n".join(first_lines([type(self).__name__, *_rows(self)]))


def first_lines(lines: list[str], most: int = LINES, last: int = 0) -> list[str]:
    """As many lines as there is room for, none wider than `WIDTH`.

    Args:
        lines: All of them; what could steer a terminal in them is made visible.
        most: Room, at least ``last`` + 2.
        last: How many at the end stay.

    >>> first_lines(["a", "b", "c", "d"], most=3)
    ['a', 'b', '… 2 more lines']
    """
    if len(lines) > most:
        head = most - 1 - last
        cut = f"… {len(lines) - head - last} more lines"
        lines = [*lines[:head], cut, *lines[len(lines) - last :]]
    return [_cut(visible(line), WIDTH) for line in lines]


def _rows(item: Any) -> Iterator[str]:
    assert is_dataclass(item)  # noqa: S101 - the class says so
    for field in fields(item):
        value = getattr(item, field.name)
        if value is not None:
            yield f"  {field.name:<{_NAME}} {_said(value)}"


def _said(value: Any) -> str:
    """A value in a few words; its own repr only where that is short by its type."""
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return f"{value.dtype} [{', '.join(map(str, value.shape))}]"
    if isinstance(value, str):
        return repr(value[:WIDTH])
    if isinstance(value, Mapping):
        return f"{len(value)} by name: {_listed(value)}" if value else "none"
    if isinstance(value, Collection):
        return f"{len(value)} of {type(next(iter(value))).__name__}" if len(value) else "none"
    if value is True or value is False or isinstance(value, int | float):
        return repr(value)
    return type(value).__name__


def _listed(names: Mapping[Any, Any]) -> str:
    """The first names."""
    shown = [str(name)[:WIDTH] for name, _ in zip(names, range(6), strict=False)]
    return ", ".join([*shown, "…"] if len(names) > len(shown) else shown)


def _cut(line: str, width: int) -> str:
    return line if len(line) <= width else f"{line[: width - 2].rstrip()} …"
