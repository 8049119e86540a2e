"""Paths into a line of JSON: ``rollouts[].score``, where ``[]`` stands for each of several.

``[]`` takes a list, or the values of an object whose keys are ids. A name may hold dots: of
``reward.main`` the whole is looked up first, then ``main`` inside of ``reward``.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

EACH = "[]"
Places = tuple[int, ...]
"""Which of the several at every ``[]``, from 0."""


@dataclass(frozen=True)
class ValuePath:
    """A path as a person writes it."""

    text: str

    @cached_property
    def names(self) -> tuple[str, ...]:
        """What stands before, between and after the ``[]``, without dots at their ends."""
        return tuple(name.strip(".") for name in self.text.split(EACH))

    @property
    def depth(self) -> int:
        """How many ``[]`` it has."""
        return len(self.names) - 1

    @property
    def top(self) -> str:
        """The key of the line's object in which it begins; "" where the line itself is a list."""
        return self.names[0]

    @property
    def last(self) -> str:
        """What the value is called: the last name in it."""
        named = next((name for name in reversed(self.names) if name), self.text)
        return named.rpartition(".")[2] or named

    def whole(self, depth: int) -> "ValuePath":
        """The same without the ``[]`` beyond a depth at its end: the list itself is the value."""
        text = self.text
        while ValuePath(text).depth > depth and text.endswith(EACH):
            text = text.removesuffix(EACH)
        return ValuePath(text)

    def places(self, line: Any, depth: int) -> Iterator[Places]:
        """Where values stand, in order, of the first ``depth`` of its ``[]``."""

        def walk(held: Any, at: int, before: Places) -> Iterator[Places]:
            if at == depth:
                yield before
                return
            several = _several(_inside(held, self.names[at]))
            for place, item in enumerate(several or ()):
                yield from walk(item, at + 1, (*before, place))

        yield from walk(line, 0, ())

    def value(self, line: Any, places: Places) -> Any:
        """The value at some places, of which it takes the first ones; None where there is none."""
        held = _inside(line, self.names[0])
        for name, place in zip(self.names[1:], places, strict=False):
            several = _several(held)
            if several is None or place >= len(several):
                return None
            held = _inside(several[place], name)
        return held


def column_name(column: str) -> str:
    """What a column or a path is called: of ``rollouts[].score`` ``score``."""
    return ValuePath(column).last if EACH in column else column


def _several(held: Any) -> Sequence[Any] | None:
    if isinstance(held, dict):
        return list(held.values())
    return held if isinstance(held, list) else None


def _inside(held: Any, name: str) -> Any:
    """What an object has under a name with or without dots; itself without a name."""
    if not name:
        return held
    if not isinstance(held, dict):
        return None
    if name in held:
        return held[name]
    first, _, rest = name.partition(".")
    return _inside(held.get(first), rest) if rest else None
