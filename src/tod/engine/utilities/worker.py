"""A worker process that scores candidates, and the parent's handle on it.

A separate interpreter rather than a fork: a process that holds torch and its threads cannot be
forked safely, and only another process can be killed when a scorer hangs. Parent and child
exchange pickles over the child's standard streams; both ends are this file, and the child sends
nothing but numbers and text.
"""

import os
import pickle
import select
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import IO, Any

from tod.engine.utilities.functions import Row, complaint, score_rows
from tod.engine.utilities.utility_specs import TextUtility

_PROGRAM = "from tod.engine.utilities.worker import serve; serve()"
_HEADER = struct.Struct("<Q")


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
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-P", "-c", _PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
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
            _write(_of(self._process.stdin), (spec, rows))
        except BrokenPipeError:
            raise WorkerDied(self._ended()) from None
        answer, error = self._receive(time.monotonic() + timeout_seconds)
        if error:
            raise UtilityFailed(error)
        return list(answer)

    def close(self) -> None:
        """Kill the process and wait for it; safe to repeat."""
        self._process.kill()
        self._process.wait()
        _of(self._process.stdout).close()
        try:
            _of(self._process.stdin).close()
        except BrokenPipeError:
            return

    def _receive(self, deadline: float | None) -> Any:
        size = _HEADER.unpack(self._read(_HEADER.size, deadline))[0]
        return pickle.loads(self._read(size, deadline))  # noqa: S301 - from our own child

    def _read(self, size: int, deadline: float | None) -> bytes:
        """Exactly ``size`` bytes of the child's output, before the deadline."""
        descriptor, data = _of(self._process.stdout).fileno(), bytearray()
        while len(data) < size:
            if deadline is not None:
                left = max(0.0, deadline - time.monotonic())
                if not select.select([descriptor], [], [], left)[0]:
                    self.close()
                    raise WorkerTimeout
            piece = os.read(descriptor, size - len(data))
            if not piece:
                raise WorkerDied(self._ended())
            data += piece
        return bytes(data)

    def _ended(self) -> str:
        status = self._process.wait()
        return f"killed by signal {-status}" if status < 0 else f"exit status {status}"


def _of(stream: IO[bytes] | None) -> IO[bytes]:
    """A stream that was asked for at the start of the child."""
    if stream is None:
        raise WorkerDied("a worker without streams")
    return stream


def _write(stream: IO[bytes], value: Any) -> None:
    data = pickle.dumps(value)
    stream.write(_HEADER.pack(len(data)) + data)
    stream.flush()


def serve() -> None:
    """Answer calls until the parent closes its end.

    What a utility prints goes to standard error, because standard output carries the answers;
    Ctrl-C is the parent's to handle.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    _write(answers, "ready")
    while header := sys.stdin.buffer.read(_HEADER.size):
        size = _HEADER.unpack(header)[0]
        spec, rows = pickle.loads(sys.stdin.buffer.read(size))  # noqa: S301 - from our own parent
        try:
            answer: tuple[list[float | None], str] = (score_rows(spec, rows), "")
        except Exception as error:
            answer = ([], complaint(error))
        _write(answers, answer)
