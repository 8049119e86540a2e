"""Nested rollouts, all those of a prompt in one line: ``--map reward=rollouts[].score``.

``[]`` stands for each of several (see ``paths``). Known are a list of objects
(``rollouts[].score``), lists side by side (``rewards[]``, ``responses[]``), objects by id, and
prompts inside of a line (``prompts[].rollouts[].score``). A path with fewer ``[]`` than the
reward's holds of all rollouts below it. The rollouts of the innermost list share a prompt, unless
``context``, or a ``prompt`` of every rollout, says otherwise.

Lines are decoded a block at a time, of each only the keys that a path begins with.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from tod.base import DataError, SpecError
from tod.formats.columns import LOGGED, WITHIN, Rows
from tod.formats.files import base_suffix
from tod.formats.jsonl import (
    ColumnLines,
    Lines,
    chosen_lines,
    decode_blocks,
    first_object,
    plain_text,
)
from tod.formats.paths import EACH, Places, ValuePath
from tod.formats.roles import LOGS, TEXTS, Roles, label_of
from tod.formats.row_by_row import FileRows, as_float

_LISTS = ("tokens", *(f"{name}_tokens" for name in LOGS))
"""Roles whose value is a list."""
_WHOLE = ("step", "candidate", "length", "lag")
_SLICE = 1024
"""Lines of a Parquet table that are held at once."""


def is_nested(mapping: Mapping[str, str]) -> bool:
    """Whether a person's columns are paths into lines that hold several rollouts."""
    return any(EACH in column for column in mapping.values())


@dataclass(frozen=True)
class Layout:
    """How lines hold rollouts.

    Attributes:
        paths: By role; the first utility's says where rollouts stand.
        main: Path of that utility.
        fills: Where text stands though nobody named it, by role.
    """

    paths: Mapping[str, ValuePath]
    main: ValuePath
    fills: Mapping[str, ValuePath] = field(default_factory=dict)

    @classmethod
    def of(cls, path: Path, roles: Roles) -> "Layout":
        """The layout that roles describe, for one file.

        Raises:
            SpecError: A path goes deeper than the reward's, or the reward's has no ``[]``.
        """
        main = ValuePath(next(iter(roles.utilities.values())))
        if not main.depth:
            raise SpecError(
                f"--map utility={main.text}: other columns have {EACH}, so a line holds several "
                f"rollouts. Write where each one's reward stands, as in rollouts{EACH}.reward."
            )
        paths = {role: ValuePath(column) for role, column in roles.columns.items()}
        for role in _LISTS:
            if role in paths:
                paths[role] = paths[role].whole(main.depth)
        deep = next((role for role, other in paths.items() if other.depth > main.depth), None)
        if deep is not None:
            raise SpecError(
                f"--map {deep}={paths[deep].text}: more {EACH} than the reward's {main.text}, so "
                "it is no one value a rollout."
            )
        return cls(paths, main, {})._with_texts(path)

    def _with_texts(self, path: Path) -> "Layout":
        """Texts that are called so, where the person named none."""
        first = _first_line(path)
        fills = {}
        answer = EACH.join((*self.main.names[:-1], ".completion"))
        for role, text in (("prompt", "prompt"), ("completion", answer)):
            usual = ValuePath(text)
            place = next(self.main.places(first, self.main.depth), None)
            if role not in self.paths and place is not None and usual.value(first, place):
                fills[role] = usual
        return Layout(self.paths, self.main, fills)

    @property
    def first(self) -> str:
        """The role of the first utility, which every rollout must have."""
        return next(role for role in self.paths if role.startswith("utility."))

    @property
    def texts(self) -> dict[str, ValuePath]:
        """Where prompts and completions stand."""
        return {role: self.paths[role] for role in TEXTS if role in self.paths} | dict(self.fills)

    @property
    def tops(self) -> list[str] | None:
        """Keys that a line is decoded for; None for all of it."""
        names = [path.top for path in self.paths.values()]
        if "" in names:
            return None
        return list(dict.fromkeys(key for name in names for key in (name, name.split(".")[0])))

    @cached_property
    def lists(self) -> dict[tuple[str, ...], ValuePath]:
        """One path for every list of rollouts, by the names up to it."""
        deep = (path for path in self.paths.values() if path.depth == self.main.depth)
        return {path.names[:-1]: path for path in deep}

    def rollouts(self, line: Any) -> tuple[list[Places], str]:
        """Where the rollouts of a line stand, and what is wrong with it; "" if nothing is."""
        depth = self.main.depth
        places = list(self.main.places(line, depth))
        for path in self.lists.values():
            others = list(path.places(line, depth))
            if others and others != places:
                return places, f"{len(others)} of {path.text} for {len(places)} of {self.main.text}"
        return places, "" if places else "no rollouts in it"


def read_nested(path: Path, roles: Roles, rows: Rows) -> None:
    """One file.

    A DataError says: nothing stands where the reward is said to.

    Raises:
        SpecError: The paths do not fit together.
    """
    layout = Layout.of(path, roles)
    rows.grouping = "ids" if "context" in roles.columns else "lines"
    rows.fields |= {role.removesuffix("_tokens"): of.text for role, of in layout.paths.items()}
    texts = layout.texts
    rows.texts = partial(read_texts, layout=layout) if texts else False
    rows.text_roles = tuple(texts)
    for role in TEXTS:
        if role not in texts:
            rows.needs["text"] = f"a column of text: --map {role}=PATH"
    out, count = FileRows(path, rows), 0
    for number, line in _lines(path, layout.tops, rows):
        places, wrong = layout.rollouts(line)
        if wrong:
            out.reject(number, layout.main.text, "", wrong)
            continue
        count += len(places)
        _put(number, line, places, layout, out)
    out.close()
    if not count:
        raise DataError(_nothing(path, layout))


def _put(number: int, line: Any, places: list[Places], layout: Layout, out: FileRows) -> None:
    """The rollouts of one line."""
    for at, place in enumerate(places):
        values = {role: path.value(line, place) for role, path in layout.paths.items()}
        wrong = _wrong(values, layout)
        if wrong is not None:
            out.reject(number, _shown(layout.paths[wrong].text, place), values[wrong], _why(wrong))
            continue
        values |= {r: int(x) for r, x in values.items() if r in _WHOLE and x is not None}
        step = values.get("step") or 0
        if not out.rows.wanted(step):
            continue
        key, label = _context(number, place, values, layout, out.file)
        tokens, length = values.get("tokens"), values.get("length")
        out.put(
            number * WITHIN + at,
            step,
            key,
            {r[8:]: as_float(x) for r, x in values.items() if r.startswith("utility.")},
            label=label,
            log={r[4:]: v for r in LOGS if (v := as_float(values.get(r))) is not None},
            tokens={r[4:-7]: x for r, x in values.items() if r.startswith("log_") and r in _LISTS},
            stated=length,
            length=_size(tokens) if length is None else length,
            answer=None if values.get("answer") is None else hash(label_of(values["answer"])),
            lag=values.get("lag"),
            identity=values.get("candidate"),
            sample=values.get("drawn_from") == "target",
            logged={name: logged_number(values[name], name) for name in LOGGED if name in values},
        )


def _context(
    number: int, place: Places, values: Mapping[str, Any], layout: Layout, file: int
) -> tuple[Any, str]:
    """What tells the context of a rollout, and its name for people."""
    if "context" in values:
        named = label_of(values["context"])
        return named, str(named)
    above = place[:-1]
    label = ".".join(map(str, (f"line {number}", *above)))
    prompt = layout.paths.get("prompt")
    if prompt is not None and prompt.depth == layout.main.depth:
        return (file, number, *above, label_of(values["prompt"])), label
    return (file, number, *above), label


def _wrong(values: Mapping[str, Any], layout: Layout) -> str | None:
    """A role whose value is no use; None where all are."""
    for role, value in values.items():
        if value is None:
            if role in ("context", "step", layout.first):
                return role
            continue
        if role in _WHOLE and not (_is_whole(value) and (role == "candidate" or value >= 0)):
            return role
        if role.startswith(("utility.", "log_")) and role not in _LISTS and as_float(value) is None:
            return role
        if role in _LISTS and not _is_list(value, role):
            return role
        if role == "drawn_from" and value not in ("mu", "target"):
            return role
    return None


def _is_whole(value: object) -> bool:
    """Whether it is a whole number that eight bytes hold exactly; a float without fraction is."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= 2**53 and value == int(value)


def _size(tokens: Any) -> int | None:
    """Tokens of an answer by their list, or their count."""
    return tokens if tokens is None or isinstance(tokens, int) else len(tokens)


def _is_list(value: object, role: str) -> bool:
    if role == "tokens" and not isinstance(value, list):
        return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 31
    if role == "tokens":
        return True
    return isinstance(value, list) and all(as_float(x) is not None for x in value)


def _why(role: str) -> str:
    if role in _WHOLE:
        return "missing, or not a whole number"
    if role in _LISTS:
        return "not a list of one value per token"
    if role == "drawn_from":
        return "neither `mu` nor `target`"
    return "missing" if role == "context" else "missing, or not a number"


def _shown(text: str, place: Places) -> str:
    """A path with the places in its ``[]``."""
    for at in place:
        text = text.replace(EACH, f"[{at}]", 1)
    return text


def logged_number(value: object, name: str) -> float | None:
    """A number; true is 1. Of an ``error`` no text and null are 0, a text is 1. None else."""
    if name == "error" and (value is None or isinstance(value, str | list | dict)):
        return float(bool(value))
    return as_float(value)


def _lines(path: Path, tops: Collection[str] | None, rows: Rows) -> Iterator[tuple[int, Any]]:
    """Number and value of every line, from 1, of an object the wanted keys alone."""
    if base_suffix(path) == ".parquet":
        yield from _table_lines(path, tops)
        return
    kind = Lines(Any) if tops is None else ColumnLines([(top, Any, False) for top in tops])
    for numbers, items in decode_blocks(path, kind, rows):
        for number, item in zip(numbers, items, strict=True):
            yield number, item if tops is None else _object(item, tops)


def _first_line(path: Path) -> Any:
    """The first line that is JSON; an empty object without one."""
    return next((line for _, line in _lines(path, None, Rows())), {})


def _object(item: Any, tops: Collection[str]) -> dict[str, Any]:
    held = ((top, getattr(item, f"c{place}")) for place, top in enumerate(tops))
    return {top: value for top, value in held if value is not None}


def _table_lines(path: Path, tops: Collection[str] | None) -> Iterator[tuple[int, Any]]:
    import polars as pl

    from tod.formats.parquet import collect, columns_of, scan

    there = columns_of(path)
    wanted = [name for name in there if tops is None or name in tops]
    frame = scan(path).select(wanted)
    total = int(collect(path, scan(path).select(pl.len())).item())
    for start in range(0, total, _SLICE):
        for at, line in enumerate(collect(path, frame.slice(start, _SLICE)).to_dicts()):
            yield start + at + 1, line


def read_texts(path: Path, wanted: Sequence[int], layout: Layout) -> Iterator[tuple[int, str, str]]:
    """Row, prompt and completion of some rollouts."""
    texts = layout.texts
    for number, line, at in _again(path, wanted, layout):
        places, _ = layout.rollouts(line)
        for place in at:
            values = {role: of.value(line, places[place]) for role, of in texts.items()}
            prompt, completion = (plain_text(values.get(role)) for role in TEXTS)
            yield number * WITHIN + place, prompt, completion


def _again(
    path: Path, wanted: Sequence[int], layout: Layout
) -> Iterator[tuple[int, Any, list[int]]]:
    """Lines that hold wanted rollouts, with the places of these."""
    places: dict[int, list[int]] = {}
    for row in wanted:
        places.setdefault(row // WITHIN, []).append(row % WITHIN)
    tops = layout.tops
    if tops is not None:
        tops = list(dict.fromkeys([*tops, *(of.top for of in layout.fills.values())]))
    if base_suffix(path) == ".parquet":
        for number, line in _table_lines(path, tops):
            if number in places:
                yield number, line, places[number]
        return
    kind = Lines(Any) if tops is None else ColumnLines([(top, Any, False) for top in tops])
    for number, item in chosen_lines(path, places, kind):
        yield number, item if tops is None else _object(item, tops), places[number]


def _nothing(path: Path, layout: Layout) -> str:
    """That no line has a reward where it is said to be, and which lists of rollouts are there."""
    there = lists_in(_first_line(path))
    shown = f"There: {', '.join(there[:12])}." if there else "It holds no list of values."
    return f"{path}: no line holds {layout.main.text}. {shown} Name the right one with --map."


def lists_in(line: Any, before: str = "", deep: int = 3) -> list[str]:
    """Paths of the values in the lists of a line, as ``--map`` takes them."""
    paths: list[str] = []
    if isinstance(line, list) and line:
        head = line[0]
        before += EACH
        if not isinstance(head, dict | list):
            return [before]
        return lists_in(head, before, deep - 1) if deep else []
    if isinstance(line, dict):
        for name, value in line.items():
            path = f"{before}.{name}" if before else name
            if isinstance(value, list | dict) and deep:
                paths += lists_in(value, path, deep - isinstance(value, dict))
            elif EACH in before:
                paths.append(path)
    return paths


def suggestion(path: Path) -> str:
    """What to write for a file whose lines hold several rollouts; "" where they do not seem to."""
    import msgspec

    first = first_object(path) if base_suffix(path) != ".parquet" else None
    if first is None:
        return ""
    line = {name: msgspec.json.decode(raw) for name, raw in first.items()}
    there = lists_in(line)
    if not there:
        return ""
    words = ("reward", "score", "correct", "grade", "return", "pass")
    best = next((p for word in words for p in there if word in ValuePath(p).last.lower()), None)
    texts = ("completion", "response", "text", "output", "generation", "answer", "content")
    text = next((p for word in texts for p in there if word in ValuePath(p).last.lower()), None)
    if best is None:
        return ""
    fits = text is not None and ValuePath(text).depth <= ValuePath(best).depth
    return f"--map reward={best}" + (f",text={text}" if fits else "")
