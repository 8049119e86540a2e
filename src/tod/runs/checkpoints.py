"""Where checkpoints lie and which of them are whole; what is in them is the engine's affair.

``checkpoints/step-N/`` is filled under a temporary name and renamed; ``complete.json`` in it
lists every file with its size, so that a directory cut short by a copy is seen to be so.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
        (temporary / MARKER).write_text(json.dumps(_sizes(temporary), indent=1), encoding="utf-8")


def is_complete(path: Path) -> bool:
    """Whether every file the marker lists is there with its size."""
    try:
        listed = json.loads((path / MARKER).read_text(encoding="utf-8"))
        return isinstance(listed, dict) and all(
            (path / name).stat().st_size == size for name, size in listed.items()
        )
    except (OSError, ValueError, RecursionError):
        return False


def checkpoint_steps(directory: Path) -> list[int]:
    """Steps that have a complete checkpoint, in order."""
    matches = ((path, _NAME.fullmatch(path.name)) for path in directory.glob("step-*"))
    return sorted(int(m[1]) for path, m in matches if m is not None and is_complete(path))


def latest_checkpoint(directory: Path) -> Path | None:
    """The newest complete checkpoint; None when there is none."""
    steps = checkpoint_steps(directory)
    return directory / f"step-{steps[-1]}" if steps else None


def damaged_checkpoints(directory: Path) -> dict[int, str]:
    """What is wrong with checkpoints that were whole once, by step; they are renamed when whole.

    A file that is missing or has another size than when it was written, or the list of them.
    """
    wrong = {}
    for path in directory.glob("step-*"):
        match = _NAME.fullmatch(path.name)
        if match is not None and not is_complete(path):
            wrong[int(match[1])] = _damage(path)
    return dict(sorted(wrong.items()))


def _damage(path: Path) -> str:
    """The first file that is not as it was written."""
    try:
        listed = json.loads((path / MARKER).read_text(encoding="utf-8"))
        for name, size in listed.items():
            if not (path / name).is_file():
                return f"{path / name} is missing"
            if (path / name).stat().st_size != size:
                return (
                    f"{path / name} has {(path / name).stat().st_size} bytes, written were {size}"
                )
    except (OSError, ValueError, RecursionError, AttributeError, TypeError):
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


def _sizes(root: Path) -> dict[str, int]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): path.stat().st_size for path in files}
