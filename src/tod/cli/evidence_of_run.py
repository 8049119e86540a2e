"""What a person names on the command line: rollouts, metric logs of the same run, or both."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

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
        if kind is None or (mapped and kind in TABLES):
            rollouts.append(path)
            continue
        logs.append(read_log(path))
        if Path(path).is_dir() and holds_rollouts(path, logs[-1].files):
            rollouts.append(path)
    return rollouts, logs


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
