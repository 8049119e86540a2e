"""What a reading says of its files: roles read, what tells groups apart, rewards as text."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tod.cli.main import app
from tod.formats import read

GROUPING = {
    "write_tod": "ids",
    "write_verl": "ids",
    "write_nemo": "runs",
    "write_trl": "runs",
    "write_swift": "runs",
    "write_skyrl_evals": "runs",
}


@pytest.mark.parametrize("writer", GROUPING)
def test_what_tells_groups_apart(writers: Any, world: Any, tmp_path: Path, writer: str) -> None:
    assert read(getattr(writers, writer)(world, tmp_path)).source.grouping == GROUPING[writer]


def test_verl_without_uids_groups_by_prompts(writers: Any, world: Any, tmp_path: Path) -> None:
    assert read(writers.write_verl(world, tmp_path, version=0)).source.grouping == "prompts"


def test_token_exports_alone_have_no_groups(writers: Any, world: Any, tmp_path: Path) -> None:
    """Not as many prompts with one candidate each: nothing says which are of one prompt."""
    root = writers.write_prime(world, tmp_path)
    alone = read(root / "token_exports")
    assert alone.source.grouping == "none"
    assert "traces.jsonl" in alone.needs["context"]
    assert read(root).source.grouping == "ids"


def test_roles_are_those_that_were_read(writers: Any, world: Any, tmp_path: Path) -> None:
    reading = read(writers.write_tod(world, tmp_path / "own"))
    logs = {"log_mu", "log_old", "log_ref"}
    others = {"utility.reward", "length", "prompt", "completion"}
    assert set(reading.source.roles) == others | logs
    skyrl = read(writers.write_skyrl(world, tmp_path / "skyrl"))
    assert not {"prompt", "completion"} & set(skyrl.source.roles)
    assert any(item.what == "prompts" for item in skyrl.cannot)
    evals = read(writers.write_skyrl_evals(world, tmp_path / "evals"))
    assert {"prompt", "completion"} <= set(evals.source.roles)
    assert "dump_data_batch" in evals.needs["mu"]


def test_rewards_written_as_text_are_named(writers: Any, world: Any, tmp_path: Path) -> None:
    import polars as pl

    root = writers.write_trl(world, tmp_path / "trl")
    for path in (root / "completions").glob("*.parquet"):
        rewards = pl.col("accuracy_reward", "format_reward").cast(pl.String)
        pl.read_parquet(path).with_columns(rewards).write_parquet(path)
    reading = read(root)
    assert reading.source.tier == "E"
    assert set(reading.source.text_valued) == {"accuracy_reward", "format_reward"}
    row = {"step": ["1"] * 2, "prompt": ["q"] * 2, "completion": ["a", "b"]}
    row |= {"Math": ["1.0", "0.0"], "advantages": [1.0, -1.0]}
    swift = read(writers.lines(tmp_path / "swift/completions.jsonl", [row]))
    assert swift.source.text_valued == ("Math",)
    verl = [{"input": "q", "output": "a", "score": 1.0, "step": 1, "acc": "1.0"}]
    assert read(writers.lines(tmp_path / "verl/1.jsonl", verl)).source.text_valued == ("acc",)


def mapped(writers: Any, path: Path, suffix: str, **more: Any) -> Path:
    import polars as pl

    rows = [
        {"q": f"c{i // 8}", "ask": f"what {i // 8}?", "said": f"it is {i}", "r": float(i % 3)}
        | {name: values[i] for name, values in more.items()}
        for i in range(1600)
    ]
    if suffix == ".jsonl":
        return writers.lines(path / "x.jsonl", rows)  # type: ignore[no-any-return]
    path.mkdir()
    pl.DataFrame(rows, infer_schema_length=None).write_parquet(path / "x.parquet")
    return path / "x.parquet"


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_text_columns_have_the_names_that_were_given(
    writers: Any, tmp_path: Path, suffix: str
) -> None:
    path = mapped(writers, tmp_path / "dump", suffix)
    roles = {"utility": "r", "context": "q"}
    assert read(path, mapping=roles).read_texts is None
    named = read(path, mapping={**roles, "prompt": "ask", "completion": "said"})
    first = named.texts([1], most=2)[1]
    assert [(t.prompt, t.completion) for t in first] == [
        ("what 1?", "it is 8"),
        ("what 1?", "it is 9"),
    ]
    half = read(path, mapping={**roles, "completion": "said"})
    assert half.texts([0], most=1)[0][0].completion == "it is 0"
    assert "prompt" not in half.source.roles
    assert half.needs["text"] == "a column of text: --map prompt=COLUMN"
    words = ["diagnose", str(path), "--eta", "1", "--texts", "--map", "utility=r,context=q"]
    done = CliRunner().invoke(app, [*words, "--map", "completion=said"], env={"COLUMNS": "80"})
    assert done.exit_code == 0, (done.output, done.exception)


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_one_answer_that_is_missing_costs_its_row(
    writers: Any, tmp_path: Path, suffix: str
) -> None:
    answers = [None if i == 77 else str(i % 3) for i in range(1600)]
    path = mapped(writers, tmp_path / "dump", suffix, parsed=answers)
    roles = {"utility": "r", "context": "q", "answer": "parsed"}
    reading = read(path, mapping=roles)
    assert reading.labels.answer is not None
    assert (reading.source.rows, reading.source.rejected) == (1599, 1)
    (refused,) = reading.source.rejections
    assert (refused.row, refused.name, refused.why) == (78, "parsed", "missing")


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_a_column_that_many_rows_lack_is_left_out_with_a_word(
    writers: Any, tmp_path: Path, suffix: str
) -> None:
    known = [None if i % 2 else i for i in range(1600)]
    path = mapped(writers, tmp_path / "dump", suffix, parsed=known, behind=known)
    roles = {"utility": "r", "context": "q", "answer": "parsed", "lag": "behind"}
    reading = read(path, mapping=roles)
    assert reading.labels.answer is None
    assert reading.lag is None
    for name in ("parsed", "behind"):
        assert f"{name} is missing in 800 of 1600 rows: left out" in reading.source.notes
