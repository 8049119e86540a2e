import numpy as np
import pytest
import torch
from transformers import (
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from tod.base import SpecError
from tod.engine.sampling import processors
from tod.engine.sampling.params import SamplingParams
from tod.engine.sampling.processors import draw, processed_log_probs
from tolerance import printed, rounding


def params(**settings):
    return SamplingParams(max_new_tokens=4, **settings)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, -1.4401896986),
        ({"temperature": 0.7}, -1.6992452593),
        ({"temperature": 0.7, "top_p": 0.9}, -1.6434013464),
    ],
)
def test_reference_values(settings, expected):
    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0]], dtype=torch.float64)
    value = processed_log_probs(logits, params(**settings))
    assert float(value[0, 1]) == pytest.approx(expected, abs=printed(10))
    if "top_p" in settings:
        assert torch.isinf(value[0, 2:]).all()


@pytest.mark.parametrize("top_k", [None, 1, 5, 100])
@pytest.mark.parametrize("top_p", [None, 0.05, 0.6, 0.97])
@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
def test_equals_the_warpers_of_transformers(temperature, top_k, top_p):
    logits = torch.from_numpy(np.random.default_rng(3).normal(size=(40, 23)) * 3).float()
    chain = [TemperatureLogitsWarper(temperature)]
    chain += [TopKLogitsWarper(top_k)] if top_k else []
    chain += [TopPLogitsWarper(top_p)] if top_p else []
    expected = torch.log_softmax(LogitsProcessorList(chain)(None, logits), -1)
    settings = params(temperature=temperature, top_k=top_k, top_p=top_p)
    near = 2 * rounding("float32", 23 + 8, 1 + float(logits.abs().max()) / temperature)
    torch.testing.assert_close(processed_log_probs(logits, settings), expected, rtol=0, atol=near)


def test_half_precision_is_widened_first():
    logits = torch.randn(4, 50, generator=torch.Generator().manual_seed(0)).bfloat16()
    value = processed_log_probs(logits, params(temperature=0.7))
    want, size = torch.log_softmax(logits.float() / 0.7, -1), float(logits.abs().max())
    near = 2 * rounding("float32", 50 + 8, 1 + size / 0.7)
    torch.testing.assert_close(value, want, rtol=0, atol=near)


def test_never_draws_probability_zero():
    inf = float("inf")
    log_probs = torch.log_softmax(torch.tensor([[-inf, 1.0, -inf, 0.5, -inf, -inf]]), -1)
    u = torch.tensor([0.0, 0.3, 0.9, np.nextafter(1.0, 0.0), 1.0], dtype=torch.float64)
    assert draw(log_probs.expand(5, -1), u).tolist() == [1, 1, 3, 3, 3]  # 1.0: a rounded product


def test_draw_inverts_the_distribution():
    rng = np.random.default_rng(5)
    p = rng.dirichlet(np.full(9, 0.3))
    n = 20001
    u = torch.arange(n, dtype=torch.float64) / n  # an even grid: frequencies are exact to 1/n
    tokens = draw(torch.from_numpy(np.log(p)).expand(n, -1), u)
    frequency = np.bincount(tokens.numpy(), minlength=9) / n
    np.testing.assert_allclose(frequency, p, rtol=0, atol=2 / n)


def test_blocks_of_a_large_vocabulary_change_nothing(monkeypatch):
    logits = torch.randn(37, 19, generator=torch.Generator().manual_seed(1))
    u = torch.rand(37, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    whole = processors.next_tokens(logits, u, params(top_p=0.9))
    monkeypatch.setattr(processors, "_BLOCK", 19 * 5)
    parts = processors.next_tokens(logits, u, params(top_p=0.9))
    assert torch.equal(whole[0], parts[0])
    assert torch.equal(whole[1], parts[1])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 0.0}, "no usable mu"),
        ({"temperature": -1.0}, "must be > 0"),
        ({"top_p": 0.0}, "top_p"),
        ({"top_p": 1.1}, "top_p"),
        ({"top_k": 0}, "top_k"),
        ({"max_new_tokens": 0}, "max_new_tokens"),
        ({"greedy": True, "top_p": 0.5}, "greedy"),
        ({"temprature": 1.0}, "Did you mean `temperature`"),
    ],
)
def test_meaningless_settings_are_refused(settings, message):
    with pytest.raises(SpecError, match=message):
        SamplingParams.parse({"max_new_tokens": 4, **settings})
