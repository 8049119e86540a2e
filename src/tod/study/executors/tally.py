"""How many tasks are finished, under way, lost and tried again: what a table of progress shows."""

from dataclasses import dataclass, field
from typing import Any

from tod.study.executors.task import Attempt, Failure

__all__ = ["Tally", "TaskRow"]


@dataclass
class TaskRow:
    """A task that is under way.

    Attributes:
        number: Which try it is, from 1.
        where: Machine and process of its worker; None before that began.
        said: What it told last; None before it told anything.
    """

    number: int
    where: str | None = None
    said: Any = None


@dataclass
class Tally:
    """How the tasks of a call stand.

    Attributes:
        under_way: Those handed out, by name, in the order in which they were.
        finished: How many ended well.
        failed: Why those that failed did, by name.
        lost: How often a task's worker was lost, by name.
    """

    under_way: dict[str, TaskRow] = field(default_factory=dict)
    finished: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    lost: dict[str, int] = field(default_factory=dict)

    @property
    def running(self) -> int:
        """Tasks that a worker has begun."""
        return sum(row.where is not None for row in self.under_way.values())

    def start(self, attempt: Attempt) -> None:
        """It was handed out."""
        self.under_way[attempt.name] = TaskRow(attempt.number)

    def lose(self, attempt: Attempt) -> None:
        """Its worker was lost."""
        self.under_way.pop(attempt.name)
        self.lost[attempt.name] = self.lost.get(attempt.name, 0) + 1

    def end(self, name: str, failure: Failure | None) -> None:
        """It ended."""
        self.under_way.pop(name, None)
        if failure is None:
            self.finished += 1
        else:
            self.failed[name] = failure.said
