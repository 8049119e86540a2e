"""Figures among the lines that a training printed."""

import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from tod.logs.names import names
from tod.logs.rows import STEPS, LogRows
from tod.logs.text_lines import LONGEST_LINE, lines

_ANSI = re.compile(rb"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_VERL = re.compile(rb"\bstep:\s?(\d+) - (?=[^\s:]+:)")
_PAIR = re.compile(r"(?P<key>\S[^:]*?):\s?(?P<value>\S+)$")
_WRAPPED = re.compile(r"^(?:np\.\w+|tensor|array)\((?P<inner>[^(),]+)")
_DICT = re.compile(rb"\{['\"][^{}]{1,200000}\}")
_COUNTED = re.compile(rb"(?i)\b(?:step|rollout|iteration|iter)\W{0,2}(\d{1,15})\b\W{0,3}$")
_PROGRESS = re.compile(
    rb"(?i)(?:\bstep\b\W{0,4}(?P<step>\d{1,15})\b(?:\s?/\s?\d+)?"
    rb"|\bepoch\W{0,3}(?P<epoch>\d{1,6})/\d+\W{0,3}\((?P<of>\d{1,15})/(?P<whole>\d{1,15})\))"
)
_NAMED = re.compile(
    r"^\W*(?P<key>[A-Za-z][\w./ -]{0,60}?)\s*[:=]\s*"
    r"(?P<value>[-+]?(?:\d[\d_.]*(?:[eE][-+]?\d+)?|nan|inf))\W*$"
)
_ITEM = re.compile(
    r"(?P<quote>['\"])(?P<key>[^'\"]{1,512})(?P=quote):\s*(?:(?:np\.\w+|tensor)\(|['\"])?"
    r"(?P<value>[-+]?(?:[0-9][0-9_.]*(?:[eE][-+]?[0-9]+)?|nan|inf))(?:[^,}]*\)|['\"])?\s*(?=[,}])"
)


def read_console(path: Path, rows: LogRows) -> None:
    """Add what the lines of a console's text hold: other lines are no fault.

    Known: ``step:3 - actor/loss:0.1 - …`` (verl), also behind the prefix that Ray gives a worker's
    lines, and a dict as Python prints it (``{'loss': 0.1, 'epoch': 0.5}``, transformers), with
    ``step 3:`` or ``rollout 3:`` before it or a step in it (slime). Where a text has none of them:
    ``Epoch:[1/2](30/400), Reward: 0.1, LR: 1e-6`` and ``Step 3/30 | loss=0.1 | reward=0.5``.

    Raises:
        DataError: As ``blocks``.
    """
    rows.open(path)
    stepped: list[tuple[int, dict[str, Any]]] = []
    others: list[tuple[int, dict[str, Any]]] = []
    spelt: list[tuple[int, dict[str, Any]]] = []
    for number, line, whole in lines(path):
        row = figures(line)
        if row is None:
            named = None if stepped or others else spelt_out(line)
            if named is not None:
                if not whole:
                    rows.note(f"line {number} is cut off: its last figure is left out")
                    named.pop(next(reversed(named)))
                spelt.append((number, named))
            continue
        if not whole and _VERL.search(line):
            rows.note(f"line {number} is cut off: its last figure is left out")
            row.pop(next(reversed(row)))
        if row.keys() & set(STEPS):
            stepped.append((number, row))
        elif told(tuple(row)):
            others.append((number, row))
    for number, row in (
        stepped or others or spelt
    ):  # beside lines with a step, a dict is a configuration
        rows.add(number, row)


@lru_cache(maxsize=4096)
def told(keys: tuple[str, ...]) -> bool:
    """Whether a printed dict without a step is one of figures: two of its keys have a meaning."""
    return len(names().matches(keys, names().framework(keys))) > 1


def figures(line: bytes) -> dict[str, Any] | None:
    """The figures of a printed line, with their step where it is told; None without figures."""
    if len(line) >= LONGEST_LINE or (b":" not in line):
        return None
    plain = _ANSI.sub(b"", line).rpartition(b"\r")[2] if b"\x1b" in line or b"\r" in line else line
    plain = plain or line
    start = _VERL.search(plain)
    if start is not None:
        return _verl(int(start[1]), plain[start.end() :].decode("utf-8", errors="replace"))
    printed = _DICT.search(plain)
    if printed is None:
        return None
    row = _printed(printed[0])
    if row is None:
        return None
    counted = _COUNTED.search(plain[max(0, printed.start() - 40) : printed.start()])
    if counted is not None and not row.keys() & set(STEPS):
        row = {"step": int(counted[1]), **row}
    return row


def spelt_out(line: bytes) -> dict[str, Any] | None:
    """The figures of a line like ``Step 3/30 | loss=0.1 | reward=0.5``; None of another.

    Names are in small letters with ``_`` for a space; two of them at least must have a meaning.
    Steps of ``Epoch:[2/3](5/100)`` count on over the epochs: 105.
    """
    if len(line) >= LONGEST_LINE:
        return None
    place = _PROGRESS.search(line)
    if place is None:
        return None
    if place["step"] is not None:
        step = int(place["step"])
    else:
        step = (int(place["epoch"]) - 1) * int(place["whole"]) + int(place["of"])
    row: dict[str, Any] = {}
    for part in re.split(r"[,|]|\s-\s", line[place.end() :].decode("utf-8", errors="replace")):
        pair = _NAMED.match(part)
        if pair is not None:
            row[pair["key"].strip().lower().replace(" ", "_")] = pair["value"]
    return {"step": step, **row} if told(tuple(row)) else None


def _verl(step: int, text: str) -> dict[str, Any]:
    row: dict[str, Any] = {"step": step}
    for part in text.rstrip().split(" - "):
        pair = _PAIR.match(part.strip())
        if pair is not None:
            wrapped = _WRAPPED.match(pair["value"])
            row[pair["key"]] = wrapped["inner"] if wrapped else pair["value"]
    return row


def _printed(text: bytes) -> dict[str, Any] | None:
    """Figures of a dict as Python prints it; texts and lists in it are dropped."""
    pairs = _ITEM.finditer(text.decode("utf-8", errors="replace"))
    return {pair["key"]: pair["value"] for pair in pairs} or None
