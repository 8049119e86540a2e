"""Append-only records, one JSON object a line."""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tod.base import DataError
from tod.base.text import what_is
from tod.runs.atomic import sync, write_all, write_atomic
from tod.runs.records import plain

__all__ = ["JsonLines"]


class JsonLines:
    """One file of records in order of their ``step``; only its end ever changes.

    A process may be killed in the middle of a line. Readers ignore a last line without its
    newline, and the next ``append`` cuts it off. A killed process loses no whole line; a power
    cut may lose those since the last ``sync``, which every checkpoint does.

    Args:
        path: The file; made by the first append.
        durable: Whether every append also syncs: milliseconds each on a busy disk.
    """

    def __init__(self, path: Path, durable: bool = False) -> None:
        self.path = path
        self.durable = durable

    def sync(self) -> None:
        """Flush what was appended to the device."""
        if self.path.exists():
            sync(self.path)

    def append(self, record: Mapping[str, Any]) -> None:
        """Add one record; a NaN or an infinity is written as null, that is, unknown.

        Raises:
            DataError: Something in the record is not plain data, with its path.
            OSError: The device is full; the file is then as it was.
        """
        line = _line(record)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            end = _whole(descriptor)
            os.ftruncate(descriptor, end)
            os.lseek(descriptor, end, os.SEEK_SET)
            try:
                write_all(descriptor, line)
                if self.durable:
                    os.fsync(descriptor)
            except BaseException:
                os.ftruncate(descriptor, end)
                raise
        finally:
            os.close(descriptor)

    def read(self) -> Iterator[dict[str, Any]]:
        """Records in order, read as a stream.

        Raises:
            DataError: A line that is whole is not a JSON object, or its step is not a whole
                number: file and line number.
        """
        for number, line in enumerate(self._lines(), start=1):
            yield self._parse(line, number)

    def truncate_after(self, step: int) -> int:
        """Cut the file before the first record whose step is beyond ``step``; how many were cut.

        What stays keeps its bytes, so a resumed run's file continues as if never stopped.
        """
        keep = cut = 0
        for number, line in enumerate(self._lines(), start=1):
            if cut or int(self._parse(line, number).get("step", 0)) > step:
                cut += 1
            else:
                keep += len(line)
        if self.path.exists():
            os.truncate(self.path, keep)
        return cut

    def replace_last(self, record: Mapping[str, Any]) -> None:
        """Put another record in the place of the last one, in one step.

        Raises:
            DataError: Something in the record is not plain data, with its path.
            OSError: The device is full; the file is then as it was.
        """
        *before, _ = self._lines()
        write_atomic(self.path, b"".join(before) + _line(record))

    def _lines(self) -> Iterator[bytes]:
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            for line in file:
                if line.endswith(b"\n"):
                    yield line

    def _parse(self, line: bytes, number: int) -> dict[str, Any]:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"{self.path}, line {number}: not JSON ({error}). Something else changed "
                "the file; remove that line to read the others."
            ) from None
        if not isinstance(record, dict):
            raise DataError(f"{self.path}, line {number}: {what_is(record)}, not an object.")
        step = record.get("step", 0)
        if not isinstance(step, int) or isinstance(step, bool):
            raise DataError(
                f"{self.path}, line {number}: step: {what_is(step)}, not a whole number. Something "
                "else changed the file; remove that line to read the others."
            )
        return record


def _line(record: Mapping[str, Any]) -> bytes:
    text = json.dumps(plain(record), allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "surrogatepass") + b"\n"


def _whole(descriptor: int) -> int:
    """Where the last whole line ends."""
    end = os.fstat(descriptor).st_size
    while end > 0:
        start = max(0, end - 65536)
        newline = os.pread(descriptor, end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0
