"""What metric logs say, by training step."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tod.base.text import visible

Figures = npt.NDArray[np.float64]
"""One value a step; NaN is unknown."""
Steps = npt.NDArray[np.int64]
"""Training steps, ascending, each once."""
_SHOWN = 60


@dataclass(frozen=True)
class Rejected:
    """Something in a file that could not be used; nothing else of the file is lost with it.

    Attributes:
        file: The file.
        line: Line, row or record in it, from 1; 0 for the file as a whole.
        field: Key of the value, or ``line`` where the whole line is meant.
        value: The value as text, shortened, safe to print.
        why: What is wrong with it.
    """

    file: Path
    line: int
    field: str
    value: str
    why: str

    def __str__(self) -> str:
        """One line for people."""
        shown = f" = {self.value}" if self.value else ""
        return f"{self.file}, line {self.line}: {self.field}{shown}: {self.why}"


def shortened(value: Any) -> str:
    """A value of a file as a person may see it: short, and without control characters."""
    text = value if isinstance(value, str) else repr(value)
    cut = text[:_SHOWN] + ("…" if len(text) > _SHOWN else "")
    return visible(cut).replace("\n", "␊").replace("\t", "␉")


@dataclass(frozen=True, eq=False)
class Log:
    """The figures of one training run by step.

    Attributes:
        steps: Training steps, ascending, each once.
        values: Canonical name (``names.yaml``) → one figure a step, NaN where it is unknown.
        other: Own key of the file → the same, for figures without a canonical name.
        keys: Canonical name → the key that the file has for it.
        units: Canonical name → unit of its values, such as ``nats per token``; empty for shares,
            rewards and ratios.
        kind: What was read: ``trainer_state``, ``verl file``, ``console``, ``wandb table``,
            ``wandb run``, ``tensorboard``, ``trackio``, ``json``, ``json lines``, ``csv`` or
            ``own run``; several joined with ``+``.
        framework: Who wrote it, by the keys; None where they do not tell.
        version: Its version, where a file beside the log records it.
        time: Seconds since the first record, one a step, NaN where unknown; None without clocks.
        files: What was read, in order.
        notes: What a reader of the figures should know, a sentence each.
        rejected: What could not be used: at most ``MOST_REJECTED`` of them, the notes have the
            count.
        checkpoints: Step and folder of the checkpoints that lie beside the log, by step.
        not_finite: Own key → steps at which the file has NaN or an infinity: unknown in the values,
            and often the first sign of a run that broke.
        remarks: Canonical name → how this log's figure differs from what the name says, such as
            ``since the start``; names without a remark are absent.
        lost: Lines and values that are in no figure, by what is wrong with them, a clause each.
    """

    steps: Steps
    values: Mapping[str, Figures]
    other: Mapping[str, Figures]
    keys: Mapping[str, str]
    units: Mapping[str, str]
    kind: str
    framework: str | None = None
    version: str | None = None
    time: Figures | None = None
    files: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()
    rejected: tuple[Rejected, ...] = ()
    checkpoints: tuple[tuple[int, Path], ...] = ()
    not_finite: Mapping[str, Steps] = field(default_factory=dict)
    remarks: Mapping[str, str] = field(default_factory=dict)
    lost: tuple[str, ...] = ()
