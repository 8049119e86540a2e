"""Whose files these are: parts of one resumed run, or of several runs, which are never mixed.

No framework writes the name of its run into its rows. What can be told: a resumed run goes on from
a checkpoint, so its later part starts after the first step of the earlier one, and frameworks put
the parts side by side. Anything else that holds one step twice, with other rows, is two runs.
"""

import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from filecmp import cmp
from itertools import combinations
from pathlib import Path

import numpy as np

from tod.base import DataError
from tod.base.text import counted
from tod.formats.columns import Rows
from tod.formats.files import natural

Home = Callable[[Path], Path]
_INNER = re.compile(
    r"completions|dumped_data|rollouts?|rollout_data|train_data|token_exports|train|all|effective"
    r"|(global_)?step_\d+|iteration_\d+"
)


def run_of(path: Path, inner: re.Pattern[str] = _INNER) -> Path:
    """The directory of a file's run: above the folders that frameworks make inside of it."""
    folder = path.absolute().parent
    while inner.fullmatch(folder.name):
        folder = folder.parent
    return folder


def refuse_mixed(
    runs: Mapping[Path, Mapping[int, Path]], rows: Rows
) -> list[tuple[Path, Path, list[int]]]:
    """Refuse steps that two runs hold.

    Args:
        runs: Step and file, or one of its files, by the directory of the run.
        rows: With the steps that are wanted.

    Returns:
        The earlier and the later part of a resumed run, or two copies, with the wanted steps that
        both hold.

    Raises:
        DataError: Two directories hold a wanted step with other rows, and are no resumed run.
    """
    twice = []
    for one, other in combinations(runs, 2):
        shared = [s for s in sorted(runs[one].keys() & runs[other].keys()) if rows.wanted(s)]
        pairs = [(runs[one][step], runs[other][step]) for step in shared]
        if not pairs:
            continue
        times = [max(path.stat().st_mtime_ns for path in side) for side in zip(*pairs, strict=True)]
        older, newer = (one, other) if times[0] <= times[1] else (other, one)
        resumed = older.parent == newer.parent and min(runs[newer]) > min(runs[older])
        if resumed or all(cmp(a, b, shallow=False) for a, b in pairs):
            twice.append((older, newer, shared))
            continue
        raise DataError(
            f"{one} and {other} both hold {_span(shared)}, with other rows, and neither continues "
            "the other: a resumed run lies beside the one it continues and starts after its first "
            f"step. Steps of different runs are never mixed: {_apart(one, other, rows)}"
        )
    return twice


def _apart(one: Path, other: Path, rows: Rows) -> str:
    """What to do with two runs; `tod report` reads no columns named by hand."""
    if rows.mapping:
        return (
            "diagnose each with `tod diagnose PATH --json FILE`, and compare the files with "
            "`tod report FILE FILE`."
        )
    shown = shlex.join(map(str, (one, other)))
    return f"diagnose one at a time, or compare them with `tod report {shown}`."


def settle(rows: Rows, home: Home) -> None:
    """Leave out what a later part of a resumed run wrote again; files of one run stay as they are.

    A DataError says: they are of different runs.
    """
    homes = [home(path) for path in rows.files]
    if len(set(homes)) < 2:
        return
    lost: dict[Path, list[int]] = {}
    for older, newer, steps in refuse_mixed(_steps_by_run(rows, homes), rows):
        lost.setdefault(older, []).extend(steps)
        rows.note(
            f"{_span(steps)} written twice (resumed run): {newer} kept, {older} left out there"
        )
    steps_of = np.array(rows.context_steps, dtype=np.int64)
    for place, block in enumerate(rows.blocks):
        gone = lost.get(homes[block.file])
        if gone:
            kept = block.part(~np.isin(steps_of[block.code], gone))
            rows.blocks[place] = kept
            rows.total -= len(block.code) - len(kept.code)


def _steps_by_run(rows: Rows, homes: list[Path]) -> dict[Path, dict[int, Path]]:
    """Steps by the run that holds them, with one of their files; also steps not asked for."""
    steps = np.array(rows.context_steps, dtype=np.int64)
    runs: dict[Path, dict[int, Path]] = {}
    for block in rows.blocks:
        mine = runs.setdefault(homes[block.file], {})
        for step in np.unique(steps[block.code]).tolist():
            mine.setdefault(step, rows.files[block.file])
    for file, step in rows.earliest.items():
        if homes[file] in runs:
            runs[homes[file]].setdefault(step, rows.files[file])
    return runs


def newest_of_all(
    files: Iterable[tuple[int, Path]], rows: Rows, home: Home = run_of
) -> list[tuple[int, Path]]:
    """One file per step, wanted or not: of several, as after a resumed run, the one written last.

    A DataError says: they are of different runs.
    """
    runs: dict[Path, dict[int, Path]] = {}
    chosen: dict[int, Path] = {}
    dropped: dict[tuple[Path, Path], list[tuple[int, Path, Path]]] = {}
    for step, path in files:
        mine = runs.setdefault(home(path), {})
        mine[step] = max(path, mine.get(step, path), key=_age)
        other = chosen.setdefault(step, path)
        if other == path:
            continue
        older, newer = sorted((path, other), key=_age)
        chosen[step] = newer
        if rows.wanted(step):
            dropped.setdefault((older.parent, newer.parent), []).append((step, older, newer))
    refuse_mixed(runs, rows)
    for (left, kept), found in dropped.items():
        steps = _span(sorted({step for step, _, _ in found}))
        named = (found[0][1], found[0][2]) if len(found) == 1 or left == kept else (left, kept)
        rows.note(
            f"{steps} written twice (resumed run): {named[1]} kept, {named[0]} left out"
            + (f", and {len(found) - 1} more" if left == kept and len(found) > 1 else "")
        )
    return sorted(chosen.items())


def _age(path: Path) -> tuple[int, tuple[object, ...]]:
    return path.stat().st_mtime_ns, natural(path)


def _span(steps: list[int]) -> str:
    if len(steps) == 1:
        return f"step {steps[0]}"
    return f"{counted(len(steps), 'step')} ({steps[0]} to {steps[-1]})"
