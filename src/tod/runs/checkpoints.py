"""Where checkpoints lie and which of them are whole; what is in them is the engine's affair.

``checkpoints/step-N/`` is filled under a temporary name and renamed; ``complete.json`` in it
lists every file with its size and its SHA-256, so that a directory that a copy cut short, and a
file that a disk or a copy changed, are seen to be so. Versions before 0.2 listed sizes alone.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from hashlib import file_digest
from pathlib import Path
from typing import Any

from tod.base import RunError
from tod.runs.atomic import atomic_directory, remove_directory

__all__ = ["checkpoint_steps", "latest_checkpoint", "prune_checkpoints"]

MARKER = "complete.json"
_NAME = re.compile(r"step-(\d+)")


@contextmanager
def new_checkpoint(directory: Path, step: int) -> Iterator[Path]:
    """A directory to fill, which becomes ``step-N`` when the block ends without error.

    Raises:
        RunError: A complete checkpoint of that step exists.
    """
    target = directory / f"step-{step}"
    if target.exists() and not is_complete(target):
        remove_directory(target)
    with atomic_directory(target) as temporary:
        yield temporary
        (temporary / MARKER).write_text(json.dumps(_listing(temporary), indent=1), encoding="utf-8")


def is_complete(path: Path) -> bool:
    """Whether every file the marker lists is there with its size."""
    try:
        return all(
            (path / name).stat().st_size == size for name, (size, _) in _listed(path).items()
        )
    except (OSError, ValueError):
        return False


def altered(path: Path) -> str | None:
    """The first file of a complete checkpoint whose content is not what was written; None: none.

    It reads all of it, once as long as no file changes.
    """
    listed = _listed(path)
    stats = {name: (path / name).stat() for name in listed}
    files = ((name, stats[name].st_mtime_ns, known) for name, (_, known) in listed.items())
    return _altered(path, tuple(files))


@lru_cache(maxsize=16)
def _altered(path: Path, files: tuple[tuple[str, int, str | None], ...]) -> str | None:
    for name, _, known in files:
        if known is not None and _digest(path / name) != known:
            return f"{path / name} is not what was written (its SHA-256 differs)"
    return None


def _listed(path: Path) -> dict[str, tuple[int, str | None]]:
    """Size and SHA-256 of every file by the marker; of an old one no digest.

    Raises:
        OSError: There is no marker.
        ValueError: It is damaged.
    """
    listed = {}
    try:
        files: Any = json.loads((path / MARKER).read_text(encoding="utf-8"))
        for name, told in files.items():
            size, known = (told, None) if isinstance(told, int) else (told["size"], told["sha256"])
            listed[name] = (int(size), None if known is None else str(known))
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no list of files: {error}") from None
    return listed


def checkpoint_steps(directory: Path) -> list[int]:
    """Steps that have a complete checkpoint, in order."""
    matches = ((path, _NAME.fullmatch(path.name)) for path in directory.glob("step-*"))
    return sorted(int(m[1]) for path, m in matches if m is not None and is_complete(path))


def latest_checkpoint(directory: Path) -> Path | None:
    """The newest complete checkpoint whose files are what was written; None when there is none."""
    paths = (directory / f"step-{step}" for step in reversed(checkpoint_steps(directory)))
    return next((path for path in paths if altered(path) is None), None)


def damaged_checkpoints(directory: Path) -> dict[int, str]:
    """What is wrong with checkpoints that were whole once, by step; they are renamed when whole.

    A file that is missing or has another size than when it was written, or the list of them; and
    those newer than the newest good one whose content is another.
    """
    wrong = {}
    for path in directory.glob("step-*"):
        match = _NAME.fullmatch(path.name)
        if match is not None and not is_complete(path):
            wrong[int(match[1])] = _damage(path)
    for step in reversed(checkpoint_steps(directory)):
        why = altered(directory / f"step-{step}")
        if why is None:
            break
        wrong[step] = why
    return dict(sorted(wrong.items()))


def _damage(path: Path) -> str:
    """The first file that is not as it was written."""
    try:
        for name, (size, _) in _listed(path).items():
            if not (path / name).is_file():
                return f"{path / name} is missing"
            if (path / name).stat().st_size != size:
                return (
                    f"{path / name} has {(path / name).stat().st_size} bytes, written were {size}"
                )
    except (OSError, ValueError):
        pass
    return f"{path / MARKER} cannot be read"


def prune_checkpoints(directory: Path, keep: int) -> list[int]:
    """Remove all but the newest ``keep`` complete checkpoints; the steps removed.

    Raises:
        RunError: ``keep`` is below 1: the last good checkpoint is never removed.
    """
    if keep < 1:
        raise RunError(f"keep={keep} would remove the last good checkpoint. Keep at least 1.")
    removed = checkpoint_steps(directory)[:-keep]
    for step in removed:
        remove_directory(directory / f"step-{step}")
    return removed


def _listing(root: Path) -> dict[str, dict[str, int | str]]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {
        path.relative_to(root).as_posix(): {"size": path.stat().st_size, "sha256": _digest(path)}
        for path in files
    }


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()
