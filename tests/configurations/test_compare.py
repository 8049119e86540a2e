"""Comparisons: reflexive, symmetric, and licensed by data alone."""

from pathlib import Path

import pytest

from tod.atlas import RECIPES, own_copy
from tod.base import SpecError
from tod.configurations import compare
from tod.operators import Operator, PolicyGradient, Proposal, WeightedRegression
from tod.procedure import Procedure
from tod.regimes import Regime
from tod.regimes.regime import Reason
from tod.targets import ScalarReward, TwoAnchor

CONFIGS = Path(__file__).parent / "files"
RESIDUAL = Operator(
    action=PolicyGradient.parse({"pull": {"kind": "residual"}, "kind": "policy_gradient"})
)
CENTRED = Operator(action=WeightedRegression(centred=True))
TWO = TwoAnchor(tau=0.15, beta=0.05, utility="r")


def of(target: object, operator: Operator = RESIDUAL) -> Procedure:
    return Procedure(target=target, operator=operator)


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_everything_shares_its_target_with_itself(name: str) -> None:
    found = compare(name, name)
    assert (found.same_target, found.same_proposal, found.differences) == ("yes", True, ())


@pytest.mark.parametrize(
    "pair", [("grpo", "rloo"), ("dapo", "gspo"), ("rloo", "ppo_clip"), ("rft", "weighted_mle")]
)
def test_the_order_does_not_matter(pair: tuple[str, str]) -> None:
    one, other = compare(*pair), compare(*reversed(pair))
    assert (one.same_target, one.same_proposal) == (other.same_target, other.same_proposal)
    assert [row.part for row in one.differences] == [row.part for row in other.differences]


def test_two_spellings_of_one_law() -> None:
    """π_old moves: τ = .15, β = .05 converges to π_ref·exp(20r), as does η = 20."""
    assert compare(of(TWO), of(ScalarReward(eta=20.0, utility="r"))).same_target == "yes"


def test_one_update_is_not_the_fixed_point() -> None:
    """η = 5 is the two-anchor sharpness of one update from π_old = π_ref, 20 at its fixed point."""
    found = compare(of(TWO), of(ScalarReward(eta=5.0, utility="r")))
    assert found.same_target == "one_update_only"
    assert "20" in found.reasons[0]


def test_another_sharpness_is_another_target() -> None:
    found = compare(of(TWO), of(ScalarReward(eta=20.1, utility="r")))
    assert found.same_target == "no"
    assert found.differences[0].part == "law"


def test_a_stale_proposal_breaks_an_on_policy_law() -> None:
    clipped = RESIDUAL.revised(proposal=Proposal(refresh=None))
    target = ScalarReward(eta=2.0, utility="r")
    found = compare(of(target, clipped), of(target, CENTRED))
    assert found.same_target == "no"
    assert "μ follows π" in found.reasons[0]
    assert compare(of(target), of(target, CENTRED)).same_target == "yes"


def test_one_action_on_two_kinds_of_proposal_is_not_one_procedure() -> None:
    """Clipped, a frozen μ leaves the policy at the boundary: TV 0.5 from q* at the fixed point."""
    target = ScalarReward(eta=2.0, utility="r")
    frozen = of(target, RESIDUAL.revised(proposal=Proposal(source="ref", refresh=None)))
    found = compare(frozen, of(target), regime("swap_stable"))
    assert (found.same_target, found.swap_licensed) == ("no", False)
    assert compare(frozen, frozen).same_target == "yes"
    larger = RESIDUAL.revised(proposal=Proposal(size=64))
    assert compare(of(target), of(target, larger)).same_target == "yes"


def test_nothing_iterates_at_test_time() -> None:
    """π_old is the model that is searched: softmax(ηU) and q*/μ are one."""
    found = compare("sir", "soft_best_of_n")
    assert found.same_target == "yes"
    assert "put out" in found.reasons[0]
    assert "iterated" not in " ".join(found.reasons)


def test_z_scores_do_not_share_the_target_of_plain_rewards() -> None:
    plain = {"kind": "policy_gradient", "pull": {"kind": "k3", "importance": True}}
    scored = {**plain, "advantage": {"kind": "group_zscore"}}
    target = ScalarReward(eta=2.0, utility="r")
    pair = [of(target, Operator(action=PolicyGradient.parse(a))) for a in (plain, scored)]
    assert compare(*pair).same_target == "no"


def test_a_foreign_reward_is_assumed_to_be_the_utility_and_said_to_be(tmp_path: Path) -> None:
    ours = RECIPES["rloo"].revised(target={"kind": "verifier", "eta": 50.0, "utility": "correct"})
    (tmp_path / "rloo.yaml").write_text("beta: 0.02\nnormalize_advantages: false\n")
    found = compare(ours, tmp_path / "rloo.yaml")
    assert found.same_target == "yes"
    assert any("assumed" in reason for reason in found.reasons)
    cut = compare(ours, CONFIGS / "trl_rloo_args.json")
    assert cut.same_target == "no", "its rewards are clipped, its draws cut at top_p 0.95"
    assert {"reward_clip_range", "top_p"} <= {row.part for row in cut.differences}


def regime(verdict: str) -> Regime:
    reasons = () if verdict == "swap_stable" else (Reason("ESS is low", "lower η", verdict),)
    return Regime(verdict=verdict, reasons=reasons)


def test_no_data_no_licence() -> None:
    assert compare("weighted_mle", "weighted_mle_centred").swap_licensed is None
    assert compare("grpo", "rloo").swap_licensed is False, "no target is shared, whatever data say"


@pytest.mark.parametrize(
    ("verdict", "licensed"),
    [
        ("swap_stable", True),
        ("transition", False),
        ("operator_dominated", False),
        ("undetermined", None),
    ],
)
def test_data_license_a_swap_of_a_shared_target(verdict: str, licensed: bool | None) -> None:
    found = compare("weighted_mle", "weighted_mle_centred", regime(verdict))
    assert found.swap_licensed is licensed


@pytest.mark.parametrize("pair", [("grpo", "rloo"), ("dapo", "gspo")])
def test_data_never_license_a_swap_of_another_target(pair: tuple[str, str]) -> None:
    assert compare(*pair, regime("swap_stable")).swap_licensed is False


def test_errors_name_what_is_missing() -> None:
    with pytest.raises(SpecError, match="Did you mean 'grpo'"):
        compare("grppo", "rloo")
    with pytest.raises(SpecError, match="no such file"):
        compare("there/is/none.yaml", "rloo")


def test_one_screen_of_eighty_columns() -> None:
    from tod.show.terminal.atlas import compared_text

    for pair in [("grpo", "rloo"), ("dapo", str(CONFIGS / "verl_grpo.sh"))]:
        text = compared_text(compare(*pair)).splitlines()
        assert max(map(len, text)) <= 80
        assert len(text) <= 50


def test_other_kinds_differ_as_wholes() -> None:
    """Not part by part against a dozen of none."""
    found = compare("grpo", "dpo")
    parts = [row.part for row in found.differences]
    assert parts == ["law", "holds", "proposal", "action"]
    assert found.differences[-1].b.startswith("preference loss=dpo")
    assert found.differences[-2].b.startswith("pairs")


def test_a_constant_length_says_what_it_is(tmp_path: Path) -> None:
    longer = tmp_path / "longer.yaml"
    text = own_copy("dr_grpo")
    assert "length: 24" in text
    longer.write_text(text.replace("length: 24", "length: 64").replace("tokens: 24", "tokens: 64"))
    rows = {row.part: (row.a, row.b) for row in compare("dr_grpo", longer).differences}
    assert rows["action.aggregation"][0] == "constant length=24, the longest completion"
    assert rows["action.aggregation"][1] == "constant length=64, the longest completion"


def test_plain_data() -> None:
    data = compare("grpo", "rloo").to_dict()
    assert {"same_target", "differences", "swap_licensed", "reasons"} <= set(data)
