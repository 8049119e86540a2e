"""Programs of frameworks that are read by their facts."""

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import Field

from tod.base import Spec, read_packaged

__all__ = ["RecordedPrograms", "recorded", "recorded_program", "recorded_programs"]


class RecordedPrograms(Spec):
    """Programs of a framework."""

    framework: str
    programs: tuple[str, ...]
    """Regular expressions of a name, or of a program and the word behind it."""
    flags: tuple[str, ...] = ()
    """Options of which a command gives one at least; none listed: no matter."""
    begins: tuple[str, ...] = ()
    """Beginnings of words of which a command has one at least; none listed: no matter."""
    says: dict[str, str] = Field(default_factory=dict)
    """Word in a program's name: method that it trains by."""
    words: Literal["options", "overrides", "both"] = "options"
    """How settings are given."""
    file: str = ""
    """Option that names a file of settings; ``first``: the first word that is one."""

    def is_of(self, names: Sequence[str], at: int) -> int:
        """How many words from a place on name one of the programs; 0: none does."""
        two = " ".join(names[at : at + 2])
        if any(re.fullmatch(one, names[at]) for one in self.programs if " " not in one):
            return 1
        return 2 * any(re.fullmatch(one, two) for one in self.programs if " " in one)

    def may_be(self, names: Sequence[str]) -> bool:
        """Whether the words have what a command of these programs has."""
        flags = {one[2:].partition("=")[0] for one in names if one[:2] == "--"}
        there = not self.flags or any(flag in flags for flag in self.flags)
        return there and (not self.begins or any(one.startswith(self.begins) for one in names))


@cache
def recorded_programs() -> tuple[RecordedPrograms, ...]:
    """All that are recorded."""
    path = Path(__file__).parent.parent / "facts" / "programs.yaml"
    return tuple(RecordedPrograms.parse(row, str(path)) for row in read_packaged(path))


def recorded_program(names: Sequence[str]) -> tuple[RecordedPrograms, int, int] | None:
    """Whose program is among words, where its name begins and how many words it has."""
    possible = [one for one in recorded_programs() if one.may_be(names)]
    for at, name in enumerate(names if possible else ()):
        if "=" in name or name.startswith("-"):  # a setting or an option, whatever its value is
            continue
        for one in possible:
            count = one.is_of(names, at)
            if count:
                return one, at, count
    return None


def recorded(framework: str) -> RecordedPrograms | None:
    """The programs of a framework; None where none are recorded."""
    return next((one for one in recorded_programs() if one.framework == framework), None)
