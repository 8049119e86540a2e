"""Planted truth: real older weights, parts of them, temperatures, experts chosen otherwise."""

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from planted_weights import PROMPTS, VERSIONS, drawn

from tod.base import Groups
from tod.diagnostics import in_sync
from tod.engine.forward.log_probs import scored_log_probs
from tod.engine.lora import LoraSpec
from tod.engine.models import load_model
from tod.engine.rollouts import Rollouts
from tod.engine.sampling.params import SamplingParams
from tod.engine.sampling.sampler import sample
from tod.engine.served.alternatives import (
    Earlier,
    as_held,
    at_temperatures,
    expected_noise,
    in_parts,
    old_head,
    replaced,
    surprise,
    tempered,
    whole,
)
from tod.engine.served.check import STRANGE, has_experts
from tolerance import double, of_weights

ROUNDED = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def told(trainer: Any, server: Any, probe: Any, known: list[Earlier], dtype: str) -> Any:
    """What a probe says where the server computes in a precision."""
    rough = copy.deepcopy(server).to(ROUNDED[dtype])
    ends = known[:1] + known[1:][-1:]  # the newest and the first: parts of both
    trainer, known, ends = (
        as_held(trainer, dtype),
        *([one.as_held(dtype) for one in some] for some in (known, ends)),
    )
    return in_sync(
        scored_log_probs(rough, probe)[0],
        scored_log_probs(trainer, probe)[0],
        probe.sequences,
        noise=expected_noise(trainer, probe, dtype),
        alternatives=[*whole(trainer, probe, known), *in_parts(trainer, probe, ends)],
        experts=has_experts(trainer),
    )


@pytest.fixture(scope="module")
def known(history: list[Any]) -> list[Earlier]:
    """Every version but the newest, the newest first, and the first of all."""
    older = [
        Earlier(f"{VERSIONS - v} old", "stale", history[v].state_dict())
        for v in range(VERSIONS - 1, 0, -1)
    ]
    return [*older, Earlier("of the start", "initial", history[0].state_dict())]


@pytest.fixture(scope="module")
def probe(history: list[Any]) -> Any:
    return drawn(history[-1], 8)


@pytest.mark.parametrize("dtype", ROUNDED)
@pytest.mark.parametrize("version", [0, 3, VERSIONS])
def test_versions_are_told_apart(history, known, probe, version, dtype):
    said = told(history[-1], history[version], probe, known, dtype)
    want = "noise" if version == VERSIONS else "stale" if version else "initial"
    assert said.kind == want
    names = [f"{VERSIONS - version} old"] if version else ["of the start"]
    assert said.good or said.name in names or set(names) & set(said.also)


@pytest.mark.parametrize("dtype", ROUNDED)
def test_an_old_head_is_told(history, known, probe, dtype):
    """New body, tied embedding in, old embedding out: what a reload that forgets the tie leaves."""
    server = copy.deepcopy(history[-1])
    with old_head(server, history[0].state_dict()):
        said = told(history[-1], server, probe, known, dtype)
    assert said.kind == "partly_old"
    assert "the head of the start" in (said.name, *said.also)


@pytest.mark.parametrize("dtype", ROUNDED)
def test_an_old_layer_is_told(history, known, probe, dtype):
    server, old = copy.deepcopy(history[-1]), history[0].state_dict()
    layer = {name: value for name, value in old.items() if ".layers.1." in name}
    with replaced(server, layer):
        said = told(history[-1], server, probe, known, dtype)
    assert said.kind == "partly_old"
    assert "layer 1 of the start" in (said.name, *said.also)


def test_an_adapter_that_is_off_or_of_an_earlier_version():
    model, _ = load_model("tod://tiny", lora=LoraSpec(rank=4))
    generator = torch.Generator().manual_seed(0)
    versions = []
    for _ in range(3):
        with torch.no_grad():
            for name, p in model.named_parameters():
                if "lora_B" in name:
                    p.add_(0.02 * torch.randn(p.shape, generator=generator))
        own = model.state_dict()
        versions.append({n: own[n].clone() for n in own if "lora_" in n})
    batch = drawn(model, 8)
    known = [Earlier("1 old", "stale", versions[1]), Earlier("2 old", "stale", versions[0])]
    server = copy.deepcopy(model)
    with replaced(server, versions[0]):
        assert told(model, server, batch, known, "float32").name == "2 old"
    with server.disable_adapter():
        said = told(model, server, batch, known, "float32")
    assert (said.kind, said.name) == ("partly_old", "the model without its adapter")


def test_weights_are_put_back_and_the_tie_too(history):
    model = copy.deepcopy(history[-1])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with replaced(model, history[0].state_dict()), old_head(model, history[1].state_dict()):
        pass
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


@pytest.mark.parametrize("temperature", [0.7, 1.3])
def test_a_temperature_is_told_to_two_digits(history, temperature):
    model = history[-1]
    params = SamplingParams(max_new_tokens=16, temperature=temperature)
    batch = sample(model, PROMPTS, 16, params=params, pad_id=0, eos_ids=(1,), seed=1, step=0)
    at_one = scored_log_probs(model, batch)[0]
    said = in_sync(
        np.asarray(batch.log_mu, np.float64),
        at_one,
        batch.sequences,
        noise=1e-5,
        alternatives=at_temperatures(model, batch, batch.log_mu),
    )
    assert (said.kind, said.name) == ("temperature", f"temperature {temperature}")
    assert np.array_equal(tempered(model, batch, [1.0])[:, 0], at_one)


def test_a_nucleus_is_told(history):
    params = SamplingParams(max_new_tokens=16, top_p=0.9)
    batch = sample(history[-1], PROMPTS, 16, params=params, pad_id=0, eos_ids=(1,), seed=1, step=0)
    at_one = scored_log_probs(history[-1], batch)[0]
    others = at_temperatures(history[-1], batch, batch.log_mu)
    said = in_sync(
        np.asarray(batch.log_mu, np.float64),
        at_one,
        batch.sequences,
        noise=1e-5,
        alternatives=others,
    )
    assert said.kind == "truncated"


def test_draws_of_another_law_than_their_log_probs_surprise(history):
    """Log-probs of temperature 1 for draws of 0.5, as servers give that log raw ones."""
    batches = [
        sample(
            history[-1],
            PROMPTS,
            128,
            params=SamplingParams(max_new_tokens=16, temperature=t),
            pad_id=0,
            eos_ids=(1,),
            seed=2,
            step=0,
        )
        for t in (1.0, 0.5)
    ]
    lawful, colder = (surprise(history[-1], batch, 1.0) for batch in batches)
    assert abs(lawful) < STRANGE
    assert colder > STRANGE


def test_surprise_is_the_standardised_sum_over_the_vocabulary(history):
    """Position by position, from plain forwards."""
    batch = drawn(history[-1], 2)
    over = spread = 0.0
    rows = batch.sequences.split(batch.ids)
    for owner, ids in zip(batch.contexts.owner, rows, strict=True):
        prompt = batch.prompts[int(owner)]
        whole_ids = torch.tensor(np.concatenate([prompt, ids]))[None]
        logits = history[-1](whole_ids).logits[0].double().numpy()[len(prompt) - 1 : -1]
        for z, token in zip(logits, ids, strict=True):
            p = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
            mean = float((p * np.log(p)).sum())
            over += float(np.log(p[token])) - mean
            spread += float((p * (np.log(p) - mean) ** 2).sum())
    # float32 log-softmax of logits up to 16, in sums of some tens of tokens
    bound = of_weights("float32", 96, 16) * len(batch.ids)
    assert surprise(history[-1], batch, 1.0) == pytest.approx(
        over / spread**0.5, abs=bound, rel=double(1)
    )


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ROUNDED)
def test_of_a_thousand_honest_syncs_one_at_most_is_an_alarm(history, known, dtype):
    """Eight of 1 600 sequences each; two older versions, whole and in parts, are at hand.

    A rate of 1e-3 gives two alarms or more in 26 % of such tests, a tenth of it in 0.5 %.
    """
    trainer, rng = as_held(history[-1], dtype), np.random.default_rng(0)
    batch = drawn(history[-1], 534, seed=9)
    rough = copy.deepcopy(history[-1]).to(ROUNDED[dtype])
    held = [one.as_held(dtype) for one in (known[0], known[-1])]
    others = [*whole(trainer, batch, held), *in_parts(trainer, batch, held)]
    served, own = scored_log_probs(rough, batch)[0], scored_log_probs(trainer, batch)[0]
    noise = expected_noise(trainer, drawn(history[-1], 8), dtype)
    alarms = 0
    for _ in range(1000):
        sequences, at = batch.sequences.take(rng.choice(1600, 8, replace=False))
        parts = [replace(one, log_prob=one.log_prob[at]) for one in others]
        alarms += not in_sync(served[at], own[at], sequences, noise=noise, alternatives=parts).good
    assert alarms <= 1


def experts() -> Any:
    """A model with four experts a layer, of which two are chosen."""
    from transformers import MixtralConfig, MixtralForCausalLM

    config = MixtralConfig(
        vocab_size=21,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=2,
        num_local_experts=4,
        num_experts_per_tok=2,
        max_position_embeddings=64,
        initializer_range=0.3,
    )
    torch.manual_seed(0)
    return MixtralForCausalLM(config).eval().requires_grad_(False)


def test_a_router_that_disagrees_is_told_from_old_weights():
    """Its logits are a little off, so that close calls between experts go the other way."""
    model = experts()
    server, older = copy.deepcopy(model), copy.deepcopy(model)
    generator = torch.Generator().manual_seed(1)
    for name, p in server.named_parameters():
        if name.endswith("gate.weight"):
            p.add_(2e-4 * torch.randn(p.shape, generator=generator))
    for p in older.parameters():
        p.add_(0.01 * torch.randn(p.shape, generator=generator))
    rng = np.random.default_rng(0)
    probe = Rollouts(
        (np.array([3]),),
        Groups.equal(1, 64),
        Groups.equal(64, 24),
        rng.integers(0, 21, 64 * 24),
        None,
        np.ones(64, bool),
    )
    assert has_experts(model)
    assert told(model, server, probe, [], "float32").kind == "router"
    assert told(model, older, probe, [], "float32").kind == "weights"
