"""News of a worker on another machine: lines of JSON in a file that both sides see."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tod.base import RunError

__all__ = ["NewsReader", "NewsWriter"]

STOP = "stop"
"""File whose presence asks all workers of a call to save and stop."""


class NewsWriter:
    """The worker's end: every line is on the file before the next thing is done.

    Args:
        path: Its file, which no other attempt writes.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("ab", buffering=0)

    @property
    def asked_to_stop(self) -> bool:
        """Whether workers are asked to stop."""
        return (self._path.parent / STOP).exists()

    def write(self, kind: str, said: Any = None) -> None:
        """Add a line."""
        self._file.write(json.dumps([kind, said]).encode() + b"\n")

    def close(self) -> None:
        """Make the file durable, for a network hands over what is on the disk alone."""
        os.fsync(self._file.fileno())
        self._file.close()


class NewsReader:
    """The end of the one who hands out.

    Args:
        path: The file; it need not be there yet.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._at = path, 0

    def lines(self) -> Iterator[tuple[str, Any]]:
        """Whole lines since the last call: kind and what is said.

        Raises:
            RunError: One is neither.
        """
        try:
            with self._path.open("rb") as file:
                file.seek(self._at)
                data = file.read()
        except FileNotFoundError:
            return
        whole, _, _ = data.rpartition(b"\n")
        if not whole:
            return
        self._at += len(whole) + 1
        for line in whole.split(b"\n"):
            try:
                kind, said = json.loads(line)
            except (ValueError, TypeError, RecursionError):
                raise RunError(f"{self._path}: a line of it is no news of a worker.") from None
            yield kind, said
