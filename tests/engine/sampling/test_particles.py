"""Particles of small models: their cache is permuted with them, and their density is told."""

import numpy as np
import pytest
import torch

from tod.base import ModelError
from tod.engine.sampling import cache
from tod.engine.sampling.params import SamplingParams
from tod.engine.sampling.particles import sample_particles
from tod.engine.sampling.sampler import sample
from tod.operators import ModelTwist, SequentialMonteCarlo
from tolerance import decoder_path, of_log_prob

PATH = decoder_path(2, 32, 48, 8, 96, 41)
NEW = 18


def _options(**changes):
    params = SamplingParams(max_new_tokens=NEW)
    return {"params": params, "pad_id": 0, "eos_ids": (3,), "seed": 5, "step": 2, **changes}


def _particles(model, prompts, ask, *, size=6, **changes):
    rule = SequentialMonteCarlo(
        **{"every": 2, "resample_below": 0.9, "twist": ModelTwist(), **changes}
    )
    numbers = np.arange(len(prompts))
    return sample_particles(model, prompts, size, rule, ask, **_options(context_ids=numbers))


def _by_ids(rollouts, places):
    """A twist that any reader can compute: how many tokens so far are even, in halves of a nat."""
    assert len(rollouts.contexts) == len(places)
    return rollouts.sequences.sum((rollouts.ids % 2 == 0) * 0.5)


@pytest.mark.parametrize("resampling", ["systematic", "stratified"])
@pytest.mark.parametrize("roomy", [False, True])
@pytest.mark.parametrize("kind", ["llama", "qwen3", "gemma3", "gpt2"])
def test_log_mu_of_resampled_particles_is_that_of_a_plain_forward(
    tiny_model, uneven_prompts, teacher_forced, monkeypatch, kind, roomy, resampling
):
    """A cache row that did not move with its particle would differ by order one."""
    monkeypatch.setattr(cache, "ROOMY_FROM", 1 if roomy else 10**9)
    model = tiny_model(kind)
    draws = _particles(model, uneven_prompts, _by_ids, resampling=resampling)
    assert (draws.resampled > 0).all()
    assert draws.rollouts.sequences.uniform is None
    np.testing.assert_allclose(
        draws.rollouts.log_mu,
        np.concatenate(teacher_forced(model, draws.rollouts)),
        rtol=0,
        atol=of_log_prob("float32", PATH),
    )


def test_without_a_twist_they_are_the_draws_of_the_sampler(tiny_model, uneven_prompts):
    model = tiny_model("llama")
    draws = _particles(model, uneven_prompts, None, twist={"kind": "none"})
    plain = sample(model, uneven_prompts, 6, path="native", **_options())
    np.testing.assert_array_equal(draws.rollouts.ids, plain.ids)
    np.testing.assert_array_equal(draws.rollouts.truncated, plain.truncated)
    assert draws.ess_rel.shape == (0, len(uneven_prompts))
    assert (draws.resampled == 0).all()
    assert (draws.log_gain == 0).all()
    assert draws.drawn == plain.sequences.total


def test_a_prompt_is_resampled_as_it_would_be_alone(tiny_model, uneven_prompts):
    model = tiny_model("llama", torch.float64)
    whole = _particles(model, uneven_prompts, _by_ids)
    rule = SequentialMonteCarlo(every=2, resample_below=0.9, twist=ModelTwist())
    alone = sample_particles(
        model, uneven_prompts[2:3], 6, rule, _by_ids, **_options(context_ids=np.array([2]))
    )
    np.testing.assert_array_equal(whole.rollouts.take(np.array([2])).ids, alone.rollouts.ids)
    np.testing.assert_allclose(whole.log_gain[12:18], alone.log_gain)


def test_a_twist_of_one_answer_leaves_its_descendants_alone(tiny_model, uneven_prompts):
    """Weight 0 for all but one particle: whoever is left begins with its two tokens."""
    first = {}

    def only_one(rollouts, places):
        number = len(first)
        first.setdefault(number, rollouts)
        heavy = np.full(len(rollouts.sequences), -np.inf)
        heavy[4::6] = 0.0
        return heavy if number == 0 else np.zeros_like(heavy)

    draws = _particles(tiny_model("llama"), uneven_prompts, only_one)
    before = first[0].sequences.split(first[0].ids)
    for i, ids in enumerate(draws.rollouts.sequences.split(draws.rollouts.ids)):
        parent = before[6 * (i // 6) + 4]
        assert ids[: len(parent)] == parent
    np.testing.assert_allclose(draws.log_z, np.log(1 / 6))
    np.testing.assert_allclose(draws.log_gain, np.log(6))


def test_an_answer_that_has_ended_draws_nothing_more(tiny_model, uneven_prompts):
    draws = _particles(tiny_model("llama"), uneven_prompts, _by_ids)
    for ids in draws.rollouts.sequences.split(draws.rollouts.ids):
        assert 3 not in ids[:-1]
    ended = np.array([y[-1] == 3 for y in draws.rollouts.sequences.split(draws.rollouts.ids)])
    np.testing.assert_array_equal(draws.rollouts.truncated, ~ended)


def _tilt(ids: list[int]) -> float:
    """ηU of a whole answer: bounded, and not what the twist asks."""
    return 1.2 * (ids[-1] % 3 == 0) + 0.3 * len(ids)


def _normaliser(model, prompt, most):
    """Z = E_μ[exp(ηU)] by summing over every answer, with plain forwards of every prefix."""
    total, prefixes = 0.0, {(): 1.0}
    for t in range(most):
        names = [[*prompt, *y] for y in prefixes]
        with torch.no_grad():
            logits = model(input_ids=torch.tensor(names), use_cache=False).logits[:, -1].double()
        chances = torch.softmax(logits, -1).numpy()
        longer = {}
        for (y, p), row in zip(prefixes.items(), chances, strict=True):
            for token, q in enumerate(row):
                if token == 3 or t + 1 == most:
                    total += p * q * np.exp(_tilt([*y, token]))
                else:
                    longer[(*y, token)] = p * q
        prefixes = longer
    return total


def test_the_normaliser_of_a_model_is_unbiased(tiny_model):
    """Mean of Ẑ over 3000 groups of 4 within five standard errors of the sum over all answers."""
    model, prompt, most, groups = tiny_model("llama", torch.float64), np.array([7, 9]), 3, 3000
    rule = SequentialMonteCarlo(every=1, resample_below=0.9, twist=ModelTwist())
    draws = sample_particles(
        model,
        [prompt] * groups,
        4,
        rule,
        lambda rollouts, places: 2.0 * _by_ids(rollouts, places),
        **_options(
            params=SamplingParams(max_new_tokens=most), context_ids=np.arange(groups), seed=1
        ),
    )
    assert draws.resampled.mean() > 0.3
    tilt = np.array([_tilt(y) for y in draws.rollouts.sequences.split(draws.rollouts.ids)])
    z = np.exp(tilt - draws.log_gain).reshape(groups, 4).mean(axis=1)
    near = 5 * z.std(ddof=1) / groups**0.5
    want = _normaliser(model, prompt, most)
    assert near < 0.1 * want
    assert z.mean() == pytest.approx(want, abs=near)


def test_a_model_without_a_cache_of_rows_is_refused(tiny_model, uneven_prompts):
    with pytest.raises(ModelError, match=r"smc permutes rows .* Use `resample`"):
        _particles(tiny_model("mamba"), uneven_prompts, _by_ids)
