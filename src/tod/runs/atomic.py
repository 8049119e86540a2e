"""Writing so that a reader sees the old thing or the new thing, never half of one.

A file or directory is written under a temporary name in the folder of its place, flushed to the
device, and renamed. Temporary names start with a dot and end in ``.tmp``; whatever is left of them
after a crash is rubbish, and ``sweep`` removes it.
"""

import errno
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from tod.base import RunError

__all__ = ["atomic_directory", "write_atomic"]

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def write_all(descriptor: int, data: bytes) -> None:
    """Write every byte; the system call may take fewer than asked."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def write_atomic(path: Path, data: bytes | str, durable: bool = True) -> None:
    """Put ``data`` at ``path`` in one step; a device or a pipe that is there is written into.

    Args:
        path: Its place.
        data: Bytes, or text to encode as UTF-8.
        durable: Whether it must survive a power cut from now on; a killed process loses nothing
            either way.

    Raises:
        OSError: The device is full or refuses; ``path`` is then as it was.
    """
    content = data.encode("utf-8") if isinstance(data, str) else data
    if is_stream(path):
        path.write_bytes(content)
        return
    temporary = _temporary(path)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        write_all(descriptor, content)
        if durable:
            os.fsync(descriptor)
    except BaseException:
        os.close(descriptor)
        temporary.unlink(missing_ok=True)
        raise
    os.close(descriptor)
    os.replace(temporary, path)
    if durable:
        sync(path.parent)


def is_stream(path: Path) -> bool:
    """Whether a device, a pipe or a socket is at the path: written into, and never replaced.

    A rename over ``/dev/null`` would leave a file there for every program of the machine.
    """
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


@contextmanager
def filled(path: Path) -> Iterator[BinaryIO]:
    """A file to fill piece by piece, which appears at ``path`` when the block ends without error.

    A power cut may lose it, a killed process does not.

    Raises:
        OSError: The device is full or refuses; ``path`` is then as it was.
    """
    if is_stream(path):
        with open(path, "wb") as file:
            yield file
        return
    temporary = _temporary(path)
    try:
        with open(temporary, "wb") as file:
            yield file
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def atomic_directory(target: Path) -> Iterator[Path]:
    """A directory to fill, which appears at ``target`` only when the block ends without error.

    Every file in it is flushed to the device before the rename, and its parent after.

    Raises:
        RunError: ``target`` exists; what is complete is never replaced.
    """
    if target.exists():
        raise RunError(
            f"{target} exists and is complete; it is never written over. "
            "Remove it, or choose another name."
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(target)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        _sync_tree(temporary)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    os.rename(temporary, target)
    sync(target.parent)


def remove_directory(path: Path) -> None:
    """Remove a directory so that no half of it is ever found under its name."""
    doomed = _temporary(path)
    shutil.rmtree(doomed, ignore_errors=True)
    os.rename(path, doomed)
    sync(path.parent)
    shutil.rmtree(doomed)


def sweep(directory: Path) -> None:
    """Remove what interrupted writes left in ``directory``."""
    for rubbish in directory.glob(".*.tmp"):
        remove(rubbish)


def remove(path: Path) -> None:
    """Remove a file, a link or a directory; nothing where there is none."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def explained(what: str, kept: Callable[[], str]) -> Iterator[None]:
    """Turn a full disk into an error that says what was being written and what is safe.

    ``kept`` is asked only when it is needed.

    Raises:
        RunError: The device, the quota or the file size limit is exhausted.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise RunError(
            f"No room to write {what} ({error.strerror}). Kept: {kept()}. "
            "Free some space, then continue with `--resume`."
        ) from error


def sync(path: Path) -> None:
    """Flush a file's content, or a directory's entries, to the device."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_tree(root: Path) -> None:
    for folder, _, files in os.walk(root):
        for name in files:
            sync(Path(folder) / name)
        sync(Path(folder))


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.tmp")
