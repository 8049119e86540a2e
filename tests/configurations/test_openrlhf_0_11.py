"""Settings that OpenRLHF got with 0.11: a gate of the sampler's mismatch, sums, a KL's gradient."""

from pathlib import Path

import pytest

import tod.operators as op
from tod.configurations import Located, locate

GATE = "--algo.advantage.is_correction"


def located(tmp_path: Path, *words: str) -> Located:
    script = tmp_path / "run.sh"
    script.write_text("python3 -m openrlhf.cli.train_ppo_ray " + " ".join(words) + "\n")
    return locate(script)


@pytest.mark.parametrize(
    ("words", "correction"),
    [
        ((), None),
        ((f"{GATE}_mode clip",), None),
        ((f"{GATE}_level token",), op.TokenMask(low=0.5, high=5.0)),
        ((f"{GATE}_level token {GATE}_mode clip",), op.TokenTruncation(floor=0.5, cap=5.0)),
        (
            (f"{GATE}_level seq {GATE}_threshold 0.9 1.1",),
            op.GeometricRejection(low=0.9, high=1.1, weighted=True),
        ),
        ((f"{GATE}_enable", f"{GATE}_type icepop"), op.TokenMask(low=0.5, high=5.0)),
    ],
)
def test_a_gate_is_the_correction_of_its_level_and_mode(tmp_path, words, correction):
    found = located(tmp_path, *words)
    assert found.operator.action.correction == correction
    said = [change for change in found.silent_changes if "sampled otherwise" in change.effect]
    assert bool(said) == (correction is not None)


@pytest.mark.parametrize("gate", ["binary_kl", "tv"])
def test_a_gate_by_a_divergence_is_said_and_no_correction_of_ours(tmp_path, gate):
    found = located(tmp_path, f"{GATE}_level seq {GATE}_gating {gate} {GATE}_threshold 0.01")
    assert found.operator.action.correction is None
    (said,) = [c for c in found.silent_changes if "divergence" in c.effect]
    assert said.kind == "operator"
    assert gate in said.plain


def test_the_unbiased_gradient_belongs_to_a_kl_in_the_loss(tmp_path):
    flags = "--algo.kl.use_loss --algo.kl.estimator k3 --algo.advantage.estimator reinforce"
    plain, unbiased = (
        located(tmp_path, flags, more) for more in ("", "--algo.kl.unbiased_gradient")
    )
    assert plain.operator.action.pull == op.KLPull(kind="k3", place="loss")
    assert unbiased.operator.action.pull == op.KLPull(kind="k1", place="loss", importance=True)
    assert (plain.law.shape, unbiased.law.shape) == ("rational", "exponential")
    in_reward = located(tmp_path, "--algo.kl.unbiased_gradient")
    assert in_reward.operator == located(tmp_path).operator


def test_sums_and_the_baseline_of_the_step(tmp_path):
    by_answer = located(tmp_path, "--actor.loss_agg_mode seq-mean-token-mean")
    assert by_answer.operator.action.aggregation == op.SequenceMeanTokenMean()
    assert located(tmp_path).operator.action.aggregation == op.TokenMean()
    flash = located(tmp_path, "--algo.advantage.estimator flash_reinforce")
    assert any("whole step" in change.effect for change in flash.silent_changes)
    assert flash.operator.action.advantage == op.ReturnToGo(baseline=op.Raw())
