"""The real thing: vLLM on this machine's processor, the embedded model, no law but the forward's.

Slow, and only where ``TOD_VLLM_PYTHON`` names the interpreter of an environment with vLLM, or
``TOD_VLLM_SERVER`` the address of one that serves ``tod://tiny`` as ``tiny``; docs/servers.md has
both commands.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from real_server import SERVER, RealServer, real_only
from scipy.stats import chi2

from tod.engine.data.load import load_task
from tod.engine.data.prompts import prompt_ids
from tod.engine.data.task_specs import CountdownTask
from tod.engine.forward.log_probs import scored_log_probs
from tod.engine.models import load_model, load_tokenizer
from tod.engine.sampling.params import SamplingParams
from tod.engine.sampling.sampler import sample
from tod.engine.served.check import check_server
from tod.engine.served.sampler import ServedSampler
from tod.serving.spec import ServedPolicy
from tolerance import stated

pytestmark = real_only
PARAMS = SamplingParams(max_new_tokens=24)
PROMPTS, SIZE = 64, 16
RARE = 1e-4
"""Chance of a χ² beyond the bound when the laws are one."""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of the embedded model."""
    if SERVER:
        yield SERVER
        return
    server = RealServer.on(tmp_path_factory.mktemp("vllm"))
    server.start()
    try:
        yield server.url
    finally:
        server.kill()


@pytest.fixture(scope="module")
def both(url: str) -> tuple[Any, Any, Any]:
    """1 024 candidates of the server, four times as many of our own sampler, and the model."""
    model, tokenizer = load_model("tod://tiny")
    task = load_task(CountdownTask(), 0)
    prompts = [np.array(prompt_ids(e.prompt, tokenizer)) for e in task.batch(0, PROMPTS)]
    served = ServedSampler(ServedPolicy(server=url, model="tiny"), 21)
    drawn = served.sample(prompts, SIZE, params=PARAMS, eos_ids=(1,), seed=0, step=0)
    served.close()
    own = sample(model, prompts, 4 * SIZE, params=PARAMS, pad_id=0, eos_ids=(1,), seed=1, step=0)
    return drawn, own, model


def two_samples(first: Any, second: Any) -> tuple[float, float]:
    """χ² that two samples of whole numbers have one law, and its bound; rare values are one."""
    top = int(max(first.max(), second.max())) + 1
    table = np.stack([np.bincount(x, minlength=top) for x in (first, second)]).astype(float)
    rare = table.sum(0) < 25
    table = np.column_stack([table[:, ~rare], table[:, rare].sum(1)])
    table = table[:, table.sum(0) > 0]
    expected = table.sum(1, keepdims=True) * table.sum(0) / table.sum()
    value = float(((table - expected) ** 2 / expected).sum())
    return value, float(chi2.isf(RARE, table.shape[1] - 1))


def test_log_mu_is_the_forward_s(both, record_property):
    drawn, _, model = both
    assert len(drawn.sequences) == PROMPTS * SIZE
    exact, _ = scored_log_probs(model, drawn)
    worst = float(np.abs(drawn.log_mu - exact).max())
    record_property("largest gap, nats", worst)
    record_property("tokens", len(exact))
    assert worst <= stated(1e-4, "issue: served against native")


def test_the_first_token_has_the_forward_s_law(both, record_property):
    """Σ over prompts and tokens of (n − Kp)²/Kp, those of less than one expected put together."""
    drawn, _, model = both
    first = drawn.ids[drawn.sequences.offsets[:-1]].reshape(PROMPTS, SIZE)
    value = freedom = 0.0
    for prompt, tokens in zip(drawn.prompts, first, strict=True):
        with torch.no_grad():
            p = model(torch.tensor(prompt)[None]).logits[0, -1].double().softmax(-1).numpy()
        expected, seen = SIZE * p, np.bincount(tokens, minlength=len(p)).astype(float)
        rare = expected < 1
        expected = np.append(expected[~rare], expected[rare].sum())
        seen = np.append(seen[~rare], seen[rare].sum())
        value += float(((seen - expected) ** 2 / np.maximum(expected, 1e-12)).sum())
        freedom += len(expected) - 1
    record_property("chi2 and degrees of freedom", (value, freedom))
    assert value < chi2.isf(RARE, freedom)


def test_lengths_and_ends_have_the_law_of_our_own_sampler(both, record_property):
    drawn, own, _ = both
    value, bound = two_samples(drawn.sequences.sizes, own.sequences.sizes)
    record_property("chi2 and its bound", (value, bound))
    assert value < bound
    last = drawn.ids[drawn.sequences.offsets[1:] - 1]
    assert ((last == 1) == ~drawn.truncated).all()
    assert not (np.delete(drawn.ids, drawn.sequences.offsets[1:] - 1) == 1).any()


def test_texts_have_the_law_of_our_own_sampler(both, record_property):
    """What a search reads: the share of right answers among the candidates."""
    drawn, own, _ = both
    tokenizer, task = load_tokenizer("tod://tiny"), load_task(CountdownTask(), 0)
    from tod.engine.utilities.scorer import Scorer
    from tod.engine.utilities.utility_specs import CountdownUtility

    scorer = Scorer((CountdownUtility(name="correct"),), False)
    right = []
    for batch in (drawn, own):
        rows = [task.batch(0, PROMPTS)[int(c)] for c in batch.contexts.owner]
        texts = tokenizer.batch_decode(batch.sequences.split(batch.ids), skip_special_tokens=True)
        right.append(scorer.score(rows, texts, None)["correct"].astype(int))
    value, bound = two_samples(*right)
    record_property("right, of the server and of our own", (right[0].mean(), right[1].mean()))
    assert value < bound


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_it_is_in_sync_with_its_own_weights_and_not_with_others(url, temperature):
    spec = ServedPolicy(server=url, model="tiny")
    how = {"dtype": "float32", "temperature": temperature, "size": 4, "longest": 16}
    said = check_server(spec, "tod://tiny", **how)
    assert said.good
    other = check_server(spec, "tod://tiny-teacher", initial="tod://tiny", **how)
    assert (other.weights.kind, other.good) == ("initial", False)
