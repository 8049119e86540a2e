"""What a command of the shell's own may ask of the reading of a script that meets it."""

from typing import Protocol

from tod.configurations.nearby import Near
from tod.configurations.shell.marks import Marks
from tod.configurations.shell.program_run import ProgramRun
from tod.configurations.shell.state import ShellState
from tod.configurations.shell.words import Words


class Walking(Protocol):
    """One reading of a script and of those inside it."""

    @property
    def marks(self) -> Marks:
        """What marks stand for."""

    @property
    def files(self) -> Near:
        """Those around the outermost script."""

    def start(self, run: ProgramRun, document: str | None, state: ShellState) -> None:
        """A program is started, with what it is given to read."""

    def expansion(self, state: ShellState) -> Words:
        """Expansion of words in a state."""

    def inside(self, text: str, state: ShellState, line: int) -> list[ShellState]:
        """Follow a script that is written in another one, from one of its lines on."""

    def worked_out(self, text: str, state: ShellState) -> list[ShellState]:
        """An expression of whole numbers."""
