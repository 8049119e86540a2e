"""Logs that keep one series a figure, or one value a row, as rows of figures by step.

Known, as JSON or inside of ``metrics``, ``history`` or ``data``:

* ``{"reward": [0.1, 0.2], "step": [1, 2]}``: lists side by side;
* ``{"reward": [[1, 0.1], [2, 0.2]]}``: pairs of step and value, or TensorBoard's triples of time,
  step and value (its page exports one scalar a file, which the file's name tells);
* ``{"reward": {"steps": [1, 2], "values": [0.1, 0.2]}}``;
* ``[{"name": "reward", "steps": [1, 2], "values": [0.1, 0.2]}]``;
* ``[{"key": "reward", "step": 1, "value": 0.1}]``, one value a row (MLflow, Comet), in JSON lines
  too.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tod.logs.names import names
from tod.logs.rows import STEPS

NAMES = ("name", "key", "tag", "metric", "metricName", "metric_name")
VALUES = ("values", "value", "metricValue", "metric_value", "y", "data")
PLACES = ("steps", "step", "x", "iterations", "iteration", "global_step")
WRAPPED = ("metrics", "history", "data", "series", "scalars")
_TAG = "-tag-"

Series = tuple[str, Sequence[Any] | None, Sequence[Any]]
"""Name, steps (None where they are not written) and values."""


def series_rows(data: Any, file: str = "") -> list[Mapping[str, Any]] | None:
    """Rows by step of what is one series a figure or one value a row; None of anything else.

    Args:
        data: A JSON value.
        file: Name of its file without suffix, which names the figure of TensorBoard's export.
    """
    if isinstance(data, list) and _TAG in file:
        pairs = _pairs(data)
        return None if pairs is None else _by_step([(_tag_of(file), *pairs)])
    if isinstance(data, dict):
        inner = [name for name in WRAPPED if isinstance(data.get(name), list | dict)]
        series = _of_object(data)
        if series is None and len(inner) == 1:
            return series_rows(data[inner[0]])
        return None if series is None else _by_step(series)
    if not isinstance(data, list) or not data:
        return None
    if all(is_single(item) for item in data):
        return [single_row(item) for item in data]
    listed = [_named_series(item) for item in data]
    known = [item for item in listed if item is not None]
    return _by_step(known) if known and len(known) == len(listed) else None


def is_single(row: Any) -> bool:
    """Whether a row is one value of one figure, or several such values of one step."""
    if not isinstance(row, dict):
        return False
    inner = row.get("metrics")
    if isinstance(inner, list) and inner:
        return all(is_single(item) for item in inner)
    name, value = _one_of(row, NAMES), _one_of(row, VALUES)
    return isinstance(name, str) and isinstance(value, int | float | str) and len(row) < 12


def single_row(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """The same as a row of figures with its step."""
    if not is_single(row):
        return row
    inner = row.get("metrics")
    figures: dict[str, Any] = {}
    for item in inner if isinstance(inner, list) else (row,):
        figures[str(_one_of(item, NAMES))] = _one_of(item, VALUES)
    step = _one_of(row, (*STEPS, *PLACES))
    if step is None and isinstance(inner, list):
        step = _one_of(inner[0], (*STEPS, *PLACES))
    return figures if step is None else {"step": step, **figures}


def _one_of(row: Mapping[str, Any], keys: Sequence[str]) -> Any:
    return next((row[key] for key in keys if row.get(key) is not None), None)


def _of_object(data: Mapping[str, Any]) -> list[Series] | None:
    """The series of an object whose keys are figures."""
    series: list[Series] = []
    columns = {key: value for key, value in data.items() if _numbers(value)}
    steps = next((columns[key] for key in (*STEPS, *PLACES) if key in columns), None)
    for key, value in data.items():
        if key in columns:
            if value is not steps:
                series.append((key, steps, value))
        elif isinstance(value, dict) and (found := _named_series({"name": key, **value})):
            series.append(found)
        elif isinstance(value, list) and value and (pairs := _pairs(value)) is not None:
            series.append((key, *pairs))
        elif isinstance(value, list | dict):
            return None
    sizes = {len(values) for _, places, values in series if places is steps}
    fits = len(sizes) <= 1 and (steps is None or sizes <= {len(steps)})
    matched = names().matches([name for name, _, _ in series], None)
    return series if fits and (len(series) > 1 or matched) else None


def _named_series(item: Any) -> Series | None:
    """The series of an object with its name, values and perhaps steps."""
    if not isinstance(item, dict):
        return None
    name, values = _one_of(item, NAMES), _one_of(item, VALUES)
    if not isinstance(name, str) or not isinstance(values, list) or not values:
        return None
    pairs = _pairs(values)
    if pairs is not None:
        return name, *pairs
    steps = _one_of(item, PLACES)
    if not _numbers(values) or (steps is not None and not _numbers(steps)):
        return None
    return (name, steps, values) if steps is None or len(steps) == len(values) else None


def _numbers(values: Any) -> bool:
    """Whether it is a list of numbers, with null for what is unknown."""
    if not isinstance(values, list) or not values:
        return False
    known = [value for value in values if value is not None]
    return bool(known) and all(
        isinstance(value, int | float) and not isinstance(value, bool) for value in known
    )


def _pairs(values: Sequence[Any]) -> tuple[list[Any], list[Any]] | None:
    """Steps and values of pairs (step, value), or of triples (time, step, value)."""
    sizes = {len(item) if _numbers(item) else 0 for item in values}
    if sizes not in ({2}, {3}):
        return None
    at = 0 if sizes == {2} else 1
    steps = [item[at] for item in values]
    whole = all(isinstance(step, int | float) and step == int(step) for step in steps)
    return (steps, [item[-1] for item in values]) if whole else None


def _tag_of(file: str) -> str:
    """The scalar that TensorBoard's page names a file by: ``/`` stands there as ``_``."""
    tag = file.partition(_TAG)[2]
    folder = tag.replace("_", "/", 1)
    return folder if names().matches([folder], None) and not names().matches([tag], None) else tag


def _by_step(series: Sequence[Series]) -> list[Mapping[str, Any]]:
    """Rows of the figures, those of one step together; without steps by place, from 1."""
    rows: dict[Any, dict[str, Any]] = {}
    for name, step, value in _values(series):
        rows.setdefault(step, {"step": step})[name] = value
    return [rows[step] for step in sorted(rows)]


def _values(series: Sequence[Series]) -> Iterator[tuple[str, Any, Any]]:
    for name, steps, values in series:
        places = range(1, len(values) + 1) if steps is None else steps
        for step, value in zip(places, values, strict=True):
            if step is not None:
                yield name, step, value
