"""Tables written step by step."""

import numpy as np
import polars as pl
import pytest

from tod.base import DataError
from tod.runs import Parts
from tod.runs.table_parts import ROLLOUTS


def rows(step, n=3):
    return {
        "context": [7] * n,
        "candidate": np.arange(n),
        "prompt": ["p"] * n,
        "completion": [f"{step}-{i}" for i in range(n)],
        "utility.correct": np.linspace(0, 1, n),
        "log_mu": [-1.5] * n,
        "log_mu_tokens": [np.full(i + 1, -0.5, dtype=np.float32) for i in range(n)],
    }


@pytest.fixture
def parts(tmp_path):
    return Parts(tmp_path / "rollouts", ROLLOUTS)


def test_round_trip(parts):
    for step in (1, 2):
        parts.write(step, rows(step))
    frame = parts.scan().collect()
    assert frame["step"].to_list() == [1, 1, 1, 2, 2, 2]
    assert frame["completion"][3] == "2-0"
    assert frame["log_mu_tokens"][2].to_list() == [-0.5] * 3
    assert frame["utility.correct"].to_list()[:3] == [0.0, 0.5, 1.0]


def test_types_do_not_depend_on_the_values(parts):
    parts.write(1, rows(1) | {"log_ref": [None] * 3, "utility.correct": [0, 1, 1]})
    parts.write(2, rows(2) | {"log_ref": [-1.0, None, -2.0], "context": ["a", "b", "c"]})
    schema = parts.scan().collect_schema()
    assert schema["log_ref"] == schema["utility.correct"] == pl.Float64
    assert schema["context"] == pl.String


def test_a_column_only_some_steps_have_is_null_elsewhere(parts):
    parts.write(1, rows(1))
    parts.write(2, rows(2) | {"log_ref": [-1.0] * 3})
    assert parts.scan().collect()["log_ref"].to_list() == [None] * 3 + [-1.0] * 3


def test_nothing_written(parts):
    assert parts.scan() is None
    parts.truncate_after(0)


def test_parts_of_several_steps(tmp_path):
    parts = Parts(tmp_path / "r", ROLLOUTS, every=2)
    for step in (1, 2, 3):
        parts.write(step, rows(step))
    assert [path.name for path in parts.paths()] == ["part-000001-000002.parquet"]
    parts.flush()
    assert [path.name for path in parts.paths()][1] == "part-000003-000003.parquet"
    parts.flush()
    assert len(parts.paths()) == 2


def test_order_is_that_of_steps_not_of_names(parts):
    for step in (999_999, 1_000_000, 2_000_000):
        parts.write(step, rows(step))
    assert parts.scan().collect()["step"].unique(maintain_order=True).to_list() == [
        999_999,
        1_000_000,
        2_000_000,
    ]


@pytest.mark.parametrize("every", [1, 4])
def test_truncate_then_continue_leaves_the_same_rows(tmp_path, every):
    def run(name, upto, start=1):
        parts = Parts(tmp_path / name, ROLLOUTS, every)
        for step in range(start, upto + 1):
            parts.write(step, rows(step))
            if step % 3 == 0:
                parts.flush()
        parts.flush()
        return parts

    whole = run("a", 8)
    run("b", 5).truncate_after(3)
    resumed = run("b", 8, start=4)
    assert resumed.scan().collect().equals(whole.scan().collect())
    assert [p.name for p in resumed.paths()] == [p.name for p in whole.paths()]
    for mine, theirs in zip(resumed.paths(), whole.paths(), strict=True):
        assert mine.read_bytes() == theirs.read_bytes()


def test_truncate_inside_a_part(tmp_path):
    parts = Parts(tmp_path / "r", ROLLOUTS, every=4)
    for step in range(1, 5):
        parts.write(step, rows(step))
    parts.truncate_after(2)
    assert parts.scan().collect()["step"].unique().sort().to_list() == [1, 2]


def test_unequal_lengths_are_refused(parts):
    with pytest.raises(DataError, match="unequal length"):
        parts.write(1, rows(1) | {"log_mu": [-1.0]})


def test_missing_and_unknown_columns_are_named(parts):
    data = rows(1)
    del data["prompt"]
    with pytest.raises(DataError, match=r"\['prompt'\] are missing"):
        parts.write(1, data)
    with pytest.raises(DataError, match="'logmu' is not part of the format"):
        parts.write(1, rows(1) | {"logmu": [0.0] * 3})


def test_wrong_type_is_named(parts):
    with pytest.raises(DataError, match=r"'utility\.correct' cannot be stored"):
        parts.write(1, rows(1) | {"utility.correct": ["good", "bad", "ugly"]})


def test_nan_is_unknown_and_minus_infinity_is_not(parts):
    parts.write(1, rows(1) | {"log_w": [float("nan"), -float("inf"), 0.0]})
    assert parts.scan().collect()["log_w"].to_list() == [None, -float("inf"), 0.0]


def test_the_step_is_the_argument(parts):
    parts.write(4, rows(1) | {"step": [None] * 3})
    assert parts.scan().collect()["step"].to_list() == [4, 4, 4]
