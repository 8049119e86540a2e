"""Fields of rows: their types and ranges, and refusals in the file's own words."""

import json
from hashlib import blake2b
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tod.base import DataError
from tod.formats import read
from tod.formats.columns import Rejection

HUGE = (10**30, 10**400, -(10**19))
NAMED = ("1e30", "1e400", "-1e19")


def own(count: int = 80, **columns: Any) -> list[dict[str, Any]]:
    return [
        {"step": i // 40, "context": f"c{i // 4}", "candidate": i % 4, "utility.r": float(i % 3)}
        | {"log_mu": -1.0 - i % 5}
        | columns
        for i in range(count)
    ]


def save(rows: list[Any], path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pl.DataFrame(rows).write_parquet(path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def only(path: Path, **given: Any) -> Rejection:
    """The one refusal of a file."""
    source = read(path, max_rejected=0.2, **given).source
    assert source.rejected == 1
    return source.rejections[0]


@pytest.mark.parametrize("name", ["x.jsonl", "x.parquet"])
@pytest.mark.parametrize("stated", [1, 3])
def test_lists_of_another_length_than_stated(tmp_path: Path, name: str, stated: int) -> None:
    rows = own(log_mu_tokens=[-1.0, -2.0], log_ref_tokens=[-1.5, -2.0], length=2)
    rows[7]["length"] = stated
    found = only(save(rows, tmp_path / name))
    assert (found.row, found.name, found.value) == (8, "length", str(stated))
    assert found.why == "2 tokens in log_mu_tokens"


@pytest.mark.parametrize("name", ["x.jsonl", "x.parquet"])
def test_a_length_without_lists_is_what_it_is(tmp_path: Path, name: str) -> None:
    rows = own(log_mu_tokens=[-1.0, -2.0], length=2)
    rows[4] |= {"log_mu_tokens": None, "length": 9}
    reading = read(save(rows, tmp_path / name), max_rejected=0.2)
    assert reading.source.rejected == 1  # log mu of one row is unknown
    assert set(reading.labels.length.tolist()) == {2}


@pytest.mark.parametrize("value", HUGE, ids=NAMED)
@pytest.mark.parametrize("field", ["step", "candidate", "length", "lag", "context", "utility.r"])
def test_whole_numbers_out_of_range_in_own_rows(tmp_path: Path, field: str, value: int) -> None:
    rows = own(length=3, lag=0)
    rows[7][field] = value
    path = save(rows, tmp_path / "x.jsonl")
    if field == "utility.r" and abs(value) < 10**300:
        assert read(path).source.rejected == 0
        return
    found = only(path)
    assert (found.row, found.name) == (8, field)


FIELDS = {
    "verl": ("write_verl", "1.jsonl", ["step", "score"]),
    "nemo-rl": ("write_nemo", "exp_001/train_data_step1.jsonl", ["idx", "token_ids.0.0"]),
    "tinker": (
        "write_tinker",
        "iteration_000001/train_rollout_summaries.jsonl",
        ["iteration", "group_idx", "traj_idx", "sampling_client_step", "steps.0.ac_len"],
    ),
    "open-instruct": (
        "write_open_instruct",
        "run_rollouts_000000.jsonl",
        ["step", "sample_idx", "prompt_idx", "response_tokens.0", "reward"],
    ),
    "areal": ("write_areal", None, ["task_id", "sample_idx", "tail_version", "seqlen", "reward"]),
    "prime-rl": (
        "write_prime",
        "rollouts/step_1/train/effective/traces.jsonl",
        ["run.work.step", "run.work.policy.start", "traces.0.nodes.0.token_ids.0"],
    ),
}


@pytest.mark.parametrize("value", HUGE, ids=NAMED)
@pytest.mark.parametrize(
    ("name", "field"), [(name, field) for name, case in FIELDS.items() for field in case[2]]
)
def test_whole_numbers_out_of_range_in_dumps(
    writers: Any, world: Any, tmp_path: Path, name: str, field: str, value: int
) -> None:
    """A refusal of that field, or a float that is merely large."""
    writer, place, _ = FIELDS[name]
    root = getattr(writers, writer)(world, tmp_path)
    path = root / place if place else next(p for p in sorted(root.rglob("*.jsonl")))
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    *inner, last = [int(part) if part.isdigit() else part for part in field.split(".")]
    holder = rows[0]
    for part in inner:
        holder = holder[part]
    holder[last] = value
    save(rows, path)
    source = read(root, max_rejected=1.0).source
    if field in ("score", "reward") and abs(value) < 10**300:
        assert source.rejected == 0
        return
    assert source.rejected >= 1
    assert source.rejections[0].name.split("[")[0].split(".")[0] == field.split(".")[0]


@pytest.mark.parametrize("value", HUGE, ids=NAMED)
def test_huge_rewards_in_lists_and_pickles(
    writers: Any, world: Any, tmp_path: Path, value: int
) -> None:
    path = writers.write_swift(world, tmp_path / "swift") / "completions.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[0]["MathAccuracy"][0] = value
    save(rows, path)
    assert read(path, max_rejected=1.0).source.rejected == (abs(value) > 10**300)


@pytest.mark.parametrize(("held", "shown"), [("good", "'good'"), ({"a": 1}, "{'a': 1}")])
def test_a_refusal_shows_what_the_row_held(tmp_path: Path, held: Any, shown: str) -> None:
    rows = own()
    rows[5]["utility.r"] = held
    found = only(save(rows, tmp_path / "x.jsonl"))
    assert (found.row, found.name, found.value) == (6, "utility.r", shown)


@pytest.mark.parametrize(("held", "shown"), [(1.5, "1.5"), (1e30, "1e+30"), (None, "null")])
def test_a_refusal_shows_what_the_cell_held(tmp_path: Path, held: Any, shown: str) -> None:
    rows = [row | {"step": float(row["step"])} for row in own()]
    rows[5]["step"] = held
    found = only(save(rows, tmp_path / "x.parquet"))
    assert (found.row, found.name, found.value) == (6, "step", shown)


def test_text_in_the_place_of_numbers_is_refused_by_column(tmp_path: Path) -> None:
    path = save([row | {"utility.r": "good"} for row in own()], tmp_path / "x.parquet")
    with pytest.raises(DataError, match=r"'utility\.r' holds String, not one number a row"):
        read(path)


def test_refusals_name_the_files_own_field(writers: Any, world: Any, tmp_path: Path) -> None:
    root = writers.write_nemo(world, tmp_path / "nemo")
    path = root / "exp_001/train_data_step1.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    on = rows[3]["token_loss_mask"][0].index(1)
    rows[3]["prev_logprobs"][0][on] = 2.0
    save(rows, path)
    found = only(root)
    assert (found.row, found.name, found.value) == (4, "prev_logprobs", "2.0")
    table = own()
    table[9]["log_mu"] = 2.0
    named = save([{"logp": row.pop("log_mu"), **row} for row in table], tmp_path / "x.jsonl")
    mapping = {"utility": "utility.r", "context": "context", "log_mu": "logp"}
    assert only(named, mapping=mapping).name == "logp"


def test_contexts_by_prompt_are_told_by_eight_bytes(tmp_path: Path) -> None:
    """Four bytes would join two of 125 000 prompts more often than not."""
    rows = [{"prompt": row.pop("context"), **row} for row in own()]
    reading = read(
        save(rows, tmp_path / "x.jsonl"), mapping={"utility": "utility.r", "prompt": "prompt"}
    )
    wanted = [blake2b(f"c{i}".encode(), digest_size=8).hexdigest() for i in range(20)]
    assert list(reading.labels.context) == wanted
