"""A training run from what was read: its rollouts, its metric logs, and checkpoints near them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tod.base import DataError
from tod.findings.rollouts_of import beyond, gaps_of, rollouts_of
from tod.findings.run import Series, TrainingRun
from tod.formats.reading import Reading
from tod.logs import Log, join
from tod.logs.recognise import checkpoints

BEYOND = 1e30
"""Figures beyond it count as infinite: their squares and sums must stay numbers."""
UP = 3
"""Levels above the rollouts that are searched for checkpoints."""


def run_of(
    reading: Reading | None = None,
    logs: Sequence[Log] = (),
    *,
    texts: bool = True,
    expected: Mapping[str, object] | None = None,
) -> TrainingRun:
    """The run behind a reading of rollouts, metric logs, or both, joined on the step.

    Where both tell a figure, that of the rollouts is computed from the answers themselves and
    stands; the log's is left out.

    Args:
        reading: What a reader of rollouts returned.
        logs: Metric logs of the same run.
        texts: Read the rollouts' texts again, to tell equal answers and prompts apart.
        expected: What the person's configuration says of the run, by name (`expected_of`).

    Raises:
        DataError: The logs contradict each other, or share no step with the rollouts.
    """
    run = TrainingRun(expected=expected or {})
    if logs:
        log = join(list(logs))
        run = TrainingRun(
            series=_series(log),
            not_finite=_not_finite(log),
            framework=log.framework,
            checkpoints=log.checkpoints,
            names=tuple(str(path) for path in log.files[:1]),
            notes=log.notes,
            lost=log.lost,
            expected=run.expected,
        )
    if reading is None:
        return run
    if run.series and len(reading) and not np.isin(reading.steps, run.steps).any():
        raise DataError(
            f"the rollouts are of steps {reading.steps.min()} to {reading.steps.max()}, the log of "
            f"{run.steps.min()} to {run.steps.max()}: none in common. Give those of one run."
        )
    return replace(
        run,
        rollouts=rollouts_of(reading, texts),
        gaps=gaps_of(reading),
        framework=reading.source.format,
        checkpoints=run.checkpoints or checkpoints_near(reading.files),
        names=(*(str(path) for path in reading.files[:1]), *run.names),
        notes=(*reading.source.notes, *run.notes),
        lost=(*beyond(reading), *run.lost),
    )


def _series(log: Log) -> Mapping[str, Series]:
    """Every figure of a log that has a canonical name; what is beyond `BEYOND` is unknown."""
    return {
        name: Series(
            name,
            log.steps,
            np.where(np.abs(values) > BEYOND, np.nan, values),
            None,
            log.units.get(name, ""),
            log.keys.get(name, ""),
        )
        for name, values in log.values.items()
    }


def _not_finite(log: Log) -> Mapping[str, Any]:
    """Steps without a finite value by canonical name, those beyond `BEYOND` included."""
    steps = {}
    for name, values in log.values.items():
        own = log.not_finite.get(log.keys.get(name, ""), np.zeros(0, dtype=np.int64))
        beyond = log.steps[np.abs(values) > BEYOND]
        if len(own) or len(beyond):
            steps[name] = np.union1d(own, beyond)
    return steps


def checkpoints_near(files: Iterable[Path]) -> tuple[tuple[int, Path], ...]:
    """Checkpoint folders next to rollouts or a few levels above them, by step."""
    first = next(iter(files), None)
    if first is None:
        return ()
    for place in first.resolve().parents[:UP]:
        there = checkpoints(place)
        if there:
            return there
    return ()
