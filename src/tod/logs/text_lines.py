"""Opening what holds a log: text in bounded lines, compressed or not."""

import gzip
import io
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from tod.base import DataError

COMPRESSED = (".gz", ".zst")
MOST_BYTES = 2 << 30
"""Bytes of a log, decompressed, that are read: a thousand times the size of a long run's."""
LONGEST_LINE = 16 << 20
"""Bytes of a line; what is longer is no row of figures."""
_CHUNK = 1 << 20


def bare_name(path: Path) -> str:
    """The file's name in small letters, without the suffix of a compression."""
    name = path.name.lower()
    for ending in COMPRESSED:
        name = name.removesuffix(ending)
    return name


def regular(path: Path) -> Path:
    """The path, if it is a regular file: a pipe or a device would never end.

    Raises:
        DataError: It is none, or cannot be looked at.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be opened ({error}). Check the path.") from None
    if not stat.S_ISREG(mode):
        raise DataError(f"{path}: not a regular file. Name the log itself, or save it to a file.")
    return path


def open_log(path: Path) -> BinaryIO:
    """A reader of the bytes of a regular file, decompressed on the way.

    Raises:
        DataError: It is not a regular file or cannot be opened.
        MissingPackage: It is a ``.zst`` file and no decompressor is installed.
    """
    regular(path)
    try:
        if path.suffix.lower() == ".gz":
            return io.BufferedReader(gzip.open(path, "rb"), _CHUNK)
        if path.suffix.lower() == ".zst":
            from tod.base.extras import load

            zstandard = load("zstandard")
            plain = zstandard.ZstdDecompressor(max_window_size=1 << 31).stream_reader(
                open(path, "rb"),  # noqa: SIM115 - closed by the reader around it
                read_across_frames=True,
                closefd=True,
            )
            return io.BufferedReader(plain, _CHUNK)
        return open(path, "rb", buffering=_CHUNK)
    except OSError as error:
        raise DataError(f"{path}: cannot be opened ({error.strerror or error}).") from None


def blocks(path: Path) -> Iterator[tuple[int, bytes]]:
    """Number of the first line and the bytes of blocks that end where a line does.

    A line beyond ``LONGEST_LINE`` comes alone and cut, so that it can be named; it is the only one
    in its block that has ``LONGEST_LINE`` bytes or more.

    Raises:
        DataError: Not text (UTF-16 or a compression that is damaged), or longer than
            ``MOST_BYTES``.
    """
    number, total = 1, 0
    with open_log(path) as file:
        while data := _block(file, path):
            total += len(data)
            if total > MOST_BYTES:
                raise DataError(
                    f"{path}: longer than {MOST_BYTES >> 30} GiB, which no metric log is. If it is "
                    "one, cut it to the lines with figures."
                )
            if number == 1 and data.startswith((b"\xff\xfe", b"\xfe\xff")):
                raise DataError(
                    f"{path}: UTF-16 text. Convert it to UTF-8, for instance with "
                    "`iconv -f UTF-16 -t UTF-8`."
                )
            yield number, data.removeprefix(b"\xef\xbb\xbf") if number == 1 else data
            number += data.count(b"\n")


def _block(file: BinaryIO, path: Path) -> bytes:
    try:
        data = file.read(_CHUNK)
        if data and not data.endswith(b"\n"):
            rest = file.readline(LONGEST_LINE)
            data += rest
            while len(rest) == LONGEST_LINE and not rest.endswith(b"\n"):
                rest = file.readline(LONGEST_LINE)  # the tail of an endless line is dropped
            if rest.endswith(b"\n") and not data.endswith(b"\n"):
                data += b"\n"
    except (EOFError, OSError, zlib.error) as error:
        raise _damaged(path, error) from None
    except Exception as error:
        if type(error).__name__ != "ZstdError":
            raise
        raise _damaged(path, error) from None
    return data


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(f"{path}: the data is damaged ({error}). Copy the file again.")


def lines(path: Path) -> Iterator[tuple[int, bytes, bool]]:
    """Number, content and wholeness (a newline ends it) of every line that is not blank.

    Raises:
        DataError: As ``blocks``.
    """
    for first, data in blocks(path):
        parts = data.split(b"\n")
        for place, line in enumerate(parts):
            if line.strip():
                yield first + place, line, place < len(parts) - 1


def whole(path: Path) -> bytes:
    """All bytes of a file.

    Raises:
        DataError: As ``blocks``.
    """
    return b"".join(data for _, data in blocks(path))
