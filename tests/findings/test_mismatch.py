"""Sampler against trainer: planted worlds of every kind, healthy engines, and the healed step."""

import json

import numpy as np
import pytest

from findings.healthy_series import curves
from tod.base import Groups, Unknown
from tod.diagnostics import GapProfile
from tod.findings import Series, TrainingRun, find, run_of
from tod.findings.detectors.mismatch import MismatchDetector
from tod.formats import read
from tolerance import chance

VOCABULARY, TOKENS, ROWS = 64, 40, 64


def normal(z):
    top = z.max(axis=-1, keepdims=True)
    return z - top - np.log(np.exp(z - top).sum(axis=-1, keepdims=True))


def profile(world, rng):
    """Log-probs of both sides over tokens that the sampler draws."""
    z = rng.normal(0, 2, (ROWS, TOKENS, VOCABULARY))
    near = normal(z + 0.01 * rng.normal(0, 1, z.shape))
    mu, old = normal(z), near
    if world == "truncated":
        order = np.sort(np.exp(mu), axis=-1)[..., ::-1]
        kept = (order.cumsum(-1) - order < 0.9).sum(-1, keepdims=True)
        bound = np.take_along_axis(order, kept - 1, -1)
        mu = normal(np.where(np.exp(mu) >= bound, mu, -1e9))
    if world == "temperature":
        mu = normal(z / 0.7)
    if world == "prefix":
        fade = np.exp(-np.arange(TOKENS) / 4)[None, :, None]
        old = normal(z + fade * rng.normal(0, 2, z.shape) + 0.01 * rng.normal(0, 1, z.shape))
    if world == "other_text":
        old = normal(rng.normal(0, 2, z.shape))
    if world in ("weights", "reference"):
        old = normal(z + 0.5 * rng.normal(0, 1, z.shape))
    draw = (np.exp(mu).cumsum(-1) > rng.random((ROWS, TOKENS, 1))).argmax(-1)[..., None]
    chosen = [np.take_along_axis(x, draw, -1)[..., 0].reshape(-1) for x in (old, mu)]
    first = np.take_along_axis(near if world == "reference" else old, draw, -1).reshape(-1)
    result = GapProfile()
    result.add(*chosen, Groups.equal(ROWS, TOKENS), log_reference=first)
    return result


@pytest.mark.parametrize(
    "world", ["none", "truncated", "temperature", "prefix", "other_text", "weights", "reference"]
)
def test_one_step_tells_its_kind(world):
    for seed in range(10):
        assert profile(world, np.random.default_rng(seed)).kind == world


def test_a_reference_that_is_not_known_of_every_token_tells_nothing():
    whole = profile("reference", np.random.default_rng(1))
    whole.reference_tokens -= 1
    assert whole.kind == "weights"


def test_a_dump_with_the_reference_s_log_probs_tells_that_no_update_reached_the_sampler(tmp_path):
    """From files: the sampler stays at the reference while the trainer moves."""
    rng, rows = np.random.default_rng(0), []
    for step in range(1, 9):
        for candidate in range(16):
            ref = -rng.exponential(1.0, 12)
            old = ref + 0.1 * step * rng.standard_normal(12)
            mu = ref + 0.002 * rng.standard_normal(12)
            rows.append(
                {
                    "step": step,
                    "context": f"c{candidate // 4}",
                    "candidate": candidate % 4,
                    "prompt": f"p{candidate // 4}",
                    "completion": f"{step}-{candidate}",
                    "utility.correct": float(rng.random() < 0.5),
                    "log_mu_tokens": np.minimum(mu, 0).tolist(),
                    "log_old_tokens": np.minimum(old, 0).tolist(),
                    "log_ref_tokens": ref.tolist(),
                }
            )
    path = tmp_path / "rollouts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = find(run_of(read(path))).all
    (mismatch,) = [one for one in found if one.kind == "mismatch"]
    assert [cause.kind for cause in mismatch.causes] == ["initial_weights"]


def test_the_sums_are_those_of_the_tokens():
    rng = np.random.default_rng(0)
    a, b = -rng.exponential(1, 24), -rng.exponential(1, 24)
    got = GapProfile()
    for rows in (slice(0, 8), slice(8, 24)):
        got.add(a[rows], b[rows], Groups.equal((rows.stop - rows.start) // 8, 8))
    d = a - b
    assert got.rms == pytest.approx(np.sqrt((d * d).mean()))
    assert got.mean_ratio == pytest.approx(np.exp(d).mean())
    assert got.slope == pytest.approx(np.polyfit(b, a, 1)[0])
    assert got.correlation == pytest.approx(np.corrcoef(a, b)[0, 1])
    head, tail = d.reshape(3, 8)[:, :2], d.reshape(3, 8)[:, 6:]
    assert got.head_over_tail == pytest.approx(np.sqrt((head**2).mean() / (tail**2).mean()))
    assert got.by_sequence == pytest.approx(d.reshape(3, 8).sum(axis=1).mean())


def test_the_mean_ratio_is_one_where_the_sampler_can_say_everything():
    whole = profile("weights", np.random.default_rng(3))
    spread = np.sqrt(np.exp(whole.squares / whole.tokens) - 1)  # of a lognormal ratio, about
    assert abs(whole.mean_ratio - 1) < 2 * chance(spread, whole.tokens)
    assert profile("truncated", np.random.default_rng(3)).mean_ratio < 0.97


def run(worlds, seed=0, reward=None):
    rng = np.random.default_rng(seed)
    gaps = {step: profile(world, rng) for step, world in enumerate(worlds, 1)}
    series = {}
    if reward is not None:
        series["reward"] = Series("reward", np.arange(1, len(worlds) + 1), np.asarray(reward))
    return TrainingRun(series, gaps=gaps)


def test_a_step_out_of_sync_is_named_and_heals():
    broken = run(["none"] * 3 + ["weights"] + ["none"] * 2, reward=[0.5, 0.5, 0.5, 0.1, 0.5, 0.5])
    (finding,) = MismatchDetector().look(broken)
    assert finding.severity == "critical"
    assert (finding.onset.step, finding.best_step) == (4, 3)
    assert finding.headline.endswith("at step 4, in step again at 5.")
    assert [cause.kind for cause in finding.causes] == ["weights_out_of_sync", "other_text"]
    assert not any(cause.certainty == "fact" for cause in finding.causes)
    assert any("no truncation" in text for _, text in finding.evidence)


@pytest.mark.parametrize(
    ("world", "cause"),
    [
        ("truncated", "truncated_sampling"),
        ("temperature", "temperature"),
        ("prefix", "other_prompt"),
        ("other_text", "other_text"),
        ("weights", "weights_out_of_sync"),
    ],
)
def test_a_jump_for_good_is_dated_and_has_its_cause(world, cause):
    (finding,) = MismatchDetector().look(run(["none"] * 8 + [world] * 8))
    assert finding.severity == "critical"
    assert finding.onset.step == 9
    assert finding.causes[0].kind == cause


def test_truncation_from_the_first_step_on_is_a_warning():
    (finding,) = MismatchDetector().look(run(["truncated"] * 8))
    assert (finding.severity, finding.onset.step) == ("warning", None)
    assert finding.remedies[0].kind == "top_p"


def test_answers_that_end_in_certain_tokens_are_no_other_prompt():
    rng = np.random.default_rng(0)
    gaps = {}
    for step in range(1, 13):
        spread = np.where(np.arange(TOKENS) < TOKENS // 4, 0.15, 0.01)
        log_mu = -rng.exponential(10 * np.tile(spread, ROWS))
        gap = rng.normal(0, 1, ROWS * TOKENS) * np.tile(spread, ROWS)
        gaps[step] = GapProfile()
        gaps[step].add(log_mu + gap, log_mu, Groups.equal(ROWS, TOKENS))
    assert {profile.kind for profile in gaps.values()} == {"prefix"}
    assert MismatchDetector().look(TrainingRun(gaps=gaps)) == ()


def test_engines_that_agree_are_silent():
    assert MismatchDetector().look(run(["none"] * 12)) == ()
    for _, rng, curve in curves():
        steps = np.arange(1, len(curve) + 1)
        gap = 0.02 * (0.6 + np.abs(curve)) * np.exp(rng.normal(0, 0.1, len(curve)))
        assert (
            MismatchDetector().look(TrainingRun({"mismatch": Series("mismatch", steps, gap)})) == ()
        )


def test_a_log_alone_names_the_step_and_leaves_the_cause_open():
    gap = np.where(np.arange(40) < 25, 0.01, 0.2) * np.exp(
        np.random.default_rng(0).normal(0, 0.1, 40)
    )
    series = Series("mismatch", np.arange(1, 41), gap)
    (finding,) = MismatchDetector().look(TrainingRun({"mismatch": series}))
    assert finding.onset.step == 26
    assert {c.certainty for c in finding.causes} == {"possible"}
    assert len(finding.causes) == 3


def test_what_is_missing_is_said():
    unknown = MismatchDetector().look(TrainingRun(framework="verl"))
    assert isinstance(unknown, Unknown)
    assert "calculate_log_probs" in unknown.needs
    assert MismatchDetector().look(run(["none"] * 2)).kind == "too_few"
