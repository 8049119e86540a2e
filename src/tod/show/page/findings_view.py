"""What a page shows of findings: the answer, curves with marks, every finding, what was checked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tod.base.text import counted
from tod.findings.detector import detectors
from tod.findings.overview import figures, reward_falls
from tod.show.answer import Answer, answer, last_good
from tod.show.figures.onsets import (
    NARROW,
    WIDE,
    OnsetMark,
    State,
    drawn,
    laned,
    main_curve,
    main_plot,
    panels,
    title,
)
from tod.show.figures.plot import Plot, cursor_data
from tod.show.figures.svg import Html
from tod.show.page.document import SEVERITIES

if TYPE_CHECKING:
    from tod.findings import Finding, Findings

FEW = 9
"""Small figures that stand open; more are folded."""


@dataclass(frozen=True)
class FindingView:
    """A finding as its block on the page shows it.

    Attributes:
        number: Its place in the list, from 1.
        anchor: Id of the block.
        finding: Itself.
        rows: Evidence, cost and last good step: name and text.
        named: Headings of the curves that show it.
    """

    number: int
    anchor: str
    finding: "Finding"
    rows: list[tuple[str, str]]
    named: list[str]

    @property
    def when(self) -> str:
        """``from step 9 (8 to 10)``; empty where it has no beginning."""
        onset = self.finding.onset
        if onset is None:
            return ""
        around = "" if onset.step is None else f" ({onset.low} to {onset.high})"
        return onset.words + around * (onset.low < onset.high)


@dataclass(frozen=True)
class FindingsView:
    """Findings as a page shows them.

    Attributes:
        answer: What stands first.
        blocks: Every finding, faults first.
        healthy: Figures of a run without faults.
        wide: The first curve for a wide screen, or None.
        narrow: The same for a narrow one.
        small: The figures that stand open below it.
        folded: Those that do not.
        severities: Severities that the marks have.
        clear: What was checked with nothing seen.
        lost: What of the files is in no figure.
        comparison: What a comparison with another run says.
        made: How many checks were made, those that found something among them.
        unknown: What was not checked: what, why, and what it needs.
        inapplicable: What cannot be asked of a run of this kind.
        plots: What the script reads of the figures.
        falls: Whether the reward evidently falls in a run without a finding of it.
    """

    answer: Answer
    blocks: list[FindingView]
    healthy: list[tuple[str, str]]
    wide: Html | None = None
    narrow: Html | None = None
    small: list[Html] = field(default_factory=list)
    folded: list[Html] = field(default_factory=list)
    severities: list[str] = field(default_factory=list)
    clear: Sequence[str] = ()
    lost: Sequence[str] = ()
    comparison: Sequence[str] = ()
    made: int = 0
    unknown: list[tuple[str, str, str]] = field(default_factory=list)
    inapplicable: list[str] = field(default_factory=list)
    plots: dict[str, Any] = field(default_factory=dict)
    falls: bool = False

    @property
    def state(self) -> State:
        """The severity of the answer, or what a run without faults is."""
        return self.answer.severity or ("fine" if self.clear and not self.falls else "unknown")

    @property
    def state_words(self) -> str:
        """The severity as a word; of a run without faults how many checks were made."""
        severity = self.answer.severity
        if severity is not None:
            return SEVERITIES[severity]
        return f"{self.made} of {counted(self.made + len(self.unknown), 'check')} made"

    @property
    def health(self) -> str:
        """The answer in two words, for a table of several runs."""
        if self.answer.severity is not None:
            return SEVERITIES[self.answer.severity]
        if not self.clear:
            return "Nothing checked"
        return "Reward falls" if self.falls else "No fault found"

    @property
    def first(self) -> FindingView | None:
        """The first fault; None of a run without."""
        return self.blocks[0] if self.blocks and self.blocks[0].finding.fault else None


def findings_view(
    findings: "Findings",
    data: Mapping[str, Any] | None = None,
    prefix: str = "",
    comparison: Sequence[str] = (),
) -> FindingsView:
    """The view.

    Args:
        findings: What was seen.
        data: The diagnosis as plain data, for the regime; None without rollouts.
        prefix: Stands before every id, where a page shows several runs.
        comparison: What a comparison with another run says, a sentence each.
    """
    blocks = [_block(findings, n, f, prefix) for n, f in enumerate(findings.all, start=1)]
    made = _curves(findings, blocks, prefix)
    names = {detector.kind: detector.checks for detector in detectors()}
    kinds = {finding.kind for finding in findings.all}
    asked = [d for d in detectors() if d.checks in findings.clear or kinds & {d.kind, *d.kinds}]
    rest = {k: v for k, v in findings.unknown.items() if v.kind != "not_applicable"}
    return FindingsView(
        answer=answer(findings, data),
        blocks=blocks,
        healthy=figures(findings) if findings.first is None else [],
        clear=findings.clear,
        lost=findings.run.lost,
        comparison=comparison,
        made=len(asked),
        falls=findings.first is None and reward_falls(findings),
        unknown=[(names.get(kind, kind), item.why, item.needs) for kind, item in rest.items()],
        inapplicable=[names.get(kind, kind) for kind in findings.unknown if kind not in rest],
        **made,
    )


def _block(findings: "Findings", number: int, finding: "Finding", prefix: str) -> FindingView:
    rows = list(finding.evidence)
    if finding.cost:
        rows.append(("cost so far", finding.cost))
    if finding.best_step is not None:
        rows.append(("last good step", last_good(finding.best_step, findings)))
    known = [name for name in finding.series if findings.run.get(name, 2) is not None]
    named = list(dict.fromkeys(title(name) for name in known))
    return FindingView(number, f"{prefix}finding-{number}", finding, rows, named)


def _curves(findings: "Findings", blocks: Sequence[FindingView], prefix: str) -> dict[str, Any]:
    """The figures and what the script reads of them; nothing of a run of one step."""
    run = findings.run
    first_curve = main_curve(run)
    if first_curve is None or len(run.steps) < 2:
        return {}
    first = int(run.steps[0])
    marks = [
        OnsetMark(block.number, block.anchor, block.finding, first)
        for block in blocks
        if block.finding.onset is not None
    ]
    best = findings.first.best_step if findings.first is not None else None
    plots: dict[str, Plot] = {}
    shown: dict[str, Html] = {}
    for key, size in ((f"{prefix}fw", WIDE), (f"{prefix}fn", NARROW)):
        plot = main_plot(run, size)
        assert plot is not None  # noqa: S101 - there is a first curve
        plots[key] = laned(plot, marks)
        shown[key] = drawn(plots[key], marks, key, best)
    named = list(dict.fromkeys(name for block in blocks for name in block.finding.series))
    small = []
    for i, (plot, names) in enumerate(panels(run, named)):
        of_it = [mark for mark in marks if names & set(mark.finding.series)]
        key = f"{prefix}f{i}"
        plots[key] = laned(plot, of_it)
        small.append(drawn(plots[key], of_it, key))
    return {
        "wide": shown[f"{prefix}fw"],
        "narrow": shown[f"{prefix}fn"],
        "small": small[:FEW],
        "folded": small[FEW:],
        "severities": [s for s in SEVERITIES if any(m.finding.severity == s for m in marks)],
        "plots": {key: cursor_data(plot) for key, plot in plots.items()},
    }
