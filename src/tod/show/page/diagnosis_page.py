"""The page of `tod diagnose --html`: what rollouts say, in the look of a run's report."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tod.base.text import DASH, counted, plainly
from tod.candidates import POLICIES
from tod.diagnosis.feasible import words_of_limit
from tod.runs.facts import by_block
from tod.show.figures.eta_feasibility import eta_feasibility
from tod.show.figures.eta_strip import eta_strip
from tod.show.figures.histogram import histogram
from tod.show.figures.k_trend import k_trend
from tod.show.figures.legs import legs
from tod.show.figures.phase import phase_data, phase_diagram
from tod.show.figures.plot import Plot, cursor_data, figure
from tod.show.figures.svg import Html, join, tag
from tod.show.output import put
from tod.show.page.diagnosis_data import POINTS_DRAWN, DiagnosisView, view
from tod.show.page.document import document
from tod.show.page.findings_view import findings_view
from tod.show.page.headline import Tile, figures, size
from tod.show.page.judged import judged
from tod.show.page.run_data import STEPS_DRAWN, thinned, thresholds
from tod.show.page.run_page import phase_words, plots_over_steps
from tod.show.words import measures, steps
from tod.show.words import target as formula

if TYPE_CHECKING:
    from tod.diagnosis import Diagnosis
    from tod.findings import Findings

ORIGIN = {
    "declared": "This target was declared.",
    "located": "This target was located in the training configuration.",
    "assumed": "This target was assumed: nothing declares one. So no word is said; below it is "
    "given for every sharpness, were that one declared.",
}


def diagnosis_page(
    diagnosis: "Diagnosis", remarks: Sequence[str] = (), comparison: Sequence[str] = ()
) -> Html:
    """The whole document of a diagnosis.

    Args:
        diagnosis: What `tod.diagnose` found.
        remarks: What is to be said about how its target was located.
        comparison: What a comparison with another run says, a sentence each.
    """
    return _page(view(diagnosis, remarks), diagnosis.findings, comparison)


def write_diagnosis(
    diagnosis: "Diagnosis",
    path: Path | str,
    remarks: Sequence[str] = (),
    comparison: Sequence[str] = (),
) -> Path:
    """The document of `diagnosis_page`, put at ``path``.

    Raises:
        RunError: The file cannot be written.
    """
    return put(diagnosis_page(diagnosis, remarks, comparison), Path(path), "the rollouts", "--html")


def _page(seen: DiagnosisView, findings: "Findings", comparison: Sequence[str]) -> Html:
    data, source = seen.data, seen.data["source"]
    whole = replace(seen.run, diagnosis=data)
    drawn = thinned(seen.run, STEPS_DRAWN)
    over = plots_over_steps([drawn]) if len(seen.run.steps) > 1 else []
    curves = {f"p{i}": plot for i, plot in enumerate(over)}
    weights = {f"w{i}": plot for i, plot in enumerate(_weight_plots(seen))}
    answered = findings_view(findings, data, comparison=comparison)
    dots = replace(drawn, points=seen.run.points)
    return document(
        "diagnosis.html",
        f"{seen.run.name} · TOD diagnosis",
        {
            "plots": answered.plots
            | {key: cursor_data(plot) for key, plot in {**weights, **curves}.items()},
            "points": phase_data([drawn]),
        },
        name=seen.run.name,
        about=_about(source),
        findings=answered,
        judged=judged(whole),
        tiles=[*figures(data), _feasible(seen), size(whole)],
        target=_target(seen),
        remarks=seen.remarks,
        read_rows=_read(source, seen.tier),
        notes=source["notes"],
        rejections=source["rejections"],
        phase=phase_diagram([dots], ["s0"]) if seen.run.points else None,
        phase_words=_phase_words(seen),
        weights=[*_distribution(seen), *(figure(plot, key) for key, plot in weights.items())],
        weights_note=_curves_read(seen) if weights else None,
        measures=measures(data),
        curves=[figure(plot, key) for key, plot in curves.items()],
        left_out=len(seen.run.steps) - len(drawn.steps),
        worst=seen.run.worst,
        cannot=_by_need(data["cannot"]),
        blocks=by_block(data),
        files=seen.files,
        thresholds=[(name, f"{value:g}") for name, value in data["regime"]["thresholds"].items()],
        environment=seen.run.environment,
    )


def _about(source: dict[str, Any]) -> str:
    """What was read, in a line."""
    said = (
        str(source["format"]),
        counted(source["files"], "file"),
        counted(source["rows"], "row"),
        f"{source['rejected']:,} rejected" if source["rejected"] else None,
        steps(source["steps"]),
        f"tier {source['tier']}",
    )
    return " · ".join(part for part in said if part)


def _read(source: dict[str, Any], tier: str) -> list[tuple[str, str]]:
    """The same as rows, with how the format was told and what the tier allows."""
    return [
        ("format", f"{source['format']}: {source['detected']}"),
        ("rows", f"{source['rows']:,} used, {source['rejected']:,} rejected"),
        ("tier", f"{source['tier']}: {tier}"),
    ]


def _target(seen: DiagnosisView) -> dict[str, Any] | None:
    """The formula, where it came from, and the verdict by sharpness."""
    target = seen.data["target"]
    if target is None:
        return None
    intervals = seen.data["regime"]["eta_intervals"]
    return {
        "formula": _typeset(formula(target)),
        "origin": ORIGIN.get(target["source"], ""),
        "strip": None if seen.eta is None else eta_strip(intervals, seen.eta),
    }


def _typeset(formula: str) -> Html:
    """Policies of the anchor as π with its name below and its exponent above."""
    base, tilted, rest = formula.removeprefix("q* ∝ ").partition(" · exp(")
    between, *policies = re.split(rf"\b({'|'.join(POLICIES)})(?:\^([\d.e+-]+))?", base)
    parts: list[object] = [between]
    for name, exponent, after in zip(*(iter(policies),) * 3, strict=True):
        parts += [tag("i", "μ")] if name == "mu" else [tag("i", "π"), tag("sub", name)]
        parts += [tag("sup", exponent) if exponent else None, after]
    return join([tag("i", "q"), "* ∝ ", parts, tilted + rest])


def _weight_plots(seen: DiagnosisView) -> list[Plot]:
    """ESS_rel against sharpness and against K."""
    if seen.eta is None:
        return []
    declared = seen.data["target"]["source"] != "assumed"
    against = eta_feasibility(seen.by_eta, seen.eta, seen.data["feasible"], declared)
    return [plot for plot in (against, k_trend(seen.by_k)) if plot is not None]


def _distribution(seen: DiagnosisView) -> list[Html]:
    """ESS_rel over prompts, and the legs."""
    overlap, ess = seen.data["overlap"], seen.data["ess_rel"]
    drawn: list[Html] = []
    if len(seen.ess_rel):
        quantiles = [(ess["median"], "median"), (ess["q10"], "worst tenth")]
        drawn.append(histogram(seen.ess_rel, [(v, n) for v, n in quantiles if v is not None]))
    names = ("target_proposal", "policy_proposal", "target_policy")
    if any(overlap[name] is not None for name in names):
        drawn.append(legs(seen.data["regime"], overlap, thresholds([seen.run])))
    return drawn


def _curves_read(seen: DiagnosisView) -> str | None:
    total = len(seen.ess_rel)
    if not total > seen.read > 0:
        return None
    return f"The curves over η and K read {seen.read:,} of {total:,} informative prompts."


def _phase_words(seen: DiagnosisView) -> list[str]:
    shown, total = len(seen.run.points), len(seen.ess_rel)
    words = [
        phase_words(len(seen.run.windows) > 1),
        "Every dot is a prompt at its own K, where ESS_rel reads too high: point at one to read "
        "it, or use the arrow keys. Prompts of the same place are spread around it.",
    ]
    if shown < total:
        words.append(
            f"{shown:,} of {total:,} informative prompts are drawn, evenly spaced in the order of "
            f"their ESS_rel (at most {POINTS_DRAWN:,})."
        )
    return words


def _by_need(cannot: list[dict[str, Any]]) -> list[tuple[str, list[dict[str, Any]]]]:
    """Figures that are not known under what would make them known."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for item in cannot:
        groups.setdefault(str(item["needs"]), []).append(item)
    return list(groups.items())


def _feasible(seen: DiagnosisView) -> Tile:
    name, possible = "Largest safe η", seen.data["feasible"]
    hint = (
        "The sharpness at which the median ESS_rel of the population is still at its goal for most "
        "of the populations that such rollouts come from."
    )
    if possible is None:
        return Tile(name, DASH)
    several = len(seen.data["target"]["tilts"]) > 1
    now = "" if seen.eta is None else f"now {'Σ|η| = ' * several}{plainly(seen.eta)}, "
    goal, limit, safe = (possible.get(key) for key in ("ess_rel_target", "eta_max", "safe"))
    note = f"{now}keeps ESS_rel at {goal:g}"
    words = {"unbounded": "no limit", "never": "none", None: DASH}
    point = plainly(limit) if limit is not None else words[possible["attained"]]
    if possible.get("safe_attained") is None:
        hint = "With rollouts held fixed: at small K about twice what the population carries."
        return Tile("Largest feasible η", point, f"{note} at your K", hint)
    by_point = words_of_limit(possible, goal) or f"{point} by its point"
    shown = "no limit" if safe is None else plainly(safe)
    return Tile(name, shown, f"{note}; {by_point}", hint)
