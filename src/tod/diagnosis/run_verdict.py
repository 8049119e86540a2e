"""The verdict of a run directory: one for `tod diagnose`, the report, the grid and a comparison."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tod.base import RunError, TodError
from tod.diagnosis.diagnosis import Diagnosis, diagnose
from tod.diagnosis.judged import last_onset
from tod.findings import Findings, find, run_of
from tod.formats import read
from tod.logs import Log, detect, read_log
from tod.population import LegStatistics
from tod.regimes import Regime, Thresholds, regime_of_records
from tod.runs import RunDirectory

__all__ = ["RunVerdict", "verdict_of_run"]


@dataclass(frozen=True, eq=False)
class RunVerdict:
    """What is said of a run directory.

    Attributes:
        regime: Of the pool: all steps since the last dated change.
        findings: What went wrong in the run; None where its files could not be read.
        diagnosis: What its rollouts say; None where none are kept, or they cannot be read.
        statistics: What every step adds to a pool.
        unread: Why its rollouts or its log could not be read; else empty.
    """

    regime: Regime
    findings: Findings | None
    diagnosis: Diagnosis | None = None
    statistics: Mapping[int, LegStatistics] = field(default_factory=dict)
    unread: str = ""

    def to_dict(self) -> dict[str, Any]:
        """``regime``, ``regime_before`` and ``pool``, as the diagnosis has them."""
        if self.diagnosis is not None:
            return self.diagnosis.judged()
        return {"regime": self.regime.to_dict(), "regime_before": None, "pool": None}


def verdict_of_run(path: Path | str, thresholds: Thresholds | None = None) -> RunVerdict:
    """The verdict of a run directory, as `tod diagnose` of it says.

    It is read from the rollouts. Where none are kept, or its target cannot be made for them, it is
    read from the counts that every step recorded; so it is, without a finding's date, where the
    files cannot be read.

    Args:
        path: The run directory.
        thresholds: Bounds; the provisional defaults if None.

    Raises:
        RunError: It is no run directory, or no step was recorded.
    """
    run = RunDirectory.open(path)
    findings, unread = None, ""
    try:
        logs = _logs(run.path)
        reading = read(run.path) if run.rollouts.paths() else None
        findings = find(run_of(reading, logs))
        if reading is not None:
            found = diagnose(reading, thresholds=thresholds, worst=0, logs=logs, findings=findings)
            return RunVerdict(found.regime, found.findings, found, found.statistics)
    except TodError as error:  # of the files, or of a target that is none
        unread = "" if findings is not None else str(error)
    since = None if findings is None else last_onset(findings)
    records = list(run.steps.read())
    if not records:
        raise RunError(f"{run.path}: no step is recorded, so nothing can be said. Run it first.")
    known = {r["step"]: r["statistics"] for r in records if r.get("statistics") is not None}
    statistics = {step: LegStatistics.from_dict(item) for step, item in known.items()}
    regime = _of_records(run, records, thresholds, since)
    return RunVerdict(regime, findings, None, statistics, unread)


def _logs(path: Path) -> list[Log]:
    """The run's own log, where it looks like one."""
    log = path / "steps.jsonl"
    return [read_log(log)] if detect(log) else []


def _of_records(
    run: RunDirectory,
    records: list[dict[str, Any]],
    thresholds: Thresholds | None,
    since: int | None,
) -> Regime:
    """The verdict of what every step recorded."""
    return regime_of_records(
        records,
        thresholds,
        since=since,
        assumed_target=run.manifest.recipe.get("target_source") == "assumed",
        eta=(records[-1].get("knobs") or {}).get("eta"),
    )
