import json
import subprocess
import sys

import pytest
import torch
import transformers as hf

from tod.base import ResourceError
from tod.engine.memory import Load, MemoryEstimate, ModelSize, Shards, available, estimate, require

MIB = 2**20
_WORLD = """
import json, sys
import numpy as np, torch, transformers as hf
from tod.base import Groups
from tod.engine.forward.log_probs import token_log_probs
from tod.engine.memory import Load, ModelSize, estimate
from tod.engine.rollouts import Rollouts
torch.set_num_threads(1)
def high_water():
    # getrusage would begin with the peak of the process that started this one
    with open("/proc/self/status") as status:
        return int(status.read().split("VmHWM:")[1].split()[0]) * 1024
width, layers, contexts, size, prompt, length, vocabulary = json.loads(sys.argv[1])
torch.zeros(8).sum()
config = hf.LlamaConfig(vocab_size=vocabulary, hidden_size=width, intermediate_size=3 * width,
    num_hidden_layers=layers, num_attention_heads=width // 32, pad_token_id=0)
def world(contexts, length):
    groups = Groups.equal(contexts, size)
    sequences = Groups.equal(groups.total, length)
    rng = np.random.default_rng(0)
    return Rollouts(tuple(rng.integers(vocabulary, size=prompt) for _ in range(contexts)), groups,
        sequences, rng.integers(vocabulary, size=sequences.total), None,
        np.zeros(groups.total, dtype=bool))
def step(model, optimiser, rollouts):
    loss = token_log_probs(model, rollouts).log_prob.sum()
    loss.backward(); optimiser.step(); optimiser.zero_grad()
small = hf.LlamaForCausalLM(hf.LlamaConfig(vocab_size=8, hidden_size=32, intermediate_size=32,
    num_hidden_layers=1, num_attention_heads=1, pad_token_id=0))
warm = world(1, 2)
warm = Rollouts(tuple(p % 8 for p in warm.prompts), warm.contexts, warm.sequences, warm.ids % 8,
    None, warm.truncated)
step(small, torch.optim.AdamW(small.parameters()), warm)
before = high_water()
model = hf.LlamaForCausalLM(config)
optimiser = torch.optim.AdamW(model.parameters())
for _ in range(3):
    step(model, optimiser, world(contexts, length))
load = Load(contexts, size, prompt, length, 10**9)
needed = estimate(ModelSize.of(model), load)
peak = high_water() - before
print(json.dumps([peak, needed.total]))
"""


@pytest.mark.parametrize(
    "world",
    [
        pytest.param([128, 3, 16, 8, 24, 40, 64], marks=pytest.mark.slow),  # activations
        [256, 4, 4, 8, 100, 30, 20000],  # logits
        pytest.param([512, 6, 2, 4, 20, 20, 64], marks=pytest.mark.slow),  # weights and moments
    ],
    ids=["activations", "logits", "weights"],
)
def test_measured_peak_is_within_the_stated_factor(world):
    command = [sys.executable, "-W", "ignore", "-c", _WORLD, json.dumps(world)]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    peak, needed = json.loads(out.splitlines()[-1])
    assert 0.5 <= peak / needed <= 1.25, (peak / MIB, needed / MIB)


def tiny() -> hf.PreTrainedModel:
    config = hf.LlamaConfig(
        vocab_size=50, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, pad_token_id=0,
    )  # fmt: skip
    with torch.device("meta"):
        return hf.LlamaForCausalLM(config)


def test_sizes_are_read_off_a_model_that_holds_no_memory():
    model = tiny()
    size = ModelSize.of(model)
    assert size.parameters == size.trainable == sum(p.numel() for p in model.parameters())
    assert (size.layers, size.hidden, size.intermediate) == (2, 32, 48)
    assert (size.attention, size.key_value, size.vocabulary) == (32, 16, 50)
    model.model.embed_tokens.weight.requires_grad_(False)
    assert ModelSize.of(model).trainable == size.trainable - 50 * 32


def test_parts_that_can_be_counted_by_hand():
    size = ModelSize(1000, 400, layers=3, hidden=8, intermediate=16, attention=8, key_value=4, vocabulary=10)  # fmt: skip  # noqa: E501
    load = Load(prompts=6, size=2, prompt_tokens=5, completion_tokens=7, micro_batch_tokens=50)
    found = estimate(size, load, copies=(1000, 300))
    assert load.contexts_at_once == 2  # a context is 2 × 12 tokens
    assert found.weights == 4000
    assert found.copies == 5200
    assert found.optimiser == 3200
    assert found.logits == 3 * 4 * (2 * 2 * 7 * 10)
    tokens, layer = 2 * 5 + 4 * 7, 4 * 16 + 7 * 8 + 8 * 8  # prompts once, two contexts
    assert found.activations == 4 * (3 + 1) * (tokens * layer + 2 * 8 * (tokens + 4 * 12))
    assert found.cache == 12 * 12 * 2 * 4 * (3 + 1) * 4
    assert found.total == found.standing + max(found.cache, found.training)


def test_shards_of_two_processes_counted_by_hand():
    size = ModelSize(1000, 400, layers=3, hidden=8, intermediate=16, attention=8, key_value=4, vocabulary=10)  # fmt: skip  # noqa: E501
    load = Load(prompts=6, size=2, prompt_tokens=5, completion_tokens=7, micro_batch_tokens=50)
    shards = Shards(2, outside=100, trained_outside=40)  # a layer has 300, 120 of them trained
    whole, half = (estimate(size, load, copies=(1000, 300), shards=s) for s in (None, shards))
    assert half.weights == 4 * (500 + 100 + 3 * 300)
    assert half.copies == 4 * (1300 // 2 + 2 * 100)
    assert half.optimiser == whole.optimiser // 2
    assert half.gradients == 4 * (400 + 40 + 2 * 120)
    assert (half.activations, half.logits, half.cache) == (
        whole.activations,
        whole.logits,
        whole.cache,
    )
    casts = estimate(size, load, itemsize=2, shards=shards).weights - half.weights
    assert casts == 2 * 1000


def test_what_lies_outside_the_layers_is_read_off_a_model():
    model = tiny()
    layers = sum(p.numel() for p in model.model.layers.parameters())
    every = sum(p.numel() for p in model.parameters())
    assert Shards.of(model, 2) == Shards(2, every - layers, every - layers)


def test_every_knob_that_the_message_names_lowers_the_estimate():
    size = ModelSize.of(tiny())

    def total(**changed: int) -> MemoryEstimate:
        load = dict(prompts=64, size=8, prompt_tokens=20, completion_tokens=50)  # noqa: C408
        return estimate(size, Load(**{**load, "micro_batch_tokens": 4000, **changed}))

    assert total(micro_batch_tokens=1000).activations < total().activations
    assert total(completion_tokens=20).activations < total().activations
    assert total(prompts=16).cache < total().cache
    assert total(size=4).cache < total().cache
    assert total(sampling_rows=64).cache < total().cache
    assert total(checkpointing=True).activations < total(shared=False).activations


@pytest.mark.parametrize(
    ("needed", "named"),
    [
        (MemoryEstimate(90, 0, 20, 0, 0, 0, 0), "lora"),
        (MemoryEstimate(10, 0, 20, 10, 90, 0, 5), "max_tokens_per_micro_batch"),
        (MemoryEstimate(10, 0, 20, 10, 5, 0, 99), "prompts"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_way_out(needed, named):
    require(needed, needed.total)
    scaled = MemoryEstimate(*(value * MIB for value in vars(needed).values()))
    with pytest.raises(ResourceError, match=f"100 MiB are available.*{named}"):
        require(scaled, 100 * MIB)


def test_the_tightest_control_group_bounds_what_is_available(tmp_path):
    free = available(root=tmp_path)  # no control group here
    assert free > 2**20
    group = tmp_path / "sys/fs/cgroup/job"
    group.mkdir(parents=True)
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/job\n")
    (group / "memory.max").write_text("max\n")
    (group / "memory.current").write_text("700\n")
    assert available(root=tmp_path) > 2**20
    (group / "memory.max").write_text("1000\n")
    assert available(root=tmp_path) == 300
    (group / "memory.stat").write_text("anon 500\ninactive_file 200\n")
    assert available(root=tmp_path) == 500


def test_the_first_version_of_control_groups(tmp_path):
    group = tmp_path / "sys/fs/cgroup/memory"
    group.mkdir(parents=True)
    (group / "memory.limit_in_bytes").write_text("5000\n")
    (group / "memory.usage_in_bytes").write_text("4000\n")
    assert available(root=tmp_path) == 1000
