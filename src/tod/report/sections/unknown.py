"""What cannot be computed, why, and what would make it computable."""

from typing import Any

from tod.report.svg import Html, tag


def unknown(cannot: list[dict[str, Any]]) -> Html | None:
    """One row per remedy, since several numbers often wait for the same column."""
    if not cannot:
        return None
    by_need: dict[str, list[dict[str, Any]]] = {}
    for item in cannot:
        by_need.setdefault(str(item["needs"]), []).append(item)
    rows = [_row(needs, items) for needs, items in by_need.items()]
    heads = ("what", "why not", "what would make it known")
    head = tag("tr", [tag("th", name, scope="col", class_="left") for name in heads])
    return tag(
        "div",
        tag("table", tag("thead", head), tag("tbody", rows), class_="numbers prose"),
        class_="wide",
    )


def _row(needs: str, items: list[dict[str, Any]]) -> Html:
    whats = [tag("code", item["what"]) for item in items]
    whys = list(dict.fromkeys(str(item["why"]) for item in items))
    return tag(
        "tr",
        tag("td", whats, class_="left names"),
        tag("td", [tag("p", why) for why in whys], class_="left"),
        tag("td", needs, class_="left strong"),
    )
