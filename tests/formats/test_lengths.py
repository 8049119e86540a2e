"""Lengths and lags: below 0 they cannot be, and an empty completion is one."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tod.diagnosis import diagnose
from tod.formats import read
from tolerance import double


def rows(count: int = 160) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    return [
        {"step": 1, "context": f"c{i // 8}", "candidate": i % 8, "utility.r": float(i % 3)}
        | {"log_mu": -float(rng.gamma(4.0)), "log_policy": -4.0, "length": i % 5 + 1, "lag": 0}
        for i in range(count)
    ]


def save(path: Path, table: list[dict[str, Any]]) -> Path:
    if path.suffix == ".parquet":
        pl.DataFrame(table).write_parquet(path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in table))
    return path


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
@pytest.mark.parametrize(("name", "value"), [("length", -3), ("lag", -1)])
@pytest.mark.parametrize("mapped", [False, True])
def test_below_zero_is_refused_by_name(
    tmp_path: Path, ending: str, name: str, value: int, mapped: bool
) -> None:
    """In its own name, or the one that a person gave it."""
    table = rows()
    table[4][name] = value
    mapping = None
    if mapped:
        table = [{f"my_{key}": x for key, x in row.items()} for row in table]
        roles = ("step", "context", "candidate", "log_mu", "length", "lag")
        mapping = {role: f"my_{role}" for role in roles} | {"utility": "my_utility.r"}
    path = save(tmp_path / f"1.{ending}", table)
    reading = read(path, mapping=mapping)
    assert reading.source.rows == len(table) - 1
    (found,) = reading.source.rejections
    field = f"my_{name}" if mapped else name
    assert (found.file, found.row, found.name, found.value) == (str(path), 5, field, str(value))


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
@pytest.mark.parametrize("log", [-5.0, 0.0])
def test_an_empty_completion_stays_and_has_no_token(
    tmp_path: Path, ending: str, log: float
) -> None:
    """Entropy is −Σ log μ / Σ length of the others."""
    table = rows()
    table[4] |= {"length": 0, "log_mu": log}
    reading = read(save(tmp_path / f"1.{ending}", table))
    assert reading.source.rows == len(table)
    assert reading.labels.length is not None
    assert reading.labels.length[4] == 0
    rest = [row for row in table if row["length"]]
    expected = -sum(row["log_mu"] for row in rest) / sum(row["length"] for row in rest)
    found = diagnose(reading, eta=0.25)
    assert found.summary.entropy == pytest.approx(expected, rel=double(64))
    assert "entropy" not in {item.what for item in found.cannot}


def test_a_field_that_the_first_row_lacks_is_read(tmp_path: Path) -> None:
    table = rows()
    for row in table:
        del row["lag"]
    table[4]["lag"] = -1
    (found,) = read(save(tmp_path / "1.jsonl", table)).source.rejections
    assert (found.row, found.name) == (5, "lag")
