"""The plugin inside verl 0.9 itself: `make test-verl` makes the environment and runs these.

Ray, TransferQueue, the trainers' constructors and `fit`, advantages, metrics, Tracking and losses
are verl's; what needs accelerators is not (tests/live/verl_world.py).
"""

import json
import logging
import os
import statistics
import sys
import time
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import faults
import numpy as np
import pytest
import torch

os.environ["VERL_USE_EXTERNAL_MODULES"] = "tod.live.verl.plugin"
pytest.importorskip("verl", reason="verl is not installed: make test-verl")

import transfer_queue as tq
import verl_world as world
from omegaconf import OmegaConf

import tod
from tod.base import SpecError
from tod.diagnosis import diagnose
from tod.live import VerlExporter
from tod.live.verl.names import MODES, PREFIX
from tolerance import rounding

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # of verl, Ray and their packages
]
plugin = sys.modules["tod.live.verl.plugin"]
"""Loaded by verl as the setting says: nothing here imports it."""
MODULES = ("tod.live.verl.queue", "tod.live.verl.recorder", "tod.live.recorder", "tod.live.aim")


@pytest.fixture(scope="module")
def ray_and_queue(tmp_path_factory):
    with world.started(world.config(tmp_path_factory.mktemp("queue"))):
        yield


def fitted(folder: Path, steps: int = 3, *overrides: str, **left_out):
    """verl's own `fit` over some steps; the trainer, and what its Tracking wrote."""
    tracked = world.tracking(folder)
    trainer = world.trainer_of(world.config(folder, *overrides), steps)
    batches = [world.rollouts(s, prompts=4, size=4, length=8) for s in range(steps)]
    world.drive(trainer, batches, **left_out)
    rows = [json.loads(line) for line in tracked.read_text().splitlines()]
    return trainer, [row["data"] for row in rows]


def test_our_trainers_are_registered_by_the_setting_alone():
    from verl.trainer.ppo.v1 import get_trainer_cls

    for mode in MODES:
        ours = get_trainer_cls(PREFIX + mode)
        assert issubclass(ours, get_trainer_cls(mode))
        assert ours.__name__ == "Tod" + get_trainer_cls(mode).__name__
    assert plugin.trainers()["tod_sync"] is get_trainer_cls("tod_sync")


@pytest.mark.parametrize("mode", ["sync", "colocate_async"])
def test_the_trainer_is_verls_own_of_its_mode(tmp_path, mode):
    """The replay buffer, the mode and the settings are those of the mode without ours."""
    from verl.trainer.ppo.v1 import get_trainer_cls

    plain = get_trainer_cls(mode)(world.config(tmp_path, f"trainer.v1.trainer_mode={mode}"))
    ours = get_trainer_cls(PREFIX + mode)(
        world.config(tmp_path, f"trainer.v1.trainer_mode={PREFIX}{mode}")
    )
    assert ours.trainer_mode == plain.trainer_mode == mode
    assert type(ours.replay_buffer) is type(plain.replay_buffer)
    assert OmegaConf.to_container(ours.config) == OmegaConf.to_container(plain.config)


@pytest.mark.parametrize("mode", ["sync", "colocate_async"])
def test_a_training_is_tracked_and_written(ray_and_queue, tmp_path, mode, monkeypatch):
    if mode == "colocate_async":  # its warm-up asks the sampler for batches
        from verl.trainer.ppo.v1.trainer_colocate_async import PPOTrainerColocateAsync

        monkeypatch.setattr(PPOTrainerColocateAsync, "on_train_begin", lambda self: None)
    trainer, rows = fitted(tmp_path, 3, f"trainer.v1.trainer_mode={PREFIX}{mode}")
    assert trainer.tod.guard.failures == trainer.tod_guard.failures == {}
    for row in rows:
        assert {"tod/ess_rel_median", "tod/verdict", "tod/eta", "critic/score/mean"} <= set(row)
        assert row["tod/eta"] == 2.0
    reading = tod.read(tmp_path / "checkpoints" / "tod")
    assert reading.source.steps == (1, 3)
    assert len(reading.contexts) == 12
    assert reading.log_mu is not None
    assert {"old", "ref"} <= set(reading.log_anchor)
    found = diagnose(reading).to_dict()
    assert found["target"]["source"] == "located"
    lines = (tmp_path / "checkpoints" / "tod" / "steps.jsonl").read_text().splitlines()
    for line, row in zip(lines, rows, strict=True):
        assert json.loads(line)["ess_rel"]["median"] == row["tod/ess_rel_median"]


def test_what_verl_logs_and_does_is_as_without_us(ray_and_queue, tmp_path):
    """The same steps by verl's own trainer: its figures are equal, but for those of its clock."""
    plain, own = fitted(tmp_path / "plain", 2, "trainer.v1.trainer_mode=sync")
    ours, rows = fitted(tmp_path / "ours", 2)
    assert type(plain).__name__ == "PPOTrainerSync"
    assert ours.global_steps == plain.global_steps
    for a, b in zip(own, rows, strict=True):
        mine = {name: x for name, x in b.items() if not name.startswith("tod/")}
        assert mine.keys() == a.keys()
        clock = {name for name in a if name.startswith(("timing", "perf"))}
        assert {n: a[n] for n in a if n not in clock} == {n: mine[n] for n in a if n not in clock}
    assert tq.kv_list("train") in ({}, None, {"train": {}})  # verl cleared the queue


@pytest.mark.parametrize("kind", ["fault", "full", "memory"])
def test_a_fault_inside_its_metrics_is_caught_and_the_step_goes_on(
    ray_and_queue, tmp_path, caplog, kind
):
    """Planted in every function of ours in turn, inside verl's `_compute_metrics`."""
    trainer = world.trainer_of(world.config(tmp_path), 9)
    batch = world.put(world.rollouts(1, 4, 4, 8), 1)
    trainer._compute_advantage(batch, {})
    reached = 0
    for step, place in enumerate(faults.places(MODULES), start=1):
        trainer.global_steps, trainer.tod = step, plugin._recorder(trainer.config, "sync")
        metrics: dict = {}
        with faults.planted(place, kind) as calls, caplog.at_level(logging.WARNING):
            trainer._compute_metrics(
                batch, metrics, dict(world.STEP_SECONDS), global_steps=step, epoch=0
            )
            trainer.tod.close()
        assert metrics["training/global_step"] == step
        assert metrics["critic/score/mean"] > 0
        reached += bool(calls)
    assert reached > 20
    tq.kv_clear(keys=batch.keys, partition_id="train")


def test_a_queue_that_fails_under_us_stops_nothing(ray_and_queue, tmp_path, caplog, monkeypatch):
    """verl has read its own metrics; our question to the queue fails, and `fit` goes to its end."""
    inner = tq.kv_batch_get

    def get(keys, partition_id, select_fields=None):
        if "loss_mask" in (select_fields or ()):
            raise RuntimeError("planted: the storage is gone")
        return inner(keys=keys, partition_id=partition_id, select_fields=select_fields)

    monkeypatch.setattr(tq, "kv_batch_get", get)
    with caplog.at_level(logging.WARNING):
        trainer, rows = fitted(tmp_path, 3)
    assert len(rows) == 3
    assert not any(name.startswith("tod/") for row in rows for name in row)
    assert trainer.tod.guard.failures == {"reading the batch": 3}
    said = [r.message for r in caplog.records if "the storage is gone" in r.message]
    assert len(said) == 1
    assert "training goes on without it" in said[0]


@pytest.mark.parametrize("how", ["raises", "epochs"])
def test_the_last_step_is_written_however_fit_ends(ray_and_queue, tmp_path, how):
    """By an exception in step 3, or by its epochs before its steps: the lock is let go too."""
    trainer = world.trainer_of(world.config(tmp_path), 9)
    if how == "epochs":
        trainer.steps_per_epoch = 2
    batches = [world.rollouts(s, prompts=4, size=4, length=8) for s in range(2)]
    if how == "raises":
        with pytest.raises(IndexError):
            world.drive(trainer, batches)
    else:
        world.drive(trainer, batches)
    run = tmp_path / "checkpoints" / "tod"
    assert [json.loads(line)["step"] for line in (run / "steps.jsonl").open()] == [1, 2]
    assert not (run / ".lock").exists()


def test_without_log_probs_of_the_reference_the_target_is_assumed(ray_and_queue, tmp_path):
    _, rows = fitted(tmp_path, 1, fields=("ref_log_prob",))
    assert rows[0]["tod/eta"] == 1.0
    assert "tod/ess_rel_median" in rows[0]


IN_REWARD = (
    "algorithm.use_kl_in_reward=true",
    "algorithm.kl_penalty=kl",
    "algorithm.kl_ctrl.kl_coef=0.1",
    "actor_rollout_ref.actor.use_kl_loss=false",
    "trainer.save_freq=1",
    "+trainer.tod.arc={deadline: 6, damage_limit: null, overlap_limit: null}",
)


def steered(folder: Path, begin: int, batches: list) -> tuple:
    """verl's `fit` of three steps that saves every step, and what its Tracking wrote."""
    tracked = world.tracking(folder)
    tracked.unlink(missing_ok=True)
    trainer = world.trainer_of(world.config(folder, *IN_REWARD), 6)
    trainer.actor_rollout_wg = SimpleNamespace(save_checkpoint=lambda *_, **__: None)
    trainer.train_dataloader = SimpleNamespace(state_dict=dict)
    trainer.global_steps = begin
    with suppress(IndexError):  # killed where there is no further batch
        world.drive(trainer, batches)
    trainer.logger.finish()
    rows = [json.loads(line)["data"] for line in tracked.read_text().splitlines()]
    return trainer, rows


def test_a_controller_turns_the_coefficient_in_the_reward_and_resumes(ray_and_queue, tmp_path):
    """η 10 by a ramp over six steps, killed after the third: it goes on as if it had not been."""
    batches = [world.rollouts(s, prompts=4, size=4, length=8) for s in range(6)]
    _, whole = steered(tmp_path / "whole", 0, batches)
    _, first = steered(tmp_path / "halves", 0, batches[:3])
    trainer, then = steered(tmp_path / "halves", 3, batches)
    assert trainer.tod.guard.failures == trainer.tod_guard.failures == {}
    etas = [row["tod/eta"] for row in whole]
    assert etas == [row["tod/eta"] for row in first + then]
    assert etas[0] < etas[2] < etas[5] <= 10.0 * (1 + rounding("float64", 8))
    for row, eta in zip(whole, etas, strict=True):  # what verl itself says it used
        assert row["actor/reward_kl_penalty_coeff"] == pytest.approx(1.0 / eta)
    decided = (tmp_path / "halves" / "checkpoints" / "tod" / "decisions.jsonl").read_text()
    assert [json.loads(line)["step"] for line in decided.splitlines()] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("algorithm.use_kl_in_reward=false",), "needs a KL in the reward"),
        (("algorithm.kl_ctrl.type=adaptive",), "moves the same coefficient"),
        (("algorithm.norm_adv_by_std_in_grpo=true",), "z-scoring divides eta out"),
        (("+trainer.tod.target={anchor: {ref: 1.0}}",), "Leave target out"),
    ],
)
def test_a_controller_that_is_connected_to_nothing_is_refused(tmp_path, more, said):
    trainer = world.trainer_of(world.config(tmp_path, *IN_REWARD, *more), 6)
    with pytest.raises(SpecError, match=said):
        trainer.fit(None)


def test_attach_names_the_plugin(tmp_path):
    trainer = world.trainer_of(
        world.config(tmp_path, "trainer.rollout_data_dir=dump", "trainer.v1.trainer_mode=sync"), 1
    )
    exporter = VerlExporter(tmp_path / "out")
    with pytest.raises(SpecError) as error:
        exporter.attach(trainer)
    exporter.close()
    for words in ("VERL_USE_EXTERNAL_MODULES=tod.live.verl.plugin", "trainer_mode=tod_sync"):
        assert words in str(error.value)


def loss_tensors(seed: int = 0):
    generator = torch.Generator().manual_seed(seed)

    def random() -> torch.Tensor:
        return torch.rand(6, 9, generator=generator, dtype=torch.float64)

    mask = (torch.arange(9) < torch.tensor([9, 4, 7, 1, 9, 5]).unsqueeze(1)).long()
    old = -random() - 0.1
    new = (old + 0.6 * (random() - 0.5)).requires_grad_()
    return old, new, (random()[:, :1] - 0.5) * mask, mask


@pytest.mark.parametrize("mode", ["token-mean", "seq-mean-token-mean", "seq-mean-token-sum"])
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [("tod_dual_clip", "vanilla"), ("tod_sequence_clip", "gspo"), ("tod_likelihood", "gpg")],
)
def test_our_losses_have_the_gradient_of_verls_own(ours, theirs, mode):
    """From verl's registry both, with its own configuration of the actor; verl adds 1e-8 to L."""
    from verl.trainer.ppo.core_algos import get_policy_loss_fn
    from verl.workers.config import ActorConfig

    config = ActorConfig(
        strategy="fsdp",
        ppo_micro_batch_size_per_gpu=1,
        clip_ratio_low=0.1,
        clip_ratio_high=0.15,
        rollout_n=4,
    )
    found = []
    for name in (ours, theirs):
        old, new, advantages, mask = loss_tensors()
        loss, metrics = get_policy_loss_fn(name)(old, new, advantages, mask, mode, config)
        found.append(torch.autograd.grad(loss, new)[0])
        assert metrics is not None
    bound = 64 * rounding("float32", 4)  # verl's masks are in single precision
    torch.testing.assert_close(found[0], found[1], rtol=bound, atol=bound)
    assert found[0].abs().max() > 0


def test_our_advantages_train_verls_batch(ray_and_queue, tmp_path):
    """Through verl's own KL penalty and dispatch: (R − mean R)/β of R = U − β(log π_old/π_ref)."""
    settings = world.config(
        tmp_path,
        "algorithm.adv_estimator=tod_log_ratio_variance",
        "algorithm.use_kl_in_reward=true",
        "algorithm.kl_ctrl.kl_coef=0.4",
    )
    rows = world.rollouts(5, 4, 4, 8)
    trainer = world.trainer_of(settings, 1)
    batch = world.put(rows, 1)
    trainer._compute_advantage(batch, {})
    data = tq.kv_batch_get(keys=batch.keys, partition_id="train", select_fields=["advantages"])
    found = np.array([row[0].item() for row in data["advantages"].unbind()])
    whole = [
        r.reward / 0.4 - sum(np.array(r.old) * r.on) + sum(np.array(r.ref) * r.on) for r in rows
    ]
    table = np.array(whole).reshape(4, 4)
    expected = (table - table.mean(axis=1, keepdims=True)).reshape(-1)
    np.testing.assert_allclose(found, expected, rtol=0, atol=32 * rounding("float32", 32, 16))
    tq.kv_clear(keys=batch.keys, partition_id="train")


def test_what_a_step_costs(ray_and_queue, tmp_path):
    """512 rollouts of 32 to 64 tokens, 15 steps: what `_compute_metrics` takes more than verl's.

    The figure is written to the file that TOD_VERL_COST names; a busy machine stretches both.
    """
    from verl.trainer.ppo.v1.trainer_sync import PPOTrainerSync

    trainer = world.trainer_of(world.config(tmp_path), 99, world_tokenizer())
    batch = world.put(world.rollouts(9, prompts=32, size=16, length=64), 1)
    trainer._compute_advantage(batch, {})
    spent: dict[str, list[float]] = {
        "ours": [],
        "verl": [],
        "queue": [],
        "process": [],
        "thread": [],
    }
    inner = tq.kv_batch_get

    def get(**asked):
        began = time.perf_counter()
        try:
            return inner(**asked)
        finally:
            queue.append(time.perf_counter() - began)

    for step in range(1, 16):
        queue: list[float] = []
        trainer.global_steps = step
        began = time.perf_counter()
        PPOTrainerSync._compute_metrics(
            trainer, batch, {}, dict(world.STEP_SECONDS), global_steps=step, epoch=0
        )
        spent["verl"].append(time.perf_counter() - began)
        trainer.tod._settle()
        began, process, thread = time.perf_counter(), time.process_time(), time.thread_time()
        trainer.tod.step(
            step,
            lambda keys, fields: get(keys=keys, partition_id="train", select_fields=fields),
            batch.keys,
            batch.tags,
            {"actor/pg_clipfrac": 0.1},
            trainer.tokenizer,
        )
        spent["ours"].append(time.perf_counter() - began)
        spent["process"].append(time.process_time() - process)
        spent["thread"].append(time.thread_time() - thread)
        spent["queue"].append(sum(queue))
    assert trainer.tod.guard.failures == {}
    figures = {name: statistics.median(x[1:]) * 1e3 for name, x in spent.items()}
    figures |= {"least_" + name: min(x) * 1e3 for name, x in spent.items()}
    told = {"ms": {k: round(x, 1) for k, x in figures.items()}, "load": os.getloadavg()}
    told |= {"verl": version("verl"), "candidates": 512}
    if "TOD_VERL_COST" in os.environ:
        Path(os.environ["TOD_VERL_COST"]).write_text(json.dumps(told) + "\n")
    assert figures["thread"] < 150.0  # of a processor: what does not hang on the machine's load


def world_tokenizer() -> SimpleNamespace:
    """Spells ids as a fast tokenizer does, a word a token."""
    return SimpleNamespace(
        batch_decode=lambda rows, **_: [" ".join(f"w{i}" for i in row) for row in rows]
    )
