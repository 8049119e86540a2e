"""Token lists in Parquet: whole columns at once, with the sums and the refusals of one row."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tod.base import DataError
from tod.formats import read
from tod.formats import table_parquet as _table_parquet
from tolerance import double

BAD: dict[int, dict[str, list[float]]] = {
    3: {"log_mu_tokens": []},
    8: {"log_old_tokens": [-1.0, float("nan")]},
    12: {"log_mu_tokens": [0.5, -1.0]},
    15: {"log_mu_tokens": [-1.0], "log_old_tokens": [-1.0, -1.0]},
    21: {"log_mu_tokens": [-1.0, -1.0], "log_old_tokens": [2.0, 2.0]},
}


def rows(count: int = 60, seed: int = 0) -> list[dict[str, Any]]:
    """Ragged lists of three policies over three steps; the reference's is not always there."""
    rng = np.random.default_rng(seed)
    found = []
    for i in range(count):
        mu = -rng.gamma(0.7, 0.6, int(rng.integers(1, 9)))
        row: dict[str, Any] = {"step": i // 20, "context": f"c{i // 5}", "candidate": i % 5}
        row |= {"utility.r": float(rng.normal()), "lag": int(rng.integers(0, 2))}
        for name in ("mu", "old", "ref"):
            moved = np.minimum(mu + 0.1 * rng.normal(size=len(mu)), 5e-4)
            row[f"log_{name}_tokens"] = moved.tolist()
        found.append(row)
    return found


def save(table: list[dict[str, Any]], root: Path) -> tuple[Path, Path]:
    pl.DataFrame(table).write_parquet(root / "x.parquet")
    (root / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in table))
    return root / "x.parquet", root / "x.jsonl"


@pytest.mark.parametrize("piece", [7, 4096])
def test_columns_are_what_rows_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int
) -> None:
    """JSON lines go row by row: the same values, lengths, gaps and refusals, in pieces or whole."""
    monkeypatch.setattr(_table_parquet, "_SLICE", piece)
    monkeypatch.setattr(_table_parquet, "_BYTES", 1)
    table = rows()
    for at, change in BAD.items():
        table[at] |= change
    one, other = (read(path, max_rejected=1.0) for path in save(table, tmp_path))
    assert [str(r).split(", row", 1)[1] for r in one.source.rejections] == [
        str(r).split(", row", 1)[1] for r in other.source.rejections
    ]
    assert [r.row for r in one.source.rejections] == [at + 1 for at in BAD]
    assert one.contexts.sizes.tolist() == other.contexts.sizes.tolist()
    assert one.labels.length.tolist() == other.labels.length.tolist()
    assert one.lag.tolist() == other.lag.tolist()
    for name in ("mu", "old", "ref"):
        np.testing.assert_allclose(one.log_prob(name, ""), other.log_prob(name, ""), rtol=double(9))
    assert one.gaps.keys() == other.gaps.keys()
    assert ("old", "mu, stale") in one.gaps
    for pair, by_step in one.gaps.items():
        assert by_step.keys() == other.gaps[pair].keys()
        for step, sums in by_step.items():
            for name, value in vars(sums).items():
                wanted = getattr(other.gaps[pair][step], name)
                assert value == pytest.approx(wanted, rel=double(200, 10), abs=double(200, 10)), (
                    pair,
                    step,
                    name,
                )


def test_sums_are_those_of_plain_python(tmp_path: Path) -> None:
    table = rows()
    path, _ = save(table, tmp_path)
    reading = read(path)
    assert reading.log_mu.tolist() == pytest.approx(
        [math.fsum(min(x, 0.0) for x in row["log_mu_tokens"]) for row in table], rel=double(9)
    )
    fresh = [row for row in table if row["lag"] == 0 and row["step"] == 1]
    gaps = [
        min(a, 0.0) - min(b, 0.0)
        for row in fresh
        for a, b in zip(row["log_old_tokens"], row["log_mu_tokens"], strict=True)
    ]
    sums = reading.gaps["old", "mu"][1]
    assert sums.tokens == len(gaps)
    assert sums.total == pytest.approx(math.fsum(gaps))
    assert sums.k3 == pytest.approx(math.fsum(math.exp(x) - 1 - x for x in gaps))


def test_a_hole_in_a_list_is_not_a_number(tmp_path: Path) -> None:
    table = rows()
    table[4]["log_mu_tokens"] = [-1.0, None]
    (found,) = read(save(table, tmp_path)[0], max_rejected=0.1).source.rejections
    assert (found.row, found.name, found.value, found.why) == (
        5,
        "log_mu_tokens",
        "nan",
        "not a number",
    )


def test_rows_without_a_list_count_as_unknown(tmp_path: Path) -> None:
    table = rows()
    for at in (2, 40):
        table[at]["log_ref_tokens"] = None
    path, _ = save(table, tmp_path)
    reading = read(path, max_rejected=0.05)
    assert [r.name for r in reading.source.rejections] == ["log_ref_tokens"] * 2
    for row in table:
        row["log_ref_tokens"] = None if row["context"] < "c5" else row["log_ref_tokens"]
    path, _ = save(table, tmp_path)
    assert "ref" not in read(path).recorded


@pytest.mark.parametrize("kind", [pl.Float64, pl.List(pl.String), pl.String])
def test_a_column_of_another_type_is_refused_once(tmp_path: Path, kind: Any) -> None:
    frame = pl.DataFrame(rows()).with_columns(pl.lit(None, dtype=kind).alias("log_mu_tokens"))
    frame.write_parquet(tmp_path / "x.parquet")
    with pytest.raises(DataError, match="not a list of one number per token"):
        read(tmp_path)


@pytest.mark.parametrize("kind", [pl.List(pl.Float32), pl.List(pl.Int64), pl.Array(pl.Float64, 2)])
def test_lists_of_any_number_are_read(tmp_path: Path, kind: Any) -> None:
    frame = pl.DataFrame(rows()).drop("log_old_tokens", "log_ref_tokens")
    lists = pl.Series("log_mu_tokens", [[-1.0, -2.0]] * 60).cast(kind)
    frame.with_columns(lists).write_parquet(tmp_path / "x.parquet")
    assert read(tmp_path).log_mu.tolist() == [-3.0] * 60


def test_lag_of_own_rows_is_kept(tmp_path: Path) -> None:
    table = rows()
    for path in save(table, tmp_path):
        assert read(path).lag.tolist() == [row["lag"] for row in table]
