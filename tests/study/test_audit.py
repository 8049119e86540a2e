"""The audit: what matches reaches its target, what does not reaches the law predicted for it."""

import pytest

from tod.atlas import RECIPES
from tod.operators import (
    BatchZScore,
    Clip,
    Exponentiated,
    GroupZScore,
    Ipo,
    KLPull,
    Listwise,
    Operator,
    PolicyGradient,
    Residual,
    ReturnToGo,
    Truncate,
    Unbounded,
    UpdateRule,
    WeightedRegression,
)
from tod.operators import Preference as PreferenceRule
from tod.procedure import Procedure
from tod.show.terminal.audit import sentence
from tod.study.audit import OTHER, SAME, Audit, Point, audit, audit_world
from tod.targets import PreferenceTarget, ScalarReward, Teacher, TwoAnchor, Verifier

REWARD = ScalarReward(utility="r", eta=1.0)
MU = Verifier(utility="r", eta=1.0, anchor={"mu": 1.0})
CHOICES = PreferenceTarget(utility="r", beta=1.0)


def _in_reward(kind="k1"):
    return KLPull(kind=kind, place="reward")


def _made(action, target=REWARD):
    return Procedure(target=target, operator=Operator(action=action))


def _gradient(region=None, **parts):
    return _made(PolicyGradient(trust_region=region or Unbounded(), **parts))


MATCHING = {
    "weighted_mle": (_made(WeightedRegression()), "yes"),
    "weighted_mle_centred": (_made(WeightedRegression(centred=True)), "yes"),
    "listwise": (_made(Listwise()), "yes"),
    "listwise_reverse": (_made(Listwise(divergence="reverse")), "yes"),
    "dpo_on_choices": (_made(PreferenceRule(), CHOICES), "yes"),
    "residual": (_gradient(pull=Residual()), "yes"),
    "residual_truncated": (_gradient(Truncate(), pull=Residual()), "yes"),
    "residual_clipped": (_gradient(Clip(), pull=Residual()), "on_policy"),
    "kl_in_reward": (_gradient(pull=_in_reward()), "on_policy"),
    "zscore_of_all": (_gradient(advantage=GroupZScore(), pull=_in_reward()), "on_policy"),
    "batch_zscore_of_all": (
        _gradient(advantage=BatchZScore(), pull=Residual(at="old")),
        "on_policy",
    ),
    "two_anchor_residual": (
        _made(
            PolicyGradient(trust_region=Unbounded(), pull=Residual()),
            TwoAnchor(tau=0.5, beta=0.5, utility="r"),
        ),
        "one_update",
    ),
    "distillation_by_token": (
        _made(
            PolicyGradient(
                trust_region=Unbounded(), advantage=ReturnToGo(discount=0.0), pull=Residual()
            ),
            Teacher(eta=1.0, student="ref"),
        ),
        "yes",
    ),
}

BREAKING = {
    "zscore_beside_kl": (
        _gradient(advantage=GroupZScore(), pull=KLPull(kind="k2")),
        {"eta": 0.9},
        "b·exp(sE[U]) by token, s = η/σ_q",
    ),
    "k3_in_loss": (_gradient(pull=KLPull(kind="k3")), {"eta": 0.9}, "b/(1 − η(U − Ū)) by token"),
    "zscore_beside_k3": (
        _gradient(advantage=GroupZScore(), pull=KLPull(kind="k3")),
        {"eta": 0.7},
        "b/(1 − s(U − Ū)) by token, s = η/σ_q",
    ),
    "labels_from_twice_the_utility": (
        _made(PreferenceRule(), CHOICES),
        {"label_scale": 2.0},
        "b·exp(κηU)",
    ),
    "ppo_in_two_anchors": (
        _made(
            PolicyGradient(trust_region=Clip(), pull=_in_reward()),
            TwoAnchor(tau=0.5, beta=0.5, utility="r"),
        ),
        {},
        "b·exp(r/β)",
    ),
}


@pytest.mark.parametrize("name", MATCHING)
def test_what_matches_reaches_its_target(name):
    procedure, expected = MATCHING[name]
    found = audit(procedure)
    assert found.measured == expected
    assert found.passed
    best = found.one_update if expected == "one_update" else found.on_policy
    assert best.tv <= SAME
    if procedure.tilt.tilts:
        assert best.eta_hat == pytest.approx(
            1.5, abs=SAME / 0.4
        )  # TV has a slope ½E|U − Ū| of 0.4 in η
    if expected == "yes":
        assert found.off_policy.tv <= SAME
    if expected == "on_policy":
        assert found.off_policy.tv > OTHER
    if expected == "one_update":
        assert found.on_policy.tv > OTHER
        assert found.on_policy.predicted == "b·exp(r/β)"
        assert found.on_policy.predicted_tv <= SAME


@pytest.mark.parametrize("name", BREAKING)
def test_what_breaks_reaches_the_law_predicted_for_it(name, flat):
    """On sequences of one token these are the flat laws: b/(1 − η(U − Ū_q)), b·exp(ηU/σ_q)."""
    procedure, options, formula = BREAKING[name]
    found = audit(procedure, world=flat, **options)
    assert found.measured == "no"
    assert not found.passed
    assert found.on_policy.tv > OTHER
    assert found.on_policy.predicted == formula
    assert found.on_policy.predicted_tv <= SAME


@pytest.mark.parametrize("name", ["k3_in_loss", "zscore_beside_k3"])
def test_the_token_laws_hold_on_sequences(name, small):
    procedure, _, formula = BREAKING[name]
    found = audit(procedure, world=small)
    assert found.on_policy.tv > OTHER
    assert found.on_policy.predicted == formula
    assert found.on_policy.predicted_tv <= SAME / 20


def test_a_k2_in_the_loss_shares_the_target_of_one_token_alone(flat, small):
    procedure = _gradient(pull=KLPull(kind="k2"))
    assert audit(procedure, world=flat, eta=1.0).measured == "on_policy"
    found = audit(procedure, world=small)
    assert found.measured == "no"
    assert found.on_policy.predicted_tv <= SAME / 20


def test_without_b_over_mu_a_fixed_mu_is_the_anchor(small):
    """μ·exp(ηU): the target when it is anchored at μ, another law when it is not."""
    anchored = audit(_made(WeightedRegression(), MU))
    assert anchored.off_policy.tv <= SAME
    assert anchored.on_policy.tv > OTHER  # it compounds at every refresh
    assert anchored.measured == "no"
    bare = audit(_made(WeightedRegression(weights=Exponentiated(cap=1e9, baseline="raw"))))
    assert bare.off_policy.tv > OTHER
    assert bare.off_policy.predicted_tv <= SAME
    assert not bare.passed


@pytest.mark.parametrize(
    ("weights", "formula"),
    [("target", "b·exp(r/β)/L"), ("accepted", "μ·1{U ≥ u}/L"), ("exponentiated", "cap)/L")],
)
def test_a_mean_over_tokens_divides_the_law_by_lengths(weights, formula):
    kind = {"kind": "accepted", "threshold": 0.0} if weights == "accepted" else weights
    rule = {"weights": kind, "aggregation": "sequence_mean_token_mean"}
    action = WeightedRegression.parse({"kind": "weighted_regression", **rule})
    found = audit(_made(action), world=audit_world(ends=True))
    assert found.measured != "yes"
    assert found.off_policy.predicted.endswith(formula)
    assert found.off_policy.predicted_tv <= SAME / 2


def test_an_off_policy_rest_point_is_held_to_its_law():
    for name in ("weighted_mle_centred", "listwise"):
        found = audit(MATCHING[name][0])
        assert (found.off_policy.predicted, found.off_policy.predicted_tv <= SAME) == ("q*", True)


def test_squared_preference_fits_labels_and_not_log_odds():
    found = audit(_made(PreferenceRule(loss=Ipo()), CHOICES))
    assert found.measured == "no"
    assert found.off_policy.predicted_tv <= SAME


@pytest.mark.parametrize("pull", [None, KLPull(kind="k1")])
def test_without_a_pull_there_is_no_finite_law(pull, small):
    found = audit(_gradient(pull=pull), world=small)
    assert found.measured == "no"
    assert found.on_policy.predicted.startswith("none")
    assert found.on_policy.eta_hat > 3 * 1.5


def test_a_network_in_place_of_the_table_changes_no_verdict():
    for name in ("weighted_mle_centred", "kl_in_reward"):
        procedure, expected = MATCHING[name]
        assert audit(procedure, shared=True, steps=800).measured == expected
    found = audit(BREAKING["k3_in_loss"][0], shared=True, steps=800)
    assert found.on_policy.predicted_tv <= SAME


@pytest.mark.parametrize("name", ["weighted_mle", "rloo", "proximal_residual", "dr_grpo"])
def test_a_claim_of_the_atlas_is_proven_and_every_other_refuted(name):
    recipe = RECIPES[name]
    assert audit(recipe).passed
    for claim in {"yes", "on_policy", "one_update", "no"} - {recipe.shares_target}:
        assert not audit(recipe.revised(shares_target=claim), steps=300).passed


def test_nearly_certain_choices_are_audited_at_unit_noise():
    """The structure is audited: at s = 0.2 of the utility's spread nothing would rest in time."""
    sure = PreferenceTarget(utility="r", beta=0.5, noise_scale=0.2)
    found = audit(_made(PreferenceRule(), sure))
    assert found.measured == "yes"
    assert found.on_policy.tv == audit(_made(PreferenceRule(), CHOICES)).on_policy.tv


def test_the_names_of_the_document():
    data = audit(RECIPES["weighted_mle_centred"], steps=50).to_dict()
    assert {"recipe", "shares_target", "on_policy", "off_policy", "passed"} <= set(data)
    assert {"tv", "eta_hat", "residual"} <= set(data["on_policy"])


@pytest.mark.slow
@pytest.mark.parametrize("ends", [False, True])
@pytest.mark.parametrize(
    "name", [n for n, r in RECIPES.items() if isinstance(r.operator.action, UpdateRule)]
)
def test_every_claim_of_the_atlas_is_proven(name, ends):
    """On 15 short sequences two laws may lie between the thresholds; never on the other side."""
    found = audit(RECIPES[name], world=audit_world(ends=ends))
    unclear = ends and found.measured == "unclear" and found.shares_target == "no"
    assert found.passed or unclear, found


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("name", MATCHING)
def test_what_matches_does_so_in_other_worlds(name, seed):
    procedure, expected = MATCHING[name]
    assert audit(procedure, world=audit_world(seed)).measured == expected


@pytest.mark.slow
@pytest.mark.parametrize("name", ["k3_in_loss", "zscore_beside_k3", "ppo_in_two_anchors"])
def test_what_breaks_does_so_with_a_network(name, small):
    procedure, _, formula = BREAKING[name]
    found = audit(procedure, world=small, shared=True, steps=1500)
    assert found.on_policy.tv > OTHER
    assert found.on_policy.predicted == formula
    assert found.on_policy.predicted_tv <= SAME


def _spoken(off: Point) -> str:
    on = Point(tv=0.0, eta_hat=1.5, residual=0.0)
    return sentence(Audit("mine", "on_policy", "on_policy", on, off, None, 1.5, passed=True))


def test_a_law_is_named_within_the_tolerance_only() -> None:
    far, near = 0.207, SAME
    for tv in (far, near):
        text = _spoken(Point(0.3, 2.0, 0.1, "μ·1{U ≥ u}", tv, moved=0.0))
        assert ("μ·1{U ≥ u}" in text) == (tv <= SAME)
        assert ("no law was found" in text) == (tv > SAME)
    assert "has not converged" in _spoken(Point(0.3, 2.0, 0.1, "μ·1{U ≥ u}", far, moved=0.02))


def test_too_few_updates_have_not_converged() -> None:
    recipe = RECIPES["weighted_mle_centred"]
    assert [audit(recipe, steps=n).on_policy.reached for n in (20, 600)] == [
        "not_converged",
        "target",
    ]
