"""Policy gradient at its edges: overflow, infinities, zero sharpness, and refused specs."""

import math
from dataclasses import replace

import numpy as np
import pytest

from tod.base import DataError, SpecError, to_numpy
from tod.operators import (
    Clip,
    DualClip,
    GroupMean,
    GroupZScore,
    KLPull,
    Operator,
    PolicyGradient,
    Residual,
    SoftGate,
    Truncate,
    WeightedRegression,
)
from tolerance import of_credit


def test_a_truncated_weight_survives_an_overflowing_ratio(make_batch, backend):
    """ρ = e^900 has no float, but its truncation is the cap."""
    batch = make_batch(backend.make)
    batch = replace(batch, log_policy=batch.log_old + 900.0)
    rule = PolicyGradient(level="sequence_sum", trust_region=Truncate(cap=5.0))
    per_token = to_numpy(rule.credit(batch).per_token)
    still = PolicyGradient(trust_region=Truncate(cap=1.0)).credit(
        replace(batch, log_old=batch.log_policy)
    )
    np.testing.assert_allclose(
        per_token, 5 * to_numpy(still.per_token), rtol=of_credit(backend.dtype)
    )


def test_a_soft_gate_is_shut_by_an_overflowing_ratio(make_batch, backend):
    batch = make_batch(backend.make)
    batch = replace(batch, log_policy=batch.log_old + 900.0)
    got = PolicyGradient(level="sequence_sum", trust_region=SoftGate()).credit(batch)
    assert float(abs(got.per_token).max()) == 0.0


def test_a_clipped_ratio_that_overflows_counts_only_against_the_policy(make_batch):
    """The clip bounds ρ above for A > 0 alone: A < 0 stays unbounded, which `dual_clip` mends."""
    batch = make_batch()
    batch = replace(batch, log_policy=batch.log_old + 900.0)
    with np.errstate(over="ignore"):
        credit = PolicyGradient(level="sequence_sum").credit(batch)
        capped = PolicyGradient(level="sequence_sum", trust_region=DualClip()).credit(batch)
    a = batch.sequences.spread(credit.advantage)
    np.testing.assert_array_equal(credit.per_token[a >= 0], 0.0)
    np.testing.assert_array_equal(credit.per_token[a < 0], -np.inf)
    np.testing.assert_array_equal(capped.per_token, 0.0)


@pytest.mark.parametrize("pull", [None, Residual()])
def test_a_candidate_outside_the_support_is_refused(make_batch, backend, pull):
    batch = make_batch(backend.make)
    tilt = batch.tilt + 0
    tilt[5] = -math.inf
    with pytest.raises(DataError, match=r"rollout 1 of prompt 2 of 5 is -inf \(1 such") as error:
        PolicyGradient(pull=pull).credit(replace(batch, tilt=tilt))
    assert "weighted_regression" in str(error.value)


def test_zero_sharpness_with_a_zscore_and_a_pull_is_refused(make_batch):
    batch = make_batch()
    zero = replace(batch, sharpness=0.0, value=0 * batch.value, tilt=0 * batch.tilt)
    with pytest.raises(SpecError, match="η = 0"):
        PolicyGradient(advantage=GroupZScore(), pull=KLPull(kind="k3")).credit(zero)
    only_pull = PolicyGradient(advantage=GroupMean(), pull=KLPull(kind="k2")).credit(zero)
    assert np.abs(only_pull.per_token).max() > 0


@pytest.mark.parametrize(
    ("pull", "missing"),
    [(Residual(), {"log_base": None}), (KLPull(kind="k3"), {"pulled": {}})],
    ids=["residual", "k3"],
)
def test_a_pull_without_its_anchors_says_what_to_record(make_batch, pull, missing):
    with pytest.raises(SpecError, match="anchor"):
        PolicyGradient(pull=pull).credit(replace(make_batch(), **missing))


def test_activation_is_one_minus_the_gate_for_clip_gate_and_mask(make_batch):
    batch = make_batch()
    for region in ("clip", "soft_gate", "mask", "dual_clip", "root_length_clip"):
        level = "sequence_sum" if region == "root_length_clip" else "token"
        kind = {"kind": region, "high": 1.2} if region == "mask" else {"kind": region}
        rule = PolicyGradient.parse(
            {"kind": "policy_gradient", "level": level, "trust_region": kind}
        )
        gate = rule.credit(batch).gate
        assert gate.min() >= 0
        assert gate.max() <= 1
        assert 0 < (1 - gate).mean() < 1


REFUSED = [
    ({"kind": "policy_gradiant"}, r"action: unknown kind 'policy_gradiant'.*`policy_gradient`"),
    ({"kind": "policy_gradient", "trust_regoin": "clip"}, "unknown key.*`trust_region`"),
    ({"kind": "policy_gradient", "trust_region": "clap"}, "unknown kind 'clap'.*`clip`"),
    ({"kind": "policy_gradient", "trust_region": {"kind": "clip", "hihg": 1}}, "`high`"),
    ({"kind": "policy_gradient", "advantage": "group_men"}, "`group_mean`"),
    ({"kind": "policy_gradient", "aggregation": "token_men"}, "`token_mean`"),
    ({"kind": "policy_gradient", "aggregation": "constant"}, "aggregation.*length: required"),
    ({"kind": "policy_gradient", "pull": {"kind": "k4"}}, "`k3`|k1, k2, k3, residual"),
    ({"kind": "policy_gradient", "level": "sequence"}, "level"),
    ({"kind": "policy_gradient", "trust_region": {"kind": "clip", "low": -0.1}}, "-0.1"),
    ({"kind": "policy_gradient", "trust_region": {"kind": "mask", "low": 2, "high": 1}}, "nothing"),
    ({"kind": "policy_gradient", "trust_region": {"kind": "truncate", "floor": 9}}, "above cap"),
    ({"kind": "policy_gradient", "trust_region": "root_length_clip"}, "use level sequence_sum"),
    (
        {
            "kind": "policy_gradient",
            "level": "sequence_mean_of_clipped",
            "trust_region": "soft_gate",
        },
        "needs a `clip` region",
    ),
    (
        {"kind": "policy_gradient", "pull": {"kind": "k3", "place": "reward", "importance": True}},
        "importance belongs to the loss",
    ),
    ({"kind": "weighted_regression", "weights": "acepted"}, "`accepted`"),
]


@pytest.mark.parametrize(("action", "message"), REFUSED, ids=lambda x: str(x)[:60])
def test_bad_specs_are_refused_with_a_way_out(action, message):
    with pytest.raises(SpecError, match=message):
        Operator.parse({"action": action})


@pytest.mark.parametrize("size", [0, -3])
def test_fewer_than_one_candidate_is_refused(size):
    with pytest.raises(SpecError, match=r"proposal\.size.*greater than or equal to 1"):
        Operator.parse({"proposal": {"size": size}, "action": {"kind": "weighted_regression"}})


def test_an_operator_round_trips():
    for action in (
        PolicyGradient(level="sequence_mean", trust_region=Clip(low=3e-4), pull=KLPull(kind="k3")),
        PolicyGradient(pull=Residual(at="old"), advantage=GroupZScore(ddof=0)),
        WeightedRegression(centred=True),
    ):
        operator = Operator(action=action)
        assert Operator.parse(operator.model_dump()) == operator
