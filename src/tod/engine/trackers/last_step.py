"""How far the files of a tracker go that earlier starts of a run left."""

from collections.abc import Iterable
from pathlib import Path

from tod.base import DataError
from tod.logs import read_log


def last_step(files: Iterable[Path]) -> int:
    """The last step of any of these logs; −1 where none has one."""
    return max((_last_of(file) for file in files), default=-1)


def _last_of(file: Path) -> int:
    try:
        return int(read_log(file).steps[-1])
    except DataError:  # nothing was written before it was stopped
        return -1
