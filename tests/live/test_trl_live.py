"""Live runs of TRL on the embedded model: what is written, logged and steered.

One child process runs every scenario, since most of its time is importing.
"""

import json
import os
import signal
import time
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import faults
import numpy as np
import polars as pl
import pytest

import warm
from tod.base import SpecError
from tod.diagnosis import diagnose
from tod.formats import read
from tolerance import double, of_log_prob, of_sequence, of_weights, rounding

pytest.importorskip("trl")
SCRIPT = Path(__file__).with_name("trl_script.py")
TIGHT = {"beta": 0.1, "scale_rewards": "none"}
ARC = {"min_informative": 1, "start": 0.5, "window": 1, "dwell": 1}


@cache
def server():
    return warm.Server((*warm.TRAINING, "trl.trainer.grpo_trainer", "trl.trainer.rloo_trainer"))


def run(scenarios, processes=1):
    code = program()
    words = [json.dumps(scenarios)]
    if processes == 1:
        ends = [server().run(*words, code=code, timeout=3000)]
    else:
        ends = server().run_together(processes, *words, code=code)
    assert not any(end.returncode for end in ends), ends[0].stderr[-3000:]
    return ends[0].stderr


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("trl")
    stderr = run(
        [
            {"output": str(root / "plain"), "instrument_with": None},
            {"output": str(root / "default"), "instrument_with": {}},
            {
                "output": str(root / "arc"),
                "options": {**TIGHT, "max_steps": 3},
                "instrument_with": {"arc": ARC, "probe": {"every": 2, "candidates": 8}},
            },
            {
                "output": str(root / "zscored"),
                "options": {"beta": 0.1},
                "instrument_with": {"arc": {}},
            },
            {
                "output": str(root / "no_pull"),
                "options": {"scale_rewards": "none"},
                "instrument_with": {"arc": {}},
            },
            {
                "output": str(root / "rloo"),
                "kind": "rloo",
                "options": {"beta": 0.1},
                "instrument_with": {},
            },
            {
                "output": str(root / "pieces"),
                "options": {"steps_per_generation": 1, "reward_weights": [1.0, 2.0]},
                "instrument_with": {"score": False, "output": str(root / "elsewhere")},
            },
            {
                "output": str(root / "patchy"),
                "rewards": ["digits", "patchy"],
                "instrument_with": {
                    "target": {"anchor": {"mu": 1.0}, "tilts": [{"utility": "patchy", "eta": 1.0}]}
                },
            },
            {
                "output": str(root / "broken"),
                "rewards": ["broken"],
                "options": {"max_steps": 26},
                "instrument_with": {},
            },
            {
                "output": str(root / "cut"),
                "options": {**TIGHT, "mask_truncated_completions": True},
                "instrument_with": {},
            },
            {
                "output": str(root / "evaluated"),
                "options": {
                    "eval_strategy": "steps",
                    "eval_steps": 1,
                    "per_device_eval_batch_size": 4,
                    "top_k": 5,
                    "steps_per_generation": 8,
                },
                "instrument_with": {},
            },
        ]
    )
    (root / "stderr.txt").write_text(stderr)
    return root


def rows_of(path):
    return pl.read_parquet(path / "rollouts").sort("step", maintain_order=True)


def found(path):
    return json.loads((path / "found.json").read_text())


def logged(path):
    return [entry for entry in found(path)["history"] if "loss" in entry]


def records(path):
    return lines_of(path / "steps.jsonl")


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_training_is_not_changed(runs):
    assert found(runs / "plain")["weights"] == found(runs / "default")["weights"]


def test_every_candidate_is_written_with_its_rewards(runs):
    reading = read(runs / "default" / "tod")
    assert reading.contexts.sizes.tolist() == [4] * 8
    assert reading.source.steps == (1, 2)
    rows = rows_of(runs / "default" / "tod")
    texts = rows["completion"].to_list()
    assert rows["utility.length"].to_list() == pytest.approx([len(t) / 10 for t in texts])
    digits = [sum(c.isdigit() for c in t) / 5 for t in texts]
    assert rows["utility.digits"].to_list() == pytest.approx(digits)
    total = rows["utility.length"] + rows["utility.digits"]
    assert rows["utility.reward"].to_list() == pytest.approx(total.to_list())
    prompts = rows.filter(pl.col("step") == 1)["prompt"].to_list()
    assert prompts[::4] == [
        "24 from 4 6 8 =",
        "10 from 2 5 1 =",
        "7 from 1 2 3 =",
        "12 from 3 4 9 =",
    ]
    assert prompts == [p for p in prompts[::4] for _ in range(4)]


@pytest.mark.parametrize("name", ["arc", "rloo"])
def test_log_probs_are_those_of_an_independent_forward(runs, name):
    """π_ref at every step and π_old at the first are the model as it was loaded."""
    import torch

    from tod.engine.models import load_model

    model, tokenizer = load_model("tod://tiny")
    rows = rows_of(runs / name / "tod")
    first = rows.filter(pl.col("step") == 1)
    last = rows.filter(pl.col("step") == pl.col("step").max())
    for row, policy in [(first.row(5, named=True), "old"), (last.row(9, named=True), "ref")]:
        prompt = tokenizer(row["prompt"])["input_ids"]
        ids = torch.tensor([[*prompt, *row["token_ids"]]])
        with torch.no_grad():
            log_p = model(ids).logits.double().log_softmax(-1)[0, len(prompt) - 1 : -1]
        wanted = log_p[torch.arange(len(row["token_ids"])), row["token_ids"]].numpy()
        near = of_log_prob("float32")
        np.testing.assert_allclose(row[f"log_{policy}_tokens"], wanted, rtol=0, atol=near)
        assert row[f"log_{policy}"] == pytest.approx(wanted.sum(), abs=near * len(wanted))
    assert first["log_mu"].to_list() == first["log_old"].to_list()
    assert last["log_old"].to_list() != pytest.approx(
        last["log_ref"].to_list(), abs=of_log_prob("float32")
    )


def ess_rel(log_w):
    w = np.exp(log_w - log_w.max())
    return w.sum() ** 2 / (w**2).sum() / len(w)


@pytest.mark.parametrize("name", ["arc", "rloo"])
def test_diagnostics_against_a_plain_loop(runs, name):
    path = runs / name / "tod"
    rows, steps = rows_of(path), records(path)
    for record, entry in zip(steps, logged(runs / name), strict=True):
        part = rows.filter(pl.col("step") == record["step"])
        eta = record["knobs"]["eta"]
        log_w = part["log_ref"] - part["log_mu"] + eta * part["utility.reward"]
        groups = log_w.to_numpy().reshape(4, 4)
        reward = part["utility.reward"].to_numpy().reshape(4, 4)
        informative = reward.max(1) > reward.min(1)
        values = np.sort([ess_rel(g) for g in groups[informative]])
        median = values[max(int(np.ceil(len(values) / 2)) - 1, 0)]
        assert record["ess_rel"]["median"] == pytest.approx(
            median, rel=of_weights("float64", 4, 20.0)
        )
        assert entry["tod/ess_rel_median"] == pytest.approx(
            median, rel=of_weights("float64", 4, 20.0)
        )
        assert entry["tod/zero_information"] == pytest.approx(1 - informative.mean())
        drift = float((part["log_old"] - part["log_ref"]).mean())
        assert entry["tod/drift_ref"] == pytest.approx(drift, abs=double(64, 20))
        assert entry["tod/verdict"] == -1  # four contexts say nothing
        assert record["regime"]["verdict"] == "undetermined"
        assert record["overlap"]["policy_proposal"] == pytest.approx(1.0)


def test_a_finding_is_warned_of_once_and_logged_from_then_on(runs):
    """The answers are cut at eight tokens, as TRL itself logs, and the grader breaks at step 9."""
    entries = logged(runs / "broken")
    kinds = {key for entry in entries for key in entry if key.startswith("tod/finding/")}
    assert "tod/finding/truncation" in kinds
    for kind in kinds:
        told = [entry.get(kind) for entry in entries]
        first = told.index(1.0)
        assert first + 1 >= 10
        assert told[:first] == [None] * first
        assert None not in told[first:]
    said = (runs / "stderr.txt").read_text()
    assert said.count("answers are cut at the length limit, from the first step. (") == 1
    assert not any("tod/finding" in key for entry in logged(runs / "arc") for key in entry)


def test_declared_and_implied_and_assumed_targets_say_so(runs):
    def recipe(name):
        return json.loads((runs / name / "tod" / "manifest.json").read_text())["recipe"]

    assert recipe("arc")["target_source"] == "located"
    assert recipe("arc")["target"]["anchor"] == {"ref": 1.0}
    assert recipe("arc")["target"]["tilts"] == [{"utility": "reward", "eta": 10.0}]
    assert recipe("default")["target_source"] == "assumed"
    assert "no finite target" in recipe("default")["notes"][0]
    # read again, a guess stays one, about the total
    chosen = diagnose(read(runs / "default" / "tod")).to_dict()["target"]
    assert chosen["source"] == "assumed"
    assert chosen["tilts"] == [{"utility": "reward", "eta": 1.0}]
    assert recipe("patchy")["target_source"] == "declared"


def test_the_controller_turns_beta(runs):
    path = runs / "arc"
    decisions = lines_of(path / "tod" / "decisions.jsonl")
    etas = [record["knobs"]["eta"] for record in records(path / "tod")]
    assert etas[0] == pytest.approx(5.0)  # start: half of 1/beta
    assert [d["before"]["eta"] for d in decisions] == pytest.approx(etas)
    assert [d["after"]["eta"] for d in decisions[:-1]] == pytest.approx(etas[1:])
    assert found(path)["beta"] == pytest.approx(1 / decisions[-1]["after"]["eta"])
    assert [entry["tod/eta"] for entry in logged(path)] == pytest.approx(etas)
    assert not (path / "tod" / "arc.jsonl").exists(), "its state lies in the checkpoints"


def test_the_probe_is_of_the_first_batch_and_is_read_where_it_is_due(runs):
    """Two groups of four of step 1; read at step 2, after two updates: log π has moved."""
    rows = rows_of(runs / "arc" / "tod").filter(pl.col("step") == 1)
    found = [record["probe"] for record in records(runs / "arc" / "tod")]
    assert [reading is not None for reading in found] == [False, True, False]
    assert found[1]["candidates"] == 8
    reward = rows["utility.reward"].to_numpy()[:8].reshape(2, 4)
    assert found[1]["contexts"] == int((reward.max(axis=1) > reward.min(axis=1)).sum())
    assert abs(found[1]["kl"]) > of_sequence("float32"), "the policy has moved"
    assert logged(runs / "arc")[1]["tod/probe_kl"] == found[1]["kl"]


def test_a_knob_connected_to_nothing_is_refused(runs):
    zscored = (runs / "zscored" / "error.txt").read_text()
    assert "z-scoring divides eta out" in zscored
    assert "no pull" in (runs / "no_pull" / "error.txt").read_text()
    assert not (runs / "zscored" / "tod").exists()


def test_generation_in_pieces_is_one_step(runs):
    """Four generation batches a step, no extra forward, another directory, weighted rewards."""
    reading = read(runs / "elsewhere")
    assert not (runs / "pieces" / "tod").exists()
    assert reading.contexts.sizes.tolist() == [4] * 8
    assert reading.recorded == ()
    rows = rows_of(runs / "elsewhere")
    total = rows["utility.length"] + 2 * rows["utility.digits"]
    assert rows["utility.reward"].to_list() == pytest.approx(
        total.to_list(), rel=rounding("float32", 4)
    )
    overlap = records(runs / "elsewhere")[0]["overlap"]
    assert overlap["declared"] == ["policy_proposal", "target_policy"]


def test_rewards_that_do_not_apply_are_null_and_their_contexts_left_out(runs):
    path = runs / "patchy"
    rows = rows_of(path / "tod").filter(pl.col("step") == 1)
    lacking = ["1" in text for text in rows["completion"]]
    assert rows["utility.patchy"].is_null().to_list() == lacking
    contexts = np.array(lacking).reshape(4, 4).any(axis=1).sum()
    assert 0 < contexts < 4
    assert logged(path)[0]["tod/left_out"] == contexts


def test_an_unreadable_batch_never_stops_training(runs):
    """mask_truncated_completions hides every completion here from the forward."""
    path = runs / "cut"
    assert len(logged(path)) == 2
    said = (runs / "stderr.txt").read_text()
    assert said.count("examining a step failed, and training goes on without it (DataError") == 1
    rows = rows_of(path / "tod")
    assert len(rows) == 32
    assert "log_mu" not in rows.columns


def test_evaluation_leaves_no_rows_and_truncated_sampling_no_log_mu(runs):
    """One generation serves two optimiser steps: the second has nothing of its own."""
    rows = rows_of(runs / "evaluated" / "tod")
    assert rows["step"].unique().to_list() == [1]
    assert "log_old" in rows.columns
    assert "log_mu" not in rows.columns
    assert "top_k=5" in (runs / "stderr.txt").read_text()
    assert "tod/verdict" not in logged(runs / "evaluated")[1]


def test_another_version_is_refused_by_name():
    from tod.live.trl import instrument

    with pytest.raises(SpecError, match="_generate_and_score_completions"):
        instrument(SimpleNamespace(args=None))


def vllm_like():
    """Two groups of two with an engine's own log-probs, a tool's token and an unscored token."""
    import torch

    mask = torch.tensor([[1, 1, 1], [1, 1, 0], [1, 1, 1], [1, 0, 0]])
    old = -torch.arange(1.0, 13.0).reshape(4, 3)
    output = {
        "completion_mask": mask,
        "tool_mask": torch.tensor([[1, 0, 1], [1, 1, 1], [1, 1, 1], [1, 1, 1]]),
        "old_per_token_logps": old,
        "sampling_per_token_logps": old - 0.25,
    }
    output["sampling_per_token_logps"][2, 1] = float("nan")
    trainer = SimpleNamespace(
        num_generations=2,
        reward_func_names=["exact", "format"],
        reward_weights=torch.tensor([1.0, 0.5]),
        use_vllm=True,
        beta=0.0,
    )
    seen = SimpleNamespace(
        output=output,
        prompts=["a", "a", [{"role": "user", "content": "b"}], [{"role": "user", "content": "b"}]],
        completions=["1", "2", "3", "4"],
        ids=[[5, 6, 7], [5, 6], [5, 6, 7], [5]],
        rewards=torch.tensor([[1.0, 0.0], [0.0, torch.nan], [1.0, 1.0], [torch.nan, torch.nan]]),
        forwards=[],
    )
    return trainer, seen


def test_an_engines_log_probs_are_mu_and_a_tools_tokens_are_not_the_policys():
    from tod.live.step import judge
    from tod.live.trl.generated import batch_of, rows_of
    from tod.regimes import GrowingPool
    from tod.targets import Target, Tilt

    trainer, seen = vllm_like()
    batch = batch_of(trainer, seen, [rows_of(trainer, seen)])
    assert batch.prompt == ("a", "user: b")
    assert batch.sequences.sizes.tolist() == [2, 2, 3, 1]
    assert batch.token_ids.tolist() == [5, 7, 5, 6, 5, 6, 7, 5]
    assert batch.log["old"].tolist() == [-1, -3, -4, -5, -7, -8, -9, -10]
    np.testing.assert_array_equal(batch.utility["reward"], [1.0, 0.0, 1.5, np.nan])
    assert np.isnan(batch.sums()["mu"]).tolist() == [False, False, True, False]
    target = Target(anchor={"old": 1.0}, tilts=(Tilt(utility="reward", eta=1.0),))
    known = {"assumed": False, "on_policy": False, "clipped": None, "entropy": None}
    seen = judge(batch, target, GrowingPool(), 1, **known)
    assert seen.left_out == 1  # the second group: an unscored row, an unscored token
    assert seen.summary.mismatch.tokens == 4
    assert seen.summary.mismatch.mean_abs == pytest.approx(0.25)
    # log w = log old − log mu + reward: two tokens each, 0.25 apart from mu
    assert seen.examined.diagnostics.ess_rel[0] == pytest.approx(ess_rel(np.array([1.5, 0.5])))


@pytest.mark.slow
def test_two_processes_write_one_run(tmp_path):
    options = {**TIGHT, "max_steps": 3, "gradient_accumulation_steps": 2, "ddp_backend": "gloo"}
    scenario = {
        "output": str(tmp_path / "two"),
        "options": options,
        "instrument_with": {"arc": ARC},
    }
    run([scenario], processes=2)
    path = tmp_path / "two"
    assert found(path)["world"] == 2
    reading = read(path / "tod")
    assert reading.contexts.sizes.tolist() == [4] * 12
    rows = rows_of(path / "tod").filter(pl.col("step") == 1)
    assert rows["prompt"].to_list()[::4] == [
        "24 from 4 6 8 =",
        "10 from 2 5 1 =",
        "7 from 1 2 3 =",
        "12 from 3 4 9 =",
    ]
    texts = rows["completion"].to_list()
    digits = [sum(c.isdigit() for c in t) / 5 for t in texts]
    assert rows["utility.digits"].to_list() == pytest.approx(digits)  # text and reward stay paired
    assert [record["step"] for record in records(path / "tod")] == [1, 2, 3]
    assert records(path / "tod")[0]["world_size"] == 2


STEERED = {
    "arc": {"min_informative": 1, "step_size": "damage", "damage_limit": 1e-4},
    "turns": ["beta", "learning_rate", "epsilon"],
    "probe": {"every": 1, "candidates": 8},
}


def program():
    return (
        "import runpy, sys, warnings; warnings.simplefilter('ignore');"
        f"sys.path.insert(0, {str(SCRIPT.parent)!r});"
        f"runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["grpo", "rloo"])
def test_two_processes_killed_and_resumed_decide_as_if_never_stopped(tmp_path, kind):
    options = {
        **({"beta": 0.1} if kind == "rloo" else TIGHT),
        "max_steps": 8,
        "num_iterations": 2,
        "gradient_accumulation_steps": 2,
        "save_strategy": "steps",
        "save_steps": 2,
        "ddp_backend": "gloo",
    }
    if kind == "rloo":
        options["normalize_advantages"] = False

    def scenario(name, **more):
        path = str(tmp_path / name)
        return {
            "output": path,
            "kind": kind,
            "options": options,
            "instrument_with": STEERED,
            **more,
        }

    run([scenario("whole")], processes=2)
    started = server().start_together(2, json.dumps([scenario("broken")]), code=program())
    reached = tmp_path / "broken" / "checkpoint-4" / "trainer_state.json"
    deadline = time.monotonic() + 600
    while not reached.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    for process in started:
        os.kill(process.pid, signal.SIGKILL)
    assert all(process.wait().returncode for process in started), "killed, not finished"
    assert not (tmp_path / "broken" / "found.json").exists()
    run([scenario("broken", resume=str(reached.parent))], processes=2)
    whole, broken = (
        lines_of(tmp_path / n / "tod" / "decisions.jsonl") for n in ("whole", "broken")
    )
    assert len(whole) >= 4
    assert any(decision["after"]["rate"] != 1.0 for decision in whole), "the step size was turned"
    assert broken == whole
    probes = [
        [record["probe"] for record in records(tmp_path / name / "tod")]
        for name in ("whole", "broken")
    ]
    assert probes[0] == probes[1]
    assert any(reading is not None and reading["kl"] for reading in probes[0])
    assert found(tmp_path / "broken")["beta"] == found(tmp_path / "whole")["beta"]
    assert found(tmp_path / "broken")["weights"] == found(tmp_path / "whole")["weights"]


@pytest.mark.slow
def test_a_resumed_run_goes_on_as_if_never_stopped(tmp_path):
    options = {**TIGHT, "max_steps": 4, "save_strategy": "steps", "save_steps": 2}
    arc = {**ARC, "deadline": 4}
    whole = {"output": str(tmp_path), "options": options, "instrument_with": {"arc": arc}}
    run([whole])
    before = records(tmp_path / "tod")
    decided = (tmp_path / "tod" / "decisions.jsonl").read_text()
    run([{**whole, "resume": str(tmp_path / "checkpoint-2")}])
    after = records(tmp_path / "tod")
    assert [record["step"] for record in after] == [1, 2, 3, 4]
    assert after[2]["knobs"] == before[2]["knobs"]
    assert after[2]["ess_rel"]["median"] == pytest.approx(
        before[2]["ess_rel"]["median"], rel=of_weights("float32", 4, 20.0)
    )
    assert (tmp_path / "tod" / "decisions.jsonl").read_text() == decided


@pytest.mark.slow
def test_an_earlier_run_is_not_written_over(tmp_path):
    """Its records stay, training goes on, and the new ones are beside them."""
    scenario = {"output": str(tmp_path), "instrument_with": {}}
    run([scenario])
    before = (tmp_path / "tod" / "steps.jsonl").read_bytes()
    said = run([scenario])
    assert "overwrite=True" in said
    assert (tmp_path / "tod" / "steps.jsonl").read_bytes() == before
    assert len(records(tmp_path / "tod-2")) == 2
    (tmp_path / "tod" / "report.html").write_text("of the first run")
    run([{**scenario, "instrument_with": {"overwrite": True}}])
    assert len(records(tmp_path / "tod")) == 2
    assert not (tmp_path / "tod" / "report.html").exists()


def with_faults(root, chosen, **more):
    """Runs with one fault each, and one without instruments; all must end with its weights."""
    scenarios = [{"output": str(root / "plain"), **more}]
    kinds = [kind for kind in faults.KINDS if kind != "interrupt"]
    for number, place in enumerate(chosen):
        fault = [place, kinds[number % len(kinds)]]
        output = str(root / str(number))
        scenarios.append({"output": output, "instrument_with": {}, "fault": fault, **more})
    stderr = run(scenarios)
    weights = found(root / "plain")["weights"]
    reached = []
    for number, place in enumerate(chosen):
        assert (root / str(number) / "found.json").exists(), (place, stderr[-3000:])
        end = found(root / str(number))
        assert end["weights"] == weights, place
        reached += [place] * (end["calls"] > 0)
    return reached, stderr


ENTRIES = [
    "tod.live.trl.generated:rows_of",
    "tod.live.trl.hooks:Hooks._scored",
    "tod.live.trl.callback:TodCallback.on_step_end",
    "tod.runs.atomic:write_all",
    "tod.runs.directory:RunDirectory.claim",
]


def test_no_fault_stops_or_changes_training(tmp_path):
    reached, stderr = with_faults(tmp_path, ENTRIES)
    assert reached == ENTRIES
    assert "reading a batch failed, and training goes on without it (RuntimeError: plant" in stderr
    assert "report it" in stderr
    # scoring failed once and was given up: rollouts are there, without log_old
    assert "log_old" not in rows_of(tmp_path / "1" / "tod").columns


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["grpo", "rloo"])
def test_no_fault_anywhere_stops_or_changes_training(tmp_path, kind):
    """Every function that our modules define, one run each."""
    reached, _ = with_faults(tmp_path, faults.places(), kind=kind)
    assert len(reached) > 60
    for name in ("TodCallback.on_train_begin", "TodCallback._opened", "Hooks._complete"):
        assert any(place.endswith(name) for place in reached), name


def test_ctrl_c_in_our_code_passes(tmp_path):
    fault = ["tod.live.step:judge", "interrupt"]
    run([{"output": str(tmp_path), "instrument_with": {}, "fault": fault}])
    assert (tmp_path / "error.txt").read_text().startswith("KeyboardInterrupt")


def test_every_entry_of_the_callback_is_guarded():
    """What the trainer calls, by introspection; a new hook without a guard fails here."""
    from transformers import TrainerCallback

    from tod.live.trl import TodCallback

    own = [n for n in vars(TodCallback) if n in dir(TrainerCallback) and n.startswith("on_")]
    assert own == [
        "on_train_begin",
        "on_step_begin",
        "on_pre_optimizer_step",
        "on_optimizer_step",
        "on_step_end",
        "on_train_end",
    ]
    for name in (*own, "detach"):
        assert hasattr(vars(TodCallback)[name], "doing"), name
