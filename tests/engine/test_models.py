import json
import os
import shutil

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

from tod.base import ModelError, SpecError
from tod.engine.flops import causal_pairs
from tod.engine.models import (
    LoraSpec,
    context_length,
    default_threads,
    eos_ids,
    flops_per_token,
    load_model,
    pad_id,
    parameter_counts,
)
from tod.engine.threads import cgroup_quota, free_threads

SIZES = {
    "vocab_size": 50,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": 1,
}


@pytest.fixture
def folder(tmp_path):
    """A copy of the embedded model that a test may damage."""
    from tod.engine import tiny

    target = tmp_path / "model"
    shutil.copytree(tiny.path("tod://tiny"), target)
    return target


def edit(folder, name, **changes):
    data = json.loads((folder / name).read_text())
    data.update(changes)
    (folder / name).write_text(json.dumps(data))


def test_embedded_model():
    model, tokenizer = load_model("tod://tiny")
    assert not model.training
    assert model.dtype == torch.float32
    assert context_length(model) >= 40
    assert tokenizer.eos_token_id in eos_ids(model, tokenizer)
    assert pad_id(model, tokenizer) == tokenizer.pad_token_id


def test_directory_and_dtype(folder):
    model, _ = load_model(str(folder), dtype="bfloat16")
    assert model.dtype == torch.bfloat16
    with pytest.raises(ModelError, match=r"dtype 'int8' is not known.*float32"):
        load_model(str(folder), dtype="int8")


def test_dropout_is_off(folder):
    edit(folder, "config.json", attention_dropout=0.5)
    model, _ = load_model(str(folder))
    ids = torch.arange(4, 12)[None]
    torch.testing.assert_close(model.train()(ids).logits, model.eval()(ids).logits)


def test_missing_pad_token_is_the_end_and_adds_no_embedding(folder):
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings.pop("pad_token")
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    before = load_model("tod://tiny")[0].get_input_embeddings().num_embeddings
    model, tokenizer = load_model(str(folder))
    assert tokenizer.pad_token_id == tokenizer.eos_token_id
    assert model.get_input_embeddings().num_embeddings == before


@pytest.mark.parametrize("name", ["./nowhere", "/no/such/dir", "~/nothing/here", "a/b/c"])
def test_path_that_does_not_exist(name):
    with pytest.raises(ModelError, match="does not exist") as caught:
        load_model(name)
    assert name in str(caught.value)
    assert "looked at" in str(caught.value)


def test_a_file_is_not_a_model(tmp_path):
    (tmp_path / "weights").write_text("x")
    with pytest.raises(ModelError, match="is a file"):
        load_model(str(tmp_path / "weights"))


def test_id_that_needs_the_network():
    with pytest.raises(ModelError, match=r"nobody/nothing.*cache.*network.*tod://tiny"):
        load_model("nobody/nothing-of-this-name")


def test_unknown_embedded_model():
    with pytest.raises(ModelError, match=r"tod://huge"):
        load_model("tod://huge")


def test_pickled_weights_are_never_read(folder):
    class Bomb:
        def __reduce__(self):
            return (os.mkdir, (str(folder / "exploded"),))

    (folder / "model.safetensors").unlink()
    torch.save({"x": Bomb()}, folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"pytorch_model.bin but no .safetensors"):
        load_model(str(folder))
    assert not (folder / "exploded").exists()


def test_code_of_the_repository_never_runs(folder):
    edit(folder, "config.json", model_type="own", auto_map={"AutoConfig": "own.Config"})
    (folder / "own.py").write_text("import os; os.mkdir(os.path.dirname(__file__) + '/ran')")
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_model(str(folder))
    assert not (folder / "ran").exists()


def test_torn_weights(folder):
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_model(str(folder))


def test_incomplete_weights(folder):
    edit(folder, "config.json", num_hidden_layers=4)
    with pytest.raises(ModelError, match=r"lacks \d+ of its weights \(model.layers.3"):
        load_model(str(folder))


def test_lora_starts_as_the_base_model_and_is_reproducible():
    spec = LoraSpec(rank=4)
    plain, _ = load_model("tod://tiny")
    torch.manual_seed(1)
    one, _ = load_model("tod://tiny", lora=spec)
    torch.manual_seed(2)
    two, _ = load_model("tod://tiny", lora=spec)
    ids = torch.arange(4, 12)[None]
    torch.testing.assert_close(one(ids).logits, plain(ids).logits)
    adapters = {n: p for n, p in one.named_parameters() if p.requires_grad}
    assert adapters
    assert all("lora_" in name for name in adapters)
    assert all(torch.equal(p, two.get_parameter(n)) for n, p in adapters.items())
    counts = parameter_counts(one)
    assert counts["trainable"] == sum(p.numel() for p in adapters.values())
    assert counts["total"] == parameter_counts(plain)["total"] + counts["trainable"]


def test_lora_on_modules_that_are_not_there():
    with pytest.raises(ModelError, match=r"\('nope',\).*q_proj"):
        load_model("tod://tiny", lora=LoraSpec(target_modules=("nope",)))
    with pytest.raises(SpecError, match="rank"):
        LoraSpec.parse({"kind": "lora", "rank": 0})


def test_ends_are_gathered_from_everywhere():
    model = LlamaForCausalLM(LlamaConfig(**SIZES))
    model.generation_config.eos_token_id = [7, 1]
    assert eos_ids(model) == (1, 7)
    model.config.pad_token_id = None
    assert pad_id(model) == 1


def test_parameters_are_counted_once_when_tied():
    tied = LlamaForCausalLM(LlamaConfig(**SIZES, tie_word_embeddings=True))
    free = LlamaForCausalLM(LlamaConfig(**SIZES, tie_word_embeddings=False))
    counts = parameter_counts(tied)
    assert counts["embedding"] == 50 * 32
    assert parameter_counts(free)["total"] == counts["total"] + 50 * 32
    assert counts["trainable"] == counts["total"]
    # (q, k, v, o) and (gate, up, down) of two layers, three norms of which two per layer
    layer = 32 * (32 + 16 + 16 + 32) + 3 * 32 * 48
    assert counts["total"] == 50 * 32 + 2 * (layer + 2 * 32) + 32


def models():
    yield "llama", LlamaForCausalLM(LlamaConfig(**SIZES, tie_word_embeddings=True))
    yield "untied", LlamaForCausalLM(LlamaConfig(**SIZES, tie_word_embeddings=False))
    yield "gemma3", Gemma3ForCausalLM(Gemma3TextConfig(**SIZES, head_dim=12))
    small = {"bos_token_id": None, "eos_token_id": 1, "vocab_size": 50}
    yield "gpt2", GPT2LMHeadModel(GPT2Config(**small, n_embd=32, n_layer=2, n_head=4))
    moe = {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "head_dim": 8}
    yield "moe", Qwen3MoeForCausalLM(Qwen3MoeConfig(**SIZES, **moe))


@pytest.mark.parametrize(
    ("name", "model"), list(models()), ids=lambda x: x if isinstance(x, str) else ""
)
def test_flops_agree_with_the_counter_of_torch(name, model):
    rows, length = 3, 11
    model.set_attn_implementation("eager")  # whose matrix products the counter sees in full
    if name == "moe":
        model.set_experts_implementation("eager")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(torch.arange(rows * length).reshape(rows, length) % 50, use_cache=False)
    # eager attention computes the full square, also what the mask removes
    ours = flops_per_token(model).forward(rows * length, rows * length * length)
    # the counter also sees the rotation's outer product, which the formula leaves out
    assert ours == pytest.approx(counter.get_total_flops(), rel=5e-3)


def test_flops_of_training_heads_and_pairs():
    flops = flops_per_token(LlamaForCausalLM(LlamaConfig(**SIZES)))
    pairs = causal_pairs(5, past=3)
    assert pairs == sum(3 + t + 1 for t in range(5))
    assert flops.training(5, pairs) == 3 * flops.forward(5, pairs)
    assert flops.forward(5, pairs) - flops.forward(5, pairs, heads=1) == 4 * flops.head
    assert flops(8) - flops(0) == 8 * flops.attention


def test_flops_count_adapters():
    before = flops_per_token(load_model("tod://tiny")[0])
    adapted, _ = load_model("tod://tiny", lora=LoraSpec(rank=2, target_modules=("q_proj",)))
    # three layers of A: 96 to 2 and B: 2 to 96, 2 operations a weight
    assert flops_per_token(adapted).body == before.body + 3 * 2 * (2 * 96 + 96 * 2)
    assert flops_per_token(adapted).head == before.head


@pytest.mark.parametrize(
    ("affinity", "quota", "processors", "load", "expected"),
    [
        (8, None, 8, 0.1, 8),
        (8, None, 8, 5.2, 3),
        (2, None, 64, 3.0, 2),
        (8, 2.5, 8, 0.0, 2),
        (4, None, 4, 9.0, 1),
        (4, 0.5, 4, 0.0, 1),
        (2, None, 2, 0.6, 1),
        (2, None, 2, 0.4, 2),
    ],
)
def test_free_threads(affinity, quota, processors, load, expected):
    assert free_threads(affinity, quota, processors, load) == expected


def test_default_threads_is_within_the_affinity():
    assert 1 <= default_threads() <= (os.cpu_count() or 1)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "200000", "cpu/cpu.cfs_period_us": "100000"}, 2.0),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ({}, None),
    ],
)
def test_cgroup_quota(tmp_path, files, expected):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert cgroup_quota(tmp_path) == expected
