"""The most fragile contexts, with every candidate's weight and utilities."""

from tod.base.text import fixed, percent, plainly
from tod.show.figures.svg import Html, tag
from tod.show.page.run_data import Candidate, RunView, WorstContext


def worst(run: RunView) -> Html | None:
    """A disclosure per context, the worst one open; None when no rollouts were kept."""
    if not run.worst:
        return None
    return tag("div", [_context(item, i == 0) for i, item in enumerate(run.worst)], class_="worst")


def _context(item: WorstContext, unfolded: bool) -> Html:
    head = tag(
        "summary",
        tag("span", f"ESS_rel {fixed(item.ess_rel)}", class_="strong"),
        tag("span", f"largest weight {percent(item.max_weight)}"),
        tag("span", f"K {item.k}"),
        tag("span", f"step {item.step}"),
        tag("span", item.prompt[:90], class_="muted clip"),
    )
    return tag(
        "details",
        head,
        tag("p", f"context {item.context}", class_="note"),
        tag("pre", item.prompt or "(empty prompt)", class_="prompt"),
        tag("div", _table(item), class_="wide"),
        tag("p", f"{item.omitted} further candidates are not shown.", class_="note")
        if item.omitted
        else None,
        open=unfolded,
    )


def _table(item: WorstContext) -> Html:
    names = list(item.candidates[0].utilities) if item.candidates else []
    head = tag(
        "tr",
        tag("th", "weight", scope="col", colspan="2"),
        [tag("th", name, scope="col") for name in names],
        tag("th", "candidate", scope="col", class_="left"),
    )
    rows = [_row(candidate, names) for candidate in item.candidates]
    return tag("table", tag("thead", head), tag("tbody", rows), class_="numbers candidates")


def _row(candidate: Candidate, names: list[str]) -> Html:
    share = candidate.weight or 0.0
    bar = tag(
        "svg",
        tag("rect", class_="fill s0", x=0.0, y=0.0, width=100 * share, height=8.0),
        class_="weight",
        view_box="0 0 100 8",
        preserveAspectRatio="none",
        aria_hidden="true",
    )
    return tag(
        "tr",
        tag("td", bar, class_="bar-cell"),
        tag("td", fixed(candidate.weight)),
        [tag("td", plainly(candidate.utilities.get(name))) for name in names],
        tag("td", tag("pre", candidate.completion or "(empty)"), class_="left"),
    )
