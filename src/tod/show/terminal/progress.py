"""Live progress of a run: a bar with the numbers that matter, or plain lines without a terminal."""

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tod.arc import ArcConfig
from tod.base.text import counted
from tod.diagnostics import Summary
from tod.engine.running import Events
from tod.engine.settings import RunSettings
from tod.runs import StepRecord
from tod.show.words import VERDICTS

_LINE_EVERY, WIDE = 10, 80


class RunProgress:
    """Watches a run through its events."""

    def __init__(self, settings: RunSettings, quiet: bool = False) -> None:
        from tod.show.screen import Screen

        self.settings = settings
        self.console = Screen(quiet=quiet)
        self.events = Events(
            record=self._record,
            phase=self._phase,
            resumed=self._resumed,
            stopping=self._stopping,
        )
        self._first: Any = None
        self._last: StepRecord | None = None
        self._verdicts: list[str] = []
        self._actions: list[str] = []
        self._live: Any = None
        self._phase_name = "starting"
        self._began = time.monotonic()
        self._done_at_start = 0

    def __enter__(self) -> Self:
        """Start the live display where there is a terminal."""
        from rich.live import Live

        self.say(f"{self.settings.name}: {self.settings.model}, writing {self.settings.directory}")
        if self.console.is_terminal:
            self._live = Live(
                console=self.console, get_renderable=self._picture, refresh_per_second=8
            )
            self._live.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        """Stop the live display."""
        if self._live is not None:
            self._live.__exit__(kind, error, at)
            self._live = None

    def say(self, text: str) -> None:
        """A line to the terminal."""
        self.console.print(text, soft_wrap=True)

    def interrupted(self) -> None:
        """Say where the run stands and how to go on."""
        step = self._last.step if self._last is not None else 0
        self.say(
            f"interrupted after step {step} of {self.settings.steps}; saved. "
            f"Go on with it: tod run {self.settings.directory} --resume"
        )

    def finished(self, path: Path) -> None:
        """The run in a few lines."""
        if self._last is None:
            self.say(f"nothing left to do: {path} is complete.")
            return
        seconds = time.monotonic() - self._began
        self.say(f"done: {counted(self._last.step, 'step')} in {seconds:.0f} s, {path}")
        if self.settings.selects:
            self.say(_searched(path))
        if self._first is not None and self._last.held_out is not None:
            before, after = self._first, self._last.held_out
            self.say(
                f"held-out pass@1 {_held_out(before)} -> {_held_out(after)} "
                f"({after.prompts} prompts x {after.samples} samples)"
            )
        counts = Counter(self._verdicts).most_common()
        said = ", ".join(f"{VERDICTS[v].name} in {counted(n, 'step')}" for v, n in counts)
        self.say(f"regime: {said}")
        if self.settings.arc is not None and self._actions:
            self.say(controlled(self.settings.arc, self._actions))

    def _record(self, record: StepRecord) -> None:
        if record.step == 0:
            self._first = record.held_out
            return
        self._last = record
        if record.regime is not None:
            self._verdicts.append(record.regime["verdict"])
        if record.decision is not None:
            self._actions.append(record.decision["action"])
        due = record.step % _LINE_EVERY == 0 or record.step == self.settings.steps
        if self._live is None and due:
            self.say(_line(f"step {record.step}/{self.settings.steps}", record))

    def _phase(self, name: str) -> None:
        self._phase_name = name

    def _stopping(self) -> None:
        self.say("stopping after this step; Ctrl-C again stops at once.")

    def _resumed(self, step: int) -> None:
        self._done_at_start = step
        self.say(f"resumed after step {step}.")

    def _picture(self) -> Any:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        total = self.settings.steps
        done = self._done_at_start if self._last is None else self._last.step
        head = Table.grid(padding=(0, 1), expand=True)
        for ratio in (None, 1, None):
            head.add_column(ratio=ratio, no_wrap=True)
        head.add_row(
            f"step {done}/{total}",
            ProgressBar(total=total, completed=done, width=40),
            self._eta(done),
        )
        rows: list[Any] = [head]
        if self._last is not None:
            cells = _cells(self._last)
            for start in range(0, len(cells), 4):
                line = Table.grid(padding=(0, 2), expand=True)
                for _ in range(4):
                    line.add_column(ratio=1, no_wrap=True)
                texts = [
                    Text.assemble((name + " ", "dim"), (value, _style(value)))
                    for name, value in cells[start : start + 4]
                ]
                line.add_row(*texts)
                rows.append(line)
        return Group(*rows)

    def _eta(self, done: int) -> str:
        made = done - self._done_at_start
        if made <= 0:
            return self._phase_name
        left = (time.monotonic() - self._began) / made * (self.settings.steps - done)
        return f"{self._phase_name}, {left:.0f} s left"


def controlled(config: ArcConfig, actions: Sequence[str]) -> str:
    """What the controller did, and that a written deadline overruled what it saw.

    >>> controlled(ArcConfig(plan="set_point", deadline=8), ["soften", "hold", "hold"])
    'controller set_point: hold 2, soften 1; deadline 8 is written: it sharpened whatever was seen'
    """
    counts = ", ".join(f"{action} {n}" for action, n in Counter(actions).most_common())
    said = f"controller {config.plan}: {counts}"
    if config.plan == "set_point" and config.deadline is not None:
        said += f"; deadline {config.deadline} is written: it sharpened whatever was seen"
    return said


def _cells(record: StepRecord) -> list[tuple[str, str]]:
    """Name and value of what a person watches, unknown ones as a dash."""
    s = record.summary
    counts = s.contexts
    blind = (counts.zero_information or 0) / counts.total if counts.total else None
    verdict = (record.regime or {}).get("verdict", "undetermined")
    utility = [(name, _number(value)) for name, value in record.utility.items()]
    return [
        *utility,
        ("ESS_rel", _number(s.ess_rel.median)),
        ("worst tenth", _number(s.ess_rel.q10)),
        ("no signal", _percent(blind)),
        ("overlap", _number(_smallest_leg(s))),
        ("drift", _number(s.drift.ref, 3)),
        ("clipped", _percent(s.activation)),
        ("", VERDICTS[verdict].name),
    ]


def _line(head: str, record: StepRecord) -> str:
    """A line of 80 columns: the verdict, and before it as much as there is room for."""
    *cells, (_, verdict) = _cells(record)
    told = [f"{name} {value}" for name, value in cells if value != "-"]
    line = head
    for cell in told:
        if len(line) + len(cell) + len(verdict) + 4 > WIDE:
            break
        line += f"  {cell}"
    return f"{line}  {verdict}"


def _smallest_leg(summary: Summary) -> float | None:
    """The smallest known leg, unknown while no leg reads the target: π/μ alone says little."""
    overlap = summary.overlap
    return None if overlap.target_proposal is None else overlap.minimum


def _style(value: str) -> str:
    return next((v.style for v in VERDICTS.values() if v.name == value), "")


def _number(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def _searched(path: Path) -> str:
    """What the search gained, from its summary."""
    import json

    from tod.show.search import gained

    return gained(json.loads((path / "search.json").read_text(encoding="utf-8")))


def _held_out(held_out: Any) -> str:
    error = held_out.standard_error
    return f"{held_out.pass_at_1:.3f}" + ("" if error is None else f" ± {error:.3f}")
