"""A program that a script runs, and words before a command that leave it as it is."""

from dataclasses import dataclass, replace

from tod.configurations.shell.marks import plain

_OPTIONS = {"command": ("-p", "--"), "builtin": ("--",), "time": ("-p", "--")}
"""Such words (``command``, ``builtin``, ``time``), and their options that change nothing."""


@dataclass(frozen=True)
class ProgramRun:
    """A program that a script runs, on one way to it.

    Attributes:
        line: Where; inside of a function, of the call.
        words: What it receives, its own name first.
        sources: How each of them is spelled.
        vanished: Marks of what was assumed for words that are not there.
        document: What it is given to read; None if not known.
    """

    line: int
    words: tuple[str, ...]
    sources: tuple[str, ...]
    vanished: str = ""
    document: str | None = None


def without_prefixes(run: ProgramRun) -> ProgramRun:
    """The command without them; itself where ``command -v`` asks for another one's place."""
    while run.words and plain(run.words[0]) in _OPTIONS:
        skips, at = _OPTIONS[plain(run.words[0])], 1
        while at < len(run.words) and plain(run.words[at]) in skips:
            at += 1
        if at < len(run.words) and plain(run.words[at]).startswith("-"):
            return run
        run = replace(run, words=run.words[at:], sources=run.sources[at:])
    return run
