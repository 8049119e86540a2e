"""Kinds of logs by hand: what each line of them must give."""

import gzip
import json
import math
from pathlib import Path

import numpy as np
import pytest
from wandb_bytes import run_file

from tod.base import DataError
from tod.logs import Log, detect, join, read_log, recognise
from tod.runs.records import Ledger, StepRecord


def jsonl(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def listed(log: Log, name: str) -> list[float | None]:
    column = log.values[name] if name in log.values else log.other[name]
    return [None if math.isnan(value) else value for value in column.tolist()]


def test_sparse_rows_of_one_step_merge(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"_step": 0, "train/global_step": 1, "train/reward": 0.5},
        {"_step": 1, "train/global_step": 1, "train/kl": 0.01, "train/reward": None},
        {"_step": 2, "eval/acc": 0.25},
        {"_step": 3, "train/global_step": 2, "train/reward": 0.75},
    ]
    path = jsonl(tmp_path / "history.jsonl", rows)
    log = read_log(path)
    assert detect(path) == "json lines"
    assert log.steps.tolist() == [1, 2]
    assert listed(log, "reward") == [0.5, 0.75]
    assert listed(log, "kl") == [0.01, None]
    assert listed(log, "eval.acc") == [0.25, None]  # a row without a step is of the step before it
    whole = tmp_path / "history.json"
    whole.write_text(json.dumps(rows))
    assert detect(whole) == "wandb table"
    assert read_log(whole).steps.tolist() == [1, 2]


def test_pandas_shapes_of_a_history(tmp_path: Path) -> None:
    path = tmp_path / "history.json"
    columns = {"_step": {"0": 3, "1": 4}, "reward": {"0": 0.5, "1": None}}
    path.write_text(json.dumps(columns))
    assert listed(read_log(path), "reward") == [0.5, None]
    table = {"columns": ["_step", "reward"], "data": [[3, 0.5], [4, None]], "index": [0, 1]}
    path.write_text(json.dumps(table))
    log = read_log(path)
    assert log.steps.tolist() == [3, 4]
    assert listed(log, "reward") == [0.5, None]


def test_wandb_panel_csv(tmp_path: Path) -> None:
    path = tmp_path / "panel.csv"
    path.write_text(
        '"Step","grpo-1 - train/reward","grpo-1 - train/reward__MIN","grpo-1 - train/reward__MAX"\n'
        '"1","0.5","0.5","0.5"\n"2","","",""\n"3","NaN","NaN","NaN"\n'
    )
    log = read_log(path)
    assert detect(path) == "wandb table"
    assert log.steps.tolist() == [1, 3]  # step 2 has no figure of this run
    assert listed(log, "reward") == [0.5, None]
    assert log.keys == {"reward": "train/reward"}
    assert log.not_finite["train/reward"].tolist() == [3]
    two = tmp_path / "two.csv"
    two.write_text(
        '"train/global_step","a - reward","b - reward"\n"1","0.5","0.75"\n"2","0.5",""\n'
    )
    with pytest.raises(DataError, match=r"2 runs \(a, b\)"):
        read_log(two)
    assert listed(read_log(two, run="b"), "reward") == [0.75]
    assert listed(read_log(two, run="a"), "reward") == [0.5, 0.5]
    with pytest.raises(DataError, match=r"2 runs"):
        read_log(two, run="c")


def test_csv_with_a_step_column(tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    path.write_text("step,loss,lr\n1,2.5,1e-4\n2,,1e-4\n3,x,\n4,1,2,3\n")
    log = read_log(path)
    assert detect(path) == "csv"
    assert listed(log, "loss") == [2.5, None, None]
    assert listed(log, "learning_rate") == [1e-4, 1e-4, None]
    assert [(r.line, r.field, r.value) for r in log.rejected] == [
        (5, "line", "4,1,2,3"),
        (4, "loss", "x"),
    ]
    assert str(log.rejected[1]).endswith("line 4: loss = x: not a number")


def test_a_table_without_a_step_in_some_rows(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    path.write_text(
        ",_step,train/global_step,train/reward,eval/acc\n"
        "0,0,10,0.5,\n1,1,,,0.25\n2,2,20,0.75,\n3,3,,,0.5\n"
    )
    log = read_log(path)
    assert detect(path) == "wandb table"
    assert log.steps.tolist() == [10, 20]
    assert listed(log, "reward") == [0.5, 0.75]
    assert listed(log, "eval.acc") == [0.25, 0.5]
    assert log.rejected == ()


def test_verl_console_behind_ray_and_colours(tmp_path: Path) -> None:
    path = tmp_path / "train.log"
    path.write_bytes(
        b"INFO starting\n"
        b"\x1b[36m(TaskRunner pid=41)\x1b[0m step:1 - critic/score/mean:0.25 - actor/pg_loss:-0.5\n"
        b"(TaskRunner pid=41) Training Progress:  1%| 1/100 [00:10<?, 10s/it]\n"
        b"\x1b[36m(TaskRunner pid=41)\x1b[0m step:2 - critic/score/mean:np.float64(0.5)"
        b" - actor/pg_loss:nan - val-core/a b/reward/mean@1:1.0\n"
        b"(TaskRunner pid=41) step:3 - critic/score/mean:0.75 - actor/pg_loss:-0."
    )
    log = read_log(path)
    assert detect(path) == "console"
    assert log.framework == "verl"
    assert listed(log, "reward") == [0.25, 0.5, 0.75]
    assert listed(log, "loss") == [-0.5, None, None]
    assert log.not_finite["actor/pg_loss"].tolist() == [2]
    assert listed(log, "eval.a b/reward/mean@1") == [None, 1.0, None]
    assert any("line 5 is cut off" in note for note in log.notes)


def test_a_step_behind_ten_thousand_lines_of_answers(tmp_path: Path) -> None:
    path = tmp_path / "output.log"
    answers = "<think> step by step: first, x = 3 </think>\n" * 10_000
    path.write_text(answers + "step:1 - critic/score/mean:0.094 - actor/pg_loss:0.5\n")
    assert detect(path) == "console"
    assert listed(read_log(path), "reward") == [0.094]


def test_lines_that_spell_figures_out(tmp_path: Path) -> None:
    path = tmp_path / "grpo.log"
    head = "trainable: 25.83 M\n[DEBUG] step=1, sample[0]\n[DEBUG] gen[0] reward=-1.3711\n"
    path.write_text(
        head + "Epoch:[1/2](1/40), Reward: -2.25, KL_ref: -0.25, Adv Std: 0.5, Avg Response Len:"
        " 270.5, Learning Rate: 0.00000030\n"
        "Epoch:[2/2](3/40), Reward: 1.5, KL_ref: 0.125, Adv Std: nan, Avg Response Len: 297.00,"
        " Learning Rate: 3e-7\n"
        "Epoch:[2/2](4/40), Reward: 1.5, KL_ref: 0.125, Adv Std: 0.5, Avg Resp"
    )
    log = read_log(path)
    assert detect(path) == "console"
    assert log.framework == "minimind"
    assert log.steps.tolist() == [1, 43, 44]
    assert listed(log, "reward") == [-2.25, 1.5, 1.5]
    assert listed(log, "kl") == [0.25, -0.125, -0.125]  # it logs log p_ref - log p
    assert listed(log, "length") == [270.5, 297.0, None]
    assert listed(log, "learning_rate") == [3e-7, 3e-7, None]
    assert any("is cut off" in note for note in log.notes)


def test_steps_between_bars(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    line = "[A_baseline] Step {:3d}/30 | loss={:.4f} | reward={:.3f} | acc=80.0%\n"
    path.write_text(
        "Run: 88ed2271 | LR=3e-05 group=8\n"
        + "".join(line.format(step, -step / 4, step / 8) for step in (1, 2, 5))
        + "saved step 5 | loss was good\n"
    )
    log = read_log(path)
    assert log.steps.tolist() == [1, 2, 5]
    assert listed(log, "loss") == [-0.25, -0.5, -1.25]
    assert listed(log, "reward") == [0.125, 0.25, 0.625]


def test_dicts_stand_before_lines_that_are_spelt_out(tmp_path: Path) -> None:
    path = tmp_path / "out.log"
    row = "{{'loss': {0}, 'reward': 0.5, 'learning_rate': 1e-06, 'epoch': 0.{0}}}\n"
    path.write_text("".join(f"Step {i}: loss=9, reward=9\n" + row.format(i) for i in (1, 2, 3)))
    assert listed(read_log(path), "loss") == [1.0, 2.0, 3.0]


def test_dicts_that_trainers_print(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    path.write_text(
        "  0%|          | 0/3 [00:00<?, ?it/s]\r"
        "{'loss': '0.6929', 'grad_norm': 2.5, 'learning_rate': 1e-06, 'epoch': 0.5}\n"
        "{'loss': nan, 'grad_norm': np.float64(3.5), 'learning_rate': '5e-07', 'epoch': 1.0}\n"
    )
    log = read_log(path)
    assert log.steps.tolist() == [1, 2]
    assert "no step is written: rows are numbered from 1" in log.notes
    assert listed(log, "loss") == [0.6929, None]
    assert listed(log, "grad_norm") == [2.5, 3.5]
    assert listed(log, "epoch") == [0.5, 1.0]
    slime = tmp_path / "slime.log"
    slime.write_text(
        "[2026-01-01 00:00:00] model.py:1 - step 4: {'train/loss': 0.5, 'train/ppo_kl': 0.01}\n"
        "[2026-01-01 00:00:01] x.py:2 - rollout 5: {'rollout/raw_reward': 0.25, 'x': [1, 2]}\n"
    )
    log = read_log(slime)
    assert log.framework == "slime"
    assert log.steps.tolist() == [4, 5]
    assert listed(log, "reward") == [None, 0.25]


def test_configurations_that_are_printed_are_no_figures(tmp_path: Path) -> None:
    path = tmp_path / "verl_demo.log"
    path.write_text(
        "{'actor': {'optim': {'learning_rate': 1e-06, 'epochs': 3, 'epoch': 1}}}\n"
        "step:1 - critic/score/mean:0.25 - actor/lr:1e-06\n"
    )
    log = read_log(path)
    assert log.steps.tolist() == [1]
    assert (set(log.values), set(log.other)) == ({"reward", "learning_rate"}, set())


def test_updates_of_slime_stand_at_their_rollout(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = []
    for rollout in range(3):
        rows.append({"rollout/step": rollout, "rollout/raw_reward": rollout / 4})
        for update in range(4):
            at = rollout * 4 + update
            rows.append({"train/step": at, "train/ppo_kl": at / 8})
    log = read_log(jsonl(tmp_path / "metrics.jsonl", rows))
    assert log.steps.tolist() == [0, 1, 2]
    assert listed(log, "reward") == [0.0, 0.25, 0.5]
    assert listed(log, "policy_kl") == [3 / 8, 7 / 8, 11 / 8]  # the last update of each
    assert any("4 updates a rollout" in note for note in log.notes)


def test_ms_swift_steps_are_written_of_a_total(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"loss": 1.5, "reward": 0.5, "global_step/max_steps": "1/20", "memory(GiB)": 3.5},
        {"loss": 1.25, "reward": 0.75, "global_step/max_steps": "2/20", "memory(GiB)": 3.5},
        {"train_runtime": 3.5, "frac_reward_zero_std": 0.5, "completions/mean_length": 10.0},
    ]
    log = read_log(jsonl(tmp_path / "logging.jsonl", rows))
    assert log.framework == "ms-swift"
    assert log.steps.tolist() == [1, 2]
    assert listed(log, "loss") == [1.5, 1.25]


def test_a_list_of_ray_results(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text(
        json.dumps(
            [
                {
                    "training_iteration": step,
                    "env_runners": {"episode_return_mean": step / 2},
                    "time_this_iter_s": 1.5,
                    "done": False,
                    "hostname": "h",
                }
                for step in (1, 2)
            ]
        )
    )
    log = read_log(path)
    assert (detect(path), log.framework) == ("json", "rllib")
    assert listed(log, "reward") == [0.5, 1.0]
    assert listed(log, "step_time") == [1.5, 1.5]


def wandb_run(folder: Path, name: str, begin: float, steps: range, loss: float) -> None:
    inner = folder / "wandb" / name
    inner.mkdir(parents=True)
    rows = [
        {"_step": s, "_timestamp": begin + s, "train/global_step": s, "loss": loss} for s in steps
    ]
    (inner / f"run-{name}.wandb").write_bytes(run_file(rows))


def test_runs_that_go_on_are_one_and_others_are_not(tmp_path: Path) -> None:
    wandb_run(tmp_path, "b", 1000.0, range(1, 6), 1.0)
    wandb_run(tmp_path, "a", 2000.0, range(4, 8), 2.0)  # resumed at step 4, later in time
    log = read_log(tmp_path)
    assert log.steps.tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert listed(log, "loss") == [1.0] * 3 + [2.0] * 4
    wandb_run(tmp_path, "c", 3000.0, range(1, 3), 3.0)  # begins anew
    log = read_log(tmp_path)
    assert log.steps.tolist() == [1, 2]
    assert listed(log, "loss") == [3.0, 3.0]
    assert "2 runs in this folder: the last is read; others: b" in log.notes
    wandb_run(tmp_path, "d", 4000.0, range(1, 2), 4.0)  # begins at the same step: another run
    assert listed(read_log(tmp_path), "loss") == [4.0]


def test_links_out_of_a_folder_are_not_followed(tmp_path: Path) -> None:
    outside = jsonl(tmp_path / "outside.jsonl", [{"step": 1, "loss": 0.5}])
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "metrics.jsonl").symlink_to(outside)
    assert detect(folder) is None
    assert detect(folder / "metrics.jsonl") == "json lines"  # named itself


def test_a_folder_of_rollouts_is_looked_at_only_a_little(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(60):
        jsonl(tmp_path / f"{number}.jsonl", [{"step": number, "prompt": "a", "score": 1.0}])
    jsonl(tmp_path / "metrics.jsonl", [{"step": 1, "loss": 0.5}])
    seen: list[str] = []
    real = recognise.first_objects
    monkeypatch.setattr(recognise, "first_objects", lambda p: seen.append(p.name) or real(p))
    assert detect(tmp_path) == "json lines"
    assert (seen[0], len(seen)) == ("metrics.jsonl", 21)


def test_our_own_run(tmp_path: Path) -> None:
    record = StepRecord(
        step=3,
        utility={"correct": 0.25},
        knobs={"eta": 2.0},
        ledger=Ledger(train_tokens=100),
        optimiser={"grad_norm": 1.5, "loss": None},
    ).to_dict()
    record["contexts"] = {"total": 8, "zero_information": 4, "all_pass": 1, "all_fail": 3}
    path = tmp_path / "run" / "steps.jsonl"
    path.parent.mkdir()
    jsonl(path, [record, {**record, "step": 4, "contexts": {"total": 0, "zero_information": 0}}])
    (path.parent / "checkpoints" / "step-3").mkdir(parents=True)
    for given in (path, path.parent):
        log = read_log(given)
        assert (detect(given), log.framework) == ("own run", "own")
        assert listed(log, "zero_variance") == [0.5, None]
        assert listed(log, "all_pass") == [0.125, None]
        assert listed(log, "reward") == listed(log, "reward.correct") == [0.25, 0.25]
        assert listed(log, "tokens") == [100.0, 100.0]
        assert log.checkpoints == ((3, path.parent / "checkpoints" / "step-3"),)


def test_a_resumed_log_counts_its_last_values(tmp_path: Path) -> None:
    steps = [1, 2, 3, 4, 3, 4, 5]
    rows: list[dict[str, object]] = [
        {"step": step, "loss": float(place)} for place, step in enumerate(steps)
    ]
    log = read_log(jsonl(tmp_path / "metrics.jsonl", rows))
    assert log.steps.tolist() == [1, 2, 3, 4, 5]
    assert listed(log, "loss") == [0.0, 1.0, 4.0, 5.0, 6.0]
    expected = "2 values written again between steps 3 and 4 (a resumed run?): the last counts"
    assert expected in log.notes


@pytest.mark.parametrize(
    ("clock", "want"),
    [
        ([("time", 1000.5), ("time", 1002.5)], [0.0, 2.0]),
        ([("timestamp", "2026-01-01T00:00:00"), ("timestamp", "2026-01-01T00:00:05")], [0.0, 5.0]),
        ([("_runtime", 7.0), ("_runtime", 9.5)], [0.0, 2.5]),
        ([("time", 3.5), ("time", 1.5)], None),  # seconds of a step, not a clock
        ([("other", 3.5), ("other", 4.5)], None),
    ],
)
def test_time(tmp_path: Path, clock: list[tuple[str, object]], want: list[float] | None) -> None:
    rows: list[dict[str, object]] = [
        {"step": step, "loss": 1.0, key: value} for step, (key, value) in enumerate(clock)
    ]
    log = read_log(jsonl(tmp_path / "metrics.jsonl", rows))
    assert (None if log.time is None else log.time.tolist()) == want


def test_compressed(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"step": 1, "loss": 0.5}\n'))
    assert detect(path) == "json lines"
    assert listed(read_log(path), "loss") == [0.5]
    path.write_bytes(gzip.compress(b'{"step": 1, "loss": 0.5}\n' * 1000)[:40])
    with pytest.raises(DataError, match="the data is damaged"):
        read_log(path)


def test_rollouts_are_no_metric_log(tmp_path: Path) -> None:
    verl: list[dict[str, object]] = [
        {"input": "2+2", "output": "4", "score": 1.0, "step": 1, "gts": "4"} for _ in range(4)
    ]
    assert detect(jsonl(tmp_path / "1.jsonl", verl)) is None
    bare: list[dict[str, object]] = [
        {"step": 1, "context": c, "candidate": k, "utility.correct": 1.0, "log_mu": -2.0}
        for c in range(3)
        for k in range(4)
    ]
    assert detect(jsonl(tmp_path / "2.jsonl", bare)) is None
    prime: list[dict[str, object]] = [{"reward": 1.0, "completion": [{"role": "user"}]}] * 3
    assert detect(jsonl(tmp_path / "3.jsonl", prime)) is None
    (tmp_path / "4.csv").write_text("step,prompt,completion,reward\n1,a,b,0.5\n")
    assert detect(tmp_path / "4.csv") is None
    (tmp_path / "notes.txt").write_text("a: b\nstep one: do this\n{'a': 'b'}\n")
    assert detect(tmp_path / "notes.txt") is None
    assert detect(tmp_path) is None
    assert detect(tmp_path / "missing") is None
    with pytest.raises(DataError, match="no metric log that is known"):
        read_log(tmp_path / "1.jsonl")


def test_our_own_rollout_files_are_no_metric_log() -> None:
    formats = Path(__file__).parents[1] / "formats"
    found = {path: detect(path) for path in sorted((formats / "real").iterdir()) if path.is_dir()}
    assert {path.name: kind for path, kind in found.items() if kind is not None} == {}


def test_join_takes_the_denser(tmp_path: Path) -> None:
    dense = read_log(
        jsonl(
            tmp_path / "a.jsonl", [{"step": s, "reward": s / 4, "loss": 1.0} for s in range(1, 6)]
        )
    )
    sparse = read_log(
        jsonl(tmp_path / "b.jsonl", [{"step": s, "reward": 9.0, "kl": 0.5} for s in (2, 9)])
    )
    for order in ([dense, sparse], [sparse, dense]):
        log = join(order)
        assert log.steps.tolist() == [1, 2, 3, 4, 5, 9]
        assert listed(log, "reward") == [0.25, 0.5, 0.75, 1.0, 1.25, None]
        assert listed(log, "kl") == [None, 0.5, None, None, None, 0.5]
        assert len(log.files) == 2
        told = "reward stands in a.jsonl (5 steps) and in b.jsonl (2): the first is taken"
        assert told in log.notes
    assert join([dense]) is dense
    apart = read_log(jsonl(tmp_path / "c.jsonl", [{"step": 70, "entropy": 0.5}]))
    assert any("no step in common" in note for note in join([dense, apart]).notes)
    assert np.isnan(join([dense, apart]).values["entropy"][0])
    with pytest.raises(ValueError, match="no log"):
        join([])


def test_a_folder_says_what_else_lies_in_it(tmp_path: Path) -> None:
    jsonl(tmp_path / "metrics.jsonl", [{"step": 1, "loss": 0.5}])
    jsonl(tmp_path / "aaa.jsonl", [{"step": 1, "loss": 0.75}])
    log = read_log(tmp_path)
    assert log.files == (tmp_path / "metrics.jsonl",)
    assert "also in this folder, not read: aaa.jsonl" in log.notes
