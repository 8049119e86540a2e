"""Laws against fixed points found by iterating exact expected gradients on five outcomes."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tod.atlas import RECIPES, Recipe
from tod.atlas.effects import structural
from tod.atlas.law import Law, close, exponents, law_of
from tod.operators import (
    Best,
    Exponentiated,
    Operator,
    PolicyGradient,
    Proposal,
    WeightedRegression,
)
from tod.procedure import Procedure
from tod.targets import Data, ScalarReward, TwoAnchor
from tolerance import central_difference, double

REF = np.array([0.4, 0.25, 0.2, 0.1, 0.05])
U = np.array([0.0, 0.3, 1.0, 0.6, 1.4])


def procedure(target: object, **action: object) -> Procedure:
    rule = PolicyGradient.parse({"kind": "policy_gradient", **action})
    return Procedure(target=target, operator=Operator(action=rule))


def stationary(push: Callable[[np.ndarray], np.ndarray], steps: int = 60_000) -> np.ndarray:
    """π where E_π[push·∇log π] = 0, by ascent on logits: ∂/∂z_j = π_j(push_j − E push)."""
    logits = np.log(REF).copy()
    for _ in range(steps):
        pi = np.exp(logits - logits.max())
        pi /= pi.sum()
        g = push(pi)
        logits += 0.2 * pi * (g - pi @ g)
    return pi


def rational(eta: float) -> np.ndarray:
    """b/(1 − η(U − c)), normalised by its c, which then is Ū."""
    low, high = U.max() - 1 / eta + 1e-12, U.max() + 10.0
    for _ in range(200):
        c = (low + high) / 2
        total = (REF / (1 - eta * (U - c))).sum()
        low, high = (c, high) if total > 1 else (low, c)
    pi = REF / (1 - eta * (U - c))
    assert pi @ U == pytest.approx(c, rel=double(5 * 8, 1 + eta * 10))
    return pi


def density(law: Law) -> np.ndarray:
    """The law on the five outcomes, self-consistently where it needs π's own moments."""
    assert set(law.anchor) == {"ref"}
    eta = law.etas["r"]
    if law.shape == "rational":
        return rational(eta)
    pi = REF.copy()
    for _ in range(20_000):
        mean = pi @ U
        sigma = math.sqrt(pi @ (U - mean) ** 2) + law.epsilon if law.scale == "group_std" else 1.0
        new = REF * np.exp(eta * (U - mean) / sigma)
        pi = 0.9 * pi + 0.1 * new / new.sum()
    return pi


BETA = 0.7


def scored(pi: np.ndarray) -> np.ndarray:
    mean = pi @ U
    return (U - mean) / (math.sqrt(pi @ (U - mean) ** 2) + 1e-4)


CASES = {
    "k1 in the reward": (
        {"pull": {"kind": "k1", "place": "reward"}},
        lambda pi: U - BETA * np.log(pi / REF),
    ),
    "k2 in the loss": ({"pull": {"kind": "k2"}}, lambda pi: U - BETA * np.log(pi / REF)),
    "k3 in the loss": (
        {"pull": {"kind": "k3"}},
        lambda pi: (U - pi @ U) + BETA * (REF / pi - 1),
    ),
    "k3 with importance": (
        {"pull": {"kind": "k3", "importance": True}},
        # ∂[ρ·k3] at ρ = 1: k3 + (1 − e^x), the value's own push included
        lambda pi: (U - pi @ U) - BETA * (np.log(pi / REF)),
    ),
    "z-scores, k3 with importance": (
        {"advantage": {"kind": "group_zscore"}, "pull": {"kind": "k3", "importance": True}},
        lambda pi: scored(pi) - BETA * np.log(pi / REF),
    ),
    "z-scores of reward and KL together": (
        {"advantage": {"kind": "group_zscore"}, "pull": {"kind": "k1", "place": "reward"}},
        lambda pi: U - BETA * np.log(pi / REF),
    ),
    "residual": ({"pull": {"kind": "residual"}}, lambda pi: U / BETA - np.log(pi / REF)),
}


@pytest.mark.parametrize("name", CASES)
def test_the_law_is_where_the_expected_gradient_vanishes(name: str) -> None:
    action, push = CASES[name]
    law = law_of(procedure(ScalarReward(eta=1 / BETA, utility="r"), **action))
    assert law.shape in ("exponential", "rational")
    found = stationary(push)
    # where g is flat to ε the law is off by ε over the least curvature, π·β
    left = np.abs(push(found) - found @ push(found)).max()
    wanted = density(law)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=left / BETA + double(64, 16))


def test_importance_gives_k3_the_gradient_of_the_reverse_kl() -> None:
    """Finite differences of Σ_y π_old·(π/π_old)·k3 at π = π_old against those of KL(π‖ref)."""
    logits, step = np.log(np.array([0.1, 0.3, 0.2, 0.15, 0.25])), 1e-6

    def policy(z: np.ndarray) -> np.ndarray:
        return np.exp(z) / np.exp(z).sum()

    old = policy(logits)

    def loss(z: np.ndarray) -> float:
        pi = policy(z)
        x = np.log(REF / pi)
        return float(np.sum(old * (pi / old) * (np.exp(x) - 1 - x)))

    def reverse(z: np.ndarray) -> float:
        pi = policy(z)
        return float(np.sum(pi * np.log(pi / REF)))

    for j in range(5):
        e = np.eye(5)[j] * step
        slopes = [(f(logits + e) - f(logits - e)) / (2 * step) for f in (loss, reverse)]
        assert slopes[0] == pytest.approx(slopes[1], abs=2 * central_difference(step, 8.0, 64))


def test_two_anchors_iterated_tend_to_one_over_beta() -> None:
    target = TwoAnchor(tau=0.3, beta=0.1, utility="r")
    law = law_of(procedure(target, pull={"kind": "residual"}))
    pi = REF.copy()
    for _ in range(400):
        pi = pi**0.75 * REF**0.25 * np.exp(U / 0.4)
        pi /= pi.sum()
    assert law.etas == pytest.approx({"r": 10.0})
    np.testing.assert_allclose(density(law), pi, rtol=0, atol=double(5 * 16, 16))


@pytest.mark.parametrize(
    ("action", "word"),
    [
        ({}, "no pull"),
        ({"pull": {"kind": "k1"}}, "no expected gradient"),
    ],
)
def test_without_an_effective_pull_nothing_is_finite(action: dict, word: str) -> None:
    law = law_of(procedure(ScalarReward(eta=2.0, utility="r"), **action))
    assert law.shape == "climbs"
    assert word in law.why


def test_weights_without_an_anchor_compound() -> None:
    target = ScalarReward(eta=2.0, utility="r", anchor={"mu": 1.0})
    for weights in (Exponentiated(), Best()):
        rule = WeightedRegression(weights=weights)
        assert law_of(Procedure(target=target, operator=Operator(action=rule))).shape == "climbs"
    weighted = Procedure(target=target, operator=Operator(action=WeightedRegression()))
    assert law_of(weighted).shape == "climbs", "μ moves: b = μ is no anchor"
    frozen = Operator(proposal=Proposal(source="ref"), action=WeightedRegression())
    law = law_of(Procedure(target=target, operator=frozen))
    assert (law.shape, law.anchor) == ("exponential", {"ref": 1.0})


def test_a_data_target_is_the_data() -> None:
    rule = Operator(action=WeightedRegression.parse({"kind": "weighted_regression"}))
    assert law_of(Procedure(target=Data(), operator=rule)).anchor == {"data": 1.0}


def test_a_law_that_is_nowhere_is_the_same_as_none() -> None:
    nowhere = law_of(RECIPES["dapo"].procedure)
    assert not nowhere.same(nowhere)


def states(entry: Recipe, law: Law) -> bool:
    """Whether a law is the target that the recipe states, π_old moving."""
    stated = entry.procedure.tilt
    if law.shape != "exponential" or law.scale != "constant":
        return False
    etas = {tilt.utility: tilt.eta for tilt in stated.tilts if tilt.eta}
    anchor = exponents(stated, entry.operator)
    return close(law.etas, etas) and close(law.anchor, anchor)


# a selectivity has no single η to compare
ONE_ETA = sorted(name for name in RECIPES if RECIPES[name].procedure.tilt.selectivity is None)


@pytest.mark.parametrize("name", ONE_ETA)
def test_claims_of_the_atlas_agree_with_the_laws(name: str) -> None:
    """A recipe claims to share its target exactly if the law is what it states, in both ways."""
    entry = RECIPES[name]
    law = law_of(entry.procedure)
    claims = {"always": "yes", "on_policy": "on_policy"}
    if states(entry, law):
        assert entry.shares_target == claims[law.holds], law.letters
    else:
        assert entry.shares_target in ("no", "one_update"), law.letters


@pytest.mark.parametrize("name", ONE_ETA)
def test_what_does_not_rest_at_its_target_is_named(name: str) -> None:
    """No law other than the stated one without a silent change that says so."""
    entry = RECIPES[name]
    if not states(entry, law_of(entry.procedure)):
        assert structural(entry.procedure), law_of(entry.procedure).letters


def regression(target: object, proposal: Proposal, **action: Any) -> Law:
    rule = WeightedRegression.parse({"kind": "weighted_regression", **action})
    return law_of(Procedure(target=target, operator=Operator(proposal=proposal, action=rule)))


TILT = ScalarReward(eta=2.0, utility="r")


def test_a_frozen_proposal_keeps_what_its_weights_make_of_it() -> None:
    """μ·1{U ≥ u} is no argmax, and nothing is sharper at a refresh that never comes."""
    frozen = Proposal(source="ref", refresh=None)
    kept = regression(TILT, frozen, weights={"kind": "accepted", "threshold": 0.5})
    assert kept.letters == "π_ref·1{r ≥ 0.5}"
    assert kept.same(regression(TILT, frozen, weights={"kind": "accepted", "threshold": 0.5}))
    assert not kept.same(regression(TILT, frozen, weights="accepted"))
    capped = {"kind": "exponentiated", "cap": 7.0, "baseline": "raw"}
    assert regression(TILT, frozen, weights=capped).letters == "π_ref·min(exp(2·r), 7)"
    assert regression(TILT, frozen, weights="best").shape == "other"
    moving = regression(TILT, Proposal(), weights="accepted")
    assert (moving.shape, "depends on the way" in moving.why) == ("other", True)


def test_a_mean_over_tokens_is_another_projection() -> None:
    by_length = {"aggregation": "sequence_mean_token_mean"}
    assert regression(TILT, Proposal(), **by_length).letters == "π_ref·exp(2·r)/L"
    assert not regression(TILT, Proposal(), **by_length).same(regression(TILT, Proposal()))
    for other in ("token_mean", "sequence_mean_token_sum"):
        assert regression(TILT, Proposal(), aggregation=other).same(regression(TILT, Proposal()))
    # the centred credit is 0 at q*, whatever it is multiplied by
    assert not regression(TILT, Proposal(), centred=True, **by_length).by_length


def test_hard_constraints_are_part_of_the_law() -> None:
    inside = TILT.target.revised(support=("fits",))
    law = regression(inside, Proposal())
    assert law.letters == "π_ref·1{fits > 0}·exp(2·r)"
    assert not law.same(regression(TILT, Proposal()))


def test_weights_over_a_step_project_as_those_over_a_context_do() -> None:
    assert regression(TILT, Proposal(), weights="target_of_step").same(regression(TILT, Proposal()))


def test_off_policy_groups_of_k_are_said_to_be_biased() -> None:
    def changes(source: str, *, centred: bool) -> str:
        operator = Operator(
            proposal=Proposal(source=source), action=WeightedRegression(centred=centred)
        )
        found = structural(Procedure(target=TILT, operator=operator))
        return " ".join(change.effect for change in found)

    assert "O(1/K)" in changes("ref", centred=False)
    assert "O(1/K)" not in changes("old", centred=False) + changes("ref", centred=True)


@pytest.mark.parametrize(
    ("pull", "by_token"),
    [
        ({"kind": "k2"}, True),
        ({"kind": "k3", "importance": True}, True),
        ({"kind": "k3"}, True),
        ({"kind": "k1", "place": "reward"}, False),
        ({"kind": "residual"}, False),
    ],
)
def test_a_kl_in_the_loss_is_of_tokens(pull: dict[str, Any], by_token: bool) -> None:
    """The audit's k2 and k3 with importance reach q* over one token and miss it over three."""
    action = {"kind": "policy_gradient", "pull": pull, "aggregation": "token_mean"}
    target = {"kind": "scalar_reward", "utility": "r", "eta": 2.0}
    law = law_of(Procedure.parse({"target": target, "operator": {"action": action}}))
    assert law.by_token is by_token
    assert law.letters.endswith("token by token") is by_token
    assert law.to_dict()["by_token"] is by_token
    residual = {"kind": "policy_gradient", "pull": {"kind": "residual"}}
    other = law_of(Procedure.parse({"target": target, "operator": {"action": residual}}))
    assert law.same(other) is (not by_token)
