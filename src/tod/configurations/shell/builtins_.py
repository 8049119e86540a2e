"""What a shell does itself: assignments, declarations, arguments, and how a script ends."""

import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from os.path import normpath
from pathlib import Path

from tod.configurations.shell.marks import ARGUMENTS, carried, certain, known, plain
from tod.configurations.shell.printing import printed
from tod.configurations.shell.program_run import ProgramRun
from tod.configurations.shell.state import ALL, FOLDER, NO_BRACES, ShellState, Value
from tod.configurations.shell.tree import Node, text_of, words_of
from tod.configurations.shell.walking import Walking

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


def assign(walk: Walking, node: Node, state: ShellState) -> None:
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


def _added(walk: Walking, before: Value | object, value: Value, name: str) -> Value:
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


def _placed(walk: Walking, state: ShellState, name: str, spelled: str, value: Value) -> Value:
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


def declare(walk: Walking, node: Node, state: ShellState) -> list[ShellState]:
    """``export``, ``local``, ``declare``, ``readonly``, ``typeset``."""
    word = text_of(node.children[0])
    options = "".join(text_of(c) for c in node.children if text_of(c).startswith("-"))
    if state.output is not None and (len(node.children) == 1 or "p" in options):
        state.output = (*state.output, walk.marks.unread(f"$({text_of(node)})"))
    for together in _adjacent(node.children[1:]):
        child = together[0]
        if len(together) == 1 and child.type == "variable_assignment":
            name = text_of(child.children[0]).partition("[")[0]
            _begins(state, word, options, name, True)
            assign(walk, child, state)
            _declared(walk, state, word, options, name)
        elif text_of(child).startswith("-"):
            continue
        else:
            spelled = "".join(map(text_of, together))
            for text in walk.expansion(state).fields(spelled):
                _declare_word(walk, state, word, options, text)
    return state.ended(True)


def _declare(walk: Walking, run: ProgramRun, state: ShellState) -> list[ShellState]:
    """The same, where the command's name is not written as such."""
    options = "".join(word for word in map(plain, run.words[1:]) if word.startswith("-"))
    for word in run.words[1:]:
        if not plain(word).startswith("-"):
            _declare_word(walk, state, plain(run.words[0]), options, word)
    return state.ended(True)


def _adjacent(nodes: list[Node]) -> list[list[Node]]:
    """Nodes in groups that have no space inside."""
    found: list[list[Node]] = []
    for node in nodes:
        if found and found[-1][-1].end_byte == node.start_byte:
            found[-1].append(node)
        else:
            found.append([node])
    return found


def _declare_word(walk: Walking, state: ShellState, word: str, options: str, text: str) -> None:
    """One word that is declared: ``X``, ``X=…``, ``X+=…``, or one of a name that is not known."""
    spelled, equal, value = text.partition("=")
    added, name = plain(spelled).endswith("+"), plain(spelled).removesuffix("+")
    if not known(name):
        lose_all(walk, state, walk.marks.shown(text))
        return
    if _NAME.fullmatch(name) is None:
        _lose(walk, state, _NAME.findall(name)[:1])
        return
    _begins(state, word, options, name, bool(equal))
    if equal:
        state.set(
            name, _added(walk, state.variables.get(name, ...), value, name) if added else value
        )
    _declared(walk, state, word, options, name)


def _begins(state: ShellState, word: str, options: str, name: str, given: bool) -> None:
    """A name before it is declared: a function's own is none of the script's."""
    if word == "local" or (word in ("declare", "typeset") and "g" not in options):
        state.own(name)
        if not given and (word == "local" or name not in state.variables):
            state.set(name, () if "a" in options.lower() else None)


def _declared(walk: Walking, state: ShellState, word: str, options: str, name: str) -> None:
    """What the options of a declaration make of a name."""
    letters = set(options.replace("-", ""))
    if "n" in letters and word != "export":
        value = state.variables.get(name)
        target = plain(value) if isinstance(value, str) else ""
        state.loose |= {name, target}
        if value is not None and _NAME.fullmatch(target) is None:
            lose_all(walk, state, f"what {name} refers to")
    if letters & set("Ailuc"):
        state.loose.add(name)
    if word == "readonly" or ("r" in letters and word != "export"):
        state.fixed.add(name)
    if word == "export" and "n" in letters:
        state.exported.discard(name)
    elif word == "export" or "x" in letters:
        state.exported.add(name)


def _unset(walk: Walking, run: ProgramRun, state: ShellState) -> list[ShellState]:
    return unset(walk, list(run.words[1:]), state)


def unset(walk: Walking, words: list[str], state: ShellState) -> list[ShellState]:
    """``unset`` of variables, of items of them, and of functions."""
    functions = "-f" in words
    for text in words:
        name = plain(text)
        if not known(name):
            lose_all(walk, state, walk.marks.shown(text))
        elif functions:
            state.functions.pop(name, None)
        elif _NAME.fullmatch(name) and name not in state.variables and name in state.functions:
            del state.functions[name]
        elif _NAME.fullmatch(name):
            state.set(name, None)
        elif not name.startswith("-"):
            _lose(walk, state, _NAME.findall(name)[:1])
    return state.ended(True)


def lose_all(walk: Walking, state: ShellState, what: str) -> list[ShellState]:
    """All that is set is not known, nor what is not: something that was not read may set it.

    Args:
        walk: The reading.
        state: The shell there.
        what: How that is spelled.
    """
    walk.marks.scripts.append(what)
    state.open = True
    return _lose(walk, state, state.variables)


def arguments(walk: Walking, words: tuple[str, ...], sources: tuple[str, ...]) -> tuple[str, ...]:
    """Words as ``$1``, ``$2`` …; behind one that may be several nothing is known of them."""
    for at, (word, source) in enumerate(zip(words, sources, strict=True)):
        if not known(word) and source[:1] != '"' and walk.marks.shown(word)[:2] in ("$(", "$@"):
            return (*words[:at], walk.marks.unread("$@"))
    return words


def _lose(walk: Walking, state: ShellState, names: Iterable[str]) -> list[ShellState]:
    """Names have values that are not known."""
    for name in list(names):
        state.set(name, walk.marks.unread(f"${name}"))
    return state.ended(None)


def _ends(walk: Walking, run: ProgramRun, state: ShellState) -> list[ShellState]:
    """``exit``, ``return``, ``break``, ``continue``, and ``exec`` of a program."""
    name = plain(run.words[0])
    if name == "exec":
        if len(run.words) == 1:
            return state.ended(True)
        walk.start(replace(run, words=run.words[1:], sources=run.sources[1:]), None, state)
    count = plain(run.words[1]) if name in ("break", "continue") and len(run.words) > 1 else "1"
    if not count.isdecimal():
        lose_all(walk, state, " ".join(run.sources))
    state.flow = "exit" if name == "exec" else name
    state.flow += f" {count}" if count.isdecimal() and int(count) > 1 else ""
    return state.ended(None)


def _nothing(walk: Walking, run: ProgramRun, state: ShellState) -> list[ShellState]:  # noqa: ARG001
    return state.ended(plain(run.words[0]) != "false")


def _shift(walk: Walking, run: ProgramRun, state: ShellState) -> list[ShellState]:
    if state.arguments is not None:
        count = plain(run.words[1]) if len(run.words) > 1 else "1"
        if count.isdecimal() and known("".join(state.arguments)):
            there = int(count) <= len(state.arguments)
            state.arguments = state.arguments[int(count) :] if there else state.arguments
        else:
            state.arguments = (walk.marks.unread("$@"),)
    return state.ended(True)


def _set(walk: Walking, run: ProgramRun, state: ShellState) -> list[ShellState]:
    """``set``: options of the shell, and behind them its arguments."""
    at = 1
    while at < len(run.words):
        word = plain(run.words[at])
        if word in ("--", "-") or word[:1] not in ("-", "+") or not known(word):
            break
        named = plain(run.words[at + 1]) if word.endswith("o") and at + 1 < len(run.words) else ""
        if word[0] == "+" and (("B" in word and "o" not in word) or named == "braceexpand"):
            state.modes |= {NO_BRACES}
        if "a" in word or named == "allexport":
            change = state.exported.add if word[0] == "-" else state.exported.discard
            change(ALL)
        at += 2 if word.endswith("o") else 1
    sign = plain(run.words[at]) if at < len(run.words) else ""
    start = at + (sign in ("--", "-"))
    if sign == "--" or start < len(run.words):
        state.arguments = arguments(walk, run.words[start:], run.sources[start:])
    if len(run.words) == 1 and state.output is not None:
        state.output = (*state.output, walk.marks.unread("$(set)"))
    return state.ended(True)


def _prints_too(walk: Walking, run: ProgramRun, state: ShellState) -> list[ShellState]:
    """``shopt``, ``trap``, ``ulimit``: what they print is not known, what they switch is."""
    words = tuple(map(plain, run.words[1:]))
    if state.output is not None:
        state.output = (*state.output, walk.marks.unread(f"$({' '.join(run.sources)})"))
    if plain(run.words[0]) == "shopt" and words:
        on = frozenset(words[1:])
        state.modes = state.modes | on if "-s" in words else state.modes - on
    if plain(run.words[0]) == "trap" and {"DEBUG", "RETURN", "ERR"} & set(words[1:]):
        if not known(words[0]):
            lose_all(walk, state, walk.marks.shown(words[0]))
        state.loose |= written(words[0]) | counted(words[0])
    return state.ended(True)


def _alias(walk: Walking, run: ProgramRun, state: ShellState) -> list[ShellState]:
    """``alias``: what a name stands for may set what is written in it."""
    if state.output is not None:
        state.output = (*state.output, walk.marks.unread("$(alias)"))
    if "expand_aliases" in state.modes:
        state.loose |= frozenset().union(*(written(w.partition("=")[2]) for w in run.words[1:]))
    return state.ended(True)


def _read(walk: Walking, run: ProgramRun, state: ShellState) -> list[ShellState]:
    names = {plain(word) for word in run.words[1:] if _NAME.fullmatch(plain(word))}
    words, text = tuple(map(plain, run.words[1:])), run.document
    if text is not None and words[:-1] in _WHOLE and len(names) == 1 and known(text):
        state.set(names.pop(), text.strip())
        return state.ended(None)
    if any(not known(word) and not _asks(words, at) for at, word in enumerate(words)):
        return lose_all(walk, state, walk.marks.shown(" ".join(run.words)))
    if "-C" in words:  # a callback
        names |= frozenset().union(*map(written, words))
    return _lose(walk, state, names | {"REPLY", "MAPFILE"})


def _asks(words: tuple[str, ...], at: int) -> bool:
    """Whether a word of ``read`` is an option's own."""
    return at > 0 and re.fullmatch(r"-\w*[ptnNdui]", words[at - 1]) is not None


_WHOLE = (("-r", "-d", ""), ("-rd", ""), ("-d", "", "-r"))
"""Options of a ``read`` that takes all lines as they are, without space before and behind."""


def _getopts(walk: Walking, run: ProgramRun, state: ShellState) -> list[ShellState]:
    _lose(walk, state, {*run.words[2:3], "OPTARG", "OPTIND"})
    if state.arguments is None:
        return state.ended(False, walk.marks.assumed(ARGUMENTS))
    return state.ended(None)


def _let(walk: Walking, run: ProgramRun, state: ShellState) -> list[ShellState]:
    for word in run.words[1:]:
        walk.worked_out(plain(word), state)
    return state.ended(None)


def _printf(walk: Walking, run: ProgramRun, state: ShellState) -> list[ShellState]:
    if len(run.words) > 1 and plain(run.words[1]).startswith("-v"):
        name = plain(run.words[1])[2:] or plain("".join(run.words[2:3]))
        if not known(name):
            return lose_all(walk, state, walk.marks.shown(name))
        _lose(walk, state, _NAME.findall(name)[:1])
    elif state.output is not None:
        state.output = (*state.output, walk.marks.unread("$(printf …)"))
    return state.ended(True)


def _echo(walk: Walking, run: ProgramRun, state: ShellState) -> list[ShellState]:
    if state.output is not None:
        words = run.words[1:]
        line = " ".join(words)
        sure = "\\" not in line and not line.startswith("-")
        state.output = (*state.output, line if sure else walk.marks.unread("$(echo …)"))
    return state.ended(True)


def _eval(walk: Walking, run: ProgramRun, state: ShellState) -> list[ShellState]:
    text = " ".join(plain(word) for word in run.words[1:])
    if not known(text):
        shown = walk.marks.shown(text)
        if _SETS_UP.search(shown):
            return state.ended(None)
        if not certain(text).strip() or not known(text.split()[0].partition("=")[0]):
            return lose_all(walk, state, shown)
    return walk.inside(text, state, run.line - 1)


def _source(walk: Walking, run: ProgramRun, state: ShellState) -> list[ShellState]:
    if len(run.words) < 2:
        return state.ended(None)
    moved = FOLDER in state.variables
    text, whole = walk.files.sourced(run.words[1], state.folder if moved else "")
    if text is not None and whole not in walk.marks.rewritten:
        outer, state.line, state.depth = state.line, run.line, state.depth + 1
        given = state.arguments
        if len(run.words) > 2:
            state.arguments = arguments(walk, run.words[2:], run.sources[2:])
        before = state.reading(whole)
        ends = walk.inside(text, state, 0)
        for end in ends:
            end.line, end.depth = outer, end.depth - 1
            end.flow = "" if end.flow == "return" else end.flow
            end.reads(before)
            end.arguments = given if len(run.words) > 2 else end.arguments
        return ends
    shown = walk.marks.shown(run.words[1])
    if _SETS_UP.search(walk.files.short(shown)):
        return state.ended(None)
    return lose_all(walk, state, shown)


def _cd(walk: Walking, run: ProgramRun, state: ShellState) -> list[ShellState]:
    """``cd``, ``pushd``, ``popd``: a folder that is here is gone to, of any other nothing is known.

    ``cd -`` and a folder that is not named are not known either.
    """
    words = [word for word in run.words[1:] if plain(word) not in ("--", "-L", "-P")]
    to = plain(words[0]) if len(words) == 1 and known(words[0]) else ""
    here = state.folder
    whole = to if to.startswith("/") else f"{here}/{to}" if here and to and to[0] != "-" else ""
    if state.output is not None and plain(run.words[0]) != "cd":
        state.output = (*state.output, walk.marks.unread(f"$({' '.join(run.sources)})"))
    there = plain(run.words[0]) != "popd" and whole != "" and Path(whole).is_dir()
    lost = walk.marks.unread("$PWD", FOLDER)
    state.set(FOLDER, normpath(whole) + carried(words[0]) if there else lost)
    return state.ended(True if there else None)


def prints(walk: Walking, run: ProgramRun, state: ShellState) -> list[ShellState]:
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
Builtin = Callable[[Walking, ProgramRun, ShellState], list[ShellState]]
BUILTINS: dict[str, Builtin] = {
    **dict.fromkeys(("exit", "return", "break", "continue", "exec"), _ends),
    **dict.fromkeys((":", "true", "false", "wait"), _nothing),
    **dict.fromkeys(("cd", "pushd", "popd"), _cd),
    **dict.fromkeys(("read", "mapfile", "readarray"), _read),
    **dict.fromkeys(("source", "."), _source),
    **dict.fromkeys(("export", "declare", "local", "readonly", "typeset"), _declare),
    **dict.fromkeys(("shopt", "trap", "ulimit"), _prints_too),
    "alias": _alias,
    "unset": _unset,
    "shift": _shift,
    "set": _set,
    "getopts": _getopts,
    "let": _let,
    "printf": _printf,
    "echo": _echo,
    "eval": _eval,
}
"""By name: what a command of the shell's own changes."""
