"""What cannot be computed, why, and what would make it computable."""

from typing import Any

from tod.show.figures.svg import Html, tag


def unknown(cannot: list[dict[str, Any]]) -> Html | None:
    """One row per number, under one remedy: several often wait for the same column."""
    if not cannot:
        return None
    by_need: dict[str, list[dict[str, Any]]] = {}
    for item in cannot:
        by_need.setdefault(str(item["needs"]), []).append(item)
    rows = [_rows(needs, items) for needs, items in by_need.items()]
    heads = ("what", "why not", "what would make it known")
    head = tag("tr", [tag("th", name, scope="col", class_="left") for name in heads])
    return tag(
        "div",
        tag("table", tag("thead", head), tag("tbody", rows), class_="numbers prose"),
        class_="wide",
    )


def _rows(needs: str, items: list[dict[str, Any]]) -> list[Html]:
    remedy = tag("td", needs, class_="left remedy", rowspan=len(items))
    return [
        tag(
            "tr",
            tag("td", tag("code", item["what"]), class_="left"),
            tag("td", item["why"], class_="left"),
            remedy if i == 0 else None,
        )
        for i, item in enumerate(items)
    ]
