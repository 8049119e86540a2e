"""Targets whose anchor moves with the policy: where iterated updates end, and what is said."""

import numpy as np
import pytest

from tod.atlas import RECIPES
from tod.atlas.effects import structural
from tod.atlas.law import law_of
from tod.configurations import compare
from tod.operators import Operator, PolicyGradient, Proposal, WeightedRegression
from tod.procedure import Procedure
from tod.targets import Target, Teacher, TwoAnchor, Verifier
from tolerance import double

RESIDUAL = Operator(
    proposal=Proposal(source="old"),
    action=PolicyGradient.parse(
        {
            "kind": "policy_gradient",
            "advantage": "group_mean",
            "pull": {"kind": "residual", "at": "current"},
        }
    ),
)
WEIGHTED = Operator(proposal=Proposal(source="old"), action=WeightedRegression())
REF = np.array([0.5, 0.3, 0.2])
U = np.array([0.0, 0.2, 1.0])


def tilt(old: float, ref: float) -> Target:
    return Target.parse(
        {"kind": "tilt", "anchor": {"old": old, "ref": ref}, "tilts": [{"utility": "r", "eta": 5}]}
    )


def iterated(old: float, ref: float, updates: int = 200) -> np.ndarray:
    log_pi = np.log(REF)
    for _ in range(updates):
        log_pi = old * log_pi + ref * np.log(REF) + 5 * U
        log_pi = log_pi - np.logaddexp.reduce(log_pi)
    return np.asarray(np.exp(log_pi))


@pytest.mark.parametrize("operator", [RESIDUAL, WEIGHTED])
@pytest.mark.parametrize(("old", "ref"), [(0.75, 0.25), (1.0, 0.5), (2.0, 0.5)])
def test_a_moving_anchor_ends_where_it_is_said_to(
    operator: Operator, old: float, ref: float
) -> None:
    procedure = Procedure(target=tilt(old, ref), operator=operator)
    law, end = law_of(procedure), iterated(old, ref)
    said = " ".join(change.effect for change in structural(procedure))
    assert "π_old moves" in said
    if old < 1.0:
        stated = REF ** law.anchor["ref"] * np.exp(law.etas["r"] * U)
        np.testing.assert_allclose(
            end, stated / stated.sum(), rtol=0, atol=old**200 + double(5 * 16, 30)
        )
        assert "tends to 20" in said
    else:
        assert law.shape == "climbs"
        assert end.max() == pytest.approx(1.0), "all mass on one answer"


def test_the_literal_form_of_a_teacher_climbs_and_says_so() -> None:
    literal = Procedure(target=Teacher(form="literal", eta=1.0), operator=RESIDUAL)
    (change,) = structural(literal)
    assert change.effect.startswith("π_old moves, no finite law: argmax π_teacher")
    margin = Procedure(target=Teacher(form="margin", eta=1.0), operator=RESIDUAL)
    assert compare(literal, margin).same_target == "no"


def test_a_regression_to_two_anchors_names_its_fixed_point() -> None:
    target = TwoAnchor(tau=0.15, beta=0.05, utility="r")
    effects = [c.effect for c in structural(Procedure(target=target, operator=WEIGHTED))]
    assert len(effects) == 1
    assert "one update; iterated the sharpness tends to 20" in effects[0]


@pytest.mark.parametrize("anchor", ["ref", "old"])
def test_a_selectivity_is_not_sharper_every_time(anchor: str) -> None:
    target = Verifier.parse(
        {"kind": "verifier", "selectivity": 0.9, "utility": "r", "anchor": {anchor: 1.0}}
    )
    assert structural(Procedure(target=target, operator=WEIGHTED)) == ()


def test_a_kl_budget_is_its_own_sharpness() -> None:
    base = RECIPES["reps"].procedure
    rule = base.operator.action
    for budget in (0.5, 3.0):
        weights = {"kind": "kl_budget", "budget": budget}
        action = WeightedRegression.parse({**rule.model_dump(mode="json"), "weights": weights})
        found = compare("reps", base.revised(operator=base.operator.revised(action=action)))
        assert found.same_target == ("yes" if budget == 0.5 else "no")
    assert "reps 0.5 nats" in found.reasons[0]
    for other in ("mpo", "rwr"):
        assert compare("reps", other).same_target == "no"
    (change,) = structural(base)
    assert change.effect.startswith("η is what 0.5 nats of KL allow in every step; the declared 5")
    etas = [base.target.revised(eta=eta) for eta in (5.0, 9.0)]
    pair = [base.revised(target=target) for target in etas]
    assert compare(pair[0], pair[1]).same_target == "one_update_only", "the declared η is not read"


def test_an_auxiliary_loss_alone_does_not_read_the_tilt() -> None:
    operator = RECIPES["opd_full"].operator
    said = []
    for form, eta in (("margin", 1.0), ("margin", 0.5), ("literal", 1.0)):
        target = Teacher.parse({"kind": "teacher", "form": form, "eta": eta})
        said.append([c.effect for c in structural(Procedure(target=target, operator=operator))])
    unread = ["the auxiliary loss alone decides; the target's tilt and form are not read"]
    assert said == [[], unread, unread]


@pytest.mark.parametrize("name", ["reinforce_pp", "ppo"])
def test_whitening_beside_a_kl_in_the_loss_is_named(name: str) -> None:
    base = RECIPES[name].procedure
    action = base.operator.action.model_dump(mode="json")
    action["advantage"]["whiten"] = {"epsilon": 0.25}
    said = []
    for place in ("loss", "reward"):
        rule = PolicyGradient.parse({**action, "pull": {"kind": "k1", "place": place}})
        found = structural(base.revised(operator=base.operator.revised(action=rule)))
        said.append(" ".join(change.effect for change in found))
    assert "/√(σ_batch² + 0.25), one sharpness for the step" in said[0]
    assert "σ_batch" not in said[1], "a KL in the reward is divided as well"
