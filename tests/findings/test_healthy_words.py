"""The first words of a run without a finding: which way its reward went, and never both ways."""

import numpy as np

from findings.healthy_series import curves
from tod.base import Unknown
from tod.findings import Series, TrainingRun, find
from tod.findings.detectors.learning_end import LearningEndDetector
from tod.findings.overview import reward_falls, reward_gains_nothing, reward_sentence
from tod.show.terminal.findings_screen import markdown


def run(**series):
    steps = {name: np.arange(1, len(values) + 1) for name, values in series.items()}
    return TrainingRun(
        {name: Series(name, steps[name], np.asarray(v, dtype=float)) for name, v in series.items()}
    )


def test_both_ends_are_means_of_a_window_and_agree_with_the_word():
    for _, rng, curve in curves(60):
        coarse = np.floor(4 * np.clip(curve + rng.normal(0, 0.2, len(curve)), 0, 1)) / 4
        said = reward_sentence(find(run(reward=coarse)))
        width = max(3, min(12, round(len(coarse) / 10)))
        start, end = coarse[:width].mean(), coarse[-width:].mean()
        assert ("rises" in said) <= (end > start), said
        assert ("falls" in said) <= (end < start), said


def test_a_median_of_coarse_rewards_does_not_turn_a_rise_into_a_fall():
    reward = np.tile([0.5, 0.5, 0.0], 67)[:200]
    reward[100:] = np.tile([0.5, 0.5, 0.25], 34)[:100]
    said = reward_sentence(find(run(reward=reward)))
    assert "rises from 0.333 to 0.417" in said


def test_a_reward_that_turns_back_has_no_steady_trend():
    up = np.concatenate([np.full(12, 1.0), np.linspace(0, 0.9, 400)])
    last = np.linspace(0, 0.9, 400)[-12:].mean()
    said = reward_sentence(find(run(reward=up)))
    assert f"no steady trend: 1 to {last:.3g} (+" in said


def test_a_fall_below_the_gate_is_said_first():
    rng = np.random.default_rng(0)
    reward = np.linspace(0.45, 0.42, 200) + rng.normal(0, 0.002, 200)
    findings = find(run(reward=reward))
    assert findings.first is None
    assert reward_falls(findings)
    assert markdown(findings).startswith("**No fault is certain.** Reward falls from 0.4")
    level = find(run(reward=0.45 + rng.normal(0, 0.002, 200)))
    assert not reward_falls(level)
    flat = "**No fault found, but no gain is evident.** Reward shows no trend"
    assert markdown(level).startswith(flat)
    assert not reward_falls(find(run(kl=np.zeros(30))))


def test_no_gain_is_said_of_long_runs_below_the_top():
    rng = np.random.default_rng(1)
    for level, size, flat in ((-1.7, 400, True), (0.95, 400, False), (0.5, 30, False)):
        findings = find(run(reward=level + rng.normal(0, 0.01, size)))
        assert reward_gains_nothing(findings) is flat
    assert not reward_gains_nothing(find(run(reward=np.linspace(0.2, 0.5, 100))))
    assert reward_gains_nothing(find(run(reward=5 + rng.normal(0, 0.01, 100))))
    assert not reward_gains_nothing(find(run(kl=np.zeros(50))))


def test_a_student_that_gets_no_reward_has_not_stopped_learning():
    gap = np.geomspace(4, 0.01, 40)
    taught = run(distillation_loss=gap, reward=np.zeros(40), all_fail=np.ones(40))
    said = LearningEndDetector().look(taught)
    assert isinstance(said, Unknown)
    assert said.kind == "not_applicable"
    alone = run(reward=np.zeros(40), all_fail=np.ones(40))
    assert LearningEndDetector().look(alone)[0].severity == "critical"
    graded = run(distillation_loss=gap, reward=np.full(40, 0.5), zero_variance=np.zeros(40))
    assert LearningEndDetector().look(graded) == ()
