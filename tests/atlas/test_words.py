"""Small things on a screen: counts, colons and differences that say what differs."""

from tod.atlas import RECIPES
from tod.atlas.locate import composition
from tod.atlas.nearest import nearest
from tod.atlas.page import entry
from tod.operators import Auxiliary, FullVocabulary, NoCredit, Operator


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
