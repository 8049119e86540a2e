"""Finding and opening the files a person named: globs, directories, compression, long lines.

A path that was named may be a symbolic link; what lies inside a named directory may not leave it.
Only regular files are opened: a pipe or a device would never end.
"""

import glob
import io
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from tod.base import DataError

SUFFIXES = (
    ".jsonl",
    ".json",
    ".ndjson",
    ".parquet",
    ".pkl",
    ".pt",
    ".dp",
    ".db",
    ".sqlite",
    ".sqlite3",
)
COMPRESSED = (".gz", ".zst")
MAX_LINE = 64 << 20
"""Longest line that is decoded, bytes: 64 MiB is 300 times the longest line any format writes for
a sequence of 32 000 tokens, and its decoded form still fits the memory budget of one gigabyte."""
MAX_WHOLE = 4 << 30
"""Largest compressed file that is unpacked whole (pickles), bytes: refuses decompression bombs."""
_CHUNK = 1 << 18


@dataclass(frozen=True)
class Found:
    """What the paths expand to.

    Attributes:
        files: Regular files with a known suffix, in natural order, each once.
        named: Those of them that were named themselves (not found in a directory or by a glob).
        skipped: What was left out, with the reason.
    """

    files: tuple[Path, ...]
    named: frozenset[Path] = frozenset()
    skipped: tuple[str, ...] = field(default=())


def expand(paths: Sequence[str | Path]) -> Found:
    """Files of paths, globs and directories.

    Raises:
        DataError: A path does not exist, is no regular file, or nothing is left.
    """
    files: dict[Path, None] = {}
    named: set[Path] = set()
    skipped: list[str] = []
    for given in paths:
        for path in _matches(given):
            if path.is_dir():
                for inner in _walk(path, skipped):
                    files.setdefault(inner)
            else:
                _regular(path)
                files.setdefault(path)
                named.add(path)
    if not files:
        shown = ", ".join(str(path) for path in paths) or "no path"
        why = f" ({'; '.join(skipped[:3])})" if skipped else ""
        raise DataError(
            f"{shown}: no rollout file there{why}. Known suffixes: {', '.join(SUFFIXES)}, also "
            f"with "
            f"{' or '.join(COMPRESSED)}. Name the file itself, or see `tod diagnose --help`."
        )
    return Found(tuple(files), frozenset(named), tuple(skipped))


def _matches(given: str | Path) -> list[Path]:
    text = os.path.expanduser(str(given))
    if os.path.lexists(text):
        return [Path(text)]
    if glob.has_magic(text):
        found = sorted(glob.glob(text, recursive=True), key=natural)
        if found:
            return [Path(name) for name in found]
        raise DataError(f"{given}: no file matches. Quote the pattern, or check the directory.")
    raise DataError(f"{given}: no such file or directory. Check the path.")


def _walk(root: Path, skipped: list[str]) -> Iterator[Path]:
    """Files with a known suffix below ``root``; links that leave it are not followed."""
    inside = root.resolve()
    for folder, folders, names in os.walk(root, followlinks=False):
        folders[:] = sorted((f for f in folders if not f.startswith(".")), key=natural)
        for name in sorted(names, key=natural):
            path = Path(folder) / name
            if name.startswith(".") or not base_suffix(path):
                continue
            if path.is_symlink() and not path.resolve().is_relative_to(inside):
                skipped.append(f"{path} links to {path.resolve()}, outside {root}: not followed")
            elif not path.exists() or not stat.S_ISREG(path.stat().st_mode):
                skipped.append(f"{path} is not a regular file: not opened")
            else:
                yield path


def _regular(path: Path) -> None:
    if not path.exists():
        raise DataError(f"{path}: a link to something that does not exist. Check the path.")
    if not stat.S_ISREG(path.stat().st_mode):
        raise DataError(f"{path}: not a regular file (a pipe or a device). Save it to a file.")


def natural(name: str | Path) -> tuple[Any, ...]:
    """Sort key that puts ``step_2`` before ``step_10``."""
    parts: list[Any] = []
    digits = ""
    for character in f"{name}\0":
        if character.isascii() and character.isdigit():
            digits += character
            continue
        if digits:
            parts.append((1, int(digits[:400]), ""))
            digits = ""
        parts.append((0, 0, character))
    return tuple(parts)


def base_suffix(path: Path) -> str:
    """The known suffix under any compression, or an empty text."""
    name = path.name.lower()
    for ending in COMPRESSED:
        name = name.removesuffix(ending)
    return next((suffix for suffix in SUFFIXES if name.endswith(suffix)), "")


def stem(path: Path) -> str:
    """The file's name without its suffix and compression."""
    name = path.name
    for ending in (*COMPRESSED, *SUFFIXES):
        if name.lower().endswith(ending):
            name = name[: -len(ending)]
    return name


def open_binary(path: Path) -> BinaryIO:
    """A buffered reader of the file's content, decompressed on the way.

    Raises:
        DataError: It cannot be opened, or no decompressor for it is installed.
    """
    try:
        if path.suffix.lower() == ".gz":
            import gzip

            _check_gzip(path)
            return io.BufferedReader(gzip.open(path, "rb"), _CHUNK)
        if path.suffix.lower() == ".zst":
            return _open_zst(path)
        return open(path, "rb", buffering=1 << 14)
    except OSError as error:
        raise DataError(f"{path}: cannot be opened ({error.strerror or error}).") from None


def _check_gzip(path: Path) -> None:
    with open(path, "rb") as file:
        head = file.read(8)
    if head and not b"\x1f\x8b".startswith(head[:2]):
        raise DataError(
            f"{path}: not gzip, though its name says so: it starts with {head!r}, and gzip with "
            f"{bytes([0x1F, 0x8B])!r}. If it is not compressed, take .gz off its name."
        )


def _open_zst(path: Path) -> BinaryIO:
    try:
        import zstandard
    except ImportError:
        raise DataError(
            f"{path}: reading .zst needs the package `zstandard`, which is not installed. Install "
            "it, or decompress the file first."
        ) from None
    source = open(path, "rb")  # noqa: SIM115 - closed by the reader around it
    if not _whole_frames(source):
        source.close()
        raise DataError(
            f"{path}: the compressed data is damaged (it ends inside a frame). Copy the file "
            "again, or decompress what can be saved."
        )
    plain = zstandard.ZstdDecompressor(max_window_size=1 << 31).stream_reader(
        source, read_across_frames=True, closefd=True
    )
    return io.BufferedReader(plain, _CHUNK)


def _whole_frames(source: BinaryIO) -> bool:
    """Whether a .zst file ends where a frame does: its decompressor does not tell a cut one.

    Frames are walked by their block headers (RFC 8878, 3.1.1); what is no frame is left to the
    decompressor, which says what is wrong with it.
    """
    import zstandard

    size = source.seek(0, io.SEEK_END)
    at = 0
    while at < size:
        source.seek(at)
        head = source.read(18)
        if head[1:4] == b"\x2a\x4d\x18" and head[0] >> 4 == 5:  # a frame to skip
            at += 8 + int.from_bytes(head[4:8], "little")
            continue
        try:
            at += zstandard.frame_header_size(head)
            checked = zstandard.get_frame_parameters(head).has_checksum
        except zstandard.ZstdError:
            cut = len(head) < 5 or head.startswith(b"\x28\xb5\x2f\xfd")
            at = size + 1 if cut else size
            break
        last = False
        while not last and at < size:
            source.seek(at)
            block = int.from_bytes(source.read(3), "little")
            last = bool(block & 1)
            at += 3 + (1 if block >> 1 & 3 == 1 else block >> 3)
        at += 4 if checked else 0
        if not last:
            at = size + 1
    source.seek(0)
    return at <= size


def damage(error: Exception) -> bool:
    """Whether an exception of a read means that the (compressed) file is damaged."""
    name = f"{type(error).__module__}.{type(error).__name__}"
    return isinstance(error, EOFError | OSError) or name in (
        "zlib.error",
        "zstandard.ZstdError",
        "zstandard.backend_c.ZstdError",
    )


@dataclass(frozen=True)
class Chunk:
    """Some consecutive whole lines of a file.

    Attributes:
        first: Number of the first of them, from 1.
        data: Their bytes.
        breaks: How many newlines there are in them.
        torn: Whether the last one lacks its newline (the end of the file).
        overlong: Whether this is only the head of one line that is longer than ``MAX_LINE``.
    """

    first: int
    data: bytes
    breaks: int = 0
    torn: bool = False
    overlong: bool = False

    def lines(self) -> Iterator[tuple[int, bytes, bool]]:
        """Number, content and wholeness of every line that is not blank."""
        number, start = self.first, 0
        while start < len(self.data):
            end = self.data.find(b"\n", start)
            whole = end >= 0
            end = end if whole else len(self.data)
            line = self.data[start:end]
            if line.strip():
                yield number, line, whole
            number, start = number + 1, end + 1


def chunks(path: Path, size: int = _CHUNK) -> Iterator[Chunk]:
    """A text file in chunks of about ``size`` bytes that end at a newline.

    What exceeds ``MAX_LINE`` on one line comes as its first bytes, marked, and the rest is
    skipped, so memory stays bounded whatever the file holds.

    Raises:
        DataError: The file is not UTF-8 text, or its compression is damaged.
    """
    with open_binary(path) as file:
        number, start = 1, True
        while True:
            try:
                data = file.read(size)
                data += b"" if data.endswith(b"\n") else file.readline(MAX_LINE)
            except Exception as error:  # decompressors raise their own kinds
                if not damage(error):
                    raise
                raise DataError(
                    f"{path}, after line {number - 1}: the compressed data is damaged ({error}). "
                    "Copy the file again, or decompress what can be saved."
                ) from None
            if not data:
                return
            if start:
                data, start = _without_mark(path, data), False
            cut = data.rfind(b"\n") + 1
            overlong = len(data) - cut >= MAX_LINE
            whole = data[:cut] if overlong else data
            breaks = _breaks(whole)
            if whole:
                yield Chunk(number, whole, breaks, torn=cut < len(whole))
            number += breaks
            if overlong:
                yield Chunk(number, data[cut : cut + 200], 0, torn=True, overlong=True)
                del data, whole
                number += 1
                _skip_line(file)


def _breaks(data: bytes) -> int:
    """Newlines in ``data``; four times as fast as ``bytes.count`` for lines of a kilobyte."""
    return int(np.count_nonzero(np.frombuffer(data, dtype=np.uint8) == 10))


def _skip_line(file: BinaryIO) -> None:
    while True:
        rest = file.readline(_CHUNK)
        if not rest or rest.endswith(b"\n"):
            return


def _without_mark(path: Path, line: bytes) -> bytes:
    if line.startswith((b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")):
        raise DataError(
            f"{path}: UTF-16 or UTF-32 text (it starts with a byte-order mark). Convert it to "
            "UTF-8, for instance with `iconv -f UTF-16 -t UTF-8`."
        )
    return line.removeprefix(b"\xef\xbb\xbf")


def whole_file(path: Path) -> memoryview:
    """All bytes of a file, mapped when it is not compressed.

    Raises:
        DataError: It is empty, damaged, or unpacks to more than ``MAX_WHOLE``.
    """
    if path.stat().st_size == 0:
        raise DataError(f"{path}: empty file. Its writer was stopped before it wrote anything.")
    if path.suffix.lower() not in COMPRESSED:
        import mmap

        with open(path, "rb") as file:
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    buffer = io.BytesIO()
    with open_binary(path) as file:
        try:
            while chunk := file.read(_CHUNK):
                buffer.write(chunk)
                if buffer.tell() > MAX_WHOLE:
                    raise DataError(
                        f"{path}: unpacks to more than {MAX_WHOLE >> 30} GiB. Decompress it "
                        "yourself and name the result if it is meant to be that large."
                    )
        except DataError:
            raise
        except Exception as error:  # decompressors raise their own kinds
            if not damage(error):
                raise
            raise DataError(f"{path}: the compressed data is damaged ({error}).") from None
    return buffer.getbuffer()
