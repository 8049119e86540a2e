"""From a table under a framework's keys to a log under canonical names."""

from collections.abc import Mapping
from itertools import combinations
from pathlib import Path

import numpy as np

from tod.base import DataError
from tod.base.text import counted
from tod.logs.log import Figures, Log, Rejected
from tod.logs.names import TRANSFORMS, Match, names
from tod.logs.rows import LogRows, LogTable

_PART = "reward."
CONTRADICTED = 5
"""Steps at which two logs of one kind may differ before they are taken for two runs."""


def build(
    kind: str,
    rows: LogRows,
    *,
    framework: str | None = None,
    version: str | None = None,
    checkpoints: tuple[tuple[int, Path], ...] = (),
) -> Log:
    """The log that rows make.

    Args:
        kind: What was read.
        rows: All of it.
        framework: Who wrote it, if that is known without the keys.
        version: Its version, if a file beside the log tells.
        checkpoints: Those beside it.
    """
    told = names().framework(rows.keys) or framework
    needed = {m.key for m in names().matches(rows.keys, told).values() if m.alias.exact}
    table = rows.table(needed.__contains__)
    matches = names().matches(table.columns, told)
    values = {name: _value(table, match) for name, match in matches.items()}
    units = {name: match.alias.unit for name, match in matches.items()}
    own = {name: match.key for name, match in matches.items()}
    remarks = {name: match.alias.note for name, match in matches.items() if match.alias.note}
    parts = [name for name in values if name.startswith(_PART)]
    if len(parts) == 1 and "reward" not in values:
        values["reward"], units["reward"] = values[parts[0]], units[parts[0]]
        own["reward"] = own[parts[0]]
    notes = [*_not_finite(table, own), *rows.notes]
    if rows.rejections:
        notes.append(f"{counted(rows.rejections, 'line')} or values could not be used")
    used = set(own.values())
    return Log(
        steps=table.steps,
        values=values,
        other={key: column for key, column in table.columns.items() if key not in used},
        keys=own,
        units=units,
        kind=kind,
        framework=told,
        version=version,
        time=table.time,
        files=tuple(dict.fromkeys(path for _, path in rows.files)),
        notes=tuple(notes),
        rejected=tuple(rows.rejected),
        checkpoints=checkpoints,
        not_finite=table.not_finite,
        remarks=remarks,
        lost=lost(rows),
    )


def lost(rows: LogRows) -> tuple[str, ...]:
    """What could not be used, by field and reason: how often, and the first of them."""
    alike: dict[tuple[str, str], list[Rejected]] = {}
    for one in rows.rejected:
        alike.setdefault((one.field, one.why), []).append(one)
    more = rows.rejections - len(rows.rejected)
    said = [
        f"{counted(len(held), 'line')} with {name} = {held[0].value} (line {held[0].line}): {why}"
        if held[0].value
        else f"{counted(len(held), 'line')}, first line {held[0].line}: {name} {why}"
        for (name, why), held in alike.items()
    ]
    return (*said, f"{more:,} more lines or values") if more else tuple(said)


def _value(table: LogTable, match: Match) -> Figures:
    value = table.columns[match.key]
    alias = match.alias
    if alias.over:
        whole = table.columns[alias.over]
        value = np.divide(value, whole, out=np.full_like(value, np.nan), where=whole > 0)
    return TRANSFORMS[alias.transform](value) if alias.transform else value


def _not_finite(table: LogTable, own: Mapping[str, str]) -> list[str]:
    """Where figures stood as NaN or infinity; those with a canonical name each get a sentence."""
    named = set(own.values())
    notes = []
    for key, steps in table.not_finite.items():
        if key in named:
            times = counted(len(steps), "step")
            notes.append(f"{key} is NaN or infinite at {times}, first at step {steps[0]}")
    others = len(table.not_finite.keys() - named)
    if others:
        notes.append(f"{counted(others, 'other figure')} NaN or infinite at some step")
    return notes


def join(logs: list[Log]) -> Log:
    """Several logs of one run as one, by step; of a figure that stands twice the denser one.

    Raises:
        ValueError: There is none.
        DataError: Two logs of one kind say different things of most steps.
    """
    if not logs:
        raise ValueError("no log to join")
    if len(logs) == 1:
        return logs[0]
    steps = np.unique(np.concatenate([log.steps for log in logs]))
    notes = [note for log in logs for note in log.notes]
    shared = set.intersection(*(set(log.steps.tolist()) for log in logs))
    if not shared:
        notes.append("the logs have no step in common: are they of one run, and count alike?")
    _refuse_contradiction(logs)
    best = _densest(logs, "values", notes)
    values = {name: _on(steps, log, log.values[name]) for name, log in best.items()}
    keys = {name: log.keys[name] for name, log in best.items()}
    other = {
        key: _on(steps, log, log.other[key]) for key, log in _densest(logs, "other", notes).items()
    }
    frameworks = list(dict.fromkeys(log.framework for log in logs if log.framework))
    if len(frameworks) > 1:
        notes.append(f"written by {' and '.join(frameworks)}: are they of one run?")
    clocks = [log for log in logs if log.time is not None]
    clock = max(clocks, key=lambda log: len(log.steps), default=None)
    rejected: list[Rejected] = [one for log in logs for one in log.rejected]
    not_finite = {key: steps for log in reversed(logs) for key, steps in log.not_finite.items()}
    return Log(
        steps=steps,
        values=values,
        other=other,
        keys=keys,
        units={name: log.units[name] for name, log in best.items()},
        kind="+".join(dict.fromkeys(log.kind for log in logs)),
        framework=frameworks[0] if frameworks else None,
        version=next((log.version for log in logs if log.version), None),
        time=None if clock is None or clock.time is None else _on(steps, clock, clock.time),
        files=tuple(dict.fromkeys(path for log in logs for path in log.files)),
        notes=tuple(dict.fromkeys(notes)),
        rejected=tuple(rejected),
        checkpoints=tuple(sorted({one for log in logs for one in log.checkpoints})),
        not_finite=not_finite,
        remarks={name: log.remarks[name] for name, log in best.items() if name in log.remarks},
        lost=tuple(dict.fromkeys(words for log in logs for words in log.lost)),
    )


def _refuse_contradiction(logs: list[Log]) -> None:
    """Two files of one kind and key whose figures differ at most steps are of two runs."""
    for one, two in combinations(logs, 2):
        steps, a, b = np.intersect1d(one.steps, two.steps, return_indices=True)
        if one.kind != two.kind or len(steps) < CONTRADICTED:
            continue
        for name in one.values.keys() & two.values.keys():
            x, y = one.values[name][a], two.values[name][b]
            both = np.isfinite(x) & np.isfinite(y)
            apart = ~np.isclose(x[both], y[both], rtol=1e-3, atol=1e-9)
            if one.keys[name] == two.keys[name] and apart.sum() > max(CONTRADICTED, both.sum() / 2):
                raise DataError(
                    f"{_path(one)} and {_path(two)}: {one.keys[name]} differs at "
                    f"{int(apart.sum())} of {int(both.sum())} steps. They are of two runs: name "
                    "one, and the other with --against."
                )


def _path(log: Log) -> str:
    return str(log.files[0]) if log.files else log.kind


def _densest(logs: list[Log], part: str, notes: list[str]) -> dict[str, Log]:
    """Name → the log that knows it at most steps; the first of equals."""
    best: dict[str, Log] = {}
    for log in logs:
        for name, figures in getattr(log, part).items():
            before = best.get(name)
            if before is None:
                best[name] = log
                continue
            mine = int(np.isfinite(figures).sum())
            theirs = int(np.isfinite(getattr(before, part)[name]).sum())
            kept, left = (log, before) if mine > theirs else (before, log)
            best[name] = kept
            if part == "values":
                notes.append(
                    f"{name} stands in {_name(kept)} ({counted(max(mine, theirs), 'step')}) and in "
                    f"{_name(left)} ({min(mine, theirs):,}): the first is taken"
                )
    return best


def _name(log: Log) -> str:
    return log.files[0].name if log.files else log.kind


def _on(steps: Figures, log: Log, figures: Figures) -> Figures:
    """Figures of a log on more steps."""
    wide = np.full(len(steps), np.nan)
    wide[np.searchsorted(steps, log.steps)] = figures
    return wide
