"""Tasks over processes of this machine, each of which imports once and does one after the other.

A process ends with the one that made it, however that one ends, so that nothing goes on writing
unseen.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

from tod.study.executors.task import Attempt, Failure, News, Put, Work

__all__ = ["Processes"]


@dataclass
class _Worker:
    """A process and what it does."""

    connection: Connection
    process: Any
    attempt: Attempt | None = None

    @classmethod
    def start(cls, context: Any, begin: Callable[[], None]) -> "_Worker":
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, begin))
        try:
            process.start()
        except BaseException:
            ours.close()  # a process that began after all ends by this
            raise
        finally:
            theirs.close()
        return cls(ours, process)

    def lost(self) -> str:
        """Why there is no answer."""
        self.process.join()
        code = self.process.exitcode
        if code is not None and code < 0:
            name = signal.Signals(-code).name
            hint = "; often that is too little memory" if name == "SIGKILL" else ""
            return f"its process was ended by {name}{hint}"
        return f"its process ended with code {code} and said nothing"

    def end(self) -> None:
        with suppress(OSError):
            self.connection.close()
        if self.process.is_alive() and self.attempt is not None:
            self.process.terminate()
        self.process.join()


class Processes:
    """Processes of this machine.

    Attributes:
        at_once: How many there are at most; one is made when it is needed.
    """

    def __init__(self, at_once: int) -> None:
        self.at_once = at_once
        self._workers: list[_Worker] = []

    def open(self, work: Work, put: Put) -> None:
        """Make ready to start processes."""
        self._work, self._put = work, put
        self._context = _clean_processes(work.preload)

    def start(self, attempt: Attempt, job: Any) -> None:
        """Hand an attempt to a process that has none, which is made where there is none."""
        worker = next((w for w in self._workers if w.attempt is None), None)
        if worker is None:
            worker = _Worker.start(self._context, self._work.begin)
            self._workers.append(worker)
        worker.attempt = attempt
        with suppress(OSError):  # a process that is gone is met when it is listened to
            worker.connection.send((self._work.do, job))
        self._put(News(attempt, "began", f"process {worker.process.pid}"))

    def listen(self) -> None:
        """Wait for one message at least, and pass on what there is."""
        busy = {worker.connection: worker for worker in self._workers if worker.attempt}
        for connection in wait(list(busy)):
            worker = busy[connection]  # type: ignore[index]
            attempt = worker.attempt
            assert attempt is not None  # noqa: S101 - only those that work are listened to
            try:
                kind, message = worker.connection.recv()
            except (EOFError, OSError):
                kind, message = "lost", worker.lost()
                self._workers.remove(worker)
            if kind != "told":
                worker.attempt = None
            self._put(News(attempt, kind, message))

    def ask_to_stop(self) -> None:
        """Pass Ctrl-C on to the processes that work."""
        for worker in self._workers:
            if worker.attempt is not None:
                with suppress(OSError):
                    os.kill(worker.process.pid, signal.SIGINT)

    def close(self) -> None:
        """End all processes, those that work at once."""
        for worker in self._workers:
            worker.end()
        self._workers = []


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
            do, job = connection.recv()
            try:
                do(job, lambda message: connection.send(("told", message)))
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
