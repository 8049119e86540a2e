"""What the plugin makes of a batch of verl's queue, recorded from the real one: no verl needed.

``verl_queue.json`` is what verl 0.9.1's TransferQueue returned inside its own `fit`, with its
configuration and with what its Tracking was told (scripts/real_writers/verl_queue.py).
"""

import json
import logging
import threading
import time
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import faults
import numpy as np
import polars as pl
import pytest
import torch

import tod
from tod.base import DataError, SpecError
from tod.diagnosis import diagnose
from tod.live.verl.queue import CandidateRows, asked, batch_of, fetched
from tod.live.verl.recorder import VerlRecorder, target_of
from tod.runs import RunDirectory
from tolerance import double

RECORDED = json.loads((Path(__file__).parent / "verl_queue.json").read_text())
MODULES = (
    "tod.live.aim",
    "tod.live.verl.names",
    "tod.live.verl.queue",
    "tod.live.recorder",
    "tod.live.verl.recorder",
)
HOST_ONLY = {"activation", "entropy"}
"""What verl logs and rollouts do not hold."""


class Queue:
    """The recorded queue: asked by keys and fields, as TransferQueue is."""

    def __init__(self, recorded: dict[str, Any]) -> None:
        self.keys, self.fields = recorded["keys"], recorded["fields"]
        self.tags = recorded["tags"]

    def __call__(self, keys: list[str], fields: list[str]) -> dict[str, Any]:
        heads = asked(self.keys, self.tags).heads
        found = {}
        for name in fields:
            if name not in self.fields:
                continue
            own = heads if name == "prompts" else self.keys
            field = self.fields[name]
            rows = field.get("rows", field.get("list"))
            chosen = [rows[own.index(key)] for key in keys]
            if "rows" in field:
                kind = getattr(torch, field["dtype"])
                tensors = [torch.tensor(row, dtype=kind) for row in chosen]
                found[name] = torch.nested.as_nested_tensor(tensors, layout=torch.jagged)
            else:
                found[name] = chosen
        return found


@pytest.fixture
def recorded():
    return deepcopy(RECORDED)


def settings(recorded: dict[str, Any], folder: Path, **more: Any) -> dict[str, Any]:
    whole = recorded["settings"]
    whole["trainer"] |= {"default_local_dir": str(folder), "tod": {"output": str(folder), **more}}
    return whole


def recorder(
    recorded: dict[str, Any], folder: Path, strict: bool = True, **more: Any
) -> VerlRecorder:
    return VerlRecorder(settings(recorded, folder, **more), "sync", "0.9.1", strict)


def step(
    made: VerlRecorder, recorded: dict[str, Any], number: int = 1, tokenizer: Any = None
) -> dict[str, float]:
    logged = dict(recorded["logged"])
    made.step(number, Queue(recorded), recorded["keys"], recorded["tags"], logged, tokenizer)
    return logged


def sums(recorded: dict[str, Any], name: str) -> np.ndarray:
    """Σ over the policy's tokens, straight from the recorded rows."""
    rows, masks = (recorded["fields"][n]["rows"] for n in (name, "loss_mask"))
    return np.array([np.dot(row, mask) for row, mask in zip(rows, masks, strict=True)])


def test_the_figures_are_those_that_verls_tracking_was_told(recorded, tmp_path):
    made = recorder(recorded, tmp_path / "run")
    logged = step(made, recorded)
    told = {name: x for name, x in logged.items() if name.startswith("tod/")}
    assert told == recorded["figures"]
    assert {name: logged[name] for name in recorded["logged"]} == recorded["logged"]


def test_ess_is_that_of_the_rows(recorded, tmp_path):
    """By hand from the recorded rows: q* ∝ π_ref·exp(U/β), β the coefficient of verl's loss."""
    made = recorder(recorded, tmp_path / "run")
    logged = step(made, recorded)
    beta = recorded["settings"]["actor_rollout_ref"]["actor"]["kl_loss_coef"]
    assert logged["tod/eta"] == pytest.approx(1 / beta)
    reward = np.array([sum(row) for row in recorded["fields"]["rm_scores"]["rows"]])
    log_w = sums(recorded, "ref_log_prob") - sums(recorded, "rollout_log_probs") + reward / beta
    uid = np.array([key.rsplit("_", 2)[0] for key in recorded["keys"]])
    found = []
    for one in dict.fromkeys(uid):
        w = np.exp(log_w[uid == one] - log_w[uid == one].max())
        found.append(w.sum() ** 2 / (w**2).sum() / len(w))
    told = made.last.examined.diagnostics.ess_rel
    np.testing.assert_allclose(told, found, rtol=double(64, condition=20))
    assert min(found) < logged["tod/ess_rel_median"] < max(found)


def test_the_records_are_read_with_the_same_figures(recorded, tmp_path):
    made = recorder(recorded, tmp_path / "run", extras=True)
    step(made, recorded)
    summary = made.last.summary.to_dict()
    made.close()
    reading = tod.read(tmp_path / "run")
    assert reading.source.steps == (1, 1)
    assert set(reading.utility) == {"reward", "acc"}
    for name, policy in (("rollout_log_probs", "mu"), ("old_log_probs", "old")):
        told = reading.log_mu if policy == "mu" else reading.log_anchor[policy]
        np.testing.assert_allclose(told, sums(recorded, name), rtol=double(16))
    found = diagnose(reading)
    assert found.to_dict()["target"]["source"] == "located"
    again = found.summary.to_dict()
    assert {name for name in summary if again[name] != summary[name]} <= HOST_ONLY


def test_prompts_and_answers_are_spelled(recorded, tmp_path):
    """By the policy's own tokens; lists of whole numbers alone are handed to a tokenizer."""

    def decoded(rows: list[list[int]], skip_special_tokens: bool) -> list[str]:
        assert skip_special_tokens
        assert all(type(token) is int for row in rows for token in row)
        return [" ".join(f"w{token}" for token in row) for row in rows]

    made = recorder(recorded, tmp_path / "run")
    step(made, recorded, tokenizer=SimpleNamespace(batch_decode=decoded))
    made.close()
    fields = {name: recorded["fields"][name]["rows"] for name in ("responses", "loss_mask")}
    pairs = zip(fields["responses"], fields["loss_mask"], strict=True)
    expected = [
        " ".join(f"w{token}" for token, on in zip(ids, mask, strict=True) if on)
        for ids, mask in pairs
    ]
    written = pl.read_parquet(tmp_path / "run" / "rollouts" / "*.parquet")
    assert written["completion"].to_list() == expected
    heads = [" ".join(f"w{i}" for i in row) for row in recorded["fields"]["prompts"]["rows"]]
    assert written["prompt"].to_list() == [text for text in heads for _ in range(4)]


def test_findings_are_logged_with_the_step_after_they_are_seen(recorded, tmp_path):
    """Every answer fails from step 9 on: two looks see it, and the tracker is told."""
    made = recorder(recorded, tmp_path / "run")
    logs = []
    for number in range(1, 31):
        if number == 9:
            for row in recorded["fields"]["rm_scores"]["rows"]:
                row[:] = [0.0] * len(row)
        logs.append(step(made, recorded, number).get("tod/finding/all_fail"))
        made._settle()
        made.findings._next = 0  # as if looks cost nothing
    first = logs.index(1.0)
    assert logs == [None] * first + [1.0] * (30 - first)


def test_padding_is_no_candidate_and_the_last_output_is_the_rollout():
    keys = ["a_0_0", "b_0_0", "a_1_0", "a_1_1", "c_9_0"]
    tags = [{}, {}, {}, {}, {"is_padding": True}]
    assert asked(keys, tags) == CandidateRows(
        ["a_0_0", "b_0_0", "a_1_1"], ["a", "b", "a"], ["a_0_0", "b_0_0"], True
    )
    assert not asked(keys[:3], tags[:3]).several
    with pytest.raises(DataError, match="padding"):
        asked(keys[4:], tags[4:])
    with pytest.raises(DataError, match=r"'row'.*verl 0\.9"):
        asked(["row"], [{}])


def test_of_a_rollout_of_several_outputs_no_log_prob_is_known(recorded):
    queue = Queue(recorded)
    rows = asked(recorded["keys"], recorded["tags"])
    data = fetched(queue, rows)
    several = CandidateRows(rows.keys, rows.uids, rows.heads, True)
    assert set(batch_of(data, rows, None).log) == {"mu", "old", "ref"}
    assert batch_of(data, several, None).log == {}


def test_tokens_of_tools_are_left_out_and_a_mask_is_found_under_its_other_name(recorded):
    masks = recorded["fields"]["loss_mask"]["rows"]
    assert any(0 in row for row in masks)
    rows = asked(recorded["keys"], recorded["tags"])
    batch = batch_of(fetched(Queue(recorded), rows), rows, None)
    assert batch.sequences.sizes.tolist() == [sum(row) for row in masks]
    recorded["fields"]["response_mask"] = recorded["fields"].pop("loss_mask")
    again = batch_of(fetched(Queue(recorded), rows), rows, None)
    np.testing.assert_array_equal(again.token_ids, batch.token_ids)


def test_what_the_queue_lacks_is_named(recorded):
    rows = asked(recorded["keys"], recorded["tags"])
    del recorded["fields"]["rm_scores"]
    with pytest.raises(DataError, match=r"no rm_scores for this batch.*responses"):
        batch_of(fetched(Queue(recorded), rows), rows, None)


def test_fields_of_other_lengths_are_refused(recorded):
    rows = asked(recorded["keys"], recorded["tags"])
    recorded["fields"]["old_log_probs"]["rows"][2].append(0.0)
    with pytest.raises(DataError, match="old_log_probs has"):
        batch_of(fetched(Queue(recorded), rows), rows, None)


def aimed_of(recorded, change=lambda settings: None, declared=None, leave=()):
    rows = asked(recorded["keys"], recorded["tags"])
    for name in leave:
        del recorded["fields"][name]
    batch = batch_of(fetched(Queue(recorded), rows), rows, None)
    change(recorded["settings"])
    return target_of(recorded["settings"], "0.9.1", declared).aim(batch)


def test_the_target_is_that_of_the_configuration(recorded):
    found = aimed_of(recorded)
    assert found.source == "located"
    assert found.spec.model_dump()["anchor"] == {"ref": 1.0}
    assert found.spec.knobs() == {"eta": 2.0}


def test_rewards_divided_by_their_spread_are_a_utility_of_their_own(recorded):
    found = aimed_of(recorded, lambda s: s["algorithm"].update(norm_adv_by_std_in_grpo=True))
    (tilt,) = found.spec.tilts
    assert tilt.utility == "reward/std"
    rewards = found.batch.utility["reward"].reshape(4, 4)
    spread = rewards.std(axis=1, ddof=1, keepdims=True)
    flat = np.ptp(rewards, axis=1, keepdims=True) == 0
    expected = np.where(flat, 0.0, rewards / np.where(flat, 1.0, spread + 1e-6))
    np.testing.assert_allclose(
        found.batch.utility["reward/std"].reshape(4, 4), expected, rtol=double(16, condition=8)
    )


@pytest.mark.parametrize(
    ("change", "leave", "why"),
    [
        (lambda s: s["actor_rollout_ref"]["actor"].update(use_kl_loss=False), (), "no finite"),
        (lambda s: None, ("ref_log_prob",), "needs log_ref"),
        (lambda s: s["algorithm"].update(adv_estimator="somebody's"), (), "somebody's"),
        (lambda s: s["actor_rollout_ref"]["rollout"].update(temperature=0), (), "greedy"),
    ],
)
def test_a_target_that_is_not_known_is_assumed_and_said(recorded, change, leave, why):
    found = aimed_of(recorded, change, leave=leave)
    assert found.source == "assumed"
    assert found.spec.model_dump()["anchor"] == {"mu": 1.0}
    assert why in found.notes[0]
    assert "assumed" in found.notes[0]


def test_names_of_ours_are_read_as_their_kin(recorded):
    def change(settings):
        settings["algorithm"]["adv_estimator"] = "tod_group_mean"
        settings["actor_rollout_ref"]["actor"]["policy_loss"]["loss_mode"] = "tod_sequence_clip"

    assert aimed_of(recorded, change).spec.knobs() == {"eta": 2.0}


def test_a_declared_target_is_taken_and_one_that_is_none_is_refused(recorded):
    target = {"anchor": {"mu": 1.0}, "tilts": [{"utility": "reward", "eta": 3.0}]}
    found = aimed_of(recorded, declared=target)
    assert (found.source, found.spec.knobs()) == ("declared", {"eta": 3.0})
    with pytest.raises(SpecError, match=r"trainer\.tod\.target"):
        aimed_of(recorded, declared={"anchor": 7})


def test_a_resumed_run_goes_on_in_its_records(recorded, tmp_path):
    first = recorder(recorded, tmp_path / "run")
    for number in (1, 2, 3):
        step(first, recorded, number)
    first.close()
    again = recorder(recorded, tmp_path / "run")
    step(again, recorded, 3)
    again.close()
    assert tod.read(tmp_path / "run").source.steps == (1, 3)
    assert not (tmp_path / "run-2").exists()
    lines = (tmp_path / "run" / "steps.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3]


def steps_of(run: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (run / "steps.jsonl").read_text().splitlines()]


def unreadable(made: VerlRecorder, recorded: dict[str, Any], number: int) -> None:
    """A step whose question to the queue fails."""

    def get(keys: list[str], fields: list[str]) -> Any:
        raise RuntimeError("planted: the queue is busy")

    made.step(number, get, recorded["keys"], recorded["tags"], {})


def test_a_resumed_run_is_gone_on_with_whatever_overwrite_says(recorded, tmp_path):
    """The setting stays in the launch script; the first step that is seen decides, read or not."""
    first = recorder(recorded, tmp_path / "run", overwrite=True)
    for number in (1, 2, 3):
        step(first, recorded, number)
    first.close()
    again = recorder(recorded, tmp_path / "run", strict=False, overwrite=True)
    unreadable(again, recorded, 3)
    step(again, recorded, 4)
    again.close()
    assert steps_of(tmp_path / "run") == [1, 2, 4]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_new_training_whose_first_step_cannot_be_read_is_no_resumed_one(
    recorded, tmp_path, overwrite
):
    old = recorder(recorded, tmp_path / "run")
    for number in (1, 2, 3):
        step(old, recorded, number)
    old.close()
    new = recorder(recorded, tmp_path / "run", strict=False, overwrite=overwrite)
    unreadable(new, recorded, 1)
    step(new, recorded, 2)
    new.close()
    assert steps_of(tmp_path / "run") == ([2] if overwrite else [1, 2, 3])
    assert overwrite or steps_of(tmp_path / "run-2") == [2]


def test_records_of_another_training_are_not_cut(recorded, tmp_path, caplog):
    """Resumed at step 3 where a run of another target is: this one's name gets the next number."""
    old = recorder(recorded, tmp_path / "run")
    for number in (1, 2, 3):
        step(old, recorded, number)
    old.close()
    recorded["settings"]["actor_rollout_ref"]["actor"]["kl_loss_coef"] = 0.25
    other = recorder(recorded, tmp_path / "run", overwrite=True)
    with caplog.at_level(logging.WARNING):
        step(other, recorded, 3)
    other.close()
    assert steps_of(tmp_path / "run") == [1, 2, 3]
    assert steps_of(tmp_path / "run-2") == [3]
    assert any("another recipe" in r.message and "eta" in r.message for r in caplog.records)


def test_a_directory_that_cannot_be_opened_is_tried_again(recorded, tmp_path):
    (tmp_path / "away").write_text("not mounted")
    made = recorder(recorded, tmp_path / "away" / "run", strict=False)
    assert "tod/ess_rel_median" in step(made, recorded, 1)
    made._settle()
    (tmp_path / "away").unlink()
    for number in (2, 3):
        step(made, recorded, number)
    made.close()
    assert steps_of(tmp_path / "away" / "run") == [2, 3]


def test_a_disk_that_hangs_is_waited_for_once(recorded, tmp_path, monkeypatch, caplog):
    """Later steps and the end only look; what hung is written once the disk is back."""
    back = threading.Event()
    monkeypatch.setattr(RunDirectory, "write_contexts", lambda *_: back.wait(60))
    made = recorder(recorded, tmp_path / "run", strict=False)
    step(made, recorded, 1)
    monkeypatch.setattr("tod.live.recorder.LONGEST", 0.01)
    assert not any(name.startswith("tod/") for name in step(made, recorded, 2))
    monkeypatch.setattr("tod.live.recorder.LONGEST", 20.0)
    began = time.monotonic()
    step(made, recorded, 3)
    made.close()
    assert time.monotonic() - began < 15.0
    assert all(thread.daemon for thread in threading.enumerate() if thread.name == "tod")
    back.set()
    for thread in threading.enumerate():
        if thread.name == "tod lock":
            thread.join(20)
    assert steps_of(tmp_path / "run") == [1]


def test_an_earlier_run_is_not_replaced(recorded, tmp_path, caplog):
    for _ in range(2):
        made = recorder(recorded, tmp_path / "run", strict=False)
        with caplog.at_level(logging.WARNING):
            step(made, recorded)
        made.close()
    assert (tmp_path / "run-2" / "steps.jsonl").exists()
    assert any("trainer.tod.overwrite=true" in r.message for r in caplog.records)


@pytest.mark.parametrize("kind", ["fault", "full", "unprintable"])
def test_no_fault_anywhere_leaves_the_recorder(recorded, tmp_path, caplog, kind):
    """Every function of ours, planted: the step returns, and what verl logs stays as it was."""
    reached = 0
    for number, place in enumerate(faults.places(MODULES)):
        with faults.planted(place, kind) as calls, caplog.at_level(logging.WARNING):
            made = recorder(deepcopy(RECORDED), tmp_path / str(number), strict=False)
            logged = step(made, recorded)
            step(made, recorded, 2)
            made.close()
        reached += bool(calls)
        assert {name: logged[name] for name in recorded["logged"]} == recorded["logged"]
        assert not calls or made.guard.failures, place
    assert reached > 20
    assert any("training goes on without it" in r.message for r in caplog.records)
