"""What a shell does itself: assignments, declarations, arguments, and how a script ends."""

import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from os.path import normpath
from pathlib import Path
from typing import TYPE_CHECKING

from tod.configurations.shell.marks import ARGUMENTS, carried, certain, known, plain
from tod.configurations.shell.printing import printed
from tod.configurations.shell.state import ALL, FOLDER, State, Value
from tod.configurations.shell.tree import Node, every, text_of, words_of

if TYPE_CHECKING:
    from tod.configurations.shell.walk import Run, Walk

_WRITTEN = re.compile(r"(?<![\w.-])([A-Za-z_]\w*)\+?=")
_COUNTED = re.compile(
    r"([A-Za-z_]\w*)\s*(?:[-+*/%&|^]?=(?!=)|\+\+|--)|(?:\+\+|--)\s*([A-Za-z_]\w*)"
)


def written(text: str) -> frozenset[str]:
    """Names that a text seems to give a value."""
    return frozenset(_WRITTEN.findall(text))


def counted(text: str) -> frozenset[str]:
    """Names that an arithmetic expression seems to give a value."""
    return frozenset(name for pair in _COUNTED.findall(text) for name in pair if name)


def local(function: Node) -> frozenset[str]:
    """Names that a function declares its own."""
    found: set[str] = set()
    for node in every(function):
        if node.type == "declaration_command" and text_of(node.children[0]) in (
            "local",
            "declare",
            "typeset",
        ):
            found |= {
                text_of(c)
                for c in every(node)
                if c.type == "variable_name"
                and c.parent.type in ("declaration_command", "variable_assignment")
            }
    return frozenset(found)


def assign(walk: "Walk", node: Node, state: State) -> None:
    """``X=…``, ``X+=…``, ``X=(…)``, ``X[i]=…``."""
    target, sign = node.children[0], text_of(node.children[1])
    name = text_of(target.children[0] if target.type == "subscript" else target)
    right = node.children[2:]
    value: Value = ""
    if right and right[0].type == "array":
        spelled = words_of([c for c in right[0].named_children if c.type != "comment"])
        expansion = walk.expansion(state)
        value = tuple(text for word in spelled for text in expansion.fields(word))
        if any(re.match(r"\[[^]]*\]=", word) for word in spelled):
            value = (walk.marks.unread(f"${{{name}[@]}}"),)
    elif right:
        value = walk.expansion(state).text("".join(words_of(right)))
    if target.type == "subscript":
        value = _placed(walk, state, name, text_of(target), value)
    elif sign == "+=":
        value = _added(walk, state.variables.get(name, ...), value, name)
    state.set(name, value)


def _added(walk: "Walk", before: Value | object, value: Value, name: str) -> Value:
    """``+=``: a text behind a text, items behind items."""
    if before is ...:
        before = walk.marks.unread(f"${name}", name)
        if isinstance(value, tuple):
            return (before, *value)
    if before is None:
        return value
    if isinstance(before, tuple):
        if isinstance(value, tuple):
            return (*before, *value)
        return (before[0] + str(value), *before[1:]) if before else (str(value),)
    if isinstance(value, tuple):
        return (str(before), *value)
    return str(before) + str(value)


def _placed(walk: "Walk", state: State, name: str, spelled: str, value: Value) -> Value:
    """An array after one of its items has a value; one that is not read is not known."""
    before = state.variables.get(name)
    items = before if isinstance(before, tuple) else () if before is None else (before,)
    number = walk.expansion(state).number(spelled[len(name) + 1 : -1])
    lost = (walk.marks.unread(f"${{{name}[@]}}"),)
    if number is None or not isinstance(value, str) or not all(map(known, items)):
        return lost
    place = int(plain(number))
    if name not in state.variables or not 0 <= place <= len(items):
        return (value,) if name not in state.variables and place == 0 else lost
    return (*items[:place], value, *items[place + 1 :])


def declare(walk: "Walk", node: Node, state: State) -> list[State]:
    """``export``, ``local``, ``declare``, ``readonly``, ``typeset``."""
    word = text_of(node.children[0])
    options = "".join(text_of(c) for c in node.children if text_of(c).startswith("-"))
    for child in node.named_children:
        if child.type == "variable_assignment":
            assign(walk, child, state)
            name = text_of(child.children[0])
        elif child.type in ("variable_name", "word") and not text_of(child).startswith("-"):
            name = text_of(child)
            if word == "local" or (word in ("declare", "typeset") and name not in state.variables):
                state.set(name, () if "a" in options.lower() else None)
        else:
            continue
        if "A" in options or "n" in options or ("i" in options and name in state.variables):
            state.set(name, walk.marks.unread(f"${name}"))
        if word == "export" or "x" in options:
            state.exported.add(name)
    return state.ended(True)


def _lose(walk: "Walk", state: State, names: Iterable[str]) -> list[State]:
    """Names have values that are not known."""
    for name in list(names):
        state.set(name, walk.marks.unread(f"${name}"))
    return state.ended(None)


def _ends(walk: "Walk", run: "Run", state: State) -> list[State]:
    """``exit``, ``return``, ``break``, ``continue``, and ``exec`` of a program."""
    name = plain(run.words[0])
    if name == "exec":
        if len(run.words) == 1:
            return state.ended(True)
        walk.started(walk, replace(run, words=run.words[1:], sources=run.sources[1:]), None, state)
    state.flow = "exit" if name == "exec" else name
    return state.ended(None)


def _nothing(walk: "Walk", run: "Run", state: State) -> list[State]:  # noqa: ARG001
    return state.ended(plain(run.words[0]) != "false")


def _shift(walk: "Walk", run: "Run", state: State) -> list[State]:
    if state.arguments is not None:
        count = plain(run.words[1]) if len(run.words) > 1 else "1"
        if count.isdecimal() and all(map(known, state.arguments)):
            state.arguments = state.arguments[int(count) :]
        else:
            state.arguments = (walk.marks.unread("$@"),)
    return state.ended(True)


def _set(walk: "Walk", run: "Run", state: State) -> list[State]:  # noqa: ARG001
    if "--" in run.words:
        state.arguments = run.words[run.words.index("--") + 1 :]
    elif "allexport" in run.words or any(re.fullmatch("-[a-z]*a[a-z]*", w) for w in run.words):
        state.exported.add(ALL)
    return state.ended(True)


def _read(walk: "Walk", run: "Run", state: State) -> list[State]:
    names = {plain(word) for word in run.words[1:] if _NAME.fullmatch(plain(word))}
    words, text = tuple(map(plain, run.words[1:])), run.document
    if text is not None and words[:-1] in _WHOLE and len(names) == 1 and known(text):
        state.set(names.pop(), text.strip())
        return state.ended(None)
    return _lose(walk, state, names | {"REPLY", "MAPFILE"})


_WHOLE = (("-r", "-d", ""), ("-rd", ""), ("-d", "", "-r"))
"""Options of a ``read`` that takes all lines as they are, without space before and behind."""


def _getopts(walk: "Walk", run: "Run", state: State) -> list[State]:
    _lose(walk, state, {*run.words[2:3], "OPTARG", "OPTIND"})
    if state.arguments is None:
        return state.ended(False, walk.marks.assumed(ARGUMENTS))
    return state.ended(None)


def _let(walk: "Walk", run: "Run", state: State) -> list[State]:
    for word in run.words[1:]:
        walk.worked_out(plain(word), state)
    return state.ended(None)


def _printf(walk: "Walk", run: "Run", state: State) -> list[State]:
    if len(run.words) > 2 and plain(run.words[1]) == "-v":
        state.set(plain(run.words[2]), walk.marks.unread("$(printf …)"))
    elif state.output is not None:
        state.output = (*state.output, walk.marks.unread("$(printf …)"))
    return state.ended(True)


def _echo(walk: "Walk", run: "Run", state: State) -> list[State]:
    if state.output is not None:
        words = run.words[1:]
        line = " ".join(words)
        sure = "\\" not in line and not line.startswith("-")
        state.output = (*state.output, line if sure else walk.marks.unread("$(echo …)"))
    return state.ended(True)


def _eval(walk: "Walk", run: "Run", state: State) -> list[State]:
    text = " ".join(plain(word) for word in run.words[1:])
    if not known(text):
        shown = walk.marks.shown(text)
        if _SETS_UP.search(shown):
            return state.ended(None)
        if not certain(text).strip():
            return _lose(walk, state, state.variables)
    return walk.inside(text, state, run.line - 1)


def _source(walk: "Walk", run: "Run", state: State) -> list[State]:
    if len(run.words) < 2:
        return state.ended(None)
    text = walk.files.text(run.words[1])
    if text is not None:
        outer, state.line, state.depth = state.line, run.line, state.depth + 1
        before = state.reading(walk.files.whole(run.words[1]))
        ends = walk.inside(text, state, 0)
        for end in ends:
            end.line, end.depth = outer, end.depth - 1
            end.flow = "" if end.flow == "return" else end.flow
            end.reads(before)
        return ends
    if _SETS_UP.search(walk.files.short(walk.marks.shown(run.words[1]))):
        return state.ended(None)
    walk.marks.scripts.append(walk.marks.shown(run.words[1]))
    return _lose(walk, state, state.variables)


def _cd(walk: "Walk", run: "Run", state: State) -> list[State]:
    """``cd``, ``pushd``, ``popd``: a folder that is here is gone to, of any other nothing is known.

    ``cd -`` and a folder that is not named are not known either.
    """
    words = [word for word in run.words[1:] if plain(word) not in ("--", "-L", "-P")]
    to = plain(words[0]) if len(words) == 1 and known(words[0]) else ""
    here = state.folder
    whole = to if to.startswith("/") else f"{here}/{to}" if here and to and to[0] != "-" else ""
    there = plain(run.words[0]) != "popd" and whole != "" and Path(whole).is_dir()
    lost = walk.marks.unread("$PWD", FOLDER)
    state.set(FOLDER, normpath(whole) + carried(words[0]) if there else lost)
    return state.ended(True if there else None)


def prints(walk: "Walk", run: "Run", state: State) -> list[State]:
    """A program of which only what it prints matters, where that is collected."""
    name, words, read = plain(run.words[0]), run.words[1:], run.document
    text = None
    if all(map(known, words)):
        text = printed(name, tuple(map(plain, words)), state.folder, read)
    source = " ".join(run.sources)
    why = "".join(map(carried, (*words, read or "", str(state.variables.get(FOLDER) or ""))))
    told = walk.marks.unread(f"$({source})") if text is None else text + why
    state.output = (*(state.output or ()), told)
    return state.ended(None if text is None else True)


_NAME = re.compile(r"[A-Za-z_]\w*")
_SETS_UP = re.compile(
    r"\b(conda|mamba|micromamba|pyenv|direnv|ssh-agent|module|lmod|brew|spack|activate|nvm)\b"
    r"|bashrc|profile|zshrc|set_?env|setvars|^/etc/|^/opt/|^/usr/"
)
"""What sets up an environment of programs, and no settings."""
Builtin = Callable[["Walk", "Run", State], list[State]]
BUILTINS: dict[str, Builtin] = {
    **dict.fromkeys(("exit", "return", "break", "continue", "exec"), _ends),
    **dict.fromkeys((":", "true", "false", "shopt", "trap", "ulimit", "wait"), _nothing),
    **dict.fromkeys(("cd", "pushd", "popd"), _cd),
    **dict.fromkeys(("read", "mapfile", "readarray"), _read),
    **dict.fromkeys(("source", "."), _source),
    "shift": _shift,
    "set": _set,
    "getopts": _getopts,
    "let": _let,
    "printf": _printf,
    "echo": _echo,
    "eval": _eval,
}
"""By name: what a command of the shell's own changes."""
