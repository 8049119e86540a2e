"""Files that a configuration names, looked for where it lies: its folder and every one above."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from tod.base import read_yaml
from tod.configurations.shell.marks import without_marks

_UNREAD = re.compile(".*\ue001", re.DOTALL)
_MOST = 1 << 20
_OF_THE_SYSTEM = (("proc",), ("sys",), ("dev",))
"""Folders whose files are made as they are read; some of them never end."""
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
    there = (where for where in candidates(path, name, below) if where.is_file())
    return next(
        (where for where in there if where.resolve().parts[1:2] not in _OF_THE_SYSTEM), None
    )


_ROOTS = (".git", "pyproject.toml", "setup.py", "requirements.txt")
"""What lies in the topmost folder of a repository."""


def inside(path: Path, where: Path) -> bool:
    """Whether a file lies in the repository of another one; without one, in its folder or below.

    Args:
        path: The other one.
        where: The file; links are followed.
    """
    holding = [f for f in folders(path) if any((f / name).exists() for name in _ROOTS)]
    root = holding[-1] if holding else path.resolve().parent
    return where.resolve().is_relative_to(root)


def text_near(path: Path, name: str) -> str | None:
    """The text of the file of that name; None if there is none, or it is no text of that size."""
    where = find(path, name)
    if where is None or where.resolve() == path.resolve() or where.stat().st_size > _MOST:
        return None
    try:
        return where.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def settings_of(path: Path) -> Any:
    """Plain data of a YAML file, read once for as long as it stays as it is; not to be changed.

    Raises:
        SpecError: As `read_yaml`.
    """
    try:
        state = path.stat()
    except OSError:
        return read_yaml(path)  # which says what is wrong
    return _settings_of(path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=64)
def _settings_of(path: Path, changed: int, size: int) -> Any:  # noqa: ARG001 - of the key
    return read_yaml(path)


def short(path: Path, name: str) -> str:
    """A whole path as it is seen from the nearest folder of a file's that holds it."""
    if not name.startswith("/"):
        return name
    holding = (f for f in folders(path) if name.startswith(f"{f}/"))
    return next((name[len(str(folder)) + 1 :] for folder in holding), name)


@dataclass(frozen=True)
class Near:
    """Files around a script.

    Attributes:
        script: The script; None: there is nothing around it.
        started: Whether it is started where it lies; a scheduler starts a copy elsewhere.
    """

    script: Path | None = None
    started: bool = True

    @property
    def own(self) -> str:
        """The whole path that the script is started by; empty if not known."""
        return "" if self.script is None or not self.started else str(self.script.absolute())

    def text(self, name: str) -> str | None:
        """The text of a file of that name; None where it is not here."""
        text = None if self.script is None else text_near(self.script, name)
        return None if text is None else without_marks(text)

    def sourced(self, name: str, folder: str | None) -> tuple[str | None, str]:
        """The text and the whole path of a file that is sourced; None and empty: not to be read.

        It has to lie in the repository. Where the folder of the shell is known a relative name is
        of that folder and of no other.

        Args:
            name: The file's.
            folder: The shell's folder; empty: it is where it was started; None: not known.
        """
        if self.script is None or (folder is None and not name.startswith("/")):
            return None, ""
        if folder and not name.startswith("/"):
            name = f"{folder}/{name}"
        where = find(self.script, name)
        if where is None or not inside(self.script, where):
            return None, ""
        return self.text(str(where.absolute())), str(where.absolute())

    def whole(self, name: str) -> str:
        """The whole path of a file of that name; empty where it is not here."""
        where = None if self.script is None else find(self.script, name)
        return "" if where is None else str(where.absolute())

    def short(self, name: str) -> str:
        """A whole path as it is seen from near the script."""
        return name if self.script is None else short(self.script, name)
