"""Logged advantages: the rule that made them, contradictions, a sign that is wrong."""

from dataclasses import replace

import numpy as np
import pytest

from tod.base import Groups, Unknown
from tod.findings import RolloutTable, TrainingRun
from tod.findings.detectors.advantages import WORDS, AdvantagesDetector
from tod.findings.rollout_series import series_of

K, PROMPTS, STEPS = 6, 10, 8


def table(seed=0, k=K):
    rng = np.random.default_rng(seed)
    count = STEPS * PROMPTS * K // k
    return RolloutTable(
        Groups.equal(count, k),
        np.repeat(np.arange(1, STEPS + 1), count // STEPS),
        rng.normal(0.3, 1, count * k),
        length=rng.integers(20, 200, count * k),
    )


def logged(rows, rule):
    """Advantages of a rule, written group by group."""
    k = int(rows.groups.sizes[0])
    r = rows.reward.reshape(-1, k)
    mean = r.mean(axis=1, keepdims=True)
    others = (r.sum(axis=1, keepdims=True) - r) / max(k - 1, 1)
    steps = rows.reward.reshape(STEPS, -1)
    scale = np.repeat(steps.std(axis=1), steps.shape[1])
    spread = (
        np.array([[np.delete(row, i).std(ddof=1) for i in range(k)] for row in r]) if k > 2 else r
    )
    return {
        "group_mean": (r - mean).reshape(-1),
        "leave_one_out": (r - others).reshape(-1),
        "group_zscore": ((r - mean) / (r.std(axis=1, keepdims=True) + 1e-6)).reshape(-1),
        "leave_one_out_zscore": ((r - others) / (spread + 1e-6)).reshape(-1),
        "batch_zscore": (r - mean).reshape(-1) / scale,
        "whitened": (steps - steps.mean(axis=1, keepdims=True)).reshape(-1) / scale,
        "raw": rows.reward,
        "length_scaled": (r - mean).reshape(-1) / rows.length,
    }[rule]


def look(rows, advantage, expected=None):
    rows = replace(rows, advantage=advantage)
    run = TrainingRun(series_of(rows), rollouts=rows, expected=expected or {})
    return AdvantagesDetector().look(run)


RULES = [
    "group_mean", "leave_one_out", "group_zscore", "leave_one_out_zscore", "batch_zscore",
    "whitened", "raw", "length_scaled",
]  # fmt: skip


@pytest.mark.parametrize("rule", RULES)
def test_the_rule_is_told(rule):
    for seed in range(5):
        rows = table(seed)
        (finding,) = look(rows, np.round(logged(rows, rule), 4))
        assert (finding.kind, finding.severity) == ("advantage_rule", "note")
        assert finding.headline == f"The advantages are: {WORDS[rule]}."


def test_a_scale_is_told():
    rows = table()
    (finding,) = look(rows, 0.37 * logged(rows, "whitened"))
    assert finding.headline.endswith("times 0.37.")


@pytest.mark.parametrize("rule", RULES[:6])
def test_what_was_configured_is_held_against_it(rule):
    rows = table()
    (finding,) = look(rows, logged(rows, rule), {"advantage": rule})
    assert not finding.fault
    other = "group_mean" if rule != "group_mean" else "group_zscore"
    (finding,) = look(rows, logged(rows, rule), {"advantage": other})
    assert (finding.kind, finding.severity) == ("advantage_contradiction", "warning")


def test_a_sign_that_is_wrong_is_critical():
    rows = table()
    (finding,) = look(rows, -logged(rows, "group_zscore"))
    assert (finding.kind, finding.severity) == ("advantage_sign", "critical")


def test_singletons_with_advantages_contradict_their_groups():
    rows = table()
    whole = logged(rows, "group_zscore")
    alone = replace(rows, groups=Groups.equal(len(whole), 1), step=np.repeat(rows.step, K))
    (finding,) = look(alone, whole)
    assert (finding.kind, finding.severity) == ("advantage_contradiction", "warning")
    (finding,) = look(alone, logged(rows, "whitened"))
    assert finding.kind == "advantage_rule"


def test_advantages_of_a_critic_are_no_fault():
    for seed in range(50):
        rows = table(seed)
        rng = np.random.default_rng(seed)
        assert look(rows, rows.reward - 0.3 + rng.normal(0, 0.5, len(rows.reward))) == ()


def test_what_is_missing_is_said():
    assert isinstance(AdvantagesDetector().look(TrainingRun(rollouts=table())), Unknown)
    few = np.full(len(table().reward), np.nan)
    few[:5] = 1
    assert look(table(), few).kind == "too_few"
