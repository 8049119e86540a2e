"""What a refusal says of the file is true, and its way out works."""

import gzip
import json
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tod.base import DataError
from tod.formats import read


def rows(count: int = 40) -> list[dict[str, Any]]:
    return [
        {"step": 1, "context": f"c{i // 8}", "candidate": i % 8, "utility.r": float(i % 3)}
        for i in range(count)
    ]


def lines(table: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in table)


def refusal(paths: Any, **more: Any) -> str:
    with pytest.raises(DataError) as caught:
        read(paths, **more)
    return str(caught.value)


@pytest.mark.parametrize(("ending", "separator"), [("csv", ","), ("tsv", "\t"), ("CSV", ",")])
def test_the_line_for_csv_makes_a_file_that_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, separator: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / f"pos.{ending}"
    pl.DataFrame(rows()).write_csv(path, separator=separator)
    for mapping in (None, {"utility": "utility.r", "context": "context"}):
        said = refusal(path, mapping=mapping)
        assert "CSV is not read" in said
        found = re.search(r"polars\.(read_csv.*)$", said)
        assert found is not None
        eval(f"pl.{found[1]}", {"pl": pl})  # noqa: S307 - our own line, as a person would run it
        assert read("pos.parquet").source.rows == 40


def test_csv_beside_rollouts_does_not_stop_the_reading(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("step,loss\n1,2\n")
    (tmp_path / "1.jsonl").write_text(lines(rows()))
    both = sorted(tmp_path.iterdir())
    assert read(both).source.rows == 40
    mapping = {"utility": "utility.r", "context": "context"}
    assert "metrics.csv: CSV is not read" in refusal(both, mapping=mapping)


def test_a_plain_file_named_gz_is_no_damaged_one(tmp_path: Path) -> None:
    path = tmp_path / "1.jsonl.gz"
    path.write_text(lines(rows()))
    said = refusal(path)
    assert "not gzip" in said
    assert '{"step' in said
    assert "damaged" not in said
    assert read(path.rename(tmp_path / "1.jsonl")).source.rows == 40
    path.write_bytes(gzip.compress(lines(rows()).encode())[:-20])
    assert "damaged" in refusal(path)


def test_bytes_that_are_not_utf8_are_shown(tmp_path: Path) -> None:
    path = tmp_path / "1.jsonl"
    table = [row | {"context": row["context"] + "\u00e9"} for row in rows()]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in table)
    path.write_bytes(text.encode("latin-1"))
    said = refusal(path, format="tod")
    assert r"c0\xe9" in said
    assert "iconv" in said
    assert "--map" not in said
    path.write_bytes(path.read_bytes().decode("latin-1").encode())
    assert read(path).source.rows == 40


def test_a_line_that_is_no_json_is_not_mended_by_another_utility(tmp_path: Path) -> None:
    path = tmp_path / "1.jsonl"
    path.write_text(lines(rows()) + "{]\n" * 4)
    said = refusal(path)
    assert "Mend these rows, or allow more" in said
    path.write_text(lines([*rows(), *(row | {"utility.r": None} for row in rows(4))]))
    assert "another reward with --map" in refusal(path)


def test_a_candidate_twice_in_one_file_is_no_resumed_run(tmp_path: Path) -> None:
    path = tmp_path / "1.jsonl"
    path.write_text(lines([*rows(), rows()[0]]))
    (note,) = read(path).source.notes
    assert note == "1 row was written twice: the last one counts"
