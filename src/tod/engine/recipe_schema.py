"""The JSON schema of a recipe's file, for editors: every key with its meaning and its choices."""

from typing import Any

from tod.engine.settings import RunSettings

NAME = "tod.recipe/1"
DIALECT = "http://json-schema.org/draft-07/schema#"
"""What editors' YAML servers read."""


def recipe_schema() -> dict[str, Any]:
    """The schema, generated from the settings that a run is parsed into."""
    made = _lean(RunSettings.model_json_schema())
    return {"$schema": DIALECT, "$id": NAME, "title": "A recipe of tod", **made}


def _lean(place: Any, names: bool = False) -> Any:
    """Without titles, which repeat the names, and of descriptions the first paragraph.

    Args:
        place: A part of the schema.
        names: Whether its keys are names of settings, of which one may be called ``title``.
    """
    if isinstance(place, list):
        return [_lean(item) for item in place]
    if not isinstance(place, dict):
        return place
    kept = {k: v for k, v in place.items() if names or k not in ("title", "discriminator")}
    if not names and isinstance(kept.get("description"), str):
        kept["description"] = " ".join(kept["description"].partition("\n\n")[0].split())
    inner = {"properties", "$defs"}
    return {
        key: value if key in ("default", "enum", "const") else _lean(value, names=key in inner)
        for key, value in kept.items()
    }
