"""The page of `tod diagnose --html`: what rollouts say, in the look of a run's report."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tod.show.figures.eta_feasibility import eta_feasibility
from tod.show.figures.histogram import histogram
from tod.show.figures.k_trend import k_trend
from tod.show.figures.legs import legs
from tod.show.figures.phase import phase_data, phase_diagram
from tod.show.figures.plot import Plot, cursor_data, figure
from tod.show.figures.svg import Html, join, tag
from tod.show.output import put
from tod.show.page import diagnosed
from tod.show.page.diagnosis_data import POINTS_DRAWN, DiagnosisView, view
from tod.show.page.headline import table
from tod.show.page.page import document, over_steps, plots_over_steps, section
from tod.show.page.provenance import environment
from tod.show.page.run_data import STEPS_DRAWN, thinned, thresholds
from tod.show.page.unknown import unknown
from tod.show.page.worst import worst

if TYPE_CHECKING:
    from tod.diagnosis import Diagnosis

STYLE = "s0"


def diagnosis_page(diagnosis: "Diagnosis", remarks: Sequence[str] = ()) -> Html:
    """The whole document of a diagnosis.

    Args:
        diagnosis: What `tod.diagnose` found.
        remarks: What is to be said about how its target was located.
    """
    return _page(view(diagnosis, remarks))


def write_diagnosis(diagnosis: "Diagnosis", path: Path | str, remarks: Sequence[str] = ()) -> Path:
    """The document, put at ``path``.

    Raises:
        RunError: The file cannot be written.
    """
    return put(diagnosis_page(diagnosis, remarks), Path(path), "the rollouts", "--html")


def _page(seen: DiagnosisView) -> Html:
    drawn = thinned(seen.run, STEPS_DRAWN)
    several = len(seen.run.steps) > 1
    steps = {f"p{i}": p for i, p in enumerate(plots_over_steps([drawn]))} if several else {}
    weights = {f"w{i}": plot for i, plot in enumerate(_weight_plots(seen))}
    data = {
        "plots": {key: cursor_data(plot) for key, plot in {**weights, **steps}.items()},
        "points": phase_data([drawn]),
    }
    left_out = len(seen.run.steps) - len(drawn.steps)
    body = [
        diagnosed.header(seen),
        tag(
            "main",
            diagnosed.verdict(seen),
            diagnosed.tiles(seen),
            diagnosed.origins(seen),
            _phase(seen) if seen.run.points else None,
            _weights(seen, weights),
            _measures(seen),
            over_steps(steps, left_out),
            section("Most fragile contexts", worst(seen.run)),
            section("What these files do not tell", unknown(seen.data["cannot"])),
            section(
                "Provenance",
                join(
                    [table(seen.data), diagnosed.files(seen), _bounds(seen), environment(seen.run)]
                ),
            ),
        ),
        tag("div", class_="tip", id="tip", role="status", hidden=True),
    ]
    return document(f"{seen.run.name} · TOD diagnosis", join(body), data)


def _weight_plots(seen: DiagnosisView) -> list[Plot]:
    if seen.eta is None:
        return []
    declared = seen.data["target"]["source"] != "assumed"
    plots = [
        eta_feasibility(seen.by_eta, seen.eta, seen.data["feasible"], declared),
        k_trend(seen.by_k),
    ]
    return [plot for plot in plots if plot is not None]


def _weights(seen: DiagnosisView, plots: dict[str, Plot]) -> Html | None:
    """Distribution, legs and the two what-ifs."""
    overlap, ess = seen.data["overlap"], seen.data["ess_rel"]
    known = [overlap[name] for name in ("target_proposal", "policy_proposal", "target_policy")]
    figures: list[Html] = []
    if len(seen.ess_rel):
        quantiles = [(ess["median"], "median"), (ess["q10"], "worst tenth")]
        figures.append(histogram(seen.ess_rel, [(v, n) for v, n in quantiles if v is not None]))
    if any(value is not None for value in known):
        figures.append(legs(overlap, thresholds([seen.run]), len(seen.run.steps) == 1))
    figures += [figure(plot, key) for key, plot in plots.items()]
    if not figures:
        return None
    note = None
    if len(seen.ess_rel) > seen.read > 0 and plots:
        note = tag(
            "p",
            f"The curves over η and K read {seen.read:,} of {len(seen.ess_rel):,} informative "
            "contexts, evenly spread.",
            class_="note",
        )
    return section("What the weights say", join([tag("div", figures, class_="charts"), note]))


def _measures(seen: DiagnosisView) -> Html | None:
    """What is measured beside the verdict, a row each."""
    from tod.show.words import measures

    rows = [
        tag("tr", tag("th", name, scope="row"), tag("td", text, class_="left"))
        for name, text in measures(seen.data)
    ]
    if not rows:
        return None
    return section("Further measures", tag("table", tag("tbody", rows), class_="facts"))


def _phase(seen: DiagnosisView) -> Html:
    shown, total = len(seen.run.points), len(seen.ess_rel)
    several = len(seen.run.steps) > 1
    words = [
        tag("h2", "Phase diagram"),
        tag(
            "p",
            "Every dot is a context: point at one to read it, or use the arrow keys. "
            "Contexts of the same place are spread around it.",
        ),
        tag(
            "p",
            "The line is the path over the steps, stronger as it goes, from the ring to the "
            "disc: the median over informative contexts."
            if several
            else "The disc is the median over informative contexts.",
        ),
    ]
    if shown < total:
        rule = (
            f"{shown:,} of {total:,} informative contexts are drawn, evenly spaced in the order of "
            f"their ESS_rel (at most {POINTS_DRAWN:,})."
        )
        words.append(tag("p", rule, class_="note"))
    words.append(
        tag(
            "p",
            "This is the plain diagram: it sees neither the policy nor missed modes. "
            "The verdict above does, and may be more severe.",
            class_="muted",
        )
    )
    drawn = replace(thinned(seen.run, STEPS_DRAWN), points=seen.run.points)
    return tag("section", tag("div", words), phase_diagram([drawn], [STYLE]), class_="split")


def _bounds(seen: DiagnosisView) -> Html:
    """The thresholds of the verdict, folded."""
    rows = [
        tag("tr", tag("th", name, scope="row"), tag("td", f"{value:g}", class_="left"))
        for name, value in seen.data["regime"]["thresholds"].items()
    ]
    table = tag("table", tag("tbody", rows), class_="facts")
    return tag("details", tag("summary", "Thresholds of the verdict"), table)
