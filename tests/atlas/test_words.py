"""Small things on a screen: counts, colons and differences that say what differs."""

from tod.atlas import RECIPES
from tod.atlas.card import entry, text
from tod.atlas.nearest import NO_BOUND, nearest, number
from tod.configurations import composition
from tod.operators import Auxiliary, FullVocabulary, NoCredit, Operator, TokenTruncation


def test_differences_name_what_differs() -> None:
    base = RECIPES["grpo"].operator
    pull = base.action.pull.revised(importance=True)  # type: ignore[union-attr]
    name, differs = nearest(base.revised(action=base.action.revised(pull=pull)))
    assert (name, differs) == ("grpo", ("pull: k3 importance=True for k3 importance=False",))
    for entry_ in RECIPES.values():
        for difference in nearest(entry_.operator)[1]:
            mine, theirs = difference.partition(": ")[2].split(" for ")
            assert mine != theirs


def test_a_composition_ends_in_no_colon() -> None:
    assert composition(Operator(action=NoCredit())) == "auxiliary"
    terms = Auxiliary(distillation=FullVocabulary())
    said = composition(Operator(action=NoCredit(), auxiliary=terms))
    assert said is not None
    assert said.startswith("auxiliary: distillation (divergence reverse_kl")


def test_families_are_rows_of_the_grid() -> None:
    from tod.atlas.grid import OPERATORS, TARGETS

    for recipe in RECIPES.values():
        row = entry(recipe)
        assert row["target_family"] in TARGETS
        assert row["operator_family"] in OPERATORS


def test_a_page_shows_the_loss_beside_the_credit_and_what_draws() -> None:
    assert "divergence: jsd\n    beta: 0.5" in text(RECIPES["gkd"])
    assert "source: alternating\n" in text(RECIPES["gkd"])
    assert "divergence: reverse_kl\n    weight" in text(RECIPES["opd_full"]), "β is not read"
    assert "top_k: 8" in text(RECIPES["opd_top_k"])
    for recipe in RECIPES.values():
        assert f"source: {recipe.operator.proposal.source}" in text(recipe)


def test_no_bound_is_called_none() -> None:
    assert [number(NO_BOUND), number(2.0)] == ["none", "2"]
    rule = RECIPES["tis_grpo"].operator.action.revised(correction=TokenTruncation(cap=NO_BOUND))
    assert "token_truncation (cap none" in str(composition(Operator(action=rule)))
