"""Doing tasks with an executor: one loop for all, which hands lost workers' tasks out again."""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from tod.study.executors.tally import Tally
from tod.study.executors.task import Attempt, Executor, ExecutorTask, Failure, News, Work

__all__ = ["TRIES", "carry_out"]

TRIES = 3
"""How often a task is handed out at most: more lost workers than that are the task's own doing."""


def carry_out(
    executor: Executor,
    work: Work,
    tasks: Sequence[ExecutorTask],
    *,
    ended: Callable[[Any, Failure | None], None],
    told: Callable[[Any, Any], None] = lambda _job, _message: None,
    again: Callable[[Any, str], None] = lambda _job, _why: None,
    tally: Tally | None = None,
    tries: int = TRIES,
    patient: bool = False,
) -> None:
    """Do every task, some at a time; one whose worker is lost is begun again, before the others.

    A task has one attempt at a time. What is still heard of an attempt that counts as lost is
    dropped, so that no task is told of, or ends, twice.

    Args:
        executor: Where; it is opened, and closed however this ends.
        work: What workers do.
        tasks: What is done.
        ended: Told a job when it ended, and why it failed; None where it did not.
        told: Told what a job says of itself.
        again: Told a job that is begun again, and why its worker was lost.
        tally: Counts what becomes of the tasks, before anybody is told.
        tries: How often a task is handed out at most, 1 or more.
        patient: At Ctrl-C, whether jobs under way are asked to stop and waited for; a second Ctrl-C
            ends them. Otherwise they are ended at once.

    Raises:
        KeyboardInterrupt: At Ctrl-C, when no worker is left.
    """
    if not tasks:
        return
    loop = _Loop(executor, tasks, ended, told, again, Tally() if tally is None else tally, tries)
    try:
        executor.open(work, loop.hear)
        while loop.waiting or loop.under_way:
            loop.hand_out()
            executor.listen()
    except KeyboardInterrupt:
        if patient:
            executor.ask_to_stop()
            while loop.under_way:
                executor.listen()
        raise
    finally:
        executor.close()


class _Loop:
    """What is still to be done, and what becomes of it.

    Attributes:
        waiting: Attempts that no worker has.
        under_way: The one attempt of every task that is handed out.
    """

    def __init__(
        self,
        executor: Executor,
        tasks: Sequence[ExecutorTask],
        ended: Callable[[Any, Failure | None], None],
        told: Callable[[Any, Any], None],
        again: Callable[[Any, str], None],
        tally: Tally,
        tries: int,
    ) -> None:
        self.executor, self.tasks, self.tally, self.tries = executor, tasks, tally, tries
        self.ended, self.told, self.again = ended, told, again
        self.waiting = deque(Attempt(i, 1, task.name) for i, task in enumerate(tasks))
        self.under_way: dict[int, Attempt] = {}

    def hand_out(self) -> None:
        """Begin as many attempts as there is room for."""
        while self.waiting and len(self.under_way) < self.executor.at_once:
            attempt = self.waiting.popleft()
            self.under_way[attempt.task] = attempt
            self.tally.start(attempt)
            try:
                self.executor.start(attempt, self.tasks[attempt.task].job)
            except BaseException:  # Ctrl-C too: nobody would ever say what became of it
                self._drop(attempt)
                self.waiting.appendleft(attempt)
                raise

    def hear(self, news: News) -> None:
        """Heed what is said of an attempt under way; of another one it is dropped."""
        attempt = news.attempt
        if self.under_way.get(attempt.task) != attempt:
            return
        job = self.tasks[attempt.task].job
        if news.kind == "began":
            self.tally.under_way[attempt.name].where = news.said
        elif news.kind == "told":
            self.tally.under_way[attempt.name].said = news.said
            self.told(job, news.said)
        elif news.kind == "ended" and _by_an_earlier_try(attempt, news.said):
            self._lose(attempt, news.said.said)
        elif news.kind == "ended":
            self._end(attempt, news.said)
        elif news.kind == "lost":
            self._lose(attempt, news.said)
        else:
            self._drop(attempt)

    def _drop(self, attempt: Attempt) -> None:
        del self.under_way[attempt.task]
        self.tally.under_way.pop(attempt.name)

    def _end(self, attempt: Attempt, failure: Failure | None) -> None:
        del self.under_way[attempt.task]
        self.tally.end(attempt.name, failure)
        self.ended(self.tasks[attempt.task].job, failure)

    def _lose(self, attempt: Attempt, why: str) -> None:
        """Its worker was lost: once more, or it failed."""
        self.tally.lose(attempt)
        if attempt.number >= self.tries:
            often = "" if attempt.number == 1 else f" (the last of {self.tries} tries)"
            self._end(attempt, Failure(why + often))
            return
        del self.under_way[attempt.task]
        self.waiting.appendleft(Attempt(attempt.task, attempt.number + 1, attempt.name))
        self.again(self.tasks[attempt.task].job, why)


def _by_an_earlier_try(attempt: Attempt, failure: Failure | None) -> bool:
    """Whether it met the lock of the worker before it, which counts as lost and still ends."""
    return attempt.number > 1 and failure is not None and failure.locked
