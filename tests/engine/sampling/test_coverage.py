import copy

import pytest
import torch

from tod.engine.sampling.sampler_path import sampler_path


@pytest.mark.parametrize("kind", ["llama", "qwen3", "gemma3", "mistral", "gpt2"])
def test_covered_architectures(tiny_model, kind):
    assert sampler_path(tiny_model(kind))[0] == "native"


def test_recurrent_layers_are_named(tiny_model):
    path, reason = sampler_path(tiny_model("mamba"))
    assert path == "generate"
    assert "LinearAttentionLayer" in reason


def test_layers_with_hidden_state_fail_the_trial(tiny_model):
    # its layers have both batch methods, but keep convolution states outside them
    path, reason = sampler_path(tiny_model("falcon_h1"))
    assert path == "generate"
    assert "trial decode" in reason


def test_a_model_that_ignores_padding_fails_the_trial(tiny_model):
    model = copy.deepcopy(tiny_model("llama"))
    inner = model.model.forward
    model.model.forward = lambda *a, attention_mask=None, **k: inner(*a, **k)
    path, reason = sampler_path(model)
    assert path == "generate"
    assert "differs from plain forwards" in reason


def test_a_model_that_ignores_positions_fails_the_trial(tiny_model):
    model = copy.deepcopy(tiny_model("gpt2"))  # learned positions do not forgive a shift
    inner = model.transformer.forward
    model.transformer.forward = lambda *a, position_ids=None, **k: inner(*a, **k)
    assert sampler_path(model)[0] == "generate"


def test_half_precision_is_covered(tiny_model):
    assert sampler_path(copy.deepcopy(tiny_model("llama")).bfloat16())[0] == "native"


def test_the_model_is_left_as_found(tiny_model):
    model = copy.deepcopy(tiny_model("gpt2")).train()
    state = torch.random.get_rng_state()
    sampler_path(model)
    assert model.training
    assert torch.equal(torch.random.get_rng_state(), state)
