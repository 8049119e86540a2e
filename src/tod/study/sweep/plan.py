"""A sweep before its runs: what is asked, with what its folder holds already."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tod.base import RunError
from tod.base.text import counted
from tod.runs.differing import in_words
from tod.study.sweep.document import FILE, SCHEMA, SweepAxis, SweepDocument, SweepRun, read
from tod.study.sweep.grid import SweepGrid

__all__ = ["plan_of"]


def plan_of(grid: SweepGrid, folder: Path) -> SweepDocument:
    """The sweep that is asked, with what its folder holds already.

    Raises:
        RunError: The folder holds another sweep, or its file is damaged.
    """
    asked = planned(grid)
    return merged(asked, read(folder), folder) if (folder / FILE).exists() else asked


def planned(grid: SweepGrid) -> SweepDocument:
    """A sweep before any of its runs."""
    runs = [
        SweepRun(run.name, list(run.values), run.seed, run.digest, run.recipe["train"]["steps"])
        for run in grid.runs
    ]
    return SweepDocument(
        schema=SCHEMA,
        recipe=grid.recipe,
        fixed=dict(grid.fixed),
        base=grid.base,
        axes=[SweepAxis(axis.path, axis.name, list(axis.values)) for axis in grid.axes],
        seeds=list(grid.seeds),
        reported=grid.runs[0].reported,
        runs=runs,
        answer=f"0 of {counted(len(runs), 'run')} ended so far.",
        settings=[],
        differences=[],
        unequal=list(grid.unequal),
    )


def merged(asked: SweepDocument, there: SweepDocument, folder: Path) -> SweepDocument:
    """What is asked with what is there already: values and seeds may be added to a sweep.

    Raises:
        RunError: What is there is another sweep.
    """
    paths = [axis.path for axis in asked.axes]
    if asked.base != there.base or paths != [axis.path for axis in there.axes]:
        raise RunError(
            f"{folder} holds another sweep ({described(there)}). Its runs are not those that are "
            "asked: name another folder with -o."
        )
    old = {run.name: run for run in there.runs}
    for run in asked.runs:
        if run.name in old and old[run.name].recipe != run.recipe:
            raise RunError(
                f"{folder / run.name} is a run of another recipe than is asked now: a default or "
                "a recipe changed since. Name another folder with -o."
            )
    runs = [old.get(run.name, run) for run in asked.runs]
    rest = [run for run in there.runs if run.name not in {run.name for run in runs}]
    axes = [
        replace(axis, values=_union(before.values, axis.values))
        for axis, before in zip(asked.axes, there.axes, strict=True)
    ]
    seeds = sorted({*there.seeds, *asked.seeds})
    return replace(asked, axes=axes, seeds=seeds, runs=_in_order([*runs, *rest], axes))


def described(document: SweepDocument) -> str:
    """What was asked, as words of the command."""
    words = [document.recipe]
    words += [f"{axis.path}={','.join(map(in_words, axis.values))}" for axis in document.axes]
    words += [f"{path}={in_words(value)}" for path, value in document.fixed.items()]
    return " ".join([*words, f"seeds={','.join(map(str, document.seeds))}"])


def _union(before: Sequence[Any], now: Sequence[Any]) -> list[Any]:
    """Values of both, in rising order where all are numbers."""
    values = [*before, *(value for value in now if value not in before)]
    numbers = all(isinstance(x, int | float) and not isinstance(x, bool) for x in values)
    return sorted(values) if numbers and len(values) > len(before) else values


def _in_order(runs: Sequence[SweepRun], axes: Sequence[SweepAxis]) -> list[SweepRun]:
    """Runs in the order of the grid: by seed, then by the values."""

    def place(run: SweepRun) -> tuple[int, ...]:
        places = (a.values.index(x) for a, x in zip(axes, run.values, strict=True))
        return (run.seed, *places)

    return sorted(runs, key=place)
