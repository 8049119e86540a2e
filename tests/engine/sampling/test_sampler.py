import copy
import itertools

import numpy as np
import pytest
import torch
from scipy import stats

from tod.base import DataError, ModelError
from tod.engine.sampling import cache
from tod.engine.sampling.params import SamplingParams
from tod.engine.sampling.processors import processed_log_probs
from tod.engine.sampling.sampler import sample
from tolerance import decoder_path, of_log_prob, rounding

ARCHITECTURES = ["llama", "qwen3", "gemma3", "mistral", "gpt2"]
ALL = [*ARCHITECTURES, "mamba", "falcon_h1"]


def drawn(model, prompts, size=4, new=20, ends=(3,), **options):
    settings = {"pad_id": 0, "seed": 5, "step": 2, **options}
    settings.setdefault("params", SamplingParams(max_new_tokens=new))
    return sample(model, prompts, size, eos_ids=ends, **settings)


PATH = decoder_path(2, 32, 48, 8, 96, 41)
DOUBLE = torch.float64
"""Where other shapes must draw the same: in single precision one uniform of a few million lies
within rounding of a boundary between two tokens."""


def assert_same(a, b):
    np.testing.assert_array_equal(a.sequences.sizes, b.sequences.sizes)
    np.testing.assert_array_equal(a.ids, b.ids)
    np.testing.assert_array_equal(a.truncated, b.truncated)
    near = 2 * rounding("float32", 1, 20)  # log μ is kept in single precision
    np.testing.assert_allclose(a.log_mu, b.log_mu, rtol=0, atol=near)


@pytest.mark.parametrize("roomy", [False, True])
@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_log_mu_equals_a_teacher_forced_forward(
    tiny_model, uneven_prompts, teacher_forced, monkeypatch, kind, roomy
):
    monkeypatch.setattr(cache, "ROOMY_FROM", 1 if roomy else 10**9)
    model = tiny_model(kind)
    rollouts = drawn(model, uneven_prompts, path="native")
    plain = teacher_forced(model, rollouts)
    assert rollouts.sequences.uniform is None  # some end early: rows were dropped
    np.testing.assert_allclose(
        rollouts.log_mu, np.concatenate(plain), rtol=0, atol=of_log_prob("float32", PATH)
    )
    sums = rollouts.sequences.sum(rollouts.log_mu.astype(np.float64))
    np.testing.assert_allclose(
        sums, [x.sum() for x in plain], rtol=0, atol=20 * of_log_prob("float32", PATH)
    )


@pytest.mark.parametrize("kind", ["mamba", "falcon_h1"])
def test_uncovered_models_are_exact_too(tiny_model, uneven_prompts, teacher_forced, kind):
    model = tiny_model(kind)
    rollouts = drawn(model, uneven_prompts)
    plain = np.concatenate(teacher_forced(model, rollouts))
    np.testing.assert_allclose(rollouts.log_mu, plain, rtol=0, atol=of_log_prob("float32", PATH))


@pytest.mark.parametrize("kind", ALL)
def test_batch_size_changes_no_sample(tiny_model, uneven_prompts, kind):
    model = tiny_model(kind, DOUBLE)
    whole = drawn(model, uneven_prompts)
    for rows in (20, 7, 3):
        assert_same(whole, drawn(model, uneven_prompts, batch_size=rows))


def test_one_batch_of_512_equals_sixteen_of_32(tiny_model):
    rng = np.random.default_rng(1)
    prompts = [rng.integers(4, 41, size=n) for n in rng.integers(3, 12, size=32)]
    model = tiny_model("llama", DOUBLE)
    whole = drawn(model, prompts, size=16, new=12, batch_size=512)
    parts = drawn(model, prompts, size=16, new=12, batch_size=32)
    assert whole.contexts.total == 512
    assert_same(whole, parts)


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_both_paths_draw_the_same(tiny_model, uneven_prompts, kind):
    model = tiny_model(kind, DOUBLE)
    settings = SamplingParams(max_new_tokens=12, temperature=0.8, top_k=20, top_p=0.9)
    native = drawn(model, uneven_prompts, params=settings, path="native")
    assert_same(native, drawn(model, uneven_prompts, params=settings, path="generate"))


def test_a_context_keeps_its_samples_among_others(tiny_model, uneven_prompts):
    model = tiny_model("qwen3", DOUBLE)
    whole = drawn(model, uneven_prompts)
    some = drawn(model, uneven_prompts[1:3], context_ids=np.array([1, 2]))
    assert_same(whole.take(np.array([1, 2])), some)
    other = drawn(model, uneven_prompts[1:3])  # numbered 0 and 1: other samples
    assert not np.array_equal(other.ids, some.ids)


@pytest.mark.parametrize("change", [{"seed": 6}, {"step": 3}])
def test_seed_and_step_change_the_samples(tiny_model, uneven_prompts, change):
    model = tiny_model("llama")
    a, b = drawn(model, uneven_prompts), drawn(model, uneven_prompts, **change)
    assert not np.array_equal(a.ids, b.ids)


@torch.no_grad()
def test_samples_follow_the_enumerated_distribution(tiny_model):
    model, prompt, size = tiny_model("llama"), np.array([9, 30, 12]), 6000
    settings = SamplingParams(max_new_tokens=2, temperature=0.7, top_k=4)
    rollouts = drawn(model, [prompt], size=size, params=settings, path="native")

    def mu(*tail):
        ids = torch.from_numpy(np.concatenate([prompt, tail]).astype(np.int64))[None]
        return processed_log_probs(model(ids).logits[:, -1], settings)[0].exp().double().numpy()

    first = mu()
    law = {(3,): first[3]} if first[3] > 0 else {}
    for a in np.flatnonzero(first):
        if a != 3:
            law |= {(a, b): first[a] * p for b, p in enumerate(mu(a)) if p > 0}
    answers = np.split(rollouts.ids, rollouts.sequences.offsets[1:-1])
    counts = dict.fromkeys(law, 0)
    for answer in answers:
        counts[tuple(answer.tolist())] += 1  # a KeyError is a draw outside the support
    expected = np.array([law[k] for k in law]) * size
    assert expected.sum() == pytest.approx(size, rel=2 * rounding("float32", 2 * 41 + 16, 10))
    observed = np.array([counts[k] for k in law])
    assert stats.chisquare(observed, expected * size / expected.sum()).pvalue > 1e-3


def test_recorded_log_mu_is_the_processed_one(tiny_model, uneven_prompts):
    settings = SamplingParams(max_new_tokens=6, temperature=0.6, top_p=0.8)
    model = tiny_model("gpt2", DOUBLE)
    rollouts = drawn(model, uneven_prompts, params=settings)
    for i in range(len(rollouts.sequences)):
        start, end = rollouts.sequences.offsets[i : i + 2]
        prompt, answer = rollouts.prompts[rollouts.contexts.owner[i]], rollouts.ids[start:end]
        ids = torch.from_numpy(np.concatenate([prompt, answer]))[None]
        with torch.no_grad():
            logits = model(ids).logits[0, len(prompt) - 1 : -1]
        expected = processed_log_probs(logits, settings).gather(
            -1, torch.from_numpy(answer)[:, None]
        )
        np.testing.assert_allclose(
            rollouts.log_mu[start:end], expected[:, 0], rtol=0, atol=2 * rounding("float32", 1, 20)
        )


@pytest.mark.parametrize("path", ["native", "generate"])
def test_ends_and_cuts(tiny_model, uneven_prompts, path):
    rollouts = drawn(tiny_model("llama"), uneven_prompts, new=9, ends=(3, 17), path=path)
    answers = np.split(rollouts.ids, rollouts.sequences.offsets[1:-1])
    for answer, cut in zip(answers, rollouts.truncated, strict=True):
        assert not np.isin(answer[:-1], (3, 17)).any()
        assert bool(np.isin(answer[-1], (3, 17))) != bool(cut)
        assert len(answer) == 9 or not cut
    assert rollouts.truncated.any()
    assert not rollouts.truncated.all()
    endless = drawn(tiny_model("llama"), uneven_prompts, new=9, ends=(), path=path)
    assert endless.sequences.uniform == 9
    assert endless.truncated.all()


def test_greedy_takes_the_most_likely_and_knows_no_mu(tiny_model, uneven_prompts):
    model = tiny_model("gemma3", DOUBLE)
    settings = SamplingParams(max_new_tokens=8, greedy=True)
    rollouts = drawn(model, uneven_prompts, size=1, params=settings)
    assert rollouts.log_mu is None
    answer = rollouts.ids[: rollouts.sequences.sizes[0]]
    ids = torch.from_numpy(np.concatenate([uneven_prompts[0], answer]))[None]
    with torch.no_grad():
        best = model(ids).logits[0, len(uneven_prompts[0]) - 1 : -1].argmax(-1)
    np.testing.assert_array_equal(answer, best)


def test_settings_of_the_model_stay_out_of_mu(tiny_model, uneven_prompts):
    model = copy.deepcopy(tiny_model("llama"))
    clean = drawn(model, uneven_prompts, path="generate")
    model.generation_config.repetition_penalty = 2.0
    model.generation_config.suppress_tokens = [int(clean.ids[0])]
    assert_same(clean, drawn(model, uneven_prompts, path="generate"))
    assert model.generation_config.repetition_penalty == 2.0


def test_dropout_and_training_mode(tiny_model, uneven_prompts):
    model = copy.deepcopy(tiny_model("gpt2")).train()
    assert_same(drawn(tiny_model("gpt2"), uneven_prompts), drawn(model, uneven_prompts))
    assert model.training
    loss = model(torch.from_numpy(uneven_prompts[1])[None]).logits.sum()
    loss.backward()  # nothing sampled in inference mode stays behind


def test_progress_counts_candidates(tiny_model, uneven_prompts):
    calls = []
    drawn(tiny_model("llama"), uneven_prompts, batch_size=8, progress=lambda *a: calls.append(a))
    assert calls == [(8, 20), (16, 20), (20, 20)]


def test_prompt_longer_than_the_context(tiny_model):
    prompts = [np.arange(5, 10), np.arange(80) % 30 + 5]
    with pytest.raises(DataError, match=r"prompt 1 of 2 is 80 tokens .*together 100.*holds 96"):
        drawn(tiny_model("llama"), prompts)
    drawn(tiny_model("llama"), prompts, new=16)  # 80 + 16 just fits


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ([], "nothing to sample"),
        ([np.array([5]), np.array([], dtype=np.int64)], "prompt 1 of 2 .*at least one token"),
        ([np.array([5, 41])], "holds token 41, the model knows 0 … 40"),
        ([np.array([-1, 5])], "holds token -1"),
    ],
)
def test_bad_prompts_are_named(tiny_model, prompts, message):
    with pytest.raises(DataError, match=message):
        drawn(tiny_model("llama"), prompts)


@pytest.mark.parametrize("path", ["native", "generate"])
def test_broken_weights_are_named(tiny_model, uneven_prompts, path):
    model = copy.deepcopy(tiny_model("llama"))
    with torch.no_grad():
        model.lm_head.weight[7] = float("nan")
    with pytest.raises(ModelError, match="not finite for prompt 0, rollout 0, token 0"):
        drawn(model, uneven_prompts, path=path)


def test_any_group_may_be_cut(tiny_model, uneven_prompts):
    model = tiny_model("mistral", DOUBLE)
    whole = drawn(model, uneven_prompts, size=5, new=6)
    for rows, even in itertools.product((1, 4, 9), ("native", "generate")):
        assert_same(whole, drawn(model, uneven_prompts, size=5, new=6, batch_size=rows, path=even))
