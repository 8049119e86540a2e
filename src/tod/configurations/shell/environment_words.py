"""Variables that a command's own words set for the program that it starts: ``env A=b``."""

import re

from tod.configurations.shell.marks import plain
from tod.configurations.shell.state import ShellState

_SETS = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)
_BEFORE = ("env", "sudo")
_HANDS_ON = ("--export=", "--env=")


def with_words_of(words: tuple[str, ...], state: ShellState) -> ShellState:
    """The state that a program begins in, after what the words around it say.

    Args:
        words: All of the command's.
        state: That a shell which it starts begins in; it is changed.
    """
    names = [plain(word) for word in words]
    at = next((i for i, name in enumerate(names) if name.rpartition("/")[2] in _BEFORE), None)
    if at is not None:
        _behind(words[at + 1 :], state)
    for place, name in enumerate(names):
        head = next((head for head in _HANDS_ON if name.startswith(head)), None)
        if head is not None:
            _put(words[place][len(head) :].split(","), state)
        elif names[place - 1] in ("-e", "--env") and place:
            _put([words[place]], state)
    return state


def _behind(words: tuple[str, ...], state: ShellState) -> None:
    """Words of ``env``: variables, ``-i`` and ``-u NAME``."""
    at = 0
    while at < len(words):
        word = plain(words[at])
        if word in ("-i", "-", "--ignore-environment"):
            state.variables = {"PWD": state.variables["PWD"]} if "PWD" in state.variables else {}
        elif word == "-u" and at + 1 < len(words):
            at += 1
            state.set(plain(words[at]), None)
        elif not word.startswith("-") and not _put([words[at]], state):
            return
        at += 1


def _put(words: list[str], state: ShellState) -> bool:
    """Set what words of the form ``NAME=value`` do; whether all of them are."""
    found = [_SETS.fullmatch(word) for word in words]
    for one in found:
        if one is not None:
            state.set(one.group(1), one.group(2))
            state.exported.add(one.group(1))
    return all(found)
