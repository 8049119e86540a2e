"""What Ray and submitit share: workers that speak by a file each, which both sides see."""

import os
import shutil
import signal
import socket
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from tod.base import RunError
from tod.study.executors.news_file import STOP, NewsReader, NewsWriter
from tod.study.executors.task import Attempt, Failure, News, Put, Work

__all__ = ["Host", "Remote", "RemoteTask"]

POLL = 0.2
"""Seconds between two looks at what workers said."""
_begun: set[Any] = set()


@dataclass(frozen=True)
class RemoteTask:
    """What a worker is to do; called once, in a process that imported nothing of this.

    Attributes:
        work: What workers do.
        job: The job.
        news: The file that it writes its news into, an absolute path.
        folder: Where the one who hands out stands: paths of jobs are relative to that.
    """

    work: Work
    job: Any
    news: str
    folder: str

    def __call__(self) -> None:
        """Do it; everything that happens is written into the file."""
        with suppress(ValueError):  # a thread of its own hears no signal
            signal.signal(signal.SIGINT, signal.default_int_handler)
        said = NewsWriter(Path(self.news))
        said.write("began", f"{socket.gethostname()}, process {os.getpid()}")
        try:
            _enter(self.folder)
            _begin_once(self.work.begin)
            self.work.do(self.job, lambda message: _tell(said, message))
            said.write("ended")
        except KeyboardInterrupt:
            said.write("stopped")
        except Exception as error:  # whatever it is, it is told and not lost
            said.write("ended", asdict(Failure.of(error)))
        finally:
            said.close()


def _enter(folder: str) -> None:
    """Stand where the one who hands out stands.

    Raises:
        RunError: This machine has no such folder.
    """
    try:
        os.chdir(folder)
    except OSError as error:
        raise RunError(
            f"{socket.gethostname()} cannot enter {folder} ({error.strerror}), and paths of jobs "
            "are relative to it. Start from a folder that all machines see under the same path."
        ) from None


def _begin_once(begin: Callable[[], None]) -> None:
    """Make this process ready, which may have done jobs before."""
    name = (begin.__module__, begin.__qualname__)
    if name not in _begun:
        begin()
        _begun.add(name)


def _tell(said: NewsWriter, message: Any) -> None:
    said.write("told", message)
    if said.asked_to_stop:
        os.kill(os.getpid(), signal.SIGINT)


class Host(Protocol):
    """A system that runs calls.

    Attributes:
        settle: Seconds until a file that was written on one of its machines is seen on another.
    """

    settle: float

    def open(self, folder: Path) -> None:
        """Make ready; what it writes goes into this folder."""

    def submit(self, call: RemoteTask) -> Any:
        """Hand a call over; what stands for it."""

    def gone(self, handle: Any) -> str | None:
        """Why a call is not under way any more, for one that said nothing; None while it is."""

    def cancel(self, handle: Any) -> None:
        """End a call at once, or take it out of the queue."""

    def close(self) -> None:
        """Let go of the system."""


@dataclass
class _Under:
    """An attempt that was handed over.

    Attributes:
        handle: What stands for it.
        news: What it says.
        began: Whether a worker has it.
        gone: When it was first seen not to be under way any more; None while it is.
    """

    handle: Any
    news: NewsReader
    began: bool = False
    gone: float | None = None


class Remote:
    """An executor over a system that runs calls.

    Args:
        host: The system.
        at_once: Calls at a time.
        folder: Seen by all its machines; what is said goes into ``folder/tasks`` until the end, and
            stays there where a worker was lost.
    """

    def __init__(self, host: Host, at_once: int, folder: Path) -> None:
        self.at_once, self._host = at_once, host
        self._folder = folder.resolve() / "tasks" / uuid.uuid4().hex[:8]
        self._under: dict[Attempt, _Under] = {}
        self._lost = False

    def open(self, work: Work, put: Put) -> None:
        """Make the folder, and the system ready."""
        self._work, self._put = work, put
        self._folder.mkdir(parents=True)
        self._host.open(self._folder)

    def start(self, attempt: Attempt, job: Any) -> None:
        """Hand an attempt to the system."""
        news = self._folder / f"{attempt.task}-{attempt.number}.jsonl"
        handle = self._host.submit(RemoteTask(self._work, job, str(news), str(Path.cwd())))
        self._under[attempt] = _Under(handle, NewsReader(news))

    def listen(self) -> None:
        """Look again and again, until somebody said something or is gone."""
        while self._under and not self._look():
            time.sleep(POLL)

    def ask_to_stop(self) -> None:
        """Ask those that began to stop at their next word; the others leave the queue."""
        (self._folder / STOP).touch()
        for attempt, under in list(self._under.items()):
            if not under.began:
                self._host.cancel(under.handle)
                self._out(attempt, News(attempt, "stopped"))

    def close(self) -> None:
        """End what is under way; what was said is removed, unless a worker was lost."""
        for under in self._under.values():
            self._host.cancel(under.handle)
        self._under = {}
        self._host.close()
        if not self._lost:
            shutil.rmtree(self._folder, ignore_errors=True)
        with suppress(OSError):
            self._folder.parent.rmdir()

    def _look(self) -> bool:
        """Put what is new; whether anything was."""
        any_news = False
        for attempt, under in list(self._under.items()):
            why = self._host.gone(under.handle)  # before its words are read, which may be its last
            for kind, said in under.news.lines():
                any_news = True
                self._heard(attempt, under, kind, said)
            if why is not None and attempt in self._under:
                under.gone = under.gone or time.monotonic()
                if time.monotonic() - under.gone >= self._host.settle:
                    any_news = self._lost = True
                    self._host.cancel(under.handle)  # it may live on, cut off, and go on writing
                    self._out(attempt, News(attempt, "lost", why))
        return any_news

    def _heard(self, attempt: Attempt, under: _Under, kind: Any, said: Any) -> None:
        under.began = True
        if kind in {"ended", "stopped"}:
            failure = Failure(**said) if said else None
            self._out(attempt, News(attempt, kind, failure))
        else:
            self._put(News(attempt, kind, said))

    def _out(self, attempt: Attempt, news: News) -> None:
        del self._under[attempt]
        self._put(news)
