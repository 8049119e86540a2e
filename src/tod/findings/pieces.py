"""Rollouts read file by file, and put together as if all had been read at once.

A `FilePiece` is what some files tell that were read together. Pieces of disjoint steps join
exactly: their texts have codes that are the same in every process. Where files do not come apart (a
step in several runs, other columns, forbidden answers) `join` says so, and they must be read
together.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tod.base import Groups
from tod.diagnostics import GapProfile
from tod.findings.rollouts_of import coded, gaps_of, rollouts_of, text_digest
from tod.findings.run import RolloutTable
from tod.formats import read

Signature = tuple[int, int]
"""Size in bytes and time of the last change in nanoseconds: what tells that a file grew."""
ROWS = (
    "reward", "input", "text", "length", "truncated", "advantage", "lag", "error", "evaluation",
    "turns",
)  # fmt: skip
"""Columns of a rollout a row."""
FILLED = ("advantage",)
"""Columns that may be unknown (NaN) in some files alone."""


@dataclass(frozen=True, eq=False)
class FilePiece:
    """What some files tell that were read together.

    Attributes:
        files: The files and what they were like when they were read.
        format: Who wrote them.
        rollouts: Their rollouts, texts as digests; None where they hold no reward.
        gaps: Shape of log π_old − log μ by step.
        rejected: Rows that could not be used.
        notes: What was noticed while reading.
        utilities: Names of the rewards.
        whole: Whether they cannot be put beside others, for a forbidden answer counts as the
            smallest reward of the whole run.
    """

    files: tuple[tuple[Path, Signature], ...]
    format: str
    rollouts: RolloutTable | None
    gaps: Mapping[int, GapProfile] = field(default_factory=dict)
    rejected: int = 0
    notes: tuple[str, ...] = ()
    utilities: tuple[str, ...] = ()
    whole: bool = False

    @cached_property
    def steps(self) -> tuple[int, ...]:
        """The training steps, ascending."""
        return () if self.rollouts is None else tuple(self.rollouts.steps.tolist())


def signature(path: Path) -> Signature:
    """What a file is like now.

    Raises:
        OSError: It is gone.
    """
    there = path.stat()
    return there.st_size, there.st_mtime_ns


def read_piece(
    files: Sequence[tuple[Path, Signature]], format_: str, mapping: Mapping[str, str]
) -> FilePiece:
    """Read files together; rows that cannot be used are counted and never refused.

    Args:
        files: The files and their signatures from before they are read, so that what is written
            meanwhile is seen at the next look.
        format_: Format that the person named, or ``auto``.
        mapping: Columns by role.

    A DataError says why nothing can be read.
    """
    paths = [path for path, _ in files]
    reading = read(paths, format_, mapping=mapping, max_rejected=1.0, digest=text_digest)
    forbidden = any(np.isneginf(np.asarray(values)).any() for values in reading.utility.values())
    return FilePiece(
        tuple(files),
        reading.source.format,
        rollouts_of(reading, digest=text_digest),
        gaps_of(reading),
        reading.source.rejected,
        reading.source.notes,
        tuple(reading.utility),
        forbidden,
    )


def join(pieces: Sequence[FilePiece]) -> RolloutTable | None:
    """The rollouts of pieces of disjoint steps, one at least; None where they do not come apart.

    Args:
        pieces: In the order in which their files would be read.
    """
    tables = [piece.rollouts for piece in pieces if piece.rollouts is not None]
    apart = len(tables) == len(pieces) and not any(piece.whole for piece in pieces)
    apart = apart and len({piece.utilities for piece in pieces}) == 1
    if len(pieces) > 1 and not (apart and _alike(tables)):
        return None
    groups = Groups(np.concatenate([table.groups.sizes for table in tables]))
    steps = np.concatenate([table.step for table in tables])
    order, rows = groups.take(np.argsort(steps, kind="stable"))
    first = tables[0]

    def together(name: str) -> Any:
        columns = [getattr(table, name) for table in tables]
        if name in FILLED and any(column is not None for column in columns):
            columns = [
                np.full(len(table.reward), np.nan) if column is None else column
                for table, column in zip(tables, columns, strict=True)
            ]
        return None if columns[0] is None else np.concatenate(columns)[rows]

    columns = {name: together(name) for name in ROWS}
    asked, answered = columns["input"], columns["text"]
    asked = None if asked is None else coded(asked, text_digest(""))
    if columns["length"] is not None and first.length_unit == "characters":
        columns["length"] = columns["length"] if columns["length"].any() else None
    columns |= {
        "input": asked,
        "text": None if answered is None else coded(answered, text_digest("")),
    }
    return replace(
        first,
        groups=order,
        step=np.sort(steps, kind="stable"),
        rewards={
            name: np.concatenate([table.rewards[name] for table in tables])[rows]
            for name in first.rewards
        },
        prompt=None if asked is None else asked[order.offsets[:-1]],
        failed=_failed(tables),
        **columns,
    )


def _failed(tables: Sequence[RolloutTable]) -> dict[int, int]:
    """Failed rollouts by step, of all tables."""
    counts: Counter[int] = Counter()
    for table in tables:
        counts.update(table.failed)
    return dict(counts)


def _alike(tables: Sequence[RolloutTable]) -> bool:
    """Whether all have the same columns in the same units."""

    def shape(table: RolloutTable) -> tuple[Any, ...]:
        missing = tuple(getattr(table, name) is None for name in ROWS if name not in FILLED)
        return table.grouped, table.length_unit, tuple(table.rewards), missing

    return len({shape(table) for table in tables}) == 1


def to_arrays(pieces: Iterable[FilePiece]) -> tuple[str, dict[str, np.ndarray]]:
    """Pieces as a text and arrays, each column of all pieces one after the other."""
    heads: list[dict[str, Any]] = []
    columns: dict[str, list[np.ndarray]] = {}
    for piece in pieces:
        table = piece.rollouts
        head: dict[str, Any] = {
            "files": [[str(path), *told] for path, told in piece.files],
            "format": piece.format,
            "gaps": {step: asdict(profile) for step, profile in piece.gaps.items()},
            "rejected": piece.rejected,
            "notes": piece.notes,
            "utilities": piece.utilities,
            "whole": piece.whole,
        }
        if table is not None:
            held = {name: getattr(table, name) for name in ROWS}
            held |= {f"rewards.{name}": values for name, values in table.rewards.items()}
            held |= {"sizes": table.groups.sizes, "step": table.step}
            held = {name: values for name, values in held.items() if values is not None}
            head |= {
                "columns": {name: len(values) for name, values in held.items()},
                "grouped": table.grouped,
                "length_unit": table.length_unit,
                "failed": dict(table.failed),
            }
            for name, values in held.items():
                columns.setdefault(name, []).append(values)
        heads.append(head)
    return json.dumps(heads), {name: np.concatenate(values) for name, values in columns.items()}


def from_arrays(text: str, arrays: Mapping[str, np.ndarray]) -> list[FilePiece]:
    """Pieces of what `to_arrays` made.

    Raises:
        ValueError: It is something else; KeyError and TypeError likewise.
    """
    at = dict.fromkeys(arrays, 0)
    pieces = []
    for head in json.loads(text):
        held = {}
        for name, size in head.get("columns", {}).items():
            held[name] = arrays[name][at[name] : at[name] + size]
            at[name] += size
        table = None
        if held:
            groups = Groups(held.pop("sizes"))
            parts = [name for name in held if name.startswith("rewards.")]
            rewards = {name.removeprefix("rewards."): held.pop(name) for name in parts}
            asked = held.get("input")
            table = RolloutTable(
                groups=groups,
                rewards=rewards,
                prompt=None if asked is None else asked[groups.offsets[:-1]],
                grouped=head["grouped"],
                length_unit=head["length_unit"],
                failed={int(step): count for step, count in head.get("failed", {}).items()},
                **held,
            )
        pieces.append(
            FilePiece(
                tuple((Path(path), (size, time)) for path, size, time in head["files"]),
                head["format"],
                table,
                {int(step): GapProfile(**sums) for step, sums in head["gaps"].items()},
                head["rejected"],
                tuple(head["notes"]),
                tuple(head["utilities"]),
                head["whole"],
            )
        )
    return pieces
