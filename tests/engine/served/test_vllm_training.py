"""Training through a real vLLM: the law of its batches, a killed server, and reloads that lie.

Slow, and only where ``TOD_VLLM_PYTHON`` names the interpreter of an environment with vLLM.
"""

import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from planted_weights import versions
from real_server import RealServer, own_only
from safetensors.torch import load_file
from scipy.stats import norm

from tod.engine import tiny
from tod.engine.collect import decoded
from tod.engine.lora import LoraSpec
from tod.engine.models import load_model
from tod.engine.sampling.params import SamplingParams
from tod.engine.sampling.sampler import sample
from tod.engine.served.check import check_server
from tod.engine.served.sampler import ServedSampler
from tod.engine.served.watch import TransferProbe, watch
from tod.engine.served.weights import ServedWeights
from tod.engine.session import open_session
from tod.engine.settings import RunSettings
from tod.engine.train import train
from tod.runs import RunDirectory
from tod.serving.adapters import load_adapter, unload_adapter
from tod.serving.client import Client
from tod.serving.spec import ServedPolicy

pytestmark = own_only
STEPS, PROMPTS, SIZE, AGAIN = 20, 16, 8, 32
RARE = 1e-4
"""Chance of a statistic beyond the bound when the laws are one."""


def recipe(output: Path, url: str, **changes: Any) -> RunSettings:
    """Adapters of rank 8 at a rate that moves them, every step's weights kept."""
    sync = {"dtype": "float32", "sequences": 4}
    policy = {"server": url, "model": "tiny", "sync": sync, "patience": 900.0}
    proposal = {"prompts": PROMPTS, "size": SIZE, "max_new_tokens": 16}
    train = {"steps": STEPS, "learning_rate": 0.003, "seed": 1}
    data = {
        "name": "law",
        "policy": policy,
        "peft": {"kind": "lora", "rank": 8},
        "target": {"kind": "two_anchor", "tau": 0.15, "beta": 0.05, "utility": "correct"},
        "operator": {"proposal": proposal, "action": {"kind": "policy_gradient"}},
        "train": {**train, "checkpoint_every": 1, "keep_checkpoints": STEPS},
        "evaluate": None,
        "output": str(output),
    }
    return RunSettings.parse(data | changes)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    found = RealServer.on(tmp_path_factory.mktemp("vllm"))
    found.start()
    try:
        yield found
    finally:
        found.kill()


def stratified(ours: Any, theirs: Any) -> float:
    """z of equal means in all strata: Σ differences over the root of their permutation variances.

    Args:
        ours: [S, n] values of one sampler, a row a stratum.
        theirs: [S, m] of the other.
    """
    pooled = np.concatenate([ours, theirs], axis=1)
    n, m = ours.shape[1], theirs.shape[1]
    variance = pooled.var(axis=1, ddof=1) * (1 / n + 1 / m)
    difference = ours.mean(1) - theirs.mean(1)
    return float(difference.sum() / np.sqrt(variance.sum()))


def laws(path: Path) -> dict[str, float]:
    """z of rewards and of lengths of every step's batch against our own sampler's.

    Ours draws from the same weights, those of the checkpoint before the step, with more candidates.
    """
    run = RunDirectory.open(path)
    table = run.rollouts.scan().collect()
    data = {**run.manifest.recipe, "policy": None, "output": None}
    session = open_session(RunSettings.parse(data))
    named = dict(session.policy.named_parameters())
    seen: dict[str, list[Any]] = {"reward": [], "length": []}
    own: dict[str, list[Any]] = {"reward": [], "length": []}
    for step in range(1, STEPS + 1):
        if step > 1:
            stored = load_file(path / "checkpoints" / f"step-{step - 1}" / "policy.safetensors")
            with torch.no_grad():
                for name, value in stored.items():
                    named[name].copy_(value)
        examples = session.task.batch(step - 1, PROMPTS)
        drawn = sample(
            session.policy,
            session.prompts(examples),
            AGAIN,
            params=session.params,
            pad_id=session.pad_id,
            eos_ids=session.stop_ids,
            seed=99,
            step=step,
        )
        rows = [examples[int(c)] for c in drawn.contexts.owner]
        reward = session.scorer.score(rows, decoded(session, drawn), None)["correct"]
        own["reward"].append(reward.reshape(PROMPTS, AGAIN))
        own["length"].append(drawn.sequences.sizes.reshape(PROMPTS, AGAIN))
        batch = table.filter(table["step"] == step)
        for name, column in (("reward", "utility.correct"), ("length", "length")):
            seen[name].append(batch[column].to_numpy().reshape(PROMPTS, SIZE))
    session.close()
    return {n: stratified(np.concatenate(seen[n]), np.concatenate(own[n])) for n in seen}


def shift_seen(share: float, strata: int) -> float:
    """Difference of two shares near ``share`` that is found with a chance of 80 %."""
    error = np.sqrt(share * (1 - share) * (1 / SIZE + 1 / AGAIN) / strata)
    return float((norm.isf(RARE / 2) + norm.isf(0.2)) * error)


def test_batches_have_the_law_of_our_own_sampler_at_every_step(server, tmp_path, record_property):
    """The update is one function of the batch, so that runs then have one law too."""
    path = train(recipe(tmp_path / "run", server.url))
    records = list(RunDirectory.open(path).steps.read())
    syncs = [sync for record in records for sync in record["served"]["syncs"]]
    assert len(syncs) == STEPS
    assert all(sync["good"] for sync in syncs)
    record_property("largest RMS of a sync", max(sync["rms"] for sync in syncs))
    found = laws(path)
    record_property("z of rewards and lengths", found)
    record_property("shift of the reward seen with 80 %", shift_seen(0.2, STEPS * PROMPTS))
    assert max(map(abs, found.values())) < norm.isf(RARE / 2)


def test_a_killed_server_loses_no_step_and_no_candidate_twice(tmp_path):
    """Killed with its workers while it draws the second batch, and started anew."""
    server = RealServer.on(tmp_path)
    server.start()
    settings = recipe(tmp_path / "run", server.url, train={"steps": 3, "learning_rate": 0.003})
    assert settings.policy is not None
    steps, killed = tmp_path / "run" / "steps.jsonl", threading.Event()

    def kill() -> None:
        while not (steps.exists() and steps.read_text().count("\n")):
            time.sleep(0.05)
        time.sleep(1.0)
        server.kill()
        killed.set()
        server.start(wait=False)

    other = threading.Thread(target=kill, daemon=True)
    other.start()
    try:
        path = train(settings)
    finally:
        other.join(60)
        server.kill()
    run = RunDirectory.open(path)
    table, records = run.rollouts.scan().collect(), list(run.steps.read())
    assert killed.is_set()
    assert [record["step"] for record in records] == [1, 2, 3]
    keys = table.select("step", "context", "candidate")
    assert len(table) == keys.n_unique() == 3 * PROMPTS * SIZE
    syncs = [sync for record in records for sync in record["served"]["syncs"]]
    assert all(sync["good"] for sync in syncs)
    assert (table["version"] == table["step"] - 1).all()


def test_a_reload_that_leaves_the_head_behind_is_told(tmp_path, record_property):
    """vLLM's own sequence answers success, and it goes on with new body and old head."""
    server = RealServer.on(tmp_path)
    server.start()
    new, old = versions()[-1], tiny.path("tod://tiny")
    new.save_pretrained(tmp_path / "new", safe_serialization=True)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(old / file, tmp_path / "new" / file)
    how = {"dtype": "float32", "size": 4, "longest": 16}
    client = Client(server.url)
    try:
        shutil.copy(tmp_path / "new" / "model.safetensors", server.model / "model.safetensors")
        for path in ("/pause", "/collective_rpc", "/reset_prefix_cache", "/resume"):
            body = {"method": "reload_weights"} if path == "/collective_rpc" else {}
            client.post(path, body)  # anything but 200 raises
        spec = ServedPolicy(server=server.url, model="tiny")
        said = check_server(spec, str(tmp_path / "new"), initial="tod://tiny", **how)
    finally:
        client.close()
        server.kill()
    record_property("weights", said.weights.to_dict())
    assert not said.good
    assert said.weights.kind == "partly_old"
    assert "the head those of the start" in (said.weights.name, *said.weights.also)


def test_an_adapter_of_an_earlier_version_is_told(server, tmp_path):
    """What the server has under the third name is what it was sent under the second one."""
    model, _ = load_model("tod://tiny", lora=LoraSpec(rank=8))
    spec = ServedPolicy(server=server.url, model="tiny", sync={"dtype": "float32"})
    sampler, generator = ServedSampler(spec, 21), torch.Generator().manual_seed(0)
    weights = ServedWeights(sampler, tmp_path / "adapters")
    prompts = (np.array([5, 20, 11, 20, 4]), np.array([7, 20, 6, 20, 9]))
    probe = TransferProbe(prompts, SamplingParams(max_new_tokens=16), (1,), 0)
    found = []
    for version in range(3):
        with torch.no_grad():
            for name, p in model.named_parameters():
                if "lora_B" in name:
                    p.add_(0.02 * torch.randn(p.shape, generator=generator))
        weights.use(version, model)
        if version == 2:
            unload_adapter(sampler.clients[0], weights.name(2))
            load_adapter(sampler.clients[0], weights.name(2), weights.place / "v1")
        found.append(watch(weights, model, probe)[0].checked.weights)
    weights.close()
    sampler.close()
    assert [one.kind for one in found] == ["noise", "noise", "stale"]
    assert found[2].name == "version 1"
