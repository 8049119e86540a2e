"""One writer for one directory: an exclusive lock that names its process.

``DIR/.lock`` is held by ``flock`` as long as the writer lives and says who that is. The kernel
lets go of it when a process ends, however it ends, so on one machine a lock that can be taken is
a dead one. File systems differ in what ``flock`` means between machines. A writer therefore also
renews the file's time every ``BEAT`` seconds. A lock of another machine counts as dead when its
time did not change while it was watched for ``WATCH`` seconds. Only changes are compared, never
the clocks of two machines. Where there is no ``flock`` at all, the process id with its start time
decides on one machine, and the renewed time decides between machines.

A writer that was stopped for so long that another one took over notices it at its next record,
by ``check``, and writes nothing more.
"""

import errno
import json
import os
import socket
import threading
import time
import uuid
import weakref
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

from tod.base import BeingWritten, RunError

__all__ = ["DirectoryLock"]

NAME = ".lock"
BEAT = 10.0
"""Seconds between two signs of life."""
WATCH = 35.0
"""Seconds without a sign of life after which a writer on another machine counts as dead."""
_SETTLE = 0.2
"""Seconds after which two processes that wrote one record without ``flock`` see who came last."""
_SCHEMA = "tod.lock/1"
_HELD = frozenset({errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES})
_locks: "weakref.WeakSet[DirectoryLock]" = weakref.WeakSet()


@dataclass(frozen=True)
class LockHolder:
    """The process that holds a lock.

    Attributes:
        host: Name of its machine.
        pid: Its process id there.
        machine: What tells machines with one name apart; another one after every boot.
        process: Start time of the process by the machine's count, where that is known.
        since: ISO 8601, UTC.
        purpose: What it writes.
        token: Its own, never used twice.
    """

    host: str
    pid: int
    machine: str
    process: str | None
    since: str
    purpose: str
    token: str
    schema: str = _SCHEMA

    @classmethod
    def this(cls, purpose: str) -> Self:
        """This process, now."""
        return cls(
            host=socket.gethostname(),
            pid=os.getpid(),
            machine=_machine(),
            process=_process_start(os.getpid()),
            since=datetime.now(UTC).isoformat(timespec="seconds"),
            purpose=purpose,
            token=uuid.uuid4().hex,
        )

    @property
    def runs(self) -> bool:
        """Whether the process is there; only asked on its own machine."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass
        start = _process_start(self.pid)
        return self.process is None or start is None or start == self.process

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} (since {self.since})"


class DirectoryLock:
    """The right to write to a directory, until ``release``.

    Attributes:
        directory: What may be written to.
        writer: This process.
        earlier: The dead process whose lock was taken over; None where there was none.
    """

    def __init__(
        self,
        directory: Path,
        descriptor: int,
        writer: LockHolder,
        earlier: LockHolder | None,
        made: bool,
    ) -> None:
        self.directory, self.writer, self.earlier = directory, writer, earlier
        self._descriptor, self._made = descriptor, made
        self._ended = threading.Event()
        beat = (directory / NAME, self._ended)
        threading.Thread(target=_beat, args=beat, name="tod lock", daemon=True).start()
        _locks.add(self)

    @classmethod
    def acquire(cls, directory: Path | str, purpose: str) -> Self:
        """Become the one writer of ``directory``, which is made where it is not there.

        Args:
            directory: What is to be written to.
            purpose: What for, as in "run".

        Raises:
            BeingWritten: Another process writes to it; nothing was touched.
            RunError: It cannot be written.
        """
        directory = Path(directory)
        made = not directory.exists()
        while True:
            try:
                directory.mkdir(parents=True, exist_ok=True)
                descriptor = os.open(directory / NAME, os.O_RDWR | os.O_CREAT, 0o666)
            except OSError as error:
                raise RunError(
                    f"{directory} cannot be written ({error.strerror or error}). "
                    "Choose another `output`."
                ) from error
            try:
                lock = cls._take(directory, descriptor, purpose, made)
            except BaseException:
                os.close(descriptor)
                raise
            if lock is not None:
                return lock
            os.close(descriptor)

    @classmethod
    def _take(cls, directory: Path, descriptor: int, purpose: str, made: bool) -> Self | None:
        """The lock on an open file; None when the file was replaced meanwhile."""
        path = directory / NAME
        locked = _flock(descriptor, path)
        if not _same_file(descriptor, path):
            return None
        earlier = _read(path)
        if earlier is not None and not _dead(earlier, path, locked):
            raise BeingWritten(_refusal(path, earlier))
        writer = LockHolder.this(purpose)
        record = json.dumps(asdict(writer)).encode() + b"\n"
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, record, 0)
        if not locked:
            time.sleep(_SETTLE)
            last = _read(path)
            if last is None or last.token != writer.token:
                raise BeingWritten(_refusal(path, last))
        return cls(directory, descriptor, writer, earlier, made)

    def check(self) -> None:
        """Nothing, while this process still is the one writer.

        Raises:
            RunError: Another one took over, since this one gave no sign of life for too long.
        """
        now = _read(self.directory / NAME)
        if now is None or now.token != self.writer.token:
            by = "another process" if now is None else str(now)
            raise RunError(
                f"{self.directory} is now written by {by}: this process was taken for dead. It "
                "stops here and writes nothing more; everything up to its last record is whole."
            )

    def release(self) -> None:
        """Let others write; an empty directory that this lock made is removed again."""
        if self._ended.is_set() or self.writer.pid != os.getpid():
            return
        self._ended.set()
        path = self.directory / NAME
        with suppress(OSError):
            now = _read(path)
            if now is not None and now.token == self.writer.token:
                path.unlink()
            if self._made and not any(self.directory.iterdir()):
                self.directory.rmdir()
        os.close(self._descriptor)

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Release it, also after an error."""
        self.release()

    def _leave(self) -> None:
        """Close the inherited file in a forked child: the lock ends with the parent."""
        self._ended.set()
        with suppress(OSError):
            os.close(self._descriptor)


def _beat(path: Path, ended: threading.Event) -> None:
    while not ended.wait(BEAT):
        with suppress(OSError):
            os.utime(path)


def writer_of(directory: Path) -> LockHolder | None:
    """Who last took the lock of ``directory`` and did not release it, alive or dead."""
    return _read(directory / NAME)


def _flock(descriptor: int, path: Path) -> bool:
    """Whether the file is locked now; False where the file system has no such locks.

    Raises:
        BeingWritten: Another process has it.
    """
    if find_spec("fcntl") is None:  # Windows
        return False
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _HELD:
            raise BeingWritten(_refusal(path, _read(path))) from None
        return False
    return True


def _dead(writer: LockHolder, path: Path, locked: bool) -> bool:
    """Whether the last writer is gone, when this process does or cannot hold the ``flock``."""
    if writer.machine == _machine():
        return locked or not writer.runs
    return not _beats(path)


def _beats(path: Path) -> bool:
    """Whether a writer on another machine gives a sign of life while it is watched."""
    first, until = _time(path), time.monotonic() + WATCH
    while time.monotonic() < until:
        time.sleep(min(1.0, WATCH / 10))
        if _time(path) != first:
            return True
    return False


def _time(path: Path) -> int | None:
    """The file's time, read through an open file: networks keep what is read by name."""
    try:
        with path.open("rb") as file:
            return os.fstat(file.fileno()).st_mtime_ns
    except OSError:
        return None


def _read(path: Path) -> LockHolder | None:
    try:
        data: Any = json.loads(path.read_bytes())
        return LockHolder(**data) if data["schema"] == _SCHEMA else None
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None


def _same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False


def _refusal(path: Path, writer: LockHolder | None) -> str:
    by = "another process" if writer is None else str(writer)
    return (
        f"{path.parent} is being written by {by}. A directory has one writer, so nothing in it "
        "was touched. Wait until that process ends, end it, or name another place with "
        "`output=...`."
    )


def _machine() -> str:
    """What is the same in all processes under one kernel; the host's name where that is all."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return socket.gethostname()


def _process_start(pid: int) -> str | None:
    """Start time of a process in ticks since boot; None where that cannot be known."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return stat.rpartition(")")[2].split()[19]


def _leave_all() -> None:
    for lock in list(_locks):
        lock._leave()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_all)
