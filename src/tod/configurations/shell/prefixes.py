"""Words before a command that leave it as it is: ``command``, ``builtin``, ``time``."""

from dataclasses import replace
from typing import TYPE_CHECKING

from tod.configurations.shell.marks import plain

if TYPE_CHECKING:
    from tod.configurations.shell.walk import ProgramRun

_OPTIONS = {"command": ("-p", "--"), "builtin": ("--",), "time": ("-p", "--")}


def without_prefixes(run: "ProgramRun") -> "ProgramRun":
    """The command without them; itself where ``command -v`` asks for another one's place."""
    while run.words and plain(run.words[0]) in _OPTIONS:
        skips, at = _OPTIONS[plain(run.words[0])], 1
        while at < len(run.words) and plain(run.words[at]) in skips:
            at += 1
        if at < len(run.words) and plain(run.words[at]).startswith("-"):
            return run
        run = replace(run, words=run.words[at:], sources=run.sources[at:])
    return run
