"""What a person names on the command line: rollouts, metric logs of the same run, or both."""

from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

SHOWN = 8
"""Runs of a folder that are listed."""
WIDEST, DEEPEST = 200, 3
"""Folders of a folder that are looked into, and how many levels of lone folders are passed."""

if TYPE_CHECKING:
    from tod.logs import Log


def sorted_out(paths: Sequence[str], format_: str, mapped: bool) -> tuple[list[str], "list[Log]"]:
    """Paths of rollouts, and the metric logs that were read.

    A path is a log if it looks like one. A folder may hold both. What looks like neither is left
    for the readers of rollouts, which say what is wrong with it.

    Args:
        paths: As typed.
        format_: Format of rollouts that the person named, or ``auto``.
        mapped: Whether the person named columns: tables are rollouts then.
    """
    from tod.logs import detect, read_log
    from tod.logs.recognise import TABLES

    if format_ != "auto":
        return list(paths), []
    rollouts: list[str] = []
    logs: list[Log] = []
    for path in paths:
        kind = detect(path)
        inner = None if kind is not None or mapped else _only_run(Path(path))
        if inner is not None:
            logs.append(read_log(inner))
            continue
        if kind is None or (mapped and kind in TABLES):
            rollouts.append(path)
            continue
        logs.append(read_log(path))
        if Path(path).is_dir() and holds_rollouts(path, logs[-1].files):
            rollouts.append(path)
    return rollouts, logs


def _only_run(folder: Path) -> Path | None:
    """The one run whose log lies below a folder that holds neither a log nor rollouts itself.

    Raises:
        DataError: There are several.
    """
    from tod.base import DataError
    from tod.base.text import counted, visible

    if not folder.is_dir() or holds_rollouts(str(folder), ()):
        return None
    runs = runs_below(folder)
    if len(runs) > 1:
        shown = "\n".join(f"  {visible(str(run))}" for run in runs[:SHOWN])
        more = f"\n  and {len(runs) - SHOWN} more" if len(runs) > SHOWN else ""
        raise DataError(
            f"{folder}: the logs of {counted(len(runs), 'run')}:\n{shown}{more}\nName one: "
            f"tod diagnose {quote(str(runs[-1]))}\nTwo of them side by side: "
            f"tod diagnose {quote(str(runs[-1]))} --against {quote(str(runs[0]))}"
        )
    return runs[0] if runs else None


def runs_below(folder: Path) -> list[Path]:
    """Folders with a metric log in a folder, or in the only folder that it holds."""
    from tod.logs import detect

    found: list[Path] = []
    for _ in range(DEEPEST):
        inner = [p for p in sorted(folder.iterdir()) if p.is_dir() and not p.is_symlink()][:WIDEST]
        found += [path for path in inner if detect(path) is not None]
        if found or len(inner) != 1:
            return found
        folder = inner[0]
    return found


def holds_rollouts(path: str, but: Sequence[Path]) -> bool:
    """Whether a reader of rollouts recognises something in a folder but some of its files."""
    from tod.base import TodError
    from tod.formats.detect import choose
    from tod.formats.files import expand

    try:
        there = expand([path])
        choose(there, "auto", {})
    except TodError:
        return False
    return bool({file.resolve() for file in there.files} - {file.resolve() for file in but})
