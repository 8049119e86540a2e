"""What went wrong in a run, on one screen: the answer, evidence, what to do, what was checked."""

from collections.abc import Iterator, Sequence
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from rich.text import Text

from tod.base.text import counted, visible
from tod.findings.findings import said_with
from tod.findings.overview import figures, reward_sentence
from tod.findings.words import against_noise, number, thousands
from tod.show.answer import answer, last_good, no_fault
from tod.show.regime_words import regime_line
from tod.show.screen import Screen
from tod.show.words import steps

if TYPE_CHECKING:
    from tod.findings import Finding, Findings, Onset
    from tod.findings.against import Against

WIDTH = 80
LINES = 24
LABEL, LONGEST_LABEL = 22, 34
"""Columns of the names of the evidence: as a rule, and at most where one is longer."""
NAME = 32
"""Columns of the path of another run, which is cut at its front."""
STYLES = {"critical": "bold red", "warning": "bold yellow", "note": "bold"}


class _Lines:
    """Lines of one screen: every addition says how many it may take."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def text(
        self, words: str, most: int, *, style: str = "", indent: str = "", more: str = ""
    ) -> None:
        """Words, wrapped; what does not fit ends in an ellipsis."""
        folded = wrap(
            visible(" ".join(words.split())),
            WIDTH,
            initial_indent=indent,
            subsequent_indent=more or indent,
            break_on_hyphens=False,
        )
        if len(folded) > most:
            folded = folded[:most]
            whole_words = folded[-1][: WIDTH - 1].rpartition(" ")[0] or folded[-1][: WIDTH - 2]
            folded[-1] = whole_words.rstrip(" ,;:") + " …"
        self.lines += [(line, style) for line in folded]

    def rows(self, pairs: Sequence[tuple[str, str]], most: int = 2) -> None:
        """Names and what they are, in two columns; the first is as wide as its longest name."""
        labels = [visible(name)[: LONGEST_LABEL - 1] for name, _ in pairs]
        width = max([LABEL, *(len(label) + 1 for label in labels)])
        for label, (_, words) in zip(labels, pairs, strict=True):
            self.text(words, most, indent=f"  {label:<{width}}", more=" " * (width + 2))

    def first(self, room: int) -> list[tuple[str, str]]:
        """The first lines; where some are left out the last one ends in an ellipsis."""
        if room >= len(self.lines) or room < 1:
            return self.lines[: max(0, room)]
        *whole, (line, style) = self.lines[:room]
        cut = line if len(line) <= WIDTH - 2 else line[: WIDTH - 2].rpartition(" ")[0]
        return [*whole, (f"{cut.rstrip(' ,;:')} …", style)]


def lines(
    findings: "Findings",
    data: dict[str, Any] | None = None,
    remarks: Sequence[str] = (),
    beside: "Against | None" = None,
) -> list[tuple[str, str]]:
    """The screen, a line and its style each: 24 at most, of 80 columns.

    Args:
        findings: What was seen.
        data: The diagnosis as plain data, for the regime and what was read; None without rollouts.
        remarks: What the person's configuration says of the target.
        beside: The run beside a healthy twin.
    """
    page = _Lines()
    first = findings.first
    if first is None:
        _healthy(page, findings, data)
    else:
        _fault(page, first, findings)
    if beside is not None:
        for words, most in against_words(beside):
            page.text(words, most, more="  ")
    if findings.run.lost:
        first_lost, *rest = findings.run.lost
        more = f" ({len(rest)} more: --verbose)" if rest else ""
        page.text(f"Left out: {first_lost}{more}.", 2, more="  ", style="yellow")
    checked, tail = _Lines(), _Lines()
    _checked(checked, findings)
    if data is not None:
        tail.text(regime_line(data), 4, more="  ")
    if remarks:
        left = f" ({len(remarks) - 1} more: --verbose)" if len(remarks) > 1 else ""
        tail.text(f"Configuration: {remarks[0]}{left}", 2, more="  ")
    tail.text(_read(findings, data), 1, style="dim")
    room = max(0, LINES - len(page.lines) - len(tail.lines))
    return [*page.lines, *checked.first(room), *tail.lines][:LINES]


def show_findings(
    findings: "Findings",
    data: dict[str, Any] | None = None,
    remarks: Sequence[str] = (),
    beside: "Against | None" = None,
) -> None:
    """Print it."""
    console = Screen()
    for line, style in lines(findings, data, remarks, beside):
        console.print(Text(line, style=style), soft_wrap=True)


def show_details(findings: "Findings") -> None:
    """Print every finding with its evidence, what was checked, and what could not be and why."""
    page = _Lines()
    for finding in findings.all:
        page.text(*_named(finding, findings), style=STYLES[finding.severity])
        rows = [*finding.evidence]
        if finding.cost:
            rows.append(("cost so far", finding.cost))
        for cause in finding.causes:
            decide = f" (to tell: {cause.decide})" if cause.decide else ""
            rows.append((f"{cause.certainty} cause", f"{cause.text}{decide}"))
        for remedy in finding.remedies:
            effect = f": {remedy.effect}" if remedy.effect else ""
            rows.append(("what to do", f"{remedy.text}{effect}"))
        page.rows(rows, 9)
    page.text(f"Checked, nothing seen: {', '.join(findings.clear) or 'nothing'}", 9, more="  ")
    names = {detector.kind: detector.checks for detector in _detectors()}
    for kind, item in findings.unknown.items():
        page.text(f"not checked: {names[kind]}: {item.why}; needs {item.needs}", 9, more="  ")
    for lost in findings.run.lost:
        page.text(f"left out: {lost}", 9, more="  ")
    for note in findings.run.notes:
        page.text(f"read: {note}", 9, more="  ")
    console = Screen()
    for line, style in page.lines:
        console.print(Text(line, style=style), soft_wrap=True)


def _named(finding: "Finding", findings: "Findings") -> tuple[str, int]:
    """Its severity and headline; the first cause has that of the run, as on the screen."""
    worst = findings.severity or finding.severity
    if finding is findings.first and worst != finding.severity:
        return f"{worst} (by what came of it; itself {finding.severity}): {finding.headline}", 9
    return f"{finding.severity}: {finding.headline}", 9


def _fault(page: _Lines, first: "Finding", findings: "Findings") -> None:
    worst = findings.severity or first.severity  # the first cause may be milder than what it did
    mark, style = worst.upper(), STYLES[worst]
    head = wrap(first.headline, WIDTH - len(mark) - 1, break_on_hyphens=False)
    page.lines.append((f"{head[0]:<{WIDTH - len(mark)}}{mark}", style))
    page.lines += [(line, style) for line in head[1:2]]
    rows = [*first.evidence[:4]]
    if first.cost:
        rows.append(("cost so far", first.cost))
    if first.best_step is not None:
        rows.append(("last good step", last_good(first.best_step, findings)))
    page.rows(rows)
    apart = [f for f in findings.faults if f is not first and not said_with(first, f)]
    others = apart[:3]
    for other in others:
        page.text(
            f"also {other.severity}: {other.headline}", 1, indent="  ", style=STYLES[other.severity]
        )
    left = len(apart) - len(others)
    if left > 0:
        page.text(f"and {left} more: --verbose", 1, indent="  ")
    _causes(page, first)
    _remedies(page, first)


def against_words(beside: "Against") -> Iterator[tuple[str, int]]:
    """What a comparison with a twin says, each with the lines that it may take."""
    name = " ".join(visible(beside.name).split())
    name = name if len(name) <= NAME else f"…{name[1 - NAME :]}"
    if beside.twin_fault is not None:
        yield f"The other run has a fault itself: {beside.twin_fault}", 1
    if not beside.departures:
        if beside.within:
            yield f"Against {name}: {', '.join(beside.within)} within its band.", 2
        else:
            yield f"Against {name}: no figure of both with 8 steps in common.", 1
        return
    first, *rest = beside.departures
    said = (
        f"Against {name}: {first.series} left its band {_left(first.onset)}, "
        f"{number(first.value)} where it has {number(first.twin)}"
    )
    if first.sigmas is not None:
        said += f" ({against_noise(first.sigmas)})"
    then = [f"{d.series} {_left(d.onset)}" for d in rest[:4]]
    said += f"; then {', '.join(then)}" if then else ""
    said += f" and {len(rest) - 4} more" if len(rest) > 4 else ""
    yield f"{said}. Within: {', '.join(beside.within) or 'none'}.", 3


def _left(onset: "Onset") -> str:
    """When a figure left a band: an event, with its interval where it is not one step."""
    if onset.step is None:
        return "at the first steps" if onset.high > onset.low else "at the first step"
    sure = onset.low == onset.step == onset.high
    return f"at step {onset.step}" + ("" if sure else f" ({onset.low} to {onset.high})")


def _causes(page: _Lines, finding: "Finding") -> None:
    facts = [c for c in finding.causes if c.certainty == "fact"]
    likely = [c for c in finding.causes if c.certainty == "likely"]
    possible = [c for c in finding.causes if c.certainty == "possible"]
    sentences = []
    if facts:
        sentences.append(f"Cause: {'; '.join(c.text for c in facts)}.")
    if likely:
        sentences.append(f"Most likely: {'; '.join(c.text for c in likely)}.")
    if possible:
        word = "Also possible" if facts or likely else "Possible causes"
        sentences.append(f"{word}: {'; '.join(c.text for c in possible)}.")
    decide = list(dict.fromkeys(c.decide for c in finding.causes if c.decide))
    if decide and len(finding.causes) > 1:
        sentences.append(f"To tell: {'; '.join(decide[:2])}.")
    if sentences:
        page.text(" ".join(sentences), 4, more="  ")


def _remedies(page: _Lines, finding: "Finding") -> None:
    if not finding.remedies:
        return
    page.text("What to do", 1, style="bold")
    for place, remedy in enumerate(finding.remedies[:3], start=1):
        effect = f": {remedy.effect}" if remedy.effect else ""
        page.text(f"{place}. {remedy.text}{effect}", 2, indent="  ", more="     ", style="cyan")


def _healthy(page: _Lines, findings: "Findings", data: dict[str, Any] | None) -> None:
    said = answer(findings, data)
    if len(said.notes) < len(findings.notes):  # the headline says a note
        page.text(said.headline, 2, style="bold")
        page.text(said.sentence, 2)
    else:
        page.text(f"{said.headline} {said.sentence}", 2, style="bold")
    page.rows([*figures(findings)])
    told = {"shrinking_signal"} if findings.run.get("zero_variance") is not None else set()
    for note in [note for note in said.notes if note.kind not in told][:4]:
        page.text(f"note: {note.headline}", 2, indent="  ", more="    ")
        for remedy in note.remedies[:1]:
            effect = f": {remedy.effect}" if remedy.effect else ""
            page.text(f"{remedy.text}{effect}", 2, indent="    ", style="cyan")


def _checked(page: _Lines, findings: "Findings") -> None:
    if findings.clear:
        page.text(_clear(findings.clear), 3, more="  ", style="dim")
    if findings.unknown:
        page.text(_unknown(findings), 3, more="  ", style="dim")


def _clear(names: Sequence[str]) -> str:
    """As many names as two lines hold, and how many more there are."""
    for shown in range(len(names), 0, -1):
        rest = len(names) - shown
        more = f" and {rest} more (--verbose)" if rest else ""
        text = f"Checked, nothing seen: {', '.join(names[:shown])}{more}"
        if len(wrap(text, WIDTH, subsequent_indent="  ", break_on_hyphens=False)) <= 2:
            return text
    return f"Checked, nothing seen: {len(names)} (--verbose)"


def _unknown(findings: "Findings") -> str:
    """What could not be checked, and why; of many the reasons stand in --verbose."""
    names = {detector.kind: detector.checks for detector in _detectors()}
    few = {k: v for k, v in findings.unknown.items() if v.kind == "too_few"}
    aside = ("too_few", "not_applicable")
    rest = [names[kind] for kind, item in findings.unknown.items() if item.kind not in aside]
    said = []
    for why in dict.fromkeys(item.why for item in few.values()):
        alike = {names[kind]: item.needs for kind, item in few.items() if item.why == why}
        if len(alike) == 1:
            said += [f"{name} not readable ({why}, needs {alike[name]})" for name in alike]
        else:
            said.append(f"not readable with {why}: {', '.join(alike)}")
    if rest:
        said.append(f"not checkable here: {', '.join(rest)} (--verbose)")
    text = "; ".join(said)
    return text[:1].upper() + text[1:]


def _detectors() -> Sequence[Any]:
    from tod.findings.detector import detectors

    return detectors()


def _read(findings: "Findings", data: dict[str, Any] | None) -> str:
    """How much was read."""
    rollouts = findings.run.rollouts
    said = []
    name = f"{data['source']['format']}: " if data is not None else ""
    if rollouts is not None:
        k = rollouts.groups.uniform
        size = (
            f"K = {k}"
            if k is not None
            else f"K {rollouts.groups.sizes.min()} to {rollouts.groups.sizes.max()}"
        )
        groups = thousands(len(rollouts.groups))
        said.append(
            f"{counted(len(rollouts.steps), 'step')}, {groups} prompts, {size}, "
            f"{thousands(rollouts.groups.total)} answers"
        )
    logged = sorted(s.key for s in findings.run.series.values() if s.key)
    if logged:
        ends = [int(findings.run.steps[0]), int(findings.run.steps[-1])]
        span = f", {steps(ends)}" if rollouts is None else ""
        said.append(f"{len(logged)} figures of a log{span}")
    if data is not None and data["source"]["rejected"]:
        said.append(f"{data['source']['rejected']} rows rejected")
    text = f"{name}{'; '.join(said)}."
    more = " More: --verbose, --html PAGE"
    return text + (more if len(text) + len(more) <= WIDTH else " More: -v")


def markdown(
    findings: "Findings", data: dict[str, Any] | None = None, beside: "Against | None" = None
) -> str:
    """The same as Markdown, for an issue or a chat."""
    return "\n".join(_markdown(findings, data, beside)) + "\n"


def _markdown(
    findings: "Findings", data: dict[str, Any] | None, beside: "Against | None"
) -> Iterator[str]:
    first = findings.first
    if first is None:
        yield f"**{no_fault(findings)}** {reward_sentence(findings)}"
    else:
        yield f"**{_escaped(first.headline)}** ({findings.severity})"
    yield ""
    rows = [*first.evidence, ("cost so far", first.cost)] if first else figures(findings)
    if first is not None and first.best_step is not None:
        rows.append(("last good step", last_good(first.best_step, findings)))
    if rows:
        yield "| | |"
        yield "|---|---|"
        yield from (f"| {_escaped(name)} | {_escaped(text)} |" for name, text in rows if text)
        yield ""
    for other in findings.all:
        if other is not first:
            yield f"* {other.severity}: {_escaped(other.headline)}"
    if first is not None:
        yield from _markdown_causes(first)
    yield ""
    if beside is not None:
        yield from (_escaped(words) for words, _ in against_words(beside))
        yield ""
    for words in findings.run.lost:
        yield f"Left out: {_escaped(words)}."
    yield f"Checked, nothing seen: {', '.join(findings.clear) or 'nothing'}."
    if findings.unknown:
        yield f"{_unknown(findings)}."
    if data is not None:
        yield regime_line(data)
    yield f"_{_read(findings, None).partition(' More:')[0]}_"


def _markdown_causes(finding: "Finding") -> Iterator[str]:
    """Causes as items of the list before them, and what to do under a heading of its own."""
    for cause in finding.causes:
        decide = f" (to tell: {_escaped(cause.decide)})" if cause.decide else ""
        yield f"* {cause.certainty} cause: {_escaped(cause.text)}{decide}"
    if finding.remedies:
        yield from ("", "**What to do**", "")
    for place, remedy in enumerate(finding.remedies, start=1):
        effect = f": {_escaped(remedy.effect)}" if remedy.effect else ""
        yield f"{place}. {_escaped(remedy.text)}{effect}"


def _escaped(text: str) -> str:
    """Text that Markdown shows as it is."""
    return (
        visible(text).replace("|", "\\|").replace("`", "'").replace("*", "\\*").replace("<", "&lt;")
    )
