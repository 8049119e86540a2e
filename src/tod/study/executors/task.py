"""What is handed out, what is heard of it, and what an executor is."""

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from tod.base import BeingWritten, TodError

__all__ = ["Attempt", "Executor", "ExecutorTask", "Failure", "News", "Put", "Tell", "Work"]

Tell = Callable[[Any], None]
"""What a job says of itself while it is done: plain values, as JSON has them."""


@dataclass(frozen=True)
class ExecutorTask:
    """One thing to do.

    Attributes:
        name: What it is called; no two tasks of a call have one name.
        job: What the work is called with; plain values that can be sent to a process.
    """

    name: str
    job: Any


@dataclass(frozen=True)
class Work:
    """What workers do.

    Attributes:
        do: Does a job; a function of a module, for a fresh process imports it.
        begin: Called once in every process, before its first job.
        preload: Modules that all processes need, which are imported once where that can be.
    """

    do: Callable[[Any, Tell], None]
    begin: Callable[[], None]
    preload: Sequence[str] = ()


@dataclass(frozen=True)
class Attempt:
    """One try at a task.

    Attributes:
        task: Its place among the tasks.
        number: 1 for the first try.
        name: Of the task.
    """

    task: int
    number: int
    name: str


@dataclass(frozen=True)
class Failure:
    """Why a job failed.

    Attributes:
        said: In a line.
        ours: Whether it is an error that this package raises on purpose.
        where: The traceback; empty where the worker was lost.
        locked: Whether another process writes to the directory of the job.
    """

    said: str
    ours: bool = False
    where: str = ""
    locked: bool = False

    @classmethod
    def of(cls, error: BaseException) -> "Failure":
        """Of an error that was caught."""
        where = "".join(traceback.format_exception(error))
        if isinstance(error, TodError):
            locked = isinstance(error, BeingWritten)
            return cls(str(error), ours=True, where=where, locked=locked)
        return cls(f"{type(error).__name__}: {str(error).strip() or 'no message'}", where=where)


@dataclass(frozen=True)
class News:
    """Something that is heard of an attempt.

    Attributes:
        attempt: Of which.
        kind: Its worker began, told something, ended it, stopped as asked, or was lost.
        said: Who the worker is; what it told; the failure, None where there is none; nothing; why.
    """

    attempt: Attempt
    kind: Literal["began", "told", "ended", "stopped", "lost"]
    said: Any = None


Put = Callable[[News], None]
"""Who hears the news."""


class Executor(Protocol):
    """Where attempts are made.

    Attributes:
        at_once: Most attempts under way.
    """

    at_once: int

    def open(self, work: Work, put: Put) -> None:
        """Make ready; news is put as it is heard."""

    def start(self, attempt: Attempt, job: Any) -> None:
        """Begin an attempt; does not wait."""

    def listen(self) -> None:
        """Wait until something was put; called while attempts are under way alone."""

    def ask_to_stop(self) -> None:
        """Ask the attempts under way to save and stop, which they tell."""

    def close(self) -> None:
        """End whatever is under way, and the workers."""
