"""What a page is made of: a run directory, a saved diagnosis, or rollouts diagnosed now."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tod.base import RunError
from tod.base.text import distinct
from tod.diagnostics import Summary
from tod.regimes import Thresholds, classify
from tod.runs.differing import labels
from tod.show.page import run_data as runs
from tod.show.page.run_data import RunView, WorstContext
from tod.show.page.saved_findings import saved_findings
from tod.show.page.windows import of_trend, windows_of

SCHEMA = "tod.diagnosis/1"


def load_all(paths: Sequence[Path | str], thresholds: Thresholds | None = None) -> list[RunView]:
    """The views of several paths; those of equal names are called by what differs.

    Args:
        paths: Run directories, diagnoses as JSON, or rollouts.
        thresholds: Bounds to judge by again; None keeps the verdicts as they were.

    Raises:
        RunError: A path is none of these.
    """
    views = [load(path, len(paths), thresholds) for path in paths]
    told = _told_apart([(Path(path), view) for path, view in zip(paths, views, strict=True)])
    return [replace(view, name=name) for view, name in zip(views, told, strict=True)]


def _told_apart(views: Sequence[tuple[Path, RunView]]) -> list[str]:
    """A name for every view: its own, or what its recipe has of its own, or its place."""
    names = [view.name for _, view in views]
    for name in {name for name in names if names.count(name) > 1}:
        places = [i for i, own in enumerate(names) if own == name]
        recipes = [views[i][1].recipe for i in places]
        known = labels(recipes) if all(recipes) else None
        known = known or _by_place([views[i] for i in places])
        rest = "" if len(places) == len(names) else f" ({name})"
        for i, label in zip(places, known, strict=True):
            names[i] = label + (rest if name not in label else "")
    return names


def _by_place(views: Sequence[tuple[Path, RunView]]) -> list[str]:
    """The shortest ends of the paths that differ."""
    parts = [
        (*path.resolve().parent.parts, path.resolve().name if path.is_dir() else view.name)
        for path, view in views
    ]
    depth = max(map(len, parts))
    for length in range(1, depth + 1):
        ends = ["/".join(own[-length:]) for own in parts]
        if len(set(ends)) == len(ends):
            return ends
    return list(distinct(ends))


def load(path: Path | str, sharing: int = 1, thresholds: Thresholds | None = None) -> RunView:
    """The view of one path; a DataError says what is wrong with rollouts.

    Args:
        path: A run directory, a diagnosis as JSON, or rollouts in any format that can be read.
        sharing: Views on the page: each shows fewer contexts when there are many.
        thresholds: Bounds to judge by again.

    Raises:
        RunError: It is not there, or a run of another schema.
    """
    path = Path(path)
    if not path.exists():
        raise RunError(f"{path}: no such run, diagnosis or rollouts. Check the path.")
    if (path / "manifest.json").exists():
        view = _with_verdict(runs.load(path, sharing), path, thresholds)
        return view if thresholds is None else _judged_again(view, thresholds)
    saved = _saved(path)
    if saved is not None:
        view = of_diagnosis(saved, path.stem)
        return view if thresholds is None else _judged_again(view, thresholds)
    from tod.diagnosis import diagnose
    from tod.formats import read
    from tod.show.page.diagnosis_data import view as diagnosed

    made = diagnose(read(path), thresholds=thresholds)
    found = diagnosed(made)
    points = found.run.points[:: max(1, sharing)]
    return replace(found.run, diagnosis=found.data, points=points, findings=made.findings)


def _with_verdict(view: RunView, path: Path, thresholds: Thresholds | None) -> RunView:
    """The view with the verdict of the run, and what went wrong in one that trains."""
    if not view.steps:
        return view
    from tod.diagnosis import verdict_of_run

    found = verdict_of_run(path, thresholds)
    return replace(
        view,
        verdict=found.to_dict(),
        windows=windows_of(found.statistics, view.tails),
        findings=found.findings if view.search is None else None,
        unread=found.unread,
    )


def of_diagnosis(data: dict[str, Any], name: str) -> RunView:
    """The view of a diagnosis as ``tod diagnose --json`` saved it.

    Its steps are those of the trend; one step alone is the whole. Contexts were not saved, so none
    is drawn in the phase diagram.
    """
    return RunView(
        name=name,
        steps=_records(data),
        worst=[WorstContext.of(x, x["id"], x["prompt"]) for x in data["worst_contexts"]],
        environment={"schema": data["schema"]},
        diagnosis=data,
        windows=of_trend(data["trend"]),
        findings=saved_findings(data, name),
    )


def _saved(path: Path) -> dict[str, Any] | None:
    """A diagnosis; None where the file is no JSON object of our schema."""
    if path.suffix != ".json" or not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    known = isinstance(found, dict) and found.get("schema") == SCHEMA
    if known and not isinstance(found.get("trend"), list):
        raise RunError(f"{path}: a diagnosis without its trend: damaged. Write it again.")
    return found if known else None


def _records(data: dict[str, Any]) -> list[dict[str, Any]]:
    """A record per step of the trend, in the shape that a run has them."""
    bounds = data["regime"]["thresholds"]
    tilts = (data["target"] or {}).get("tilts") or [{"utility": "utility"}]
    found = []
    for row in data["trend"]:
        record = dict(data) if len(data["trend"]) == 1 else _of_row(row)
        record["step"] = row["step"]
        record["regime"] = {"verdict": row["regime"], "thresholds": bounds}
        record["utility"] = {tilts[0]["utility"]: row["utility_mean"]}
        found.append(record)
    return found


def _of_row(row: dict[str, Any]) -> dict[str, Any]:
    legs = [row[name] for name in ("ess_rel_median", "policy_proposal") if row[name] is not None]
    return {
        "ess_rel": {"median": row["ess_rel_median"], "q10": row["ess_rel_q10"]},
        "tails": {"max_weight_median": row.get("max_weight_median")},
        "overlap": {
            "target_proposal": row["ess_rel_median"],
            "policy_proposal": row["policy_proposal"],
            "minimum": min(legs, default=None),
        },
        "contexts": {"informative": row["informative"], "total": row["contexts"]},
    }


def _judged_again(view: RunView, bounds: Thresholds) -> RunView:
    """The same by other bounds: every step that was diagnosed, and a diagnosis as a whole."""
    steps = [
        record | {"regime": classify(Summary.from_dict(record), bounds).to_dict()}
        if runs.at(record, "contexts", "total")
        else record
        for record in view.steps
    ]
    whole = view.diagnosis
    if whole is None:
        return replace(view, steps=steps)
    verdict = _whole_again(whole, bounds)
    return replace(view, steps=steps, diagnosis=whole | {"regime": verdict})


def _whole_again(data: dict[str, Any], bounds: Thresholds) -> dict[str, Any]:
    """A diagnosis is judged again on the intervals that it was saved with."""
    assumed = (data["target"] or {}).get("source") == "assumed"
    return classify(Summary.from_dict(data), bounds, assumed_target=assumed).to_dict()
