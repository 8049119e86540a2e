"""A worker process that scores candidates, and the parent's handle on it.

A separate interpreter rather than a fork: a process that holds torch and its threads cannot be
forked safely, and only another process can be killed when a scorer hangs. Parent and child
exchange pickles over a pipe of their own; both ends are this file, and the child sends nothing but
numbers and text.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

from tod.engine.utilities.functions import Row, complaint, score_rows
from tod.engine.utilities.utility_specs import TextUtility

_PROGRAM = "from tod.engine.utilities.worker import serve; serve({})"


class WorkerTimeout(Exception):
    """A call took longer than its limit; the worker is dead."""


class WorkerDied(Exception):
    """The worker ended in the middle of a call."""


class UtilityFailed(Exception):
    """The utility raised an exception in the worker."""


class Worker:
    """One child process; started on construction, killed on `close` or on a timeout."""

    def __init__(self) -> None:
        """Start the child, with the parent's import path and one thread for its arithmetic."""
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        environment["PYTHONPATH"] = os.pathsep.join(path or os.getcwd() for path in sys.path)
        self._pipe, theirs = Pipe()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [sys.executable, "-P", "-c", _PROGRAM.format(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=2,  # what a utility prints
                env=environment,
                pass_fds=[theirs.fileno()],
            )
        self._ready = False

    def call(
        self, spec: TextUtility, rows: Sequence[Row], timeout_seconds: float
    ) -> list[float | None]:
        """What the utility returns for the rows.

        Raises:
            WorkerTimeout: No answer in time, the start of the process not counted.
            WorkerDied: The process ended.
            UtilityFailed: The utility raised; with its type and message.
        """
        if not self._ready:
            self._receive(None)
            self._ready = True
        try:
            self._pipe.send((spec, rows))
        except ConnectionError:
            raise WorkerDied(self._ended()) from None
        answer, error = self._receive(timeout_seconds)
        if error:
            raise UtilityFailed(error)
        return list(answer)

    def close(self) -> None:
        """Kill the process and wait for it; safe to repeat."""
        self._process.kill()
        self._process.wait()
        self._pipe.close()

    def _receive(self, seconds: float | None) -> Any:
        """The child's next message, in so many seconds."""
        try:
            if self._pipe.poll(seconds):
                return self._pipe.recv()
        except (EOFError, OSError):
            raise WorkerDied(self._ended()) from None
        self.close()
        raise WorkerTimeout

    def _ended(self) -> str:
        status = self._process.wait()
        return f"killed by signal {-status}" if status < 0 else f"exit status {status}"


def serve(descriptor: int) -> None:
    """Answer calls until the parent closes its end; Ctrl-C is the parent's to handle."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with Connection(descriptor) as pipe, suppress(EOFError):
        pipe.send("ready")
        while True:
            spec, rows = pipe.recv()
            try:
                answer: tuple[list[float | None], str] = (score_rows(spec, rows), "")
            except Exception as error:
                answer = ([], complaint(error))
            pipe.send(answer)
