"""What the controller did, and why."""

from tod.base.text import plainly
from tod.show.figures.svg import Html, tag
from tod.show.page.run_data import RunView

SHOWN = 60


def decisions(run: RunView) -> Html | None:
    """Every decision that was not to hold, in order; None when there was no controller."""
    if not run.decisions:
        return None
    acted = [item for item in run.decisions if item.get("action") not in (None, "hold")]
    held = len(run.decisions) - len(acted)
    count = f"{len(acted)} actions in {len(run.decisions)} decisions; {held} were to hold."
    if not acted:
        return tag("div", tag("p", count, class_="muted"))
    head = [tag("th", n, scope="col", class_=c) for n, c in _COLUMNS]
    rows = [_row(item) for item in acted[-SHOWN:]]
    table = tag("table", tag("thead", tag("tr", head)), tag("tbody", rows), class_="numbers")
    left_out = len(acted) - len(rows)
    note = f" The first {left_out} actions are not shown." if left_out else ""
    return tag(
        "div", tag("p", count + note, class_="muted"), tag("div", table, class_="wide scroll")
    )


_COLUMNS = (("step", None), ("action", "left"), ("change", "left"), ("why", "left"))


def _row(item: dict[str, object]) -> Html:
    action = str(item.get("action"))
    return tag(
        "tr",
        tag("td", str(item.get("step"))),
        tag("td", tag("span", action, class_=f"action a-{action}"), class_="left"),
        tag("td", _change(item.get("before"), item.get("after")), class_="left"),
        tag("td", str(item.get("why", "")), class_="left"),
    )


def _change(before: object, after: object) -> str:
    if not isinstance(before, dict) or not isinstance(after, dict):
        return ""
    moved = [name for name in after if before.get(name) != after[name]]
    return ", ".join(f"{name} {_said(before.get(name))} → {_said(after[name])}" for name in moved)


def _said(value: object) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return plainly(float(value))
    return str(value)
