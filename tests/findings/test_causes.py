"""Causes that other findings tell: order of onsets, ties, and what the four-way case must say."""

import json

import numpy as np
import pytest

import tod
from tod.findings import Finding, Onset, TrainingRun, find, gaps_of, rollouts_of
from tod.findings.causes import explained
from tod.findings.finding import Cause
from tod.findings.planted.faults import FAULTS


def fault(kind, step, *, first=1, severity="warning", causes=()):
    onset = Onset(step, step, step) if step is not None else Onset(None, first, first)
    return Finding(kind, severity, kind, onset, causes=causes)


def causes(finding, *others):
    return explained(finding, [finding, *others]).causes


def test_the_first_to_leave_its_band_is_named_first():
    own = Cause("worse_policy", "the policy got worse")
    fall = fault("reward_fall", 60, causes=(own,))
    named = causes(fall, fault("entropy_collapse", 50), fault("kl_blowup", 40))
    assert [c.kind for c in named] == ["kl_blowup", "entropy_collapse", "worse_policy"]
    assert [c.certainty for c in named] == ["likely", "likely", "possible"]
    assert "from step 40" in named[0].text


def test_what_came_later_is_a_consequence_and_no_cause():
    fall, late = fault("reward_fall", 60), fault("kl_blowup", 66)
    assert causes(fall, late) == ()
    assert explained(fall, [fall, late]).consequences == ("kl_blowup",)
    assert explained(late, [fall, late]).consequences == ()


@pytest.mark.parametrize("lag", [0, 1, 3])
def test_close_onsets_have_no_known_order(lag):
    (named,) = causes(fault("reward_fall", 60), fault("kl_blowup", 60 - lag))
    assert named.certainty == "possible"
    assert "order is not known" in named.text


def test_what_was_there_from_the_start_is_no_more_than_possible():
    (named,) = causes(fault("reward_fall", 60), fault("length_growth", None))
    assert named.certainty == "possible"
    assert "from the first step on" in named.text


def test_notes_and_findings_without_an_onset_are_no_causes():
    fall = fault("reward_fall", 60)
    assert causes(fall, fault("length_growth", 20, severity="note")) == ()
    assert causes(fall, Finding("truncation", "warning", "cut")) == ()


def test_no_cause_from_another_finding_is_a_fact():
    fall = fault("reward_fall", 60)
    others = [fault(kind, step) for kind, step in (("mismatch", 4), ("clip", 20), ("one_text", 59))]
    assert not any(c.certainty == "fact" for c in causes(fall, *others))


def test_a_proxy_that_another_finding_shows_is_likely():
    proxy = Cause("proxy", "the reward is a proxy")
    eval_falls = fault("over_optimised", 60, causes=(proxy,))
    assert causes(eval_falls)[0].certainty == "possible"
    shown = Finding("reward_dominated", "warning", "style decides")
    assert causes(eval_falls, shown)[0].certainty == "likely"


def test_a_kl_that_blows_up_before_every_answer_fails_is_named_first_and_as_its_cause():
    scenario = next(s for s in FAULTS if s.name == "KL grows, then failure")
    for seed in range(5):
        found = find(scenario.plant(seed).run)
        assert found.first.kind == "kl_blowup"
        assert "all_fail" in found.first.consequences
        failed = next(f for f in found.faults if f.kind == "all_fail")
        assert failed.causes[0].kind == "kl_blowup"


@pytest.fixture(scope="module")
def broken_sync(tmp_path_factory):
    """Six steps; at the fourth alone the trainer's logits are far from the sampler's."""
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("sync") / "rollouts.jsonl"
    with path.open("w") as out:
        for step in range(1, 7):
            for row in range(64):
                z = rng.normal(0, 2, (40, 32))
                moved = z + (1.2 if step == 4 else 0.01) * rng.normal(0, 1, z.shape)
                mu, old = (x - np.log(np.exp(x).sum(axis=1, keepdims=True)) for x in (z, moved))
                token = (np.exp(mu).cumsum(axis=1) > rng.random((40, 1))).argmax(axis=1)
                at = np.arange(40)
                item = {
                    "step": step,
                    "context": f"{step}-{row // 8}",
                    "utility.correct": float(rng.random() < (0.05 if step == 4 else 0.5)),
                    "lag": 0,
                    "log_mu_tokens": mu[at, token].tolist(),
                    "log_old_tokens": old[at, token].tolist(),
                }
                out.write(json.dumps(item) + "\n")
    reading = tod.read(path)
    return find(TrainingRun(rollouts=rollouts_of(reading), gaps=gaps_of(reading)))


def test_one_broken_sync_has_one_finding_that_names_its_step(broken_sync):
    assert [f.kind for f in broken_sync.faults] == ["mismatch"]
    first = broken_sync.first
    assert first.onset.step == 4
    assert "at step 4, in step again at 5" in first.headline


def test_its_causes_are_weights_or_text_and_never_truncation(broken_sync):
    first = broken_sync.first
    assert [c.kind for c in first.causes] == ["weights_out_of_sync", "other_text"]
    assert not any(remedy.kind == "top_p" for remedy in first.remedies)
    evidence = dict(first.evidence)
    assert "no truncation" in evidence["of an answer"]
    assert first.numbers["mean"] < -0.3  # a KL of 40 times as much an answer, in nats
