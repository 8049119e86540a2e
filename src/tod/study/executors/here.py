"""Tasks one after the other in this process."""

from typing import Any

from tod.study.executors.task import Attempt, Failure, News, Put, Work

__all__ = ["InProcess"]


class InProcess:
    """Does one task at a time in this process, on this thread."""

    at_once = 1

    def __init__(self) -> None:
        self._next: tuple[Attempt, Any] | None = None

    def open(self, work: Work, put: Put) -> None:
        """Make ready."""
        self._work, self._put = work, put
        work.begin()

    def start(self, attempt: Attempt, job: Any) -> None:
        """Take an attempt, which is made when it is listened to."""
        self._next = attempt, job

    def listen(self) -> None:
        """Make the attempt."""
        assert self._next is not None  # noqa: S101 - one is under way
        attempt, job = self._next
        self._put(News(attempt, "began", "this process"))
        failure: Failure | None = None
        try:
            self._work.do(job, lambda message: self._put(News(attempt, "told", message)))
        except KeyboardInterrupt:
            self._put(News(attempt, "stopped"))
            raise
        except Exception as error:  # whatever it is, the next task is done
            failure = Failure.of(error)
        self._put(News(attempt, "ended", failure))

    def ask_to_stop(self) -> None:
        """Nothing: Ctrl-C reached the task itself."""

    def close(self) -> None:
        """Nothing is left."""
