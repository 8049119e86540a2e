"""The page: one file, no request, a policy that lets nothing else run."""

import base64
import hashlib
import json
from collections.abc import Sequence
from importlib.resources import files

from tod.show.figures import curves
from tod.show.figures.distribution import classes, distribution
from tod.show.figures.k_scaling import k_scaling
from tod.show.figures.k_trend import side_by_side
from tod.show.figures.learning import learning
from tod.show.figures.ledger import ledger
from tod.show.figures.phase import phase_data, phase_diagram
from tod.show.figures.plot import Plot, cursor_data, figure
from tod.show.figures.svg import Html, join, tag
from tod.show.page.decisions import decisions
from tod.show.page.headline import comparison, table, tiles
from tod.show.page.provenance import environment, recipe, recipe_differences
from tod.show.page.run_data import STEPS_DRAWN, RunView, thinned
from tod.show.page.verdict import verdict
from tod.show.page.worst import worst

COLOURS = 8


def page(runs: Sequence[RunView], extra: Sequence[Html] = ()) -> Html:
    """The whole document for one or several runs.

    Args:
        runs: At least one; colours repeat after eight.
        extra: Further sections, after the curves.
    """
    views = list(runs)
    style = ["s0"] if len(views) == 1 else [f"r{i % COLOURS}" for i in range(len(views))]
    drawn = [thinned(view, STEPS_DRAWN * 2 // (len(views) + 1)) for view in views]
    several = any(len(view.steps) > 1 or view.diagnosis is None for view in views)
    over = plots_over_steps(drawn) if several else []
    plots = {f"p{i}": plot for i, plot in enumerate(over)}
    by_k = side_by_side(views, style)
    data = {
        "plots": {
            key: cursor_data(plot)
            for key, plot in {**plots, **({"k": by_k} if by_k else {})}.items()
        },
        "points": phase_data(views),
    }
    body = [
        _header(views),
        tag(
            "main",
            _opening(views, style),
            section("Selection against K", k_scaling(views, style)),
            _phase(drawn, style),
            section("What the weights say", _charts(by_k)),
            over_steps(plots, sum(len(v.steps) for v in views) - sum(len(v.steps) for v in drawn)),
            extra,
            _rest(views),
        ),
        tag("div", class_="tip", id="tip", role="status", hidden=True),
    ]
    return document(_title(views), join(body), data)


def document(title: str, body: Html, data: object) -> Html:
    """A whole file: markup, style, script and the data that the script reads."""
    css, script = _asset("style.css"), _asset("script.js")
    policy = (
        f"default-src 'none'; style-src '{_digest(css)}'; script-src '{_digest(script)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    head = [
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("link", rel="icon", href="data:,"),
        tag("title", title),
        tag("style", Html(css)),
    ]
    scripts = [
        tag("script", Html(_json(data)), type="application/json", id="data"),
        tag("script", Html(script)),
    ]
    html = tag("html", tag("head", head), tag("body", body, scripts), lang="en")
    return Html(f"<!doctype html>\n{html}\n")


def _json(data: object) -> str:
    """JSON that no HTML parser takes for anything else."""
    dumped = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return dumped.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _asset(name: str) -> str:
    return files("tod.show.page").joinpath(name).read_text(encoding="utf-8")


def _digest(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode("utf-8")).digest()).decode()


def _title(runs: list[RunView]) -> str:
    return f"{' · '.join(run.name for run in runs)} · TOD report"


def _header(runs: list[RunView]) -> Html:
    names = " · ".join(run.name for run in runs)
    return tag(
        "header",
        tag("p", "Target · Operator · Diagnostics", class_="brand"),
        tag("h1", names),
        tag("p", " · ".join(_about(runs)), class_="muted"),
    )


def _about(runs: list[RunView]) -> list[str]:
    if len(runs) > 1:
        return [f"{len(runs)} runs side by side"]
    run = runs[0]
    done = max(run.numbers(), default=0)
    steps = f"{done} steps" if done else "no steps yet"
    model, created = run.recipe.get("model"), str(run.environment.get("created") or "")
    when = created[:16].replace("T", " ") + " UTC" if created.endswith("+00:00") else created
    return [str(part) for part in (model, steps, when) if part]


def _opening(runs: list[RunView], style: list[str]) -> Html:
    if len(runs) == 1:
        return join([verdict(runs[0]), tiles(runs[0])])
    verdicts = tag("div", [verdict(run, named=True) for run in runs], class_="pair")
    return join(
        [
            tag("section", tag("h2", "Side by side"), comparison(runs, style)),
            verdicts,
            section("What the recipes do not share", recipe_differences(runs))
            if any(run.recipe for run in runs)
            else None,
        ]
    )


def _phase(runs: list[RunView], style: list[str]) -> Html:
    counts = sum(len(run.points) for run in runs)
    words = [
        tag("h2", "Phase diagram"),
        tag(
            "p",
            "Each line is a run's path over its steps, stronger as it goes, from the ring to the "
            "disc: the median over informative contexts. ",
            "Small dots are the contexts of the last step, spread where they coincide; point at "
            "one to read it. "
            if counts
            else "No per-context rows were kept, so contexts are not drawn. ",
        ),
        tag(
            "p",
            "This is the plain diagram: it sees neither the policy nor missed modes. "
            "The verdict above does, and may be more severe.",
            class_="muted",
        ),
    ]
    if len(runs) > 1:
        keys = [
            tag("span", tag("i", class_=f"swatch {style[i]}"), run.name, class_="key")
            for i, run in enumerate(runs)
        ]
        words.append(tag("p", keys, class_="legend column"))
    return tag("section", tag("div", words), phase_diagram(runs, style), class_="split")


def plots_over_steps(runs: list[RunView]) -> list[Plot]:
    """Every curve that there is something to draw of."""
    single = len(runs) == 1
    bands = [
        distribution(run, "s0" if single else f"r{i % COLOURS}", "" if single else run.name)
        for i, run in enumerate(runs)
    ]
    kinds = [classes(run, "" if single else run.name) for run in runs]
    found = [
        learning(runs),
        *bands,
        *curves.figures(runs),
        *kinds,
        *curves.knobs(runs),
    ]
    return [plot for plot in found if plot is not None]


def over_steps(plots: dict[str, Plot], left_out: int) -> Html | None:
    """The section of curves; None without any."""
    if not plots:
        return None
    note = f"To stay readable, the curves leave out {left_out} records between those drawn."
    figures = [figure(plot, key) for key, plot in plots.items()]
    return tag(
        "section",
        tag("h2", "Over the steps"),
        tag("p", note, class_="note") if left_out else None,
        tag("div", figures, class_="charts"),
    )


def _charts(plot: Plot | None) -> Html | None:
    return None if plot is None else tag("div", figure(plot, "k"), class_="charts")


def _rest(runs: list[RunView]) -> Html:
    parts = [section("Compute (evaluation left out)", ledger(runs))]
    for run in runs:
        suffix = f": {run.name}" if len(runs) > 1 else ""
        parts += [
            section(f"Controller{suffix}", decisions(run)),
            section(f"Most fragile contexts{suffix}", worst(run)),
            section(f"Provenance{suffix}", join([table(run.last), recipe(run), environment(run)])),
        ]
    return join(parts)


def section(title: str, content: Html | None) -> Html | None:
    """A heading with what it is about; None where there is nothing."""
    return tag("section", tag("h2", title), content) if content else None
