"""The embedded models: found, loadable, and as good as they are said to be."""

import importlib.util
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tod.base import ModelError
from tod.engine import tiny
from tod.engine.tasks import countdown

SCRIPT = Path(__file__).parents[2] / "scripts" / "make_tiny.py"


@pytest.fixture(scope="module")
def script():
    specification = importlib.util.spec_from_file_location("make_tiny", SCRIPT)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", tiny.NAMES)
def test_models_are_small_safe_and_tied(name):
    directory = tiny.path(f"tod://{name}")
    assert tiny.path(name) == directory
    files = {file.name: file.stat().st_size for file in directory.iterdir()}
    assert files["model.safetensors"] < 1_000_000
    assert not [file for file in files if file.endswith((".bin", ".pt", ".pkl"))]
    model = AutoModelForCausalLM.from_pretrained(directory)
    assert model.dtype == torch.bfloat16
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert 300_000 < model.num_parameters() < 400_000


def test_tokenizer_round_trips_one_token_a_character():
    tokenizer = AutoTokenizer.from_pretrained(tiny.path("tod://tiny"))
    text = "3 15 7=22:(7+15)*1-0"
    ids = tokenizer(text)["input_ids"]
    assert len(ids) == len(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.decode([*ids, tokenizer.eos_token_id], skip_special_tokens=True) == text
    assert tokenizer.decode(tokenizer("3x5")["input_ids"], skip_special_tokens=True) == "35"
    padded = tokenizer(["3 5=8:", "3 15 7=22:"], padding=True)
    assert padded["attention_mask"][0] == [0, 0, 0, 0, 1, 1, 1, 1, 1, 1]


@pytest.mark.slow
def test_teacher_is_better_than_tiny_on_held_out_problems(script):
    """Bounds three standard errors (0.02) around what was measured when the models were made."""
    means = {}
    for name in tiny.NAMES:
        directory = tiny.path(name)
        model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
        means[name], _ = script.pass_at_1(model, AutoTokenizer.from_pretrained(directory))
    assert 0.14 < means["tiny"] < 0.30
    assert 0.40 < means["tiny-teacher"] < 0.56


def test_training_batches_have_their_loss_on_the_answer_alone(script):
    tokenizer = script.build_tokenizer()
    ids, labels = script.batch_of(tokenizer, 3)
    for row in range(len(ids)):
        problem = countdown.problem("train", 3 * script.BATCH + row, script.SEED)
        text = tokenizer.decode(labels[row][labels[row] != -100])
        assert text == problem.solution + script.END
        assert (
            tokenizer.decode(ids[row], skip_special_tokens=True)
            == problem.prompt + problem.solution
        )


def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.raises(ModelError, match=r"'tod://teacher'.*tod://tiny, tod://tiny-teacher"):
        tiny.path("tod://teacher")


def test_missing_weights_are_named(monkeypatch, tmp_path):
    monkeypatch.setattr(tiny, "files", lambda _: tmp_path)
    with pytest.raises(ModelError, match="make tiny"):
        tiny.path("tod://tiny")


def test_resolve_leaves_other_models_alone():
    assert tiny.resolve("org/model") == "org/model"
    assert Path(tiny.resolve("tod://tiny-teacher")) == tiny.path("tiny-teacher")
