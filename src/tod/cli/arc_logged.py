"""What `tod arc replay` reads: the records of a run or of a dump, and where it was harmed."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tod.base import DataError, RunError

if TYPE_CHECKING:
    from tod.findings import Finding

HARMS = ("not_finite", "all_fail", "reward_fall", "one_text", "same_answers")
"""Findings that say what a run lost; the others say by what sign, as alarms do."""


@dataclass(frozen=True)
class LoggedRun:
    """A run as it was logged.

    Attributes:
        path: Where it is.
        records: Of every step that drew a batch, in order.
        recipe: Of its manifest; empty where there is none.
        knobs: What its target declares; empty where nothing says it.
        examined: Whether its rollouts were looked through for harm.
        harm: What it lost first, from which step; None where nothing was found.
    """

    path: Path
    records: list[dict[str, Any]]
    recipe: dict[str, Any] = field(default_factory=dict)
    knobs: dict[str, float] = field(default_factory=dict)
    examined: bool = False
    harm: "Finding | None" = None

    @property
    def harmed_at(self) -> int | None:
        """First step of the harm."""
        harm = self.harm
        return None if harm is None or harm.onset is None else harm.onset.first

    @property
    def steps(self) -> list[int]:
        """Numbers of the steps."""
        return [int(record["step"]) for record in self.records]


def logged(path: Path, mapping: Mapping[str, str] | None = None) -> LoggedRun:
    """What is known of a run directory, a ``steps.jsonl``, or a dump of rollouts.

    Args:
        path: It.
        mapping: Columns of a dump by role.

    Raises:
        RunError: There is nothing at the path.
        DataError: No step of it drew a batch, or it cannot be read.
    """
    from tod.runs import JsonLines, RunDirectory

    if not path.exists():
        raise RunError(f"{path}: no such run. Give a run directory, its steps.jsonl, or a dump.")
    if path.is_file() and _of_records(path):
        return _of_steps(path, JsonLines(path).read(), {})
    if (path / "manifest.json").exists():
        directory = RunDirectory.open(path)
        found = _of_steps(path, directory.steps.read(), directory.manifest.recipe)
        return _with_harm(found)
    return _of_dump(path, mapping or {})


def _of_records(path: Path) -> bool:
    """Whether the first line of a file is the record of a step."""
    with path.open(encoding="utf-8", errors="replace") as lines:
        first = next(islice(lines, 1), "")
    try:
        record = json.loads(first)
    except (ValueError, RecursionError):
        return False
    return isinstance(record, dict) and isinstance(record.get("utility"), dict)


def _of_steps(path: Path, records: Iterable[dict[str, Any]], recipe: dict[str, Any]) -> LoggedRun:
    drawn = [record for record in records if (record.get("contexts") or {}).get("total")]
    if not drawn:
        raise DataError(
            f"{path} has no record with prompts: there is nothing the controller could have read. "
            "Let the run make a step, or point to its steps.jsonl."
        )
    shown = drawn[0].get("knobs") or {}
    known = {name: float(v) for name, v in shown.items() if v is not None}
    return LoggedRun(path, drawn, recipe, _declared(recipe) or known)


def _declared(recipe: dict[str, Any]) -> dict[str, float]:
    """Knobs of the target that a recipe declares; a controller may have begun below them."""
    target = recipe.get("target")
    if not isinstance(target, dict):
        return {}
    anchors = {name: target[name] for name in ("tau", "beta") if target.get(name) is not None}
    if len(anchors) == 2:
        return {name: float(value) for name, value in anchors.items()}
    tilts = target.get("tilts") or []
    eta = target.get("eta")
    if eta is None and len(tilts) == 1:
        eta = tilts[0].get("eta")
    return {} if not isinstance(eta, int | float) else {"eta": float(eta)}


def _with_harm(found: LoggedRun) -> LoggedRun:
    """The run with what its rollouts tell of harm, where it kept any."""
    from tod.findings import find, run_of
    from tod.formats import read

    try:
        findings = find(run_of(read(str(found.path)))).faults
    except DataError:
        return found
    return replace(found, examined=True, harm=first_harm(findings))


def _of_dump(path: Path, mapping: Mapping[str, str]) -> LoggedRun:
    """Rollouts that somebody else wrote, diagnosed step by step."""
    from tod.diagnosis import diagnose
    from tod.formats import read

    diagnosis = diagnose(read(str(path), mapping=mapping or None))
    sourced = diagnosis.sourced
    eta = None if sourced is None or sourced.source == "assumed" else sourced.eta
    records = [{"step": step, **s.to_dict()} for step, s in sorted(diagnosis.summaries.items())]
    if not records:
        raise DataError(f"{path}: no step can be told apart in these rollouts.")
    knobs = {} if eta is None else {"eta": float(eta)}
    harm = first_harm(diagnosis.findings.faults)
    return LoggedRun(path, records, {}, knobs, examined=True, harm=harm)


def first_harm(findings: "Iterable[Finding]") -> "Finding | None":
    """The earliest finding that says what was lost."""
    lost = [item for item in findings if item.kind in HARMS and item.onset]
    return min(lost, key=lambda item: item.onset.first if item.onset else 0, default=None)
