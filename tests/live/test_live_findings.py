"""Findings inside a training: those of the records, told once, and paid for by the steps."""

import logging
from contextlib import suppress
from typing import Any

import numpy as np
import pytest

import tod
from findings.test_planted_files import written
from findings.test_watching import failing
from tod.findings import find, run_of
from tod.live.export import LiveBatch
from tod.runs import Manifest, RunDirectory

pytest.importorskip("transformers")
from tod.live import findings as module
from tod.live.findings import EVERY, LiveFindings, logged, piece_of


def batches(columns: Any) -> list[tuple[int, LiveBatch]]:
    """A run's rollouts as the hooks see them, a batch a step."""
    steps: dict[int, list[Any]] = {}
    for row in written(columns).rollouts:
        steps.setdefault(row.step, []).append(row)
    return [
        (
            step,
            LiveBatch.of(
                group=[r.group for r in rows],
                prompt=[r.prompt for r in rows],
                completion=[r.completion for r in rows],
                utility={"reward": [r.reward for r in rows], "own": [r.reward for r in rows]},
                log={
                    "mu": [np.array(r.mu) for r in rows],
                    "old": [np.array(r.old) for r in rows],
                },
                token_ids=[r.ids for r in rows],
            ),
        )
        for step, rows in steps.items()
    ]


def test_it_sees_what_the_records_tell(tmp_path):
    steps = batches(failing(0, 24, at=12))
    run = RunDirectory.create(tmp_path / "run", Manifest.of("run", {}, {"train": 0}))
    live = LiveFindings()
    for step, batch in steps:
        live.step(step, batch, [])
        run.write_rollouts(step, batch.columns())
    run.sync()
    live._asked([])
    told = live.last.to_dict()
    whole = find(run_of(tod.read(tmp_path / "run"))).to_dict()
    assert [f["kind"] for f in told["findings"]] == [f["kind"] for f in whole["findings"]]
    for mine, theirs in zip(told["findings"], whole["findings"], strict=True):
        assert mine["onset"] == theirs["onset"]
        assert mine["numbers"] == theirs["numbers"]
    assert told["clear"] == whole["clear"]
    assert told["unknown"].keys() == whole["unknown"].keys()


def test_a_finding_is_warned_of_once_and_logged_from_then_on(caplog):
    live = LiveFindings(clock=lambda: 0.0)
    logs = []
    with caplog.at_level(logging.WARNING):
        for step, batch in batches(failing(0, 40, at=12)):
            live.step(step, batch, [])
            logs.append(live.standing().get("tod/finding/all_fail"))
    said = [r.message for r in caplog.records if "Learning stopped at step 13" in r.message]
    assert said == [
        "tod: Learning stopped at step 13: every answer to every prompt fails. "
        "(critical, from step 13)"
    ]
    first = logs.index(1.0)
    assert first + 1 in (20, 25)  # the second look at least after the onset, every 5 steps
    assert logs == [None] * first + [1.0] * (len(logs) - first)


def test_a_healthy_run_logs_nothing(caplog):
    live = LiveFindings()
    for step, batch in batches(failing(0, 30, at=99)):
        assert live.step(step, batch, []) == []
    assert live.standing() == {}
    assert not caplog.records


def test_looking_is_paid_for_by_the_steps(monkeypatch):
    """A look of 0.5 s in steps of 1 s comes every 250 steps, of 100 s every 5."""
    for of_step, wanted in ((1.0, 250), (200.0, EVERY)):
        now, looks = [0.0], []

        def slow(run, now=now, looks=looks):
            looks.append(now[0])
            now[0] += 0.5
            return find(run, only=())

        monkeypatch.setattr(module, "find", slow)
        live = LiveFindings(clock=lambda now=now: now[0])
        ((_, batch),) = batches(failing(0, 1, at=99))
        count = 20 if wanted == EVERY else 600
        at = []
        for step in range(1, count + 1):
            before = len(looks)
            live.step(step, batch, [])
            at += [step] * (len(looks) - before)
            now[0] += of_step
        assert at[0] == EVERY
        assert set(np.diff(at)) == {wanted}


def test_a_look_that_fails_is_paid_for_too(monkeypatch):
    now, looks = [0.0], []

    def fails(run):
        looks.append(now[0])
        now[0] += 0.5
        raise RuntimeError("planted")

    live = LiveFindings(clock=lambda: now[0])
    monkeypatch.setattr(module, "find", fails)
    ((_, batch),) = batches(failing(0, 1, at=99))
    for step in range(1, 200):
        with suppress(RuntimeError):
            live.step(step, batch, [])
    assert len(looks) == 1


def test_rows_without_a_reward_are_left_out():
    ((_, batch),) = batches(failing(0, 1, at=99))
    batch.utility["reward"][:5] = np.nan
    piece = piece_of(1, batch)
    assert piece.rollouts.groups.sizes.tolist() == [3, 4, 4, 4, 4, 4, 4]
    batch.utility["reward"][:] = np.nan
    assert piece_of(1, batch) is None


def test_the_trainers_metrics_are_read_under_their_names():
    history = [
        {"step": s, "loss": 0.1, "entropy": 2.0 - 0.01 * s, "grad_norm": 1.0, "tod/ess_rel": 0.5}
        for s in range(1, 30)
    ]
    log = logged(history)
    assert log.steps.tolist() == list(range(1, 30))
    assert log.values["entropy"].tolist() == [row["entropy"] for row in history]
    assert not any(key.startswith("tod/") for key in log.other)
