"""Whether a path holds a metric log, and of which kind."""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from tod.base import DataError
from tod.logs.console import figures, spelt_out, told
from tod.logs.csv_table import header, is_panel
from tod.logs.json_lines import first_objects, parse, rows_in
from tod.logs.names import names
from tod.logs.rows import COUNTERS, STEPS, as_step
from tod.logs.series import single_row
from tod.logs.tensorboard_events import MARK
from tod.logs.text_lines import bare_name, lines, open_log, whole
from tod.logs.trackio_store import SUFFIXES, is_store
from tod.logs.wandb_run import MAGIC

STATE = "trainer_state.json"
_CHECKPOINT = re.compile(r"(?:checkpoint|global_step|step|iter)[-_]?0*(\d{1,12})(?:_hf)?")
_TEXT_KEYS = frozenset(
    re.findall(
        r"\w+",
        """prompt prompts completion completions messages input inputs output outputs response
        responses question answer text solution trajectory conversations chosen rejected""",
    )
)
_TRAINING = frozenset(
    ("loss", "kl", "policy_kl", "entropy", "grad_norm", "learning_rate", "clip_fraction")
)
"""Figures of updates, of which no file of rollouts has two, and none but a KL or an entropy."""
_IDS = frozenset(
    ("prompt_id", "uid", "id", "group", "group_id", "sample_idx", "prompt_idx", "group_index")
)
_ORDER = (
    "own run",
    "trainer_state",
    "wandb run",
    "tensorboard",
    "verl file",
    "json lines",
    "trackio",
    "wandb table",
    "csv",
    "json",
    "console",
)
TABLES = ("json lines", "json", "csv", "wandb table")
"""Kinds that rollouts under a person's own columns may look like."""
_USUAL = ("steps.jsonl", "metrics.jsonl", "logging.jsonl")
_MOST_JSON = 256 << 20
_MOST_SNIFFED = 64 << 20
_MOST_MISSES = 20
"""Files of one ending that are no logs, after which a folder's others of it are not looked at: a
thousand files of rollouts would take seconds."""
_LINES = 200_000
"""Lines of a text that are looked at: prompts and answers may be printed before the first step."""
_DEEPEST = 4
_MOST_FILES = 20_000


@dataclass(frozen=True)
class Recognised:
    """A metric log.

    Attributes:
        kind: Its kind, as in ``Log``.
        files: What is read of it, in order.
        home: The folder of the run.
        also: Other logs in the folder, which are not read.
    """

    kind: str
    files: tuple[Path, ...]
    home: Path
    also: tuple[Path, ...] = ()


def recognise(path: Path) -> Recognised | None:
    """What kind of metric log a path is; None if it is none.

    Raises:
        DataError: It does not exist or cannot be read.
    """
    if path.is_dir():
        return _folder(path)
    kind = _file(path)
    if kind is None:
        return None
    home = path.parent
    return Recognised(kind, (path,), home.parent if _CHECKPOINT.fullmatch(home.name) else home)


def checkpoints(home: Path) -> tuple[tuple[int, Path], ...]:
    """Step and folder of the checkpoints of a run, by step."""
    found: dict[Path, int] = {}
    for folder in (home, *(home / name for name in ("checkpoints", "ckpt", "weights"))):
        for inner in _entries(folder):
            match = _CHECKPOINT.fullmatch(inner.name)
            if match is not None and inner.is_dir():
                found[inner] = int(match[1])
    return tuple(sorted((step, path) for path, step in found.items()))


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())[:_MOST_FILES] if folder.is_dir() else []
    except OSError:
        return []


def _file(path: Path) -> str | None:
    name = bare_name(path)
    if MARK in name:
        return "tensorboard"
    if name == STATE:
        return "trainer_state"
    if name.endswith(SUFFIXES):
        return "trackio" if is_store(path) else None
    if name.endswith(".wandb"):
        with open_log(path) as file:
            return "wandb run" if file.read(4) == MAGIC else None
    for endings, sniff in _SNIFFERS.items():
        if name.endswith(endings):
            return sniff(path)
    return _console(path) if "." not in name else None


def _json_lines(path: Path) -> str | None:
    rows = list(first_objects(path))
    if rows and all(isinstance(row.get("data"), dict) and "step" in row for row in rows):
        return "verl file" if set().union(*rows) == {"step", "data"} else None
    if rows and bare_name(path) == "steps.jsonl" and all("ledger" in row for row in rows):
        return "own run"
    return "json lines" if metrics([single_row(row) for row in rows]) else None


def _json(path: Path) -> str | None:
    if path.stat().st_size > _MOST_JSON:
        return None
    with open_log(path) as file:
        head = file.read(4096).lstrip()
    if not head.startswith((b"[", b"{")):
        return None
    try:
        data = parse(whole(path))
    except ValueError:
        return None
    if isinstance(data, dict) and isinstance(data.get("log_history"), list):
        return "trainer_state"
    rows = rows_in(data, bare_name(path).removesuffix(".json"))
    if rows is None or not metrics(rows[:200]):
        return None
    table = any("_step" in row or "_runtime" in row for row in rows[:5])
    return "wandb table" if table else "json"


def _csv(path: Path) -> str | None:
    columns = header(path)
    if not columns:
        return None
    if is_panel(columns):
        return "wandb table"
    if _TEXT_KEYS & {name.lower() for name in columns}:
        return None
    if "_step" in columns or "_runtime" in columns:
        return "wandb table"
    stepped = bool(set(columns) & set(STEPS)) and _distinct(path, columns)
    return "csv" if stepped or len(names().matches(columns, None)) > 1 else None


def _distinct(path: Path, columns: Sequence[str]) -> bool:
    """Whether the first rows of a table are of different steps: rollouts share them."""
    at = next(place for place, name in enumerate(columns) if name in STEPS)
    cells = [line.decode(errors="replace").split(",") for _, line, _ in _first(path, 200)][1:]
    steps = [row[at] for row in cells if len(row) > at]
    return not steps or len(set(steps)) * 2 > len(steps)


def _first(path: Path, most: int) -> Iterator[tuple[int, bytes, bool]]:
    for number, line, torn in lines(path):
        if number > most:
            return
        yield number, line, torn


def _console(path: Path) -> str | None:
    good = 0
    for _, line, _ in _first(path, _LINES):
        if b"\x00" in line:
            return None
        row = figures(line)
        if row is None:
            good += spelt_out(line) is not None
            continue
        if "step" in row and names().matches(row, None):
            return "console"
        good += told(tuple(row))
    return "console" if good > 1 else None


_SNIFFERS: Mapping[tuple[str, ...], Callable[[Path], str | None]] = {
    (".jsonl", ".ndjson"): _json_lines,
    (".json",): _json,
    (".csv", ".tsv"): _csv,
    (".log", ".txt", ".out", ".err", ".stdout"): _console,
}


def metrics(rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether rows hold figures of steps, and not one rollout or one example each."""
    if not rows:
        return False
    known: dict[str, None] = {}
    seen: set[tuple[Any, ...]] = set()
    stepped = again = 0
    for row in rows:
        for key, value in row.items():
            texts = isinstance(value, str | list | dict)
            if texts and key.rpartition("/")[2].rpartition(".")[2].lower() in _TEXT_KEYS:
                return False
            if isinstance(value, int | float | str) and not isinstance(value, bool):
                known[key] = None
        named = next((key for key in (*STEPS, *COUNTERS) if row.get(key) is not None), None)
        if named is not None and as_step(row[named]) is not None:
            stepped += 1
            mark = (as_step(row[named]), *row)
            again += mark in seen
            seen.add(mark)
    if 2 * again > len(rows) and not _of_updates(known):
        return False
    figures_there = [key for key in known if key not in (*STEPS, *COUNTERS)]
    matched = names().matches(figures_there, names().framework(figures_there))
    if stepped * 2 >= len(rows):
        return bool(figures_there) and _numbers(rows, figures_there)
    return len(matched) > 1


def _of_updates(keys: Collection[str]) -> bool:
    """Whether rows that share their step are updates or ranks of a trainer, and no rollouts."""
    if _IDS & {key.lower() for key in keys}:
        return False
    matched = names().matches(keys, names().framework(keys))
    of_rollouts_too = ("kl", "policy_kl", "entropy")
    return len(_TRAINING & matched.keys()) > 1 or bool(
        _TRAINING.difference(of_rollouts_too) & matched.keys()
    )


def _numbers(rows: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> bool:
    """Whether some key holds numbers."""
    return any(
        isinstance(row.get(key), int | float) and not isinstance(row[key], bool)
        for row in rows
        for key in keys
    ) or any(isinstance(value, dict) for row in rows for value in row.values())


def _folder(path: Path) -> Recognised | None:
    """The log of a run's folder: of several the first in the order of ``_ORDER``."""
    candidates: list[Recognised] = []
    state = _newest_state(path)
    if state is not None:
        candidates.append(Recognised("trainer_state", (state,), path))
    inside = list(_walk(path, _DEEPEST))
    runs = tuple(inner for inner in inside if inner.suffix == ".wandb" and _kind(inner))
    events = tuple(inner for inner in inside if MARK in inner.name)
    candidates += [Recognised("wandb run", runs, path)] if runs else []
    candidates += [Recognised("tensorboard", events, path)] if events else []
    misses: Counter[str] = Counter()
    plain = [entry for entry in _entries(path) if _own_file(entry)]
    for file in sorted(plain, key=lambda file: bare_name(file) not in _USUAL):
        apart = MARK in file.name or file.suffix == ".wandb" or file.name == STATE
        if apart or misses[file.suffix] >= _MOST_MISSES or file.stat().st_size > _MOST_SNIFFED:
            continue
        kind = _kind(file)
        if kind is not None:
            candidates.append(Recognised(kind, (file,), path))
        misses[file.suffix] += kind is None
    if not candidates:
        return None
    first, *rest = sorted(candidates, key=lambda one: (_ORDER.index(one.kind), _unusual(one)))
    also = tuple(file for one in rest for file in one.files[:1])
    home = path.parent if _CHECKPOINT.fullmatch(path.name) else path
    return Recognised(first.kind, first.files, home, also)


def _unusual(one: Recognised) -> bool:
    """Whether a file does not have the name that loggers give such files: those sort last."""
    return bare_name(one.files[0]) not in _USUAL


def _kind(path: Path) -> str | None:
    """The kind of a file in a folder; one that cannot be read is none."""
    try:
        return _file(path)
    except DataError:
        return None


def _newest_state(path: Path) -> Path | None:
    """The ``trainer_state.json`` of the most steps, of the folder or of its checkpoints."""
    states = [path / STATE]
    states += [folder / STATE for _, folder in reversed(checkpoints(path))][:3]
    there = [state for state in states if state.is_file()]
    return max(there, key=_global_step, default=None)


def _global_step(path: Path) -> int:
    try:
        data = msgspec.json.decode(whole(path), type=dict[str, msgspec.Raw])
        return as_step(msgspec.json.decode(data.get("global_step", msgspec.Raw(b"-1")))) or -1
    except (DataError, msgspec.MsgspecError, ValueError, RecursionError):
        return -1


def _own_file(entry: Path) -> bool:
    """Whether it is a regular file of the folder itself: a link may lead out of it."""
    return entry.is_file() and not entry.is_symlink()


def _walk(folder: Path, deep: int) -> Iterator[Path]:
    """Files below a folder; links to folders are not followed."""
    for entry in _entries(folder):
        if _own_file(entry):
            yield entry
        elif deep and entry.is_dir() and not entry.is_symlink() and not entry.name.startswith("."):
            yield from _walk(entry, deep - 1)
