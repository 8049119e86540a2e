"""What a rerun needs: the resolved recipe, versions, hardware."""

from collections.abc import Sequence
from typing import Any

from tod.runs import differences
from tod.show.figures.svg import Html, tag
from tod.show.page.run_data import RunView


def recipe(run: RunView) -> Html:
    """The resolved recipe as YAML, folded."""
    import yaml

    shown = yaml.safe_dump(run.recipe, sort_keys=False, allow_unicode=True, width=88)
    return tag("details", tag("summary", "Resolved recipe"), tag("pre", shown, class_="code"))


def environment(run: RunView) -> Html:
    """Versions, hardware, threads, seeds and git state."""
    rows = list(_rows(run.environment))
    body = [
        tag("tr", tag("th", key, scope="row"), tag("td", value, class_="left"))
        for key, value in rows
    ]
    table = tag("table", tag("tbody", body), class_="facts")
    return tag("details", tag("summary", "Versions and hardware"), table)


def recipe_differences(runs: Sequence[RunView]) -> Html | None:
    """What the recipes of several runs do not share; None when they are the same."""
    paths: dict[str, None] = {}
    for run in runs[1:]:
        paths |= dict.fromkeys(path for path, _, _ in differences(runs[0].recipe, run.recipe))
    chosen = [path for path in paths if path not in ("name", "output")]
    if not chosen:
        return tag("p", "The recipes are the same but for name and output.", class_="muted")
    rows = [
        tag(
            "tr",
            tag("th", path, scope="row"),
            [tag("td", _said(_at(run.recipe, path))) for run in runs],
        )
        for path in chosen
    ]
    head = tag("tr", tag("th", "", scope="col"), [tag("th", run.name, scope="col") for run in runs])
    return tag(
        "div", tag("table", tag("thead", head), tag("tbody", rows), class_="numbers"), class_="wide"
    )


def _rows(environment: dict[str, Any]) -> Any:
    for key, value in environment.items():
        if isinstance(value, dict):
            inner = [f"{name} {_said(item)}" for name, item in value.items() if item is not None]
            yield key, ", ".join(inner) or "unknown"
        else:
            yield key, _said(value)


def _at(recipe_: dict[str, Any], path: str) -> Any:
    value: Any = recipe_
    for key in path.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _said(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, list | tuple):
        return ", ".join(_said(item) for item in value) or "none"
    return str(value)
