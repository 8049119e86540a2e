import json
import os
import shutil

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from tod.base import ModelError, SpecError
from tod.engine.distributed import cgroup_quota, default_threads, free_threads
from tod.engine.lora import LoraSpec
from tod.engine.models import (
    context_length,
    eos_ids,
    load_model,
    pad_id,
)
from tolerance import of_log_prob

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


def test_a_run_directory_is_its_trained_model(folder):
    run = folder.parent
    (run / "manifest.json").write_text("{}")
    model, _ = load_model(str(run))
    assert context_length(model) == context_length(load_model(str(folder))[0])
    shutil.rmtree(folder)
    with pytest.raises(ModelError, match=r"run directory without .*model.*--resume"):
        load_model(str(run))


def test_directory_and_dtype(folder):
    model, _ = load_model(str(folder), dtype="bfloat16")
    assert model.dtype == torch.bfloat16
    with pytest.raises(ModelError, match=r"dtype 'int8' is not known.*float32"):
        load_model(str(folder), dtype="int8")


def test_dropout_is_off(folder):
    edit(folder, "config.json", attention_dropout=0.5)
    model, _ = load_model(str(folder))
    ids = torch.arange(4, 12)[None]
    trained, near = model.train()(ids).logits, of_log_prob("float32")
    torch.testing.assert_close(trained, model.eval()(ids).logits, rtol=0, atol=near)


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
    near = of_log_prob("float32")
    torch.testing.assert_close(one(ids).logits, plain(ids).logits, rtol=0, atol=near)
    adapters = {n: p for n, p in one.named_parameters() if p.requires_grad}
    assert adapters
    assert all("lora_" in name for name in adapters)
    assert all(torch.equal(p, two.get_parameter(n)) for n, p in adapters.items())


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
