"""What a format is: how it is recognised, read, and read again for text."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from tod.base import DataError, SpecError
from tod.formats.columns import Rows
from tod.formats.files import base_suffix, open_binary, stem
from tod.formats.jsonl import decode_blocks
from tod.formats.row_by_row import FileRows, Refusal
from tod.formats.several_runs import Home, newest_of_all
from tod.formats.text_codes import WithTexts

Texts = Callable[[Path, Sequence[int]], Iterator[tuple[int, str, str]]]


@dataclass(frozen=True)
class FileProbe:
    """The first look at a file: its name and the names of what is in it."""

    path: Path

    @property
    def suffix(self) -> str:
        """Known suffix, without compression."""
        return base_suffix(self.path)

    @property
    def stem(self) -> str:
        """Name without suffixes."""
        return stem(self.path)

    @property
    def folders(self) -> tuple[str, ...]:
        """Names of the directories it lies in, nearest first."""
        return tuple(parent.name for parent in self.path.absolute().parents)

    @property
    def head(self) -> bytes:
        """The first bytes; empty when the file cannot be read."""
        return self._start[0]

    @property
    def keys(self) -> Mapping[str, Any]:
        """Columns of a Parquet file, or the top level of the first JSON object; else empty."""
        return self._names[0]

    @property
    def damage(self) -> str | None:
        """Why it cannot be read at all; None where it can."""
        return self._names[1] or self._start[1]

    @cached_property
    def _start(self) -> tuple[bytes, str | None]:
        try:
            with open_binary(self.path) as file:
                return file.read(4096), None
        except DataError as error:
            return b"", str(error)
        except Exception as error:  # decompressors raise their own kinds
            return b"", f"{self.path}: the compressed data is damaged ({error})."

    @cached_property
    def _names(self) -> tuple[Mapping[str, Any], str | None]:
        try:
            if self.suffix in (".jsonl", ".json", ".ndjson"):
                from tod.formats.jsonl import first_object

                return first_object(self.path) or {}, None
            if self.suffix == ".parquet":
                from tod.formats.parquet import columns_of

                return columns_of(self.path), None
        except DataError as error:
            return {}, str(error)
        return {}, None

    def has(self, *names: str) -> bool:
        """Whether all these keys are there."""
        return all(name in self.keys for name in names)


@dataclass(frozen=True)
class Format:
    """One framework's dump.

    Attributes:
        name: Its name on the command line.
        title: Its name for people.
        recognises: Says by what it recognises a file, or None.
        read: Fills rows from all files.
        texts: Row, prompt and completion of some rows of a file, or None when it keeps no text.
        needs: By what is missing (``mu``, ``old``, ``ref``, ``policy``, ``utility``, ``text``),
            the switch or column that would bring it.
        required: Utilities without which a row is no use.
        forbidden: Whether −∞ is a legal utility.
        home: The directory of a file's run, where rows of one step may come from several files.
        fields: The files' own names of roles, for refusals.
        settings: What ``--map`` may say of its files beside ``utility``; None: any role.
        specificity: Rank in detection: of formats that recognise a file the highest counts, of
            equal ones the first by name.
    """

    name: str
    title: str
    recognises: Callable[[FileProbe], str | None]
    read: Callable[[Sequence[Path], Rows], None]
    texts: Texts | None = None
    needs: Mapping[str, str] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    forbidden: bool = False
    home: Home | None = None
    fields: Mapping[str, str] = field(default_factory=dict)
    settings: tuple[str, ...] | None = ()
    specificity: int = 50


def by_keys(says: str, *keys: str) -> Callable[[FileProbe], str | None]:
    """Recognises JSON lines that have all these keys, and says so."""
    return lambda probe: says if probe.suffix == ".jsonl" and probe.has(*keys) else None


def read_lines(
    files: Sequence[Path],
    rows: Rows,
    kind: Any,
    columns: Callable[[list[Any]], dict[str, Any]],
    refusal: Callable[[Any], Refusal | None] | None = None,
    texts: WithTexts | None = None,
) -> None:
    """All lines of JSONL files.

    Args:
        files: The files.
        rows: What they fill.
        kind: Type of a line, or ``Lines``.
        columns: Of decoded lines: the columns that ``FileRows.extend`` takes.
        refusal: What is wrong with a line whose ``key`` is None; None: it is left out in silence.
        texts: How lines are decoded with their texts, where codes of these are to be kept.
    """
    digest = rows.digest if texts is not None else None
    wide = None if texts is None or digest is None else texts.lines
    for path in files:
        out = FileRows(path, rows)
        for numbers, items in decode_blocks(path, kind, rows, wide):
            why = None if refusal is None else partial(_refusal_at, refusal, items)
            held = columns(items)
            if texts is not None and digest is not None and texts.in_all(items):
                held["texts"] = texts.codes(items, digest)
            out.extend(numbers, **held, refusal=why)


def _refusal_at(
    refusal: Callable[[Any], Refusal | None], items: list[Any], place: int
) -> Refusal | None:
    return refusal(items[place])


def group_size(rows: Rows) -> int | None:
    """The candidates of a group, if the person said so.

    Raises:
        SpecError: It is no whole number above 0.
    """
    told = rows.mapping.get("group_size")
    if told is None:
        return None
    if not (told.isascii() and told.isdigit() and 0 < len(told) < 10 and int(told)):
        raise SpecError(f"--map group_size={told}: a whole number of rollouts, at least 1.")
    return int(told)


def step_in_name(path: Path) -> int | None:
    """The last whole number in a file's name: the step of formats with a file per step."""
    digits = ""
    for character in reversed(stem(path)):
        if character.isascii() and character.isdigit():
            digits = character + digits
        elif digits:
            break
    return int(digits) if digits and len(digits) < 16 else None


def newest_per_step(
    files: Sequence[Path], rows: Rows, step_of: Callable[[Path], int | None] = step_in_name
) -> list[tuple[int, Path]]:
    """One file per step that is wanted: of several, as after a resumed run, the one written last.

    Files of steps that are not wanted are left out, and with a note those that say no step.
    """
    steps = [(step_of(path), path) for path in files]
    lacking = [path.name for step, path in steps if step is None]
    if lacking:
        rows.note(f"no step in the name of {', '.join(lacking[:3])}: {len(lacking)} left out")
    newest = newest_of_all([(step, path) for step, path in steps if step is not None], rows)
    return [(step, path) for step, path in newest if rows.wanted(step)]
