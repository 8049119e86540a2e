"""Jobs over worker processes: each told as it ends; a killed worker loses its own job alone.

A worker imports once and does one job after the other. It ends with the process that made it,
however that one ends, so that nothing goes on writing unseen.
"""

import multiprocessing
import os
import signal
import threading
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any

from tod.base import TodError

__all__ = ["Failure", "Tell", "over_processes"]

Tell = Callable[[Any], None]
"""What a job says of itself while it is done, to whoever handed it out."""


@dataclass(frozen=True)
class Failure:
    """Why a job failed.

    Attributes:
        said: In a line.
        ours: Whether it is an error that this package raises on purpose.
        where: The traceback; empty where the process was lost.
    """

    said: str
    ours: bool = False
    where: str = ""

    @classmethod
    def of(cls, error: BaseException) -> "Failure":
        """Of an error that was caught."""
        where = "".join(traceback.format_exception(error))
        if isinstance(error, TodError):
            return cls(str(error), ours=True, where=where)
        return cls(f"{type(error).__name__}: {str(error).strip() or 'no message'}", where=where)


@dataclass
class _Worker:
    """A process and what it does."""

    connection: Connection
    process: Any
    job: int | None = None
    ended: bool = field(default=False)

    @classmethod
    def start(cls, context: Any, begin: Callable[[], None]) -> "_Worker":
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, begin))
        process.start()
        theirs.close()
        return cls(ours, process)

    def lost(self) -> Failure:
        """Why there is no answer."""
        self.process.join()
        code, self.ended = self.process.exitcode, True
        if code is not None and code < 0:
            name = signal.Signals(-code).name
            hint = "; often that is too little memory" if name == "SIGKILL" else ""
            return Failure(f"its process was ended by {name}{hint}")
        return Failure(f"its process ended with code {code} and said nothing")

    def end(self) -> None:
        with suppress(OSError):
            self.connection.close()
        if self.process.is_alive() and self.job is not None:
            self.process.terminate()
        self.process.join()


def over_processes(
    work: Callable[[Any, Tell], None],
    jobs: Sequence[Any],
    processes: int,
    *,
    begin: Callable[[], None],
    ended: Callable[[Any, Failure | None], None],
    told: Callable[[Any, Any], None] = lambda _job, _message: None,
    patient: bool = False,
    preload: Sequence[str] = (),
) -> None:
    """Do every job in a process of its own kind, some at a time.

    Args:
        work: Does a job; a function of a module, for a fresh process imports it.
        jobs: What is done; plain values that can be sent to a process.
        processes: Jobs at a time.
        begin: Called once in every process.
        ended: Told when a job ended, and why it failed; None where it did not.
        told: Told what a job says of itself.
        patient: At Ctrl-C, whether jobs under way are asked to stop and waited for; a second Ctrl-C
            ends them. Otherwise they are ended at once.
        preload: Modules that all processes need, which are imported once where that can be.

    Raises:
        KeyboardInterrupt: At Ctrl-C, when no process is left.
    """
    waiting = deque(range(len(jobs)))
    workers: list[_Worker] = []
    context = _clean_processes(preload)

    def start() -> _Worker:
        return _Worker.start(context, begin)

    try:
        while waiting or any(worker.job is not None for worker in workers):
            _hand_out(work, jobs, waiting, workers, processes, start)
            _listen(jobs, workers, ended, told)
    except KeyboardInterrupt:
        if patient:
            _stop(jobs, workers, ended, told)
        raise
    finally:
        for worker in workers:
            worker.end()


def _hand_out(
    work: Callable[[Any, Tell], None],
    jobs: Sequence[Any],
    waiting: deque[int],
    workers: list[_Worker],
    processes: int,
    start: Callable[[], _Worker],
) -> None:
    """Give the next jobs to processes that have none, which are made where there are too few."""
    workers[:] = [worker for worker in workers if not worker.ended]
    while waiting and len(workers) < processes:
        workers.append(start())
    for worker in workers:
        if waiting and worker.job is None:
            worker.job = waiting.popleft()
            with suppress(OSError):  # a process that is gone is met when it is listened to
                worker.connection.send((work, jobs[worker.job]))


def _listen(
    jobs: Sequence[Any],
    workers: Sequence[_Worker],
    ended: Callable[[Any, Failure | None], None],
    told: Callable[[Any, Any], None],
) -> None:
    """Wait for one message at least, and pass on what there is."""
    busy = {worker.connection: worker for worker in workers if worker.job is not None}
    for connection in wait(list(busy)):
        worker = busy[connection]  # type: ignore[index]
        assert worker.job is not None  # noqa: S101 - only those that work are listened to
        job = jobs[worker.job]
        try:
            kind, message = worker.connection.recv()
        except (EOFError, OSError):
            kind, message = "ended", worker.lost()
        if kind == "told":
            told(job, message)
            continue
        worker.job = None
        if kind == "ended":
            ended(job, message)


def _stop(
    jobs: Sequence[Any],
    workers: Sequence[_Worker],
    ended: Callable[[Any, Failure | None], None],
    told: Callable[[Any, Any], None],
) -> None:
    """Ask the jobs under way to stop, and wait until they did."""
    for worker in workers:
        if worker.job is not None:
            with suppress(OSError):
                os.kill(worker.process.pid, signal.SIGINT)
    while any(worker.job is not None for worker in workers):
        _listen(jobs, workers, ended, told)


def _clean_processes(preload: Sequence[str]) -> Any:
    """How to start processes without this one's threads: forked from a server that imports once.

    Each process starts for itself where there is no such server.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(preload))
    return context


def _serve(connection: Connection, begin: Callable[[], None]) -> None:
    """What a process does: jobs until there are no more.

    It leaves the terminal's group of processes: Ctrl-C reaches the one that hands out jobs, which
    passes it on.
    """
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        begin()
        while True:
            work, job = connection.recv()
            try:
                work(job, lambda message: connection.send(("told", message)))
                connection.send(("ended", None))
            except KeyboardInterrupt:
                connection.send(("stopped", None))
            except Exception as error:  # whatever it is, the next job is done
                connection.send(("ended", Failure.of(error)))
    except (EOFError, OSError, KeyboardInterrupt):
        return


def _end_with_parent() -> None:
    """End this process when the one that made it is gone, however it went."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
