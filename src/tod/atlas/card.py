"""An entry of the atlas as plain data and as text."""

from collections.abc import Mapping
from typing import Any

from tod.atlas.entries import Recipe
from tod.atlas.grid import row_of
from tod.atlas.measured import EMBEDDED, embedded, words

SCHEMA = "tod.atlas/1"


def entry(recipe: Recipe) -> dict[str, Any]:
    """One recipe as plain data, in the names of schema ``tod.atlas/1``."""
    data = recipe.model_dump(mode="json")
    operator = data["operator"]
    seen = embedded().get(recipe.name)
    return {
        "name": recipe.name,
        "title": recipe.title,
        "aliases": list(recipe.aliases),
        "target": data["target"],
        "target_family": row_of(recipe),
        "operator_family": recipe.family,
        "proposal": operator["proposal"],
        "action": operator["action"],
        "auxiliary": _terms(recipe),
        "papers": list(recipe.papers),
        "shares_target": recipe.shares_target,
        "differs": list(recipe.differs),
        "measured": None if seen is None else seen.to_dict(),
    }


def schema(recipes: Mapping[str, Recipe]) -> dict[str, Any]:
    """All recipes as one document."""
    rows = [entry(recipe) for recipe in recipes.values()]
    return {"schema": SCHEMA, "measured_on": EMBEDDED, "recipes": rows}


def measured(recipe: Recipe) -> str:
    """Phase position of a recipe in words, and on which models; ``unknown`` if it was not run."""
    seen = embedded().get(recipe.name)
    return "unknown" if seen is None else f"{words({recipe.name: seen})} on {EMBEDDED}"


def _terms(recipe: Recipe) -> dict[str, Any]:
    """The terms of the loss beside the credit, with what is read of them."""
    terms = recipe.operator.auxiliary.model_dump(mode="json", exclude_none=True)
    fitted = terms.get("distillation", {})
    if fitted.get("divergence") != "jsd":
        fitted.pop("beta", None)
    if "top_k" not in fitted:
        fitted.pop("rest", None)
    return terms


def _drawn(recipe: Recipe) -> dict[str, Any]:
    """What decides μ, without the sizes of a step."""
    data = recipe.operator.proposal.model_dump(mode="json", exclude_none=True)
    return {key: value for key, value in data.items() if key not in ("prompts", "max_new_tokens")}


def text(recipe: Recipe) -> str:
    """One recipe for a terminal: the triple as YAML, and what is known of it."""
    import yaml

    data = entry(recipe)
    triple = {"target": data["target"], "proposal": _drawn(recipe), "action": data["action"]}
    if data["auxiliary"]:
        triple["auxiliary"] = data["auxiliary"]
    lines = [
        f"{recipe.name}: {recipe.title}",
        f"families   {row_of(recipe)} x {recipe.family}",
        f"shares q*  {recipe.shares_target.replace('_', ' ')}",
        *(f"  differs  {item}" for item in recipe.differs),
        f"measured   {measured(recipe)}",
        f"papers     {', '.join(recipe.papers)}",
        "",
        yaml.safe_dump(triple, sort_keys=False, allow_unicode=True).rstrip(),
    ]
    return "\n".join(lines)
