"""tinker-cookbook: ``iteration_N/train_rollout_summaries.jsonl`` and the capture store (SQLite).

Summaries hold rewards and lengths, no text and no log-probs. The capture store has one row per
sampled completion with its log-probs; rows of one trajectory are joined to its summary by
(iteration, group_idx, traj_idx). After a restart the higher run_attempt counts. The store writes
ahead (``-wal``): while its daemon lives, or after it died, the newest rows are in that file alone.
"""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from tod.base import DataError
from tod.formats.columns import Rows
from tod.formats.files import COMPRESSED
from tod.formats.format import FileProbe, Format, read_lines
from tod.formats.jsonl import Count, Whole
from tod.formats.several_runs import run_of

_KEY = "iteration, group_idx, traj_idx"
_Place = tuple[int, int, int]


class Turn(msgspec.Struct, gc=False):
    """One turn."""

    ac_len: Count = 0


class Trajectory(msgspec.Struct, gc=False):
    """The needed fields of a summary."""

    iteration: Whole
    group_idx: Whole
    traj_idx: Whole
    total_reward: float | bool
    split: str = "train"
    sampling_client_step: Whole | None = None
    steps: list[Turn] = []


def recognises(probe: FileProbe) -> str | None:
    """By its keys, or by its table."""
    if probe.suffix == ".jsonl" and probe.has("iteration", "group_idx", "traj_idx", "total_reward"):
        return "JSON lines with iteration, group_idx, traj_idx and total_reward (tinker-cookbook)"
    if probe.head.startswith(b"SQLite format 3\0"):
        if b"wire_rows" in probe.head:
            return "SQLite with the table wire_rows (tinker-cookbook capture)"
        if _ahead(probe.path) and b"wire_rows" in _ahead_head(probe.path):
            return "SQLite whose table wire_rows is still in its -wal (tinker-cookbook capture)"
    return None


def _ahead(path: Path) -> bool:
    """Whether rows may be in the write-ahead file that are not in the store itself."""
    wal = path.with_name(path.name + "-wal")
    return wal.is_file() and wal.stat().st_size > 0


def _ahead_head(path: Path) -> bytes:
    with open(path.with_name(path.name + "-wal"), "rb") as file:
        return file.read(1 << 16)


def read(files: Sequence[Path], rows: Rows) -> None:
    """Summaries joined with what captures hold."""
    captures = [path for path in files if FileProbe(path).suffix != ".jsonl"]
    summaries = [path for path in files if path not in captures]
    if not summaries:
        raise DataError(
            f"{captures[0]}: a capture store holds tokens and log-probs, but no rewards. Add the "
            "*_rollout_summaries.jsonl files of the same run (their directory is enough)."
        )
    captured: dict[_Place, list[float]] = {}
    for path in captures:
        captured |= _captured(path, rows)
    columns = partial(_columns, captured=captured, rows=rows)
    read_lines(summaries, rows, Trajectory, columns, lambda _: None)  # evaluations are no refusals


def _columns(
    items: list[Trajectory], captured: Mapping[_Place, list[float]], rows: Rows
) -> dict[str, Any]:
    length = [sum(step.ac_len for step in x.steps) for x in items]
    known = [captured.get((x.iteration, x.group_idx, x.traj_idx)) for x in items]
    for place, (values, size) in enumerate(zip(known, length, strict=True)):
        if values is None or not size or len(values) == size:
            continue
        known[place] = None
        if items[place].split == "train" and rows.wanted(items[place].iteration):
            rows.note(
                "the samples captured of some trajectories are not those of their turns (some are "
                "missing, or a grader's are among them): log mu is not known there"
            )
    return {
        "step": [x.iteration for x in items],
        "key": [x.group_idx if x.split == "train" else None for x in items],
        "utility": {"total_reward": [x.total_reward for x in items]},
        "label": lambda at: f"{items[at].iteration}/{items[at].group_idx}",
        "tokens": {"mu": known},
        "length": [size or None for size in length],
        "lag": [
            None if x.sampling_client_step is None else max(x.iteration - x.sampling_client_step, 0)
            for x in items
        ],
        "identity": [x.traj_idx for x in items],
    }


def _captured(path: Path, rows: Rows) -> dict[_Place, list[float]]:
    """Log-probs of every trajectory, its turns one after the other."""
    decode = msgspec.json.Decoder(list[float]).decode
    found: dict[_Place, list[float]] = {}
    attempts: dict[_Place, int] = {}
    for cursor, iteration, group, trajectory, attempt, tokens, logprobs in _wire_rows(path):
        if None in (iteration, group, trajectory) or not isinstance(iteration, int):
            continue
        if logprobs is None:  # sampled without log-probs, so the trajectory's are not all here
            continue
        key = (iteration, group, trajectory)
        attempt = attempt if isinstance(attempt, int) else 0
        try:
            values = decode(logprobs)
            count = len(msgspec.json.decode(tokens))
        except (msgspec.MsgspecError, TypeError) as error:
            rows.reject(path, cursor, "logprobs", logprobs, str(error)[:80])
            continue
        if count != len(values):
            shown = f"{len(values)} for {count} tokens"
            rows.reject(path, cursor, "logprobs", shown, "another length than sampled_tokens")
            continue
        if attempt > attempts.get(key, -1):
            attempts[key], found[key] = attempt, []
        if attempt == attempts[key]:
            found[key] = found[key] + values
    return found


def _wire_rows(path: Path) -> Iterator[tuple[Any, ...]]:
    if path.suffix.lower() in COMPRESSED:
        raise DataError(f"{path}: SQLite cannot be read from a compressed file. Decompress it.")
    how = "mode=ro" if _ahead(path) else "mode=ro&immutable=1"
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True)) as store:
            store.execute("PRAGMA trusted_schema = OFF")
            store.execute("PRAGMA cell_size_check = ON")
            kinds = store.execute("SELECT type FROM sqlite_master WHERE name = 'wire_rows'")
            if kinds.fetchone() != ("table",):
                raise DataError(f"{path}: wire_rows is not a table. This is no capture store.")
            yield from store.execute(
                f"SELECT cursor, {_KEY}, run_attempt, sampled_tokens, logprobs FROM wire_rows "  # noqa: S608 - constants
                "WHERE split IS NULL OR split = 'train' ORDER BY cursor"
            )
    except (sqlite3.Error, sqlite3.Warning, UnicodeDecodeError) as error:
        raise DataError(
            f"{path}: cannot be read as SQLite ({error}). It is damaged or still being written: "
            "copy it with `sqlite3 FILE .dump`, or leave it out."
        ) from None


FORMAT = Format(
    name="tinker",
    title="tinker-cookbook summaries and capture",
    recognises=recognises,
    read=read,
    home=run_of,
    required=("total_reward",),
    fields={"log_mu": "logprobs"},
    needs={
        "mu": "the capture store: capture_to_store, and name its file or directory too",
        "old": "the trainer's own forward, which is not recorded",
        "ref": "a reference model's log-probs, which are not recorded",
        "text": "text, of which train_logtree.json holds four groups only",
    },
)
