"""All detectors asked of one run: findings in the order of their onsets, and what was checked."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from tod.base import Unknown
from tod.base.displayed import Displayed
from tod.findings.causes import explained, together
from tod.findings.detector import Detector, detectors
from tod.findings.detectors.configured import ConfiguredDetector
from tod.findings.finding import SEVERITIES, Finding, Severity
from tod.findings.rollout_series import of_gaps, series_of
from tod.findings.run import TrainingRun
from tod.findings.words import resume

if TYPE_CHECKING:
    import polars as pl

TIE = 1
"""Steps by which two onsets may differ and still be ordered by mechanism."""


OF_THE_FILE = ConfiguredDetector.kinds
"""Findings that a configuration and the rows disagree; the run itself may be well."""


@dataclass(frozen=True, repr=False)
class Findings(Displayed):
    """What was seen in a run.

    Attributes:
        run: The run, with every series that was read or computed.
        faults: Findings of severity warning and critical, the first cause first.
        notes: What is worth knowing and no fault.
        clear: What was checked with nothing seen, in words.
        unknown: What could not be checked, by detector.
    """

    run: TrainingRun
    faults: tuple[Finding, ...] = ()
    notes: tuple[Finding, ...] = ()
    clear: tuple[str, ...] = ()
    unknown: Mapping[str, Unknown] = field(default_factory=dict)

    @property
    def all(self) -> tuple[Finding, ...]:
        """Faults, then notes."""
        return self.faults + self.notes

    @property
    def first(self) -> Finding | None:
        """The first cause, or None for a healthy run."""
        return self.faults[0] if self.faults else None

    @property
    def severity(self) -> Severity | None:
        """The worst severity of all findings; None without any."""
        return min((f.severity for f in self.all), key=SEVERITIES.index, default=None)

    @property
    def last_change(self) -> int | None:
        """First step of the fault that began last; None where none has a dated beginning."""
        dated = [fault.onset for fault in self.faults if fault.onset is not None]
        return max((onset.step for onset in dated if onset.step is not None), default=None)

    def to_frame(self) -> "pl.DataFrame":
        """A row a finding, the first cause first; no row of a run without.

        Columns: ``kind``, ``severity`` (critical, warning, note), ``onset`` (first step that it
        holds of; null where it has no dated beginning), ``onset_low`` and ``onset_high`` (the
        interval of that step), ``headline``, ``cost``, ``best_step`` (last good step).
        """
        import polars as pl

        from tod.base.frames import frame_of

        text, whole = pl.String, pl.Int64
        columns = {"kind": text, "severity": text, "onset": whole, "onset_low": whole}
        columns |= {"onset_high": whole, "headline": text, "cost": text, "best_step": whole}
        return frame_of([_row(finding) for finding in self.all], columns)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "severity": self.severity,
            "findings": [finding.to_dict() for finding in self.all],
            "clear": list(self.clear),
            "unknown": {name: item.to_dict() for name, item in self.unknown.items()},
        }


def _row(finding: Finding) -> dict[str, Any]:
    """A finding as a row of the table."""
    onset = finding.onset
    return {
        "kind": finding.kind,
        "severity": finding.severity,
        "onset": None if onset is None else onset.step,
        "onset_low": None if onset is None else onset.low,
        "onset_high": None if onset is None else onset.high,
        "headline": finding.headline,
        "cost": finding.cost or None,
        "best_step": finding.best_step,
    }


def find(run: TrainingRun, only: Iterable[str] | None = None) -> Findings:
    """Ask every detector.

    Args:
        run: Series, rollouts or both. What the rollouts tell stands before what a log says.
        only: Kinds of detectors to ask; all if None.
    """
    if run.rollouts is not None:
        run = replace(run, series={**run.series, **series_of(run.rollouts)})
    gaps = of_gaps(run.gaps)
    if gaps is not None:
        run = replace(run, series={**run.series, gaps.name: gaps})
    wanted = None if only is None else set(only)
    findings: list[Finding] = []
    clear: list[str] = []
    unknown: dict[str, Unknown] = {}
    places: dict[str, int] = {}
    for detector in detectors():
        if wanted is not None and detector.kind not in wanted:
            continue
        seen = detector.look(run)
        if isinstance(seen, Unknown):
            unknown[detector.kind] = seen
            continue
        for finding in seen:
            places[finding.kind] = detector.order
        findings += seen
        if not seen:
            clear.append(detector.checks)
    findings = [explained(finding, findings) for finding in findings]
    faults = of_the_file_later(ordered([f for f in findings if f.fault], places))
    faults = with_one_good_step(run, joined(faults))
    notes = ordered([f for f in findings if not f.fault], places)
    return Findings(run, tuple(faults), tuple(notes), tuple(clear), unknown)


def of_the_file_later(faults: list[Finding]) -> list[Finding]:
    """What only a configuration contradicts stands behind what ended the run.

    It holds from the first step on, so that it would stand first; of a dead run that the person
    gave the wrong file for it would hide why it died.
    """
    fatal = [place for place, fault in enumerate(faults) if _ended_by(fault)]
    if not fatal:
        return faults
    before, after = faults[: fatal[-1] + 1], faults[fatal[-1] + 1 :]
    held = [fault for fault in before if fault.kind in OF_THE_FILE]
    return [fault for fault in before if fault not in held] + held + after


def _ended_by(fault: Finding) -> bool:
    return fault.severity == "critical" and fault.kind not in OF_THE_FILE


def joined(faults: list[Finding]) -> list[Finding]:
    """One headline where the first two faults are one event: all answers fail and are one text."""
    if len(faults) < 2:
        return faults
    first, second = faults[:2]
    if not said_with(first, second):
        return faults
    assert first.onset is not None  # noqa: S101 - together needs both
    since = (
        "Nothing is learned:"
        if first.onset.step is None
        else f"Learning stopped at step {first.onset.step}:"
    )
    headline = f"{since} every answer fails, and all are the same text."
    return [replace(first, headline=headline), *faults[1:]]


def said_with(first: Finding, other: Finding) -> bool:
    """Whether one headline says both: all answers fail, and are one text."""
    return {first.kind, other.kind} == {"one_text", "all_fail"} and together(first, other)


def with_one_good_step(run: TrainingRun, faults: list[Finding]) -> list[Finding]:
    """One last good step for all faults that know one: that of the first of them to begin.

    What is good before a later fault is not good after an earlier one, and two of them on one
    screen leave the person to choose.
    """
    known = [fault.best_step for fault in faults if fault.best_step is not None]
    if len(set(known)) < 2:
        return faults
    good = known[0]
    return [
        fault
        if fault.best_step in (None, good)
        else replace(
            fault,
            best_step=good,
            remedies=tuple(resume(run, good) if r.kind == "resume" else r for r in fault.remedies),
        )
        for fault in faults
    ]


def ordered(findings: list[Finding], places: Mapping[str, int]) -> list[Finding]:
    """By onset; onsets at most one step apart by mechanism. Without an onset: from the start."""

    def first(finding: Finding) -> int:
        onset = finding.onset
        return -(10**9) if onset is None or onset.step is None else onset.step

    rest = sorted(findings, key=lambda f: (first(f), places[f.kind]))
    result: list[Finding] = []
    while rest:
        together = [f for f in rest if first(f) - first(rest[0]) <= TIE]
        earliest = min(together, key=lambda f: (places[f.kind], first(f)))
        result.append(earliest)
        rest.remove(earliest)
    return result


def asked() -> tuple[Detector, ...]:
    """Every detector there is, in the order of their mechanisms."""
    return detectors()
