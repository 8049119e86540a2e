"""The training commands of a script, with the words that each of them receives."""

import re
from dataclasses import dataclass, field, replace

from tod.configurations.nearby import Near
from tod.configurations.shell.environment_words import with_words_of
from tod.configurations.shell.marks import Marks, known, plain, without_marks
from tod.configurations.shell.nested import Inner, inner_scripts
from tod.configurations.shell.program_run import ProgramRun
from tod.configurations.shell.programs import Program, program_of
from tod.configurations.shell.state import ShellState
from tod.configurations.shell.walk import Walk


@dataclass(frozen=True)
class Command:
    """A training program on one way to it.

    Attributes:
        program: Which.
        run: How it is started.
        folder: Whole path of the folder that it is started in; None if not known.
    """

    program: Program
    run: ProgramRun
    folder: str | None = None

    @property
    def words(self) -> tuple[str, ...]:
        """Its arguments."""
        return self.run.words[self.program.start :]

    @property
    def sources(self) -> tuple[str, ...]:
        """How each of them is spelled."""
        return self.run.sources[self.program.start :]


@dataclass
class Script:
    """A script, and the training commands that were met in it.

    Attributes:
        marks: What marks stand for.
        files: Those around it.
        commands: In order.
    """

    marks: Marks
    files: Near
    commands: list[Command] = field(default_factory=list)

    def read(self, text: str, outside: dict[str, str]) -> list[Command]:
        """Every training command of a script, on every way to it.

        Args:
            text: The script.
            outside: Variables that are set outside, as far as they are told.
        """
        walk = Walk(self.marks, self._started, self.files)
        text = without_marks(text.replace("\r\n", "\n"))
        told = {name: without_marks(value) for name, value in outside.items()}
        state = ShellState(dict(told), exported=set(told))
        state.begun_as(self.files.own)
        walk.script(text, state)
        return self.commands

    def _started(
        self, walk: Walk, run: ProgramRun, document: str | None, state: ShellState
    ) -> None:
        program = program_of(tuple(map(self.files.short, run.words)))
        if program is not None:
            self.commands.append(
                Command(program, _added_to(run, program, self.marks), state.folder)
            )
            return
        for inner in inner_scripts(run.words, document):
            self._inner(walk, run, inner, state)
        if document is not None and _writes_script(run, document):
            walk.inside(document, state.started(None), run.line)

    def _text(self, name: str) -> str | None:
        """The text of a file that the script does not write itself."""
        return None if self.files.whole(name) in self.marks.rewritten else self.files.text(name)

    def _inner(self, walk: Walk, run: ProgramRun, inner: Inner, state: ShellState) -> None:
        started = state.started(inner.arguments) if inner.inherits else ShellState(arguments=())
        started.depth = state.depth + 1
        with_words_of(run.words, started)
        if inner.file and not inner.copied:
            started.begun_as(self.files.whole(inner.text))
        text = self._text(inner.text) if inner.file else inner.text
        if text is None:
            return
        if inner.document:
            walk.inside(text, started, run.line)
            return
        started.line = run.line
        walk.inside(text, started, 0)


_ADDING = ("xargs", "parallel", "find")
"""Programs that start another one with words of their own behind its words, or for ``{}``."""


def _added_to(run: ProgramRun, program: Program, marks: Marks) -> ProgramRun:
    """A run with what a program that starts it adds to its words, which is not read."""
    name = next((n for n in map(plain, run.words[: program.start]) if n in _ADDING), None)
    if name is None:
        return run
    added = marks.unread(f"what {name} adds")
    words = (*(added if "{}" in word else word for word in run.words[program.start :]), added)
    sources = (*run.sources[program.start :], f"what {name} adds")
    return replace(
        run,
        words=(*run.words[: program.start], *words),
        sources=(*run.sources[: program.start], *sources),
    )


def _writes_script(run: ProgramRun, document: str) -> bool:
    """Whether a command writes down lines that are a script of their own."""
    written = plain(run.words[0]) in ("cat", "tee")
    return written and re.match(r"\s*#!.*sh\b", document) is not None


def unread(commands: list[Command], marks: Marks) -> list[str]:
    """The words of commands that were not read at all."""
    return [
        source
        for command in commands
        for word, source in zip(command.words, command.sources, strict=True)
        if not known(plain(word).partition("=")[0]) and marks.shown(word)
    ]
