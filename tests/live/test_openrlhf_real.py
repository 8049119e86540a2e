"""The watched trainers inside OpenRLHF 0.11: `make test-openrlhf` makes its environment.

Whole trainings run in processes of their own by tests/live/openrlhf_world.py, which says what of
them is OpenRLHF's; faults are planted into its own `train_step` in this process.
"""

import asyncio
import json
import logging
import os
import pickle
import runpy
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

import faults
import numpy as np
import openrlhf_world as world
import polars as pl
import pytest

pytest.importorskip("openrlhf", reason="OpenRLHF is not installed: make test-openrlhf")

import ray
import torch
from transformers import AutoModelForCausalLM

import tod
from tod.engine import tiny
from tod.formats import read
from tod.live import OpenRLHFExporter
from tod.live.openrlhf.recorder import OpenRLHFRecorder, command_of
from tod.live.openrlhf.training import watched
from tod.live.recorder import RecorderSettings
from tolerance import of_sequence, rounding, stated

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # of OpenRLHF, Ray and their packages
]
MODULES = (
    "tod.live.openrlhf.experiences",
    "tod.live.openrlhf.recorder",
    "tod.live.recorder",
    "tod.live.aim",
)
MU = ("--algo.advantage.is_correction_level", "token")


def trained(folder: Path, *options: str) -> list[dict[str, float]]:
    """A whole training by OpenRLHF's program; what its tensorboard holds, step by step."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    words = [sys.executable, "-W", "ignore", world.__file__, str(folder), *options]
    done = subprocess.run(words, capture_output=True, text=True, timeout=900, cwd=folder)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    events = EventAccumulator(str(folder / "logs" / "run"))
    events.Reload()
    rows: dict[int, dict[str, float]] = {}
    for name in events.Tags()["scalars"]:
        for event in events.Scalars(name):
            rows.setdefault(event.step, {})[name.removeprefix("train/")] = event.value
    return [rows[step] for step in sorted(rows)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, float]]]:
    """Three steps of its synchronous trainer, a KL in the reward, log μ kept."""
    folder = tmp_path_factory.mktemp("sync")
    return folder, trained(folder, "--algo.advantage.estimator", "reinforce_baseline", *MU)


def test_a_training_is_tracked_and_written(run):
    folder, rows = run
    assert len(rows) == 3
    for row in rows:
        assert {"tod/ess_rel_median", "tod/verdict", "rollout/reward_mean"} <= set(row)
        assert row["tod/eta"] == pytest.approx(10.0, rel=rounding("float32", 4))
    place = folder / "checkpoints" / "tod"
    reading = tod.read(place)
    assert reading.source.tier == "A"
    assert reading.source.steps == (1, 3)
    assert reading.contexts.sizes.tolist() == [4] * 24
    for line, row in zip((place / "steps.jsonl").read_text().splitlines(), rows, strict=True):
        told = json.loads(line)
        near = rounding("float32", 4)  # tensorboard keeps single precision
        assert told["ess_rel"]["median"] == pytest.approx(row["tod/ess_rel_median"], rel=near)
    manifest = json.loads((place / "manifest.json").read_text())
    assert manifest["recipe"]["target_source"] == "located"
    assert manifest["recipe"]["trainer"].startswith("openrlhf 0.11.2 PPOTrainer")


def test_the_reference_is_that_of_a_forward(run):
    """Its mean by answer is all that stays in OpenRLHF; here the first weights score all tokens."""
    place = run[0] / "checkpoints" / "tod" / "rollouts"
    rows = pl.concat([pl.read_parquet(file) for file in sorted(place.glob("*.parquet"))])
    model = AutoModelForCausalLM.from_pretrained(tiny.path("tod://tiny"), dtype=torch.float32)
    tokenizer = tiny_tokenizer()
    assert "log_ref_tokens" not in rows.columns
    for row in rows.sample(12, seed=0).iter_rows(named=True):
        prompt = tokenizer(row["prompt"], add_special_tokens=False)["input_ids"]
        ids = torch.tensor([prompt + row["token_ids"]])
        with torch.no_grad():
            log_p = model(ids).logits[0].log_softmax(-1)
        answer = range(len(prompt), ids.shape[1])
        want = sum(float(log_p[t - 1, ids[0, t]]) for t in answer)
        # the mean is in single precision, and is multiplied by the length again
        near = of_sequence("float32") + len(answer) * rounding("float32", 32, 10)
        assert row["log_ref"] == pytest.approx(want, abs=near)
        assert row["completion"] == tokenizer.decode(row["token_ids"], skip_special_tokens=True)


def tiny_tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny.path("tod://tiny"))


def test_the_asynchronous_trainer_and_balanced_batches(tmp_path):
    """Balancing drops whose prompt a rollout is; a KL in the loss keeps the reference's tokens."""
    flags = "--algo.advantage.estimator group_norm --algo.kl.use_loss --algo.kl.estimator k2"
    more = ["--train.async_enable", "--train.dynamic_batch_enable", "--tod.output"]
    rows = trained(tmp_path, *flags.split(), *MU, *more, str(tmp_path / "records"), "--tod.extras")
    assert len(rows) == 3
    assert all("tod/verdict" in row for row in rows)
    reading = read(tmp_path / "records")
    assert reading.source.tier == "A"
    assert reading.contexts.sizes.tolist() == [4] * 24
    assert {"reward", "score", "characters"} <= set(reading.utility)
    table = pl.read_parquet(tmp_path / "records" / "rollouts" / "part-000001-000001.parquet")
    assert {"advantage", "truncated", "log_ref_tokens"} <= set(table.columns)
    reward = table["utility.reward"].to_numpy().reshape(-1, 4)
    spread = reward.std(axis=1, ddof=1, keepdims=True)
    want = (reward - reward.mean(axis=1, keepdims=True)) / (spread + 1e-9)
    np.testing.assert_allclose(
        table["advantage"].to_numpy().reshape(-1, 4), want, rtol=0, atol=rounding("float32", 16, 8)
    )


def test_a_controller_turns_the_coefficient_and_resumes(tmp_path):
    """η 10 by a ramp over three steps; then a training goes on from the checkpoint of step 3."""
    flags = ["--algo.advantage.estimator", "dr_grpo", "--ckpt.save_steps", "1"]
    arc = ["--tod.arc", json.dumps({"deadline": 6, "damage_limit": None, "overlap_limit": None})]
    first = trained(tmp_path, *flags, *MU, *arc)
    run = tmp_path / "checkpoints" / "tod"
    decisions = [json.loads(line) for line in (run / "decisions.jsonl").open()]
    etas = [row["tod/eta"] for row in first]
    near = rounding("float32", 4)
    assert etas[0] < etas[1] < etas[2] < 10.0
    for row, eta in zip(first, etas, strict=True):
        assert row["kl_ctl"] == pytest.approx(1.0 / eta, rel=near)
    assert [d["after"]["eta"] for d in decisions[:2]] == pytest.approx(etas[1:], rel=near)
    more = ["--ckpt.load_enable", "--train.num_episodes", "2"]
    rows = trained(tmp_path, *flags, *MU, *arc, *more)[3:]
    assert rows[0]["tod/eta"] == pytest.approx(decisions[2]["after"]["eta"], rel=near)
    assert rows[0]["kl_ctl"] == pytest.approx(1.0 / decisions[2]["after"]["eta"], rel=near)
    assert read(run).source.steps[0] == 1


class Captured(Exception):
    """The arguments, at the place where the program makes its strategy of them."""


@pytest.fixture(scope="module")
def inside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """OpenRLHF's trainer class in this process, its groups of one worker each, and rollouts."""
    folder = tmp_path_factory.mktemp("inside")
    sys.path.insert(0, world.flash(folder))
    words = [*world.prepare(folder), "--algo.advantage.estimator", "reinforce_baseline", *MU]
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    args = arguments(words)
    import openrlhf.trainer.ppo_trainer as trainers
    from openrlhf.utils import get_strategy
    from openrlhf_workers import Engine, Here, Policy, Worker

    plain = trainers.PPOTrainer.__ray_metadata__.modified_class.__ray_actor_class__
    strategy, model = get_strategy(args), args.actor.model_name_or_path
    policy, reference = Policy(1, 0, None, None), Worker(1, 0, None, None)
    for worker in (policy, reference):
        worker.init_model_from_pretrained(strategy, model, engines=[])

    def trainer(settings: RecorderSettings) -> Any:
        kind = watched(plain, words, settings, "0.11.2")
        made = kind(model, strategy, Here(policy), None, None, Here(reference), None)
        made.vllm_engines = None  # nothing to broadcast to
        return made

    def without_us() -> Any:
        made = plain(model, strategy, Here(policy), None, None, Here(reference), None)
        made.vllm_engines = None
        return made

    yield SimpleNamespace(
        folder=folder,
        words=words,
        args=args,
        trainer=trainer,
        without_us=without_us,
        policy=policy,
        engine=Engine(model, args.reward.remote_url),
    )
    ray.shutdown()


def arguments(words: list[str]) -> Any:
    """What the program's own parser makes of the words."""
    import openrlhf.utils

    def stop(args: Any) -> None:
        raise Captured(args)

    before, openrlhf.utils.get_strategy = openrlhf.utils.get_strategy, stop
    argv, sys.argv = sys.argv, ["train_ppo_ray", *words]
    try:
        runpy.run_module("openrlhf.cli.train_ppo_ray", run_name="__main__", alter_sys=True)
    except Captured as captured:
        return captured.args[0]
    finally:
        openrlhf.utils.get_strategy, sys.argv = before, argv
    raise AssertionError("the program made no strategy")


def rollouts(inside: SimpleNamespace, trainer: Any, prompts: int, longest: int = 24) -> list[Any]:
    """Fresh samples, by OpenRLHF's executor and generator."""
    from vllm import SamplingParams

    params = SamplingParams(max_tokens=longest, logprobs=1)
    found = []
    for row in range(prompts):
        _, prompt, label, _ = trainer.prompts_dataloader.dataset[row % 24]
        answers = inside.engine.generate_responses(
            prompt, label, params, 64, trainer.tokenizer, num_samples=4
        )
        make = trainer.samples_generator._process_response_into_experience
        found += [make(answer, max_len=64) for answer in asyncio.run(answers)]
    return found


def test_what_openrlhf_does_and_logs_is_as_without_us(inside):
    """Three updates on the same samples, from the same weights: figures and weights bit for bit."""
    samples = pickle.dumps(rollouts(inside, inside.without_us(), 4))
    weights = pickle.dumps(inside.policy.model.state_dict())
    settings = RecorderSettings(output=str(inside.folder / "watched"))
    ends = []
    for trainer in (inside.without_us(), inside.trainer(settings)):
        inside.policy.model.load_state_dict(pickle.loads(weights))  # noqa: S301 - our own
        inside.policy.reset()
        rows = [trainer.train_step(pickle.loads(samples), step) for step in range(3)]  # noqa: S301
        plain = [
            {k: x for k, x in status.items() if not k.startswith(("tod/", "timing/"))}
            for status, _ in rows
        ]
        ends.append((plain, [x.clone() for x in inside.policy.model.parameters()]))
    trainer.tod.close()
    assert ends[0][0] == ends[1][0]
    assert all(torch.equal(a, b) for a, b in zip(ends[0][1], ends[1][1], strict=True))


@pytest.mark.parametrize("kind", ["fault", "full", "memory", "unprintable"])
def test_a_fault_inside_its_train_step_is_caught_and_the_step_goes_on(inside, caplog, kind):
    """Planted in every function of ours in turn, inside OpenRLHF's `train_step`."""
    samples = pickle.dumps(rollouts(inside, inside.trainer(RecorderSettings()), 4))
    reached = 0
    for number, place in enumerate(faults.places(MODULES)):
        settings = RecorderSettings(output=str(inside.folder / kind / str(number)))
        with faults.planted(place, kind) as calls, caplog.at_level(logging.WARNING):
            trainer = inside.trainer(settings)
            status, step = trainer.train_step(pickle.loads(samples), 0)  # noqa: S301 - our own
            trainer.tod and trainer.tod.close()
        assert step == 1
        assert status["rollout/num_samples"] == 16.0
        reached += bool(calls)
    assert reached > 25


def test_what_a_step_costs(inside):
    """512 answers, 12 steps: what is spent besides OpenRLHF's own.

    The figures are written to the file that TOD_OPENRLHF_COST names.
    """
    trainer = inside.trainer(RecorderSettings(output=str(inside.folder / "cost")))
    samples = pickle.dumps(rollouts(inside, trainer, 128))
    ours = []
    for step in range(12):
        made = trainer.experience_maker.make_experience_batch(pickle.loads(samples))  # noqa: S301
        trainer.tod._settle()
        began = time.perf_counter()
        batch = trainer.tod.read(made)
        trainer.tod.step(step + 1, batch, {"ppo_clip_ratio": 0.0}, trainer.tokenizer)
        ours.append(1e3 * (time.perf_counter() - began))
    assert trainer.tod.guard.failures == {}
    trainer.tod.close()
    told = {"ms": {"median": median(ours[1:]), "least": min(ours)}, "load": os.getloadavg()}
    if "TOD_OPENRLHF_COST" in os.environ:
        Path(os.environ["TOD_OPENRLHF_COST"]).write_text(json.dumps(told) + "\n")
    assert len(batch) == 512


def test_the_exporter_attaches_to_its_experience_maker(inside, tmp_path):
    trainer = inside.trainer(RecorderSettings(output=str(tmp_path / "run")))
    exporter = OpenRLHFExporter(
        tmp_path / "out", trainer.tokenizer, samples_per_prompt=4, strict=True
    )
    exporter.attach(trainer.experience_maker)
    trainer.train_step(rollouts(inside, trainer, 4), 0)
    exporter.close()
    trainer.tod.close()
    found = read(tmp_path / "out")
    assert found.source.tier == "A"
    own = read(tmp_path / "run")
    for name in ("old", "ref"):
        np.testing.assert_array_equal(found.log_anchor[name], own.log_anchor[name])


def test_the_command_is_read_as_a_script_of_it_is(inside, tmp_path):
    script = tmp_path / "run.sh"
    script.write_text("python3 -m openrlhf.cli.train_ppo_ray " + " ".join(inside.words) + "\n")
    from tod.configurations import locate
    from tod.configurations.locate import reader

    assert reader(command_of(inside.words), "").law == locate(script).law


def test_a_recorder_reads_the_arguments_it_is_handed(inside):
    made = OpenRLHFRecorder(
        inside.args, inside.words, RecorderSettings(), "PPOTrainer", "0.11.2", strict=True
    )
    made.begin()
    assert made._configured is not None
    assert made._configured.located is not None
    assert made._configured.located.law.etas == {"reward": 10.0}


LOSSES = [
    "",
    "--actor.loss_agg_mode seq-mean-token-mean",
    "--actor.policy_loss_type gspo",
    "--actor.dual_clip 3.0",
    "--algo.advantage.is_correction_level token",
    "--algo.advantage.is_correction_level token --algo.advantage.is_correction_mode clip",
    "--algo.advantage.is_correction_level seq --algo.advantage.is_correction_threshold 0.9 1.1",
]


@pytest.mark.parametrize("words", LOSSES)
def test_a_located_operator_has_the_gradient_of_its_loss(inside, words):
    """What `tod atlas locate` says a command does, against what OpenRLHF's `PolicyLoss` does."""
    from openrlhf.models import PolicyLoss

    from tod.base import Groups
    from tod.configurations.locate import reader
    from tod.operators import Batch, Raw
    from tod.operators.batch import Totals

    args = arguments([*inside.words[:-2], *words.split()])
    gate = args.algo.advantage
    loss_of = PolicyLoss(
        *args.actor.eps_clip_low_high,
        args.actor.dual_clip,
        args.actor.loss_agg_mode == "token-mean",
        args.actor.policy_loss_type,
        gate.is_correction_level,
        gate.is_correction_mode,
        gate.is_correction_gating,
        gate.is_correction_threshold,
    )
    located = reader(command_of([*inside.words[:-2], *words.split()]), "")
    action = located.operator.action.revised(advantage=Raw(), pull=None)
    source = torch.Generator().manual_seed(3)
    sizes = torch.tensor([9, 4, 7, 1, 9, 5])
    mask = torch.arange(9) < sizes[:, None]

    def random() -> torch.Tensor:
        return torch.rand(6, 9, generator=source, dtype=torch.float64)

    old = -random() - 0.3
    mu = old + 0.5 * (random() - 0.5)
    new = (old + 0.6 * (random() - 0.5)).requires_grad_()
    value = random()[:, 0] - 0.5
    loss, *_ = loss_of(new, old, value[:, None].expand(6, 9), mask.double(), mu)
    theirs = -torch.autograd.grad(loss, new)[0][mask].numpy()
    contexts, sequences = Groups.equal(1, 6), Groups(sizes.numpy())
    batch = Batch(
        contexts,
        sequences,
        new.detach()[mask].numpy(),
        old[mask].numpy(),
        value.numpy(),
        value.numpy(),
        1.0,
        Totals.of(sequences, contexts),
        log_mu_tokens=mu[mask].numpy(),
    )
    near = rounding("float64", 64, 8) + stated(1e-8, "OpenRLHF adds it to every length")
    np.testing.assert_allclose(action.credit(batch).per_token, theirs, rtol=0, atol=near)
