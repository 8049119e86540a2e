"""Many requests over several servers: few at a time, each answered once, failures asked again."""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from tod.base import ModelError
from tod.serving.client import Client, Unavailable

Job = TypeVar("Job")
Answer = TypeVar("Answer")
FIRST_WAIT, LONGEST_WAIT = 0.1, 10.0
"""Seconds before a request is made again: doubled with every failure of the server in a row."""


class NoServer(ModelError):
    """Every server was away for longer than it may be, or the time for all answers is over.

    Args:
        said: What was answered, and what each server did.
        lost: What each server did alone; empty where the time was over.
    """

    def __init__(self, said: str, lost: tuple[str, ...] = ()) -> None:
        self.lost = lost
        super().__init__(said)


def answers(
    clients: Sequence[Client],
    jobs: Sequence[Job],
    ask: Callable[[Client, Job], Answer],
    *,
    in_flight: int = 8,
    patience: float = 300.0,
    progress: Callable[[int, int], None] | None = None,
    until: float | None = None,
) -> list[Answer]:
    """The answer to every job, in their order; of each job the first whole answer counts.

    Every server has at most ``in_flight`` requests at a time and takes the next job when one is
    answered. A job whose request fails in passing goes back to the others, so that any server may
    take it; what was answered before stays.

    Args:
        clients: The servers.
        jobs: What is asked.
        ask: One request.
        in_flight: Requests at a time of a server.
        patience: Seconds that a server may be away before it is given up.
        progress: Called with (answered, all) after every answer, from any thread.
        until: Reading of ``time.monotonic`` at which all must be answered; None: no end.

    Raises:
        NoServer: All servers were given up, or the time was over.
        ModelError: An answer cannot be used: the first such error.
    """
    if not jobs:
        return []
    work = _Work(jobs, ask, patience, progress)
    threads = [
        threading.Thread(target=work.serve, args=(client, place), daemon=True)
        for client in clients
        for place in range(min(in_flight, len(jobs)))
    ]
    work.workers = len(threads)
    for thread in threads:
        thread.start()
    return work.wait(until)


class _Work(Generic[Job, Answer]):
    """The jobs of one call and who works on them."""

    def __init__(
        self,
        jobs: Sequence[Job],
        ask: Callable[[Client, Job], Answer],
        patience: float,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self.jobs, self.ask, self.patience, self.progress = jobs, ask, patience, progress
        self.open = deque(range(len(jobs)))
        self.answered: dict[int, Answer] = {}
        self.failing: dict[str, tuple[float, int]] = {}
        self.error: BaseException | None = None
        self.lost: dict[str, str] = {}
        self.workers = 0
        self.changed = threading.Condition()

    @property
    def over(self) -> bool:
        """Whether nothing is left to do, or it cannot be done."""
        return len(self.answered) == len(self.jobs) or self.error is not None

    def wait(self, until: float | None = None) -> list[Answer]:
        """All answers, when they are there."""
        with self.changed:
            try:
                while not self.over and self.workers:
                    if until is not None and time.monotonic() >= until:
                        self.error = NoServer(self._overdue())
                        self.changed.notify_all()
                        break
                    self.changed.wait(0.5 if until is None else 0.05)
            except KeyboardInterrupt as stop:
                self.error = stop
                self.changed.notify_all()
                raise
        if self.error is not None:
            raise self.error
        if len(self.answered) < len(self.jobs):
            raise NoServer(
                f"{len(self.answered)} of {len(self.jobs)} requests were answered, then no server "
                f"was left: {' '.join(self.lost.values())} Start it again and go on with "
                "--resume, or give it more `policy.patience`.",
                tuple(self.lost.values()),
            )
        return [self.answered[i] for i in range(len(self.jobs))]

    def _overdue(self) -> str:
        """What was answered when the time was over."""
        return f"{len(self.answered)} of {len(self.jobs)} requests were answered in time."

    def serve(self, client: Client, place: int) -> None:
        """One connection: a job at a time, until there are none or the server is given up."""
        try:
            while (job := self._next(place, client.url)) is not None:
                try:
                    answer = self.ask(client, self.jobs[job])
                except Unavailable as error:
                    if not self._again(client.url, job, error):
                        return
                else:
                    self._done(client.url, job, answer)
        except BaseException as error:
            with self.changed:
                self.error = self.error or error
        finally:
            with self.changed:
                self.workers -= 1
                self.changed.notify_all()

    def _next(self, place: int, url: str) -> int | None:
        """The next job; None when nothing is left. A failing server is tried by one worker."""
        with self.changed:
            while not self.over and url not in self.lost:
                if self.open and (place == 0 or url not in self.failing):
                    return self.open.popleft()
                self.changed.wait(0.5)
        return None

    def _done(self, url: str, job: int, answer: Answer) -> None:
        with self.changed:
            self.failing.pop(url, None)
            self.answered.setdefault(job, answer)
            count = len(self.answered)
            self.changed.notify_all()
        if self.progress is not None:
            self.progress(count, len(self.jobs))

    def _again(self, url: str, job: int, error: Unavailable) -> bool:
        """Give a job back and wait; whether the server is asked again."""
        with self.changed:
            self.open.appendleft(job)
            since, times = self.failing.get(url, (time.monotonic(), 0))
            self.failing[url] = (since, times + 1)
            self.changed.notify_all()
            if time.monotonic() - since > self.patience:
                self.lost[url] = str(error)
                return False
        wait = min(FIRST_WAIT * 2**times, LONGEST_WAIT) if error.wait is None else error.wait
        until = time.monotonic() + wait
        with self.changed:
            while not self.over and (left := until - time.monotonic()) > 0:
                self.changed.wait(left)
        return True
