"""ms-swift: ``{output_dir}/completions.jsonl`` (``log_completions``).

One line per logging step, an object of equally long lists; steps are text. A resumed run appends
its steps again; logging more often than generating writes one batch under several steps, and
before the first batch a line of empty lists. No group: runs of equal prompts. Reward columns are
not named as such: of the numeric columns before ``advantages`` those whose sum the advantages
follow; what comes after it (``num_turns``, ``entropy``) is none.
"""

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from tod.formats.columns import Rows
from tod.formats.format import FileProbe, Format, group_size
from tod.formats.jsonl import chosen_lines, decode_lines, plain_text
from tod.formats.rewards import LoggedColumns, rewards_among, utilities
from tod.formats.row_by_row import FileRows, as_float, is_number, runs
from tod.formats.several_runs import newest_of_all

_PLAIN = frozenset({"step", "prompt", "completion", "advantages", "entropy", "images", "solution"})
ROWS = 1 << 20
"""Row number = line · ROWS + place in the line: a line holds at most a million rows."""


def recognises(probe: FileProbe) -> str | None:
    """By its keys, all lists."""
    wanted = ("step", "prompt", "completion", "advantages")
    if probe.suffix != ".jsonl" or not probe.has(*wanted):
        return None
    if not all(bytes(probe.keys[name]).lstrip().startswith(b"[") for name in wanted):
        return None
    return "one JSON object of lists per logging step, with advantages (ms-swift)"


def read(files: Sequence[Path], rows: Rows) -> None:
    """All files; a step that was logged again counts once, as it was logged last.

    The first pass finds the last line of every step and what its advantages say of the columns.
    """
    rows.grouping = "runs"
    found = [_newest_lines(path, rows) for path in files]
    newest = dict(
        newest_of_all(((s, p) for p, at in zip(files, found, strict=True) for s in at), rows)
    )
    for path, lines in zip(files, found, strict=True):
        for step in [step for step in lines if newest[step] != path]:
            del lines[step]
    logged = [x for lines in found for _, x in lines.values() if x is not None]
    chosen = rewards_among(LoggedColumns.of(logged), rows)
    for path, lines in zip(files, found, strict=True):
        out = FileRows(path, rows)
        last = {number: step for step, (number, _) in lines.items() if rows.wanted(step)}
        for number, item in chosen_lines(path, last, dict[str, Any]):
            _put_line(number, last[number], item, out, chosen)


def _newest_lines(path: Path, rows: Rows) -> dict[int, tuple[int, LoggedColumns | None]]:
    """Line and numbers of every step."""
    lines: dict[int, tuple[int, LoggedColumns | None]] = {}
    before: tuple[int, bytes] | None = None
    for number, item in decode_lines(path, dict[str, Any], rows):
        step = _step(item)
        if step is None:
            if item.get("step") != []:
                rows.reject(path, number, "step", item.get("step"), "not a list of one step")
            continue
        batch = blake2b(msgspec.json.encode({**item, "step": None})).digest()
        if before is not None and before[0] != step and before[1] == batch:
            rows.note("batches that were logged again at a later step are left out there")
            continue
        before = step, batch
        lines[step] = number, _logged(item, rows)
    return lines


def _logged(item: dict[str, Any], rows: Rows) -> LoggedColumns | None:
    """The numbers of a line; None where its lists are not equally long."""
    n = len(item["step"])
    if any(not isinstance(values, list) or len(values) != n for values in item.values()):
        return None
    rows.text_valued += [name for name in item if name not in _PLAIN and _texts(item[name])]
    columns = {name: _numbers(item[name]) for name in _rewards(item)}
    advantage = _numbers(item.get("advantages", [None] * n))
    return LoggedColumns(columns, advantage, np.array(_groups(item, rows)))


def _numbers(values: list[Any]) -> Any:
    return np.array([as_float(value) for value in values], dtype=np.float64)


def _groups(item: dict[str, Any], rows: Rows) -> list[int]:
    return runs(_prompts(item), group_size(rows))


def _prompts(item: dict[str, Any]) -> list[str]:
    return [plain_text(prompt) for prompt in item.get("prompt", [""] * len(item["step"]))]


def _step(item: dict[str, Any]) -> int | None:
    steps = item.get("step")
    found = set(map(str, steps)) if isinstance(steps, list) else set()
    text = found.pop() if len(found) == 1 else ""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else None


def _put_line(
    number: int, step: int, item: dict[str, Any], out: FileRows, chosen: Sequence[str]
) -> None:
    n = len(item["step"])
    lengths = {name: len(v) if isinstance(v, list) else -1 for name, v in item.items()}
    wrong = next((name for name, length in lengths.items() if length != n), None)
    if wrong is not None:
        for _ in range(n):
            why = f"not a list of {n} values like step"
            out.reject(number, wrong, lengths[wrong], why)
        return
    told = out.rows.mapping.get("utility")
    used = [name for name in dict.fromkeys((*chosen, told)) if name in item]
    columns = {name: _numbers(item[name]) for name in used}
    values = utilities(chosen, columns, out.rows) if columns else {}
    prompts, groups = _prompts(item), _groups(item, out.rows)
    bad = {
        place: (name, value, "not a number")
        for name in reversed(used)
        for place, value in enumerate(item[name])
        if isinstance(value, str | list | dict)
    }

    def label(place: int) -> str:
        name = blake2b(prompts[place].encode("utf-8", "replace"), digest_size=4).hexdigest()
        return f"{step}/{groups[place]}-{name}"

    key = [None if place in bad else group for place, group in enumerate(groups)]
    row = range(number * ROWS, number * ROWS + n)
    out.extend(row, [step] * n, key, values, label=label, refusal=bad.get)


def _rewards(item: dict[str, Any]) -> list[str]:
    """The numeric columns before the advantages; all of them where none comes before."""
    found = [name for name in item if name not in _PLAIN and _numeric(item[name])]
    order = list(item)
    before = order[: order.index("advantages")] if "advantages" in item else order
    return [name for name in found if name in before] or found


def _texts(values: list[Any]) -> bool:
    """Whether a column holds text that is a number: a reward that was written as text."""
    return bool(values) and all(isinstance(v, str) and is_number(v) for v in values)


def _numeric(values: list[Any]) -> bool:
    """Whether most of a column are numbers; a stray text is a bad row, not another column."""
    known = [value for value in values if value is not None]
    good = sum(isinstance(value, int | float) for value in known)
    return bool(known) and good >= len(known) / 2


def read_texts(path: Path, wanted: Sequence[int]) -> Iterator[tuple[int, str, str]]:
    """Prompt and completion of rows numbered line · ROWS + place."""
    places: dict[int, list[int]] = {}
    for row in wanted:
        places.setdefault(row // ROWS, []).append(row % ROWS)
    for number, item in chosen_lines(path, places, dict[str, Any]):
        for place in places[number]:
            prompt, completion = item["prompt"][place], item["completion"][place]
            yield number * ROWS + place, plain_text(prompt), plain_text(completion)


FORMAT = Format(
    name="ms-swift",
    title="ms-swift completions",
    recognises=recognises,
    read=read,
    texts=read_texts,
    settings=("group_size",),
    needs={
        "mu": "the TOD format written from the trainer: ms-swift logs no log-probs",
        "old": "the TOD format written from the trainer",
        "ref": "the TOD format written from the trainer",
    },
)
