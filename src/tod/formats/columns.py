"""Columns on their way from files to candidates: interned contexts, flat values, refusals.

Only scalars stay: utilities, log-prob sums, a place in a file. Text is read again when it is
asked for. A reader appends one ``RowBlock`` per file (or per some ten thousand rows) and calls
``reject`` for every row that cannot be used.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from pathlib import Path
from reprlib import Repr
from typing import Any

import numpy as np

from tod.base import Groups
from tod.diagnostics import GapProfile, GapSums

GROUPINGS = {
    "ids": "the files name the prompt or group of every row",
    "prompts": "equal prompts of a step are one group",
    "runs": "runs of equal prompts are groups",
    "lines": "a line holds the rollouts of one prompt",
    "none": "the files hold no group ids: every row is by itself",
}
SHOWN = 20
"""Refusals that are kept in full; the rest is only counted."""
WITHIN = 1 << 32
"""A line that holds several rollouts numbers them line · WITHIN + place, from 0."""
LOGGED = ("advantage", "truncated", "error", "evaluation", "turns")
"""Columns that only findings read: 1 is true, NaN is not recorded."""


class _Brief(Repr):
    """Values shared inside a pickle are short on disk and can be without end when written out."""

    maxlevel = 3
    maxother = 400

    def repr_int(self, x: int, level: int) -> str:
        return super().repr_int(x, level) if x.bit_length() < 4096 else "a huge number"


@dataclass(frozen=True)
class Rejection:
    """One row that was left out: where, which field, what it held, and why that is no use."""

    file: str
    row: int
    name: str
    value: str
    why: str

    def __str__(self) -> str:
        """In one line."""
        held = f" = {self.value}" if self.value else ""
        return f"{self.file}, row {self.row}: {self.name}{held}: {self.why}"


@dataclass(frozen=True, eq=False)
class RowBlock:
    """Some rows of one file as columns; NaN, or a masked entry, is "not recorded".

    ``sample`` marks rows that were drawn from the target, not from μ; None: no row was. ``taken``
    is what a trust region takes of their tokens (see ``gating``), ``logged`` columns of ``LOGGED``.
    ``segment`` and ``segment_place`` are those of ``segments``. ``texts`` has three columns: codes
    of prompt and completion and the completion's characters.
    """

    file: int
    code: Any
    row: Any
    utility: Mapping[str, Any]
    log: Mapping[str, Any]
    length: Any = None
    answer: Any = None
    lag: Any = None
    identity: Any = None
    sample: Any = None
    taken: Mapping[str, Any] = field(default_factory=dict)
    logged: Mapping[str, Any] = field(default_factory=dict)
    segment: Any = None
    segment_place: Any = None
    texts: Any = None

    def part(self, mask: Any) -> "RowBlock":
        """Some of the rows."""

        def of(x: Any) -> Any:
            return {name: v[mask] for name, v in x.items()} if isinstance(x, Mapping) else x[mask]

        columns = {n: x for n, x in vars(self).items() if n != "file" and x is not None}
        return replace(self, **{name: of(x) for name, x in columns.items()})


@dataclass
class Rows:
    """What a reader fills.

    Attributes:
        steps: First and last step wanted, both included; None is open.
        mapping: What the person said with ``--map``, by the reader's own names.
        forbidden: Whether −∞ is a legal utility ("forbidden") in this format.
        fields: The file's own name of what is called ``log_mu``, ``utility.NAME`` and so on.
        gate: Trust region whose toll is to be kept while tokens are at hand, or None.
        digest: Code of a text, where codes are to be kept while texts are at hand, or None.
        unanswered: Whether rows without an answer stay, with the code −1 (see `tod.read`).
        labels: What people call them.
        context_steps: Their steps.
        gaps: Token sums by pair of policies and step.
        profiles: Shape of the gap between trainer and sampler by step, of rows that are not stale.
        notes: What was noticed and repaired, for people.
        grouping: What tells contexts apart, one of ``GROUPINGS``.
        text_valued: Columns in the place of rewards that hold text, not numbers.
        names: Columns of all files, where the reader looks at each and its rows have equal ones.
        needs: What would bring what these files lack, where that differs from the format's words.
        texts: How text of some rows is read again, where that is not the format's own way; False:
            these files hold none.
        text_roles: Which of ``prompt`` and ``completion`` the files hold, where they hold text.
        failed: Rollouts by step that failed and left nothing to read.
        beyond: First and last of the steps that are there and were not asked for.
        earliest: The first of them by file.
    """

    steps: tuple[int | None, int | None] = (None, None)
    mapping: Mapping[str, str] = field(default_factory=dict)
    forbidden: bool = False
    fields: dict[str, str] = field(default_factory=dict)
    gate: Any = None
    digest: Callable[[str], int] | None = None
    unanswered: bool = False
    files: list[Path] = field(default_factory=list)
    blocks: list[RowBlock] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    context_steps: list[int] = field(default_factory=list)
    gaps: dict[tuple[str, str], dict[int, GapSums]] = field(default_factory=dict)
    profiles: dict[int, GapProfile] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    grouping: str = "ids"
    text_valued: list[str] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    needs: dict[str, str] = field(default_factory=dict)
    texts: Any = None
    text_roles: tuple[str, ...] = ("prompt", "completion")
    rejections: list[Rejection] = field(default_factory=list)
    reasons: Counter[tuple[str, str]] = field(default_factory=Counter)
    rejected: int = 0
    torn: int = 0
    overlong: int = 0
    total: int = 0
    extras: dict[str, Any] = field(default_factory=dict)
    failed: Counter[int] = field(default_factory=Counter)
    beyond: tuple[int, int] | None = None
    earliest: dict[int, int] = field(default_factory=dict)
    _known: dict[tuple[int, Hashable], int] = field(default_factory=dict)
    _latent: bool = False

    @property
    def contexts(self) -> dict[tuple[int, Hashable], int]:
        """Code by (step, key) of every context, in order of appearance.

        Made when first asked for: a single file of interned pairs never asks.
        """
        if self._latent:
            self._latent = False
            pairs = zip(self.context_steps, self.labels, strict=True)
            self._known.update(zip(pairs, range(len(self.labels)), strict=True))
        return self._known

    def wanted(self, step: int) -> bool:
        """Whether the person asked for this step."""
        first, last = self.steps
        inside = (first is None or step >= first) and (last is None or step <= last)
        if not inside:
            self.passed(step, step)
        return inside

    def passed(self, first: int, last: int) -> None:
        """Remember steps that are there, in the file started last, and were not asked for."""
        low, high = self.beyond or (first, last)
        self.beyond = min(low, first), max(high, last)
        if self.files:
            file = len(self.files) - 1
            self.earliest[file] = min(first, self.earliest.get(file, first))

    def start(self, path: Path) -> int:
        """Register a file; its index."""
        self.files.append(path)
        return len(self.files) - 1

    def context(self, step: int, key: Hashable, label: str | None = None) -> int:
        """The code of a context; ``label`` (or the key itself) names it for people."""
        code = self.contexts.setdefault((step, key), len(self.labels))
        if code == len(self.labels):
            self.labels.append(str(key) if label is None else label)
            self.context_steps.append(step)
        return code

    def intern(self, steps: list[int], keys: list[str]) -> Any:
        """Codes of many contexts at once; the pairs are distinct."""
        if self.labels:
            pairs = zip(steps, keys, strict=True)
            return np.array([self.context(step, key) for step, key in pairs], dtype=np.int64)
        self._latent = True
        self.labels.extend(keys)
        self.context_steps.extend(steps)
        return np.arange(len(keys))

    def reject(self, path: Path, row: int, name: str, value: object, why: str) -> None:
        """Leave a row out, and remember it."""
        row = row // WITHIN if row >= WITHIN else row
        self.rejected += 1
        self.reasons[name, why] += 1
        if len(self.rejections) < SHOWN:
            self.rejections.append(Rejection(str(path), row, name, shorten(value), why))

    def fail(self, step: int) -> None:
        """Count a rollout of a wanted step that failed and is no candidate."""
        if self.wanted(step):
            self.failed[step] += 1

    def field(self, role: str) -> str:
        """The file's own name of a role; of utilities their name where it has none."""
        return self.fields.get(role, role.removeprefix("utility."))

    def note(self, text: str) -> None:
        """Say something once."""
        if text not in self.notes:
            self.notes.append(text)

    def add(
        self,
        file: int,
        code: Any,
        row: Any,
        utility: Mapping[str, Any],
        log: Mapping[str, Any] | None = None,
        *,
        length: Any = None,
        answer: Any = None,
        lag: Any = None,
        identity: Any = None,
        sample: Any = None,
        taken: Mapping[str, Any] | None = None,
        logged: Mapping[str, Any] | None = None,
        segment: Any = None,
        segment_place: Any = None,
        texts: Sequence[Sequence[int]] | None = None,
    ) -> None:
        """Append rows; empty ones are ignored."""
        if not len(code):
            return
        self.total += len(code)

        def of(x: Any, kind: Any) -> Any:
            if isinstance(x, np.ma.MaskedArray):
                return x.astype(kind)
            if isinstance(x, range):
                return np.arange(x.start, x.stop, dtype=kind)
            return None if x is None else np.asarray(x, dtype=kind)

        self.blocks.append(
            RowBlock(
                file=file,
                code=of(code, np.int64),
                row=of(row, np.int64),
                utility={name: of(x, np.float64) for name, x in utility.items()},
                log={name: of(x, np.float64) for name, x in (log or {}).items()},
                length=of(length, np.int32),
                answer=of(answer, np.int64),
                lag=of(lag, np.int32),
                identity=of(identity, np.int64),
                sample=of(sample, np.bool_),
                taken={name: of(x, np.float32) for name, x in (taken or {}).items()},
                logged={name: of(x, np.float64) for name, x in (logged or {}).items()},
                segment=of(segment, np.int64),
                segment_place=of(segment_place, np.int64),
                texts=None if texts is None else np.stack([of(x, np.int64) for x in texts], axis=1),
            )
        )

    def gap(self, first: str, second: str, step: int) -> GapSums:
        """The running sums of log first − log second at a step."""
        return self.gaps.setdefault((first, second), {}).setdefault(step, GapSums())


def some_unknown(values: Sequence[Any] | None) -> Any:
    """A column of whole numbers in which None is unknown; None where nothing is known."""
    if values is None or None not in values:
        return values
    mask = np.array([value is None for value in values], dtype=bool)
    if mask.all():
        return None
    return np.ma.MaskedArray([value or 0 for value in values], mask=mask)


def shorten(value: object, most: int = 60) -> str:
    """A value as short text; empty for nothing."""
    if value is None:
        return "null"
    text = value if isinstance(value, str) else _Brief().repr(value)
    text = text if len(text) <= most else text[: most - 3] + "..."
    return repr(text) if isinstance(value, str) and value else text


class FlatColumns:
    """All blocks of a reader as flat columns, and the mask of rows that are still in."""

    def __init__(self, rows: Rows) -> None:
        blocks = rows.blocks
        self.rows = rows
        sizes = [len(block.code) for block in blocks]
        self.file = np.repeat(np.array([b.file for b in blocks], dtype=np.int32), sizes)
        self.code = _stack([b.code for b in blocks], np.int64)
        self.row = _stack([b.row for b in blocks], np.int64)
        self.utility = _named([b.utility for b in blocks], sizes)
        self.log = _named([b.log for b in blocks], sizes)
        self.taken = _named([b.taken for b in blocks], sizes, np.float32)
        self.logged = _named([b.logged for b in blocks], sizes)
        self.length = _optional([b.length for b in blocks], sizes)
        self.answer = _optional([b.answer for b in blocks], sizes)
        self.lag = _optional([b.lag for b in blocks], sizes)
        self.identity = _optional([b.identity for b in blocks], sizes)
        self.segment = _optional([b.segment for b in blocks], sizes)
        self.segment_place = _optional([b.segment_place for b in blocks], sizes)
        whole = blocks and all(block.texts is not None for block in blocks)
        self.texts = np.concatenate([block.texts for block in blocks]) if whole else None
        self.alive = np.ones(len(self.code), dtype=bool)
        self.sample = _marks([b.sample for b in blocks], sizes)

    def part(self, mask: Any) -> "FlatColumns":
        """Some of the rows, as columns of their own."""
        found = copy(self)
        for name, values in vars(self).items():
            if isinstance(values, np.ndarray):
                setattr(found, name, values[mask])
            elif isinstance(values, dict):
                setattr(found, name, {key: x[mask] for key, x in values.items()})
        return found

    def drop(self, wrong: Any, name: str, values: Any, why: str) -> None:
        """Reject the rows where ``wrong``; the first ones are kept as examples.

        Args:
            wrong: Which rows, [N].
            name: The role that is no use: ``utility.NAME`` or ``log_NAME``.
            values: What they hold, [N]; None where that is nothing.
            why: Why that is no use.
        """
        field = self.rows.field(name)
        wrong = wrong & self.alive
        places = np.flatnonzero(wrong)
        for at in places[:SHOWN].tolist():
            path = self.rows.files[int(self.file[at])]
            held = None if values is None else float(values[at])
            self.rows.reject(path, int(self.row[at]), field, held, why)
        more = len(places) - SHOWN
        if more > 0:
            self.rows.rejected += more
            self.rows.reasons[field, why] += more
        self.alive &= ~wrong


def merge_steps(columns: FlatColumns) -> None:
    """Make contexts with the same key one context, whatever their step; it keeps the first."""
    first: dict[Any, int] = {}
    known = [first.setdefault(key, code) for code, (_, key) in enumerate(columns.rows.contexts)]
    columns.code = np.array(known, dtype=np.int64)[columns.code]


def arrange(columns: FlatColumns) -> tuple[Any, Groups, Any, Any]:
    """Row order that makes contexts contiguous, their sizes, codes and steps.

    Contexts come by step, then by first appearance; candidates in the order of the files. The
    order is a full slice where nothing moves.
    """
    whole = bool(columns.alive.all())
    kept: Any = slice(None) if whole else np.flatnonzero(columns.alive)
    code = columns.code[kept]
    steps = np.array(columns.rows.context_steps, dtype=np.int64)
    sizes = np.bincount(code, minlength=len(steps))
    used = np.flatnonzero(sizes)
    if bool((code[1:] >= code[:-1]).all()) and bool((np.diff(steps[used]) >= 0).all()):
        return kept, Groups(sizes[used]), used, steps[used]
    first = np.zeros(len(steps), dtype=np.int64)
    first[code[::-1]] = np.arange(len(code))[::-1]  # of repeated places the last assignment stays
    ranked = used[np.lexsort((first[used], steps[used]))]
    rank = np.empty(len(steps), dtype=np.int64)
    rank[ranked] = np.arange(len(ranked))
    packed = (rank[code] << 32) | np.arange(len(code))  # both fit: sorting integers is fast
    packed.sort()
    order = packed & 0xFFFFFFFF
    return order if whole else kept[order], Groups(sizes[ranked]), ranked, steps[ranked]


def _stack(parts: list[Any], kind: Any) -> Any:
    if not parts:
        return np.zeros(0, dtype=kind)
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _optional(parts: list[Any], sizes: list[int]) -> Any:
    """A column that some rows may lack, masked there; None where no row has it."""
    if all(part is None for part in parts):
        return None
    whole = [
        np.ma.MaskedArray(np.zeros(size, dtype=np.int64), mask=True) if part is None else part
        for part, size in zip(parts, sizes, strict=True)
    ]
    if any(isinstance(part, np.ma.MaskedArray) for part in whole):
        return np.ma.concatenate(whole)  # type: ignore[no-untyped-call]
    return _stack(whole, None)


def _marks(parts: list[Any], sizes: list[int]) -> Any:
    """One mark per row; None if no block has any."""
    if all(part is None for part in parts):
        return None
    pairs = zip(parts, sizes, strict=True)
    return np.concatenate([np.zeros(n, dtype=bool) if part is None else part for part, n in pairs])


def _named(parts: list[Any], sizes: list[int], kind: Any = np.float64) -> dict[str, Any]:
    names = list(dict.fromkeys(name for part in parts for name in part))
    return {
        name: _stack(
            [
                part[name] if name in part else np.full(size, np.nan, kind)
                for part, size in zip(parts, sizes, strict=True)
            ],
            kind,
        )
        for name in names
    }
