"""What `tod watch` shows: lines that stay, and one status line that changes on a terminal."""

from collections.abc import Sequence
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.live import Live
from rich.text import Text

from tod.base.streams import is_hushed
from tod.base.text import counted
from tod.findings.words import number, thousands
from tod.show.screen import Screen
from tod.show.terminal.findings_screen import STYLES

if TYPE_CHECKING:
    from tod.findings import Finding
    from tod.findings.watching import Look


class WatchScreen:
    """Stdout of a watch. Where it is no terminal, a status is a plain line when it says more."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._console = Screen(quiet=quiet)
        self._live = Live(
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._said: set[str] = set()
        self._plain = ""

    def __enter__(self) -> Self:
        """Itself, with a status line if stdout is a terminal."""
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """Take the status line away."""
        self._live.stop()

    def finding(self, finding: "Finding", now: datetime) -> None:
        """One line that stays."""
        line = f"{now:%H:%M:%S} {finding.severity.upper()} {finding.headline}"
        self._line(Text(" ".join(line.split()), style=STYLES[finding.severity]))

    def say(self, words: str) -> None:
        """One line that stays, of what went wrong in watching."""
        self._line(Text(" ".join(words.split()), style="dim"))

    def problems(self, problems: Sequence[str]) -> None:
        """What cannot be read, each once as long as it lasts."""
        for problem in problems:
            if problem not in self._said:
                self.say(f"not read yet: {problem}")
        self._said = set(problems)

    def status(self, seen: "Look", told: Sequence["Finding"], now: datetime) -> None:
        """What was read and what stands, on the line that changes.

        Args:
            seen: What a look saw.
            told: The findings of it that were seen often enough to be told.
            now: When it looked.
        """
        run = seen.findings.run
        words = [f"step {seen.step}", counted(seen.files, "file")]
        if run.rollouts is not None:
            words.append(f"{thousands(run.rollouts.groups.total)} answers")
        if seen.rejected:
            words.append(f"{counted(seen.rejected, 'row')} rejected")
        reward = run.get("reward")
        if reward is not None:
            words.append(f"reward {number(float(reward.values[-1]))}")
        faults = seen.findings.faults
        words.append(_standing([f for f in faults if f in told], len(faults)))
        self._status(", ".join(words), now)

    def waiting(self, why: str, now: datetime) -> None:
        """Nothing can be read yet."""
        self._status(f"waiting: {why}", now)

    def _line(self, text: Text) -> None:
        self._console.print(text, soft_wrap=True)

    def _status(self, words: str, now: datetime) -> None:
        if is_hushed():
            return
        words = " ".join(words.split())
        if self._console.is_terminal:
            text = Text(f"{now:%H:%M:%S} {words}", no_wrap=True, overflow="ellipsis", style="dim")
            self._live.update(text, refresh=True)
        elif words != self._plain:
            self._line(Text(f"{now:%H:%M:%S} {words}"))
        self._plain = words


def _standing(told: Sequence["Finding"], faults: int) -> str:
    """``1 critical, 2 warnings, 1 to be confirmed``, or that nothing is wrong."""
    critical = sum(finding.severity == "critical" for finding in told)
    warnings = len(told) - critical
    words = [f"{critical} critical"] if critical else []
    words += [counted(warnings, "warning")] if warnings else []
    words += [f"{faults - len(told)} to be confirmed"] if faults > len(told) else []
    return ", ".join(words) or "no fault"
