"""`read_log`: the metric log of a path, whatever wrote it."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tod.base import DataError
from tod.base.text import counted, visible
from tod.logs.build import build
from tod.logs.console import read_console
from tod.logs.csv_table import read_csv
from tod.logs.json_lines import read_json, read_json_lines, read_metric_lines
from tod.logs.log import Log
from tod.logs.recognise import Recognised, checkpoints, recognise
from tod.logs.rows import LogRows
from tod.logs.tensorboard_events import read_events
from tod.logs.trackio_store import read_store
from tod.logs.wandb_run import read_run_file

_REQUIREMENT = re.compile(r"(?m)^([A-Za-z0-9_.-]+)==([\w.+!-]{1,40})$")
_PACKAGES = {
    "trl": "trl",
    "transformers": "transformers",
    "verl": "verl",
    "openrlhf": "openrlhf",
    "nemo-rl": "nemo-rl",
    "ms-swift": "ms-swift",
    "prime-rl": "prime-rl",
    "skyrl": "skyrl",
    "slime": "slime",
    "tinker": "tinker-cookbook",
    "areal": "areal",
}


def detect(path: str | Path) -> str | None:
    """The kind of metric log that a path is, as in ``Log.kind``; None if it is none.

    A folder is the log of its run if one lies in it. Nothing is kept open, and of most files only
    the beginning is read.
    """
    try:
        found = recognise(Path(path))
    except DataError:
        return None
    return None if found is None else found.kind


def read_log(path: str | Path, run: str | None = None) -> Log:
    """The figures of a metric log by step, under canonical names.

    Args:
        path: A file, or the folder of a run.
        run: Name of the run, where a file holds several (a W&B panel, trackio's store).

    Raises:
        DataError: No log of a known kind is there, or it cannot be read at all.
        MissingPackage: A library that reads this kind is not installed.
    """
    found = recognise(Path(path))
    if found is None:
        raise DataError(
            f"{path}: no metric log that is known. A trainer_state.json, a JSONL or CSV with a "
            "step column, W&B's or TensorBoard's files, or what verl printed would be one."
        )
    rows = _read(found, run)
    if not rows.count:
        raise DataError(f"{path}: no row of figures in it ({found.kind}). Has the run logged yet?")
    if found.also:
        shown = ", ".join(visible(file.name)[:60] for file in found.also[:4])
        rows.note(f"also in this folder, not read: {shown}")
    hinted = {"trainer_state": "transformers", "own run": "own"}.get(found.kind)
    log = build(found.kind, rows, framework=hinted, checkpoints=checkpoints(found.home))
    version = _version(found, log.framework)
    return log if version is None else _with_version(log, version)


def _read(found: Recognised, run: str | None) -> LogRows:
    simple: Mapping[str, Callable[[Path, LogRows], None]] = {
        "trainer_state": read_json,
        "json": read_json,
        "json lines": read_metric_lines,
        "own run": read_json_lines,
        "verl file": _read_verl,
        "console": read_console,
    }
    if found.kind in ("tensorboard", "wandb run"):
        return _runs(found)
    rows = LogRows()
    file = found.files[0]
    if found.kind in simple:
        simple[found.kind](file, rows)
    elif found.kind == "trackio":
        read_store(file, rows, run)
    elif found.kind == "wandb table" and ".json" in file.suffixes:
        read_json(file, rows)
    else:
        read_csv(file, rows, run)
    return rows


def _read_verl(path: Path, rows: LogRows) -> None:
    read_json_lines(path, rows, _verl_row)


def _verl_row(row: Mapping[str, Any]) -> Mapping[str, Any]:
    data = row.get("data")
    return {**data, "step": row.get("step")} if isinstance(data, dict) else row


def _runs(found: Recognised) -> LogRows:
    """Event files or run files: those that continue one another make one log.

    Event files of one folder belong together. What begins later in time continues the run before
    it if it also begins at a later step; else it is another run, and the last of them is read.
    """
    groups: dict[Path, list[Path]] = {}
    for file in found.files:
        key = file.parent if found.kind == "tensorboard" else file
        groups.setdefault(key, []).append(file)
    if len(groups) == 1:
        return _rows_of(found.files, found.kind)
    chains: list[list[list[Path]]] = []
    last = -1
    for _, _, first, files in sorted(
        (*_beginning(files, found.kind, at), files) for at, files in enumerate(groups.values())
    ):
        if chains and first > last:
            chains[-1].append(files)
        else:
            chains.append([files])
        last = first
    rows = _rows_of([file for files in chains[-1] for file in files], found.kind)
    if len(chains) > 1:
        others = ", ".join(visible(chain[0][0].parent.name)[:60] for chain in chains[-4:-1])
        rows.note(
            f"{counted(len(chains), 'run')} in this folder: the last is read; others: {others}"
        )
    return rows


def _beginning(files: Sequence[Path], kind: str, at: int) -> tuple[float, int, int]:
    """When files begin, in seconds since 1970 and then in order, and at which step."""
    rows = _rows_of(files, kind)
    steps = rows.table().steps
    return rows.began, at, int(steps[0]) if len(steps) else -1


def _rows_of(files: Sequence[Path], kind: str) -> LogRows:
    events = kind == "tensorboard"
    rows = LogRows(steps=("_step",)) if events else LogRows()
    for file in files:
        read_events(file, rows) if events else read_run_file(file, rows)
    return rows


def _version(found: Recognised, framework: str | None) -> str | None:
    """The version of a framework among the packages that W&B listed beside its run file."""
    package = _PACKAGES.get(framework or "")
    if found.kind != "wandb run" or package is None:
        return None
    listed = found.files[-1].parent / "files" / "requirements.txt"
    try:
        with listed.open("rb") as file:
            text = file.read(1 << 20).decode(errors="replace")
    except OSError:
        return None
    versions = {name.lower().replace("_", "-"): told for name, told in _REQUIREMENT.findall(text)}
    return versions.get(package)


def _with_version(log: Log, version: str) -> Log:
    from dataclasses import replace

    return replace(log, version=version)
