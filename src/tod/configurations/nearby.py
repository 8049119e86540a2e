"""Files that a configuration names, looked for where it lies: its folder and every one above."""

import re
from collections.abc import Iterator
from pathlib import Path

_UNREAD = re.compile(".*\ue001", re.DOTALL)
_MOST = 1 << 20
_ABOVE = 8
"""Folders above the file's own that are tried."""


def folders(path: Path) -> Iterator[Path]:
    """The folder of a file and those above it; the root of the disk is none of them."""
    own = path.resolve().parent
    yield from [own, *list(own.parents)[:-1][:_ABOVE]]


def candidates(path: Path, name: str, below: str = "") -> Iterator[Path]:
    """Where a name may lie: it is relative to a folder that is not known.

    Args:
        path: The file that names it.
        name: The name; what stands before a piece that was not read is left out.
        below: A folder of the repository that it may be relative to as well.
    """
    told = _UNREAD.sub("", name)
    if not told.strip("/ "):
        return
    absolute = Path(told)
    if told == name and absolute.is_absolute():
        yield absolute
        return
    rest = told.lstrip("/")
    package = rest.partition("/")[0]
    for folder in folders(path):
        yield folder / rest
        if package != rest:  # a package that is kept in a folder of its own name
            yield folder / package / rest
        if below:
            yield folder / below / rest


def find(path: Path, name: str, below: str = "") -> Path | None:
    """The first file of that name; None if there is none."""
    return next((where for where in candidates(path, name, below) if where.is_file()), None)


def text_near(path: Path, name: str) -> str | None:
    """The text of the file of that name; None if there is none, or it is no text of that size."""
    where = find(path, name)
    if where is None or where.resolve() == path.resolve() or where.stat().st_size > _MOST:
        return None
    try:
        return where.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
