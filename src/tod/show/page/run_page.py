"""The page of `tod report`: one run, or several side by side."""

from collections.abc import Sequence
from typing import Any

from tod.base.text import counted, plainly
from tod.runs.differing import differing, in_words, setting
from tod.show.figures import curves
from tod.show.figures.distribution import classes, distribution
from tod.show.figures.k_scaling import k_scaling
from tod.show.figures.k_trend import side_by_side
from tod.show.figures.learning import learning
from tod.show.figures.ledger import ledger
from tod.show.figures.legs import legs
from tod.show.figures.phase import phase_data, phase_diagram
from tod.show.figures.plot import Plot, cursor_data, figure
from tod.show.figures.svg import Html
from tod.show.page.document import document
from tod.show.page.findings_view import FindingsView, findings_view
from tod.show.page.headline import compared, facts, unequal_k
from tod.show.page.judged import judged
from tod.show.page.run_data import STEPS_DRAWN, RunView, thinned, thresholds

COLOURS, ACTIONS_SHOWN = 8, 60


def page(runs: Sequence[RunView], extra: Sequence[Html] = ()) -> Html:
    """The whole document for one or several runs.

    Args:
        runs: At least one; colours repeat after eight.
        extra: Further sections, after the curves.
    """
    views, several = list(runs), len(runs) > 1
    style = [f"r{i % COLOURS}" for i in range(len(views))] if several else ["s0"]
    drawn = [thinned(view, STEPS_DRAWN * 2 // (len(views) + 1)) for view in views]
    over = any(len(view.steps) > 1 or view.diagnosis is None for view in views)
    plots = {f"p{i}": plot for i, plot in enumerate(plots_over_steps(drawn))} if over else {}
    by_k = side_by_side(views, style)
    weights = {"k": by_k} if by_k else {}
    seen = _findings(views)
    marked = {} if several or seen[0] is None else seen[0].plots
    name = " · ".join(view.name for view in views)
    return document(
        "report.html",
        f"{name} · TOD report",
        {
            "plots": marked
            | {key: cursor_data(plot) for key, plot in {**plots, **weights}.items()},
            "points": phase_data(views),
        },
        name=name,
        about=_about(views),
        runs=views,
        findings=seen,
        style=style,
        judged=[judged(view, named=several) for view in views],
        tiles=None if several else facts(views[0]),
        compared=compared(views) if several else None,
        unequal_k=unequal_k(views),
        differences=recipe_differences(views) if any(view.recipe for view in views) else None,
        selection=k_scaling(views, style),
        phase=phase_diagram(drawn, style),
        phase_words=_phase_words(views),
        keys=[(style[i], view.name) for i, view in enumerate(views)] if several else [],
        weights=[*_legs(views), *([] if by_k is None else [figure(by_k, "k")])],
        curves=[figure(plot, key) for key, plot in plots.items()],
        left_out=sum(len(v.steps) for v in views) - sum(len(v.steps) for v in drawn),
        extra=extra,
        costs=ledger(views),
        actions=[actions(view) for view in views],
    )


def _findings(runs: Sequence[RunView]) -> list[FindingsView | None]:
    """Those of every run; of several runs every id on the page begins with the run's number."""
    several = len(runs) > 1
    return [
        None
        if run.findings is None
        else findings_view(run.findings, run.diagnosis, f"{i}-" * several)
        for i, run in enumerate(runs)
    ]


def _legs(views: Sequence[RunView]) -> list[Html]:
    """The legs of a run that was judged; of several runs the table stands for them."""
    run, overlap = views[0], views[0].last.get("overlap")
    if len(views) > 1 or not overlap or not (run.judged["regime"] or {}).get("legs"):
        return []
    return [legs(run.judged["regime"], overlap, thresholds(views))]


def plots_over_steps(runs: list[RunView]) -> list[Plot]:
    """Every curve that there is something to draw of."""
    single = len(runs) == 1
    bands = [
        distribution(run, "s0" if single else f"r{i % COLOURS}", "" if single else run.name)
        for i, run in enumerate(runs)
    ]
    kinds = [classes(run, "" if single else run.name) for run in runs]
    found = [learning(runs), *bands, *curves.figures(runs), *kinds, *curves.knobs(runs)]
    return [plot for plot in found if plot is not None]


def recipe_differences(runs: Sequence[RunView]) -> list[tuple[str, list[str]]]:
    """Settings that the recipes of several runs do not share, and the value of each run."""
    recipes = [run.recipe for run in runs]
    return [(path, [in_words(setting(r, path)) for r in recipes]) for path in differing(recipes)]


def actions(run: RunView) -> dict[str, Any] | None:
    """What the controller did but hold, in order, and why; None without a controller."""
    if not run.decisions:
        return None
    acted = [item for item in run.decisions if item.get("action") not in (None, "hold")]
    count = f"{len(acted)} actions in {len(run.decisions)} decisions; "
    count += f"{len(run.decisions) - len(acted)} were to hold."
    left_out = len(acted) - ACTIONS_SHOWN
    count += f" The first {left_out} actions are not shown." if left_out > 0 else ""
    rows = [
        {
            "step": item.get("step"),
            "action": str(item.get("action")),
            "change": _change(item.get("before"), item.get("after")),
            "why": item.get("why", ""),
        }
        for item in acted[-ACTIONS_SHOWN:]
    ]
    return {"count": count, "rows": rows}


def _about(runs: list[RunView]) -> str:
    if len(runs) > 1:
        names = {run.recipe.get("name") for run in runs}
        of = f" of {names.pop()}" if len(names) == 1 and None not in names else ""
        return f"{counted(len(runs), 'run')}{of} side by side"
    run = runs[0]
    done = max(run.numbers(), default=0)
    steps = f"{done} steps" if done else "no steps yet"
    model, created = run.recipe.get("model"), str(run.environment.get("created") or "")
    when = created[:16].replace("T", " ") + " UTC" if created.endswith("+00:00") else created
    return " · ".join(str(part) for part in (model, steps, when) if part)


def phase_words(several: bool) -> str:
    """What the boxes of the phase diagram are; ``several``: whether windows of steps are drawn."""
    said = (
        "The bold box is what the verdict was read from: across, the 90 % interval of ESS_rel of "
        "the median prompt, over the population; upward, the largest weight of the median prompt, "
        "from its least to its largest step. A box open to the left has no lower end. "
    )
    if several:
        said += (
            "Faint boxes are windows of steps, each read as one pool, stronger as the run goes on "
            "from the ring."
        )
    return said.rstrip()


def _phase_words(runs: Sequence[RunView]) -> list[str]:
    """What the diagram shows, and where its dots are from."""
    dots = (
        "Small dots are the prompts of the last step at their own K, where ESS_rel reads too high, "
        "spread where they coincide; point at one to read it."
        if any(run.points for run in runs)
        else "No rows per prompt were kept, so prompts are not drawn."
    )
    return [phase_words(any(len(run.windows) > 1 for run in runs)), dots]


def _change(before: object, after: object) -> str:
    if not isinstance(before, dict) or not isinstance(after, dict):
        return ""
    moved = [name for name in after if before.get(name) != after[name]]
    return ", ".join(f"{name} {_knob(before.get(name))} → {_knob(after[name])}" for name in moved)


def _knob(value: object) -> str:
    return plainly(float(value)) if isinstance(value, int | float) else str(value)
