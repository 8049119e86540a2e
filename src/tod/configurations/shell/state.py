"""What a shell holds at one place of a script: variables, arguments, functions."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tod.base import SpecError
from tod.configurations.shell.marks import GONE, Marks, known, plain

_LONGEST = 1 << 20
"""Characters of a value."""
_ITEMS = 1 << 14
"""Items of an array."""
_FOLLOWS = (
    *("variables", "arguments", "flow", "output", "functions"),
    *("exported", "scopes", "loose", "fixed", "modes", "open"),
)
"""What decides on what follows."""
Value = str | tuple[str, ...] | None
"""A text, an array, or nothing: then the script has unset it."""

FOLDER, SOURCES = "PWD", "BASH_SOURCE"
"""Variables of the shell's own: where it is, and the files that it reads, innermost first."""
_MOVING = ("SECONDS", "RANDOM", "SRANDOM", "LINENO", "EPOCHSECONDS", "EPOCHREALTIME")
"""Variables that the shell gives other values than the script did."""
NO_BRACES = "no braces"
"""Among the modes: words of braces are left as they are."""
ALL = "*"
"""Among those that are exported: every name that is given a value from here on is, too."""


@dataclass
class ShellState:
    """A shell at one place of a script, on one of the ways to it.

    Attributes:
        variables: Those that the script gives a value or takes it from.
        arguments: ``$1``, ``$2`` …; None where they come from outside the script.
        functions: Their bodies.
        exported: Variables that a program started here sees.
        status: Whether the last command succeeded; None: it depends.
        why: Marks of what was assumed for that.
        flow: Empty, or how this way ends: exit, return, break or continue.
        output: What was printed, where it is collected; None elsewhere.
        line: Of the outermost call of a function, inside one.
        depth: Calls and scripts inside one another.
        scopes: Of each function that is called, innermost last: what its own names were before.
        loose: Names that anything may give a value to, unseen.
        fixed: Names that were made ``readonly``: giving them a value may fail.
        modes: Options of ``shopt`` that are on, and `NO_BRACES`.
        open: Whether what was not read may have set names that the script never does.
        name: ``$0``, as a whole path; empty: not known.
    """

    variables: dict[str, Value] = field(default_factory=dict)
    arguments: tuple[str, ...] | None = None
    functions: dict[str, Any] = field(default_factory=dict)
    exported: set[str] = field(default_factory=set)
    status: bool | None = True
    why: str = ""
    flow: str = ""
    output: tuple[str, ...] | None = None
    line: int | None = None
    depth: int = 0
    scopes: list[dict[str, Any]] = field(default_factory=list)
    loose: set[str] = field(default_factory=set)
    fixed: set[str] = field(default_factory=set)
    modes: frozenset[str] = frozenset()
    open: bool = False
    name: str = ""

    def begun_as(self, path: str) -> None:
        """A shell that begins a script by its whole path; empty: not known."""
        self.name = path
        if path:
            self.variables[SOURCES] = (path,)

    @property
    def folder(self) -> str | None:
        """The whole path of the folder that it is in; None if not known."""
        value = self.variables.get(FOLDER)
        return plain(value) if isinstance(value, str) and known(value) else None

    def reading(self, path: str) -> Value:
        """Begin to read a file of commands by its whole path; the files that it read before."""
        before = self.variables.get(SOURCES)
        self.reads((path, *before) if path and isinstance(before, tuple) else None)
        return before

    def reads(self, files: Value) -> None:
        """Read these files, innermost first; None: not known."""
        if files is None:
            self.variables.pop(SOURCES, None)
        else:
            self.variables[SOURCES] = files

    def copy(self) -> "ShellState":
        """Another one that changes alone."""
        return replace(
            self,
            variables=dict(self.variables),
            functions=dict(self.functions),
            exported=set(self.exported),
            scopes=[dict(names) for names in self.scopes],
            loose=set(self.loose),
            fixed=set(self.fixed),
        )

    def started(self, arguments: tuple[str, ...] | None = ()) -> "ShellState":
        """A new shell that this one starts: it sees what is exported."""
        seen = {
            n: value
            for n, value in self.variables.items()
            if (n in self.exported or n == FOLDER) and n != SOURCES
        }
        return ShellState(
            seen,
            arguments,
            exported=self.exported - {ALL},
            line=self.line,
            depth=self.depth + 1,
            loose=self.loose & self.exported,
            open=self.open,
        )

    def same(self, other: "ShellState") -> bool:
        """Whether whatever follows is the same."""
        return all(getattr(self, name) == getattr(other, name) for name in _FOLLOWS)

    def set(self, name: str, value: Value) -> None:
        """Give a variable a value.

        Raises:
            SpecError: It is longer than any that is followed.
        """
        if isinstance(value, tuple) and len(value) > _ITEMS:
            raise SpecError(f"a script in which {name} grows beyond {_ITEMS} items.")
        if value is not None and len("".join(value)) > _LONGEST:
            raise SpecError(f"a script in which {name} grows beyond {_LONGEST} characters.")
        if name in self.fixed or name in _MOVING:
            self.loose.add(name)
        self.variables[name] = value
        if ALL in self.exported:
            self.exported.add(name)

    def own(self, name: str) -> None:
        """Make a name the own one of the function that is called: it is as before behind it."""
        if self.scopes:
            self.scopes[-1].setdefault(name, self.variables.get(name, ...))

    def left(self, names: Mapping[str, Any]) -> None:
        """Give names back what they were; ``...``: not there."""
        for name, value in names.items():
            self.fixed.discard(name)
            if value is ...:
                self.variables.pop(name, None)
            else:
                self.variables[name] = value

    def ended(self, status: bool | None, why: str = "") -> list["ShellState"]:
        """This way with the status of its last command."""
        self.status, self.why = status, why
        return [self]


def distinct(states: Iterable[ShellState]) -> list[ShellState]:
    """Ways that differ in what follows; the status is open where it alone differs."""
    found: list[ShellState] = []
    for state in states:
        like = next((other for other in found if other.same(state)), None)
        if like is None:
            found.append(state)
        elif like.status is not state.status:
            like.status = None
    return found


def joined(states: list[ShellState], marks: Marks) -> ShellState:
    """One state for several: what they differ in is not known."""
    whole = states[0].copy()
    for state in states[1:]:
        whole.loose |= state.loose
        whole.fixed |= state.fixed
        whole.modes |= state.modes
        whole.open |= state.open
        for mine, other in zip(whole.scopes, state.scopes, strict=False):
            mine.update({name: value for name, value in other.items() if name not in mine})
    for name in sorted({name for state in states for name in state.variables}):
        values = [state.variables.get(name, f"${name}") for state in states]
        if any(value != values[0] for value in values):
            whole.set(name, marks.unread(_either(values, marks)))
    if any(state.arguments != whole.arguments for state in states):
        whole.arguments = (marks.unread("$@"),)
    if any(state.output != whole.output for state in states):
        whole.output = (marks.unread("$(…)"),)
    whole.status = None
    return whole


def _either(values: list[Value], marks: Marks) -> str:
    spelled = [
        f"({' '.join(value)})" if isinstance(value, tuple) else (value or '""') for value in values
    ]
    return " or ".join(dict.fromkeys(marks.shown(text) for text in spelled))


def assuming(value: Value, why: str) -> Value:
    """A value that is as it is because of what was assumed."""
    if not why or value is None:
        return value
    return (*value, GONE + why) if isinstance(value, tuple) else value + why
