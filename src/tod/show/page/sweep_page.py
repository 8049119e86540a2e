"""The page of a sweep: which setting ended best, differences, learning curves, the phase plane."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tod.base.text import DASH, counted, plainly
from tod.regimes import Thresholds
from tod.runs.differing import in_words
from tod.show.figures.differences import DifferenceRow, differences
from tod.show.figures.phase import RunMark, phase_marks
from tod.show.figures.plot import cursor_data, figure
from tod.show.figures.small_multiples import Colouring, colouring, panels
from tod.show.figures.svg import Html
from tod.show.output import put
from tod.show.page.document import document
from tod.show.page.windows import of_verdict
from tod.show.terminal.sweep_screen import signed, with_error
from tod.show.words import VerdictWords, verdict_words
from tod.study.swap.paired import Effect
from tod.study.sweep.axis import Axis
from tod.study.sweep.compare import Combination, Comparison
from tod.study.sweep.document import SweepDocument
from tod.study.sweep.ends import End

__all__ = ["sweep_page", "write_sweep_page"]

ROWS = 12
"""Differences that a figure shows, at most."""
SIGN = 3
"""Characters that a disc of the phase diagram holds."""


@dataclass(frozen=True)
class SettingRow:
    """A setting as the table shows it."""

    values: list[str]
    end: str
    less: str
    p: str
    seeds: int
    verdicts: list[tuple[VerdictWords, int]]


def sweep_page(asked: SweepDocument, found: Comparison) -> Html:
    """The whole document.

    Args:
        asked: What was asked, with the answer.
        found: What the runs say.
    """
    axes, ends = asked.spanned, [run for cell in found.cells for run in cell.runs]
    curves = {f"c{i}": plot for i, plot in enumerate(panels(axes, found.cells))}
    colours = colouring(axes)
    marks, signs = _marks(axes, ends, colours)
    names = " and ".join(axis.name for axis in axes) or "seed"
    keys = [(f"r{i}", name) for i, name in enumerate(colours.names)]
    return document(
        "sweep.html",
        f"{asked.recipe} by {names} · TOD sweep",
        {"plots": {key: cursor_data(plot) for key, plot in curves.items()}, "points": []},
        styles=("sweep.css",),
        name=f"{Path(asked.recipe).stem} by {names}",
        about=_about(asked, found),
        state=_state(found),
        answer=asked.answer,
        remarks=_remarks(asked, found),
        axes=[axis.name for axis in axes] or ["setting"],
        settings=[_setting(cell, found) for cell in found.ranked],
        differences=figures_of(found),
        panels=[figure(plot, key) for key, plot in curves.items()],
        keys=keys,
        phase=phase_marks(marks, _bounds(ends)) if marks else None,
        signs=signs,
        runs=asked.runs,
        open_runs=any(run.state != "done" for run in asked.runs),
        asked=_asked(asked),
    )


def write_sweep_page(asked: SweepDocument, found: Comparison, path: Path) -> Path:
    """The document, put at ``path``.

    Raises:
        RunError: The file cannot be written.
    """
    return put(sweep_page(asked, found), path, "the runs themselves", "-o")


def _about(asked: SweepDocument, found: Comparison) -> str:
    done = sum(run.state == "done" for run in asked.runs)
    steps = "/".join(map(str, sorted({run.steps for run in asked.runs})))
    said = (
        f"{counted(len(found.cells), 'setting')} × {counted(len(asked.seeds), 'seed')}",
        f"{done} of {counted(len(asked.runs), 'run')} ended",
        f"{steps} steps",
    )
    return " · ".join(said)


def _state(found: Comparison) -> str:
    """Green where the best is told from all others."""
    apart = [found.told(found.less_best(cell)) for cell in found.ranked[1:]]
    return "fine" if apart and all(apart) else "note"


def _remarks(asked: SweepDocument, found: Comparison) -> list[str]:
    """What to know besides the answer."""
    said = []
    if max((len(cell.ended) for cell in found.ranked), default=2) < 2:
        several = max(len(cell.runs) for cell in found.cells) > 1
        so_far = "of a setting has ended so far, which " if several else ""
        said.append(f"One seed {so_far}has no interval: two or more tell settings from chance.")
    failed = [run.name for run in asked.runs if run.state == "failed"]
    if failed:
        said.append(f"{counted(len(failed), 'run')} failed: {', '.join(failed[:3])}.")
    said += [
        f"{' and '.join(labels)} are alike at every step and on every prompt: what tells them "
        "apart does nothing here."
        for labels in found.alike[:3]
    ]
    if asked.unequal:
        said.append(f"Operators bring more than how they act: {'; '.join(asked.unequal)}.")
    return said


def _setting(cell: Combination, found: Comparison) -> SettingRow:
    effect = found.less_best(cell)
    return SettingRow(
        values=[in_words(value) for value in cell.values] or ["all runs"],
        end=with_error(cell.end),
        less="" if effect is None else signed(effect.difference),
        p="" if effect is None else _p(effect),
        seeds=len(cell.ended),
        verdicts=[(verdict_words(name), count) for name, count in cell.verdicts.items()],
    )


def _p(effect: Effect) -> str:
    if effect.adjusted is None:
        return DASH
    return "< 0.001" if effect.adjusted < 0.001 else plainly(effect.adjusted)


def figures_of(found: Comparison) -> list[Html]:
    """Settings less the best, and the values of every axis averaged over the others."""
    best = found.best
    less = [e for cell in found.ranked if (e := found.less_best(cell)) is not None]
    made = []
    if best is not None and less:
        rows = [_row(effect, found, effect.operator) for effect in less]
        made.append(differences(f"Less the best, {best.label}", rows[:ROWS], _note(less, found)))
    for one in found.along:
        furthest = sorted(one.effects, key=lambda e: -abs(e.difference.value))
        rows = [_row(e, found, f"{e.operator} less {e.against}") for e in furthest]
        if rows:
            title = f"{one.axis.name}, averaged over the rest"
            made.append(differences(title, rows[:ROWS], _note(furthest, found)))
    return made


def _row(effect: Effect, found: Comparison, name: str) -> DifferenceRow:
    told = effect.difference
    return DifferenceRow(name, signed(told), told.value, told.interval(), found.told(effect))


def _note(effects: Sequence[Effect], found: Comparison) -> str:
    tests = max(effect.tests for effect in effects)
    hidden = f" The largest {ROWS} of {len(effects)}." if len(effects) > ROWS else ""
    if not tests:
        return f"One seed: no interval.{hidden}"
    return (
        "Bars: 95 % over seeds, paired by held-out prompt at the same seed, each by itself. Green: "
        f"p at most {found.level:g} after Holm over {counted(tests, 'difference')}.{hidden}"
    )


def _marks(
    axes: Sequence[Axis], ends: Sequence[End], colours: Colouring
) -> tuple[list[RunMark], str]:
    """A mark for every run that has a point, and what stands in the discs."""
    rest = [place for place in range(len(axes)) if place != colours.place]
    signed_by = rest[0] if len(rest) == 1 else None
    if signed_by is not None and any(len(in_words(v)) > SIGN for v in axes[signed_by].values):
        signed_by = None
    marks = []
    for end in ends:
        window = of_verdict(
            {"regime": end.judged.get("regime"), "pool": end.judged.get("pool")},
            end.tails,
            sorted(end.tails),
        )
        if window is not None:
            sign = "" if signed_by is None else in_words(end.values[signed_by])
            marks.append(RunMark(window, f"r{colours.of(axes, end.values)}", sign, end.name))
    return marks, "" if signed_by is None else axes[signed_by].name


def _bounds(ends: Sequence[End]) -> Thresholds:
    """The bounds that the last run was judged by."""
    for end in reversed(ends):
        told = (end.judged.get("regime") or {}).get("thresholds")
        if isinstance(told, dict):
            return Thresholds.parse({k: v for k, v in told.items() if k in Thresholds.model_fields})
    return Thresholds()


def _asked(asked: SweepDocument) -> list[tuple[str, Any]]:
    rows = [("recipe", asked.recipe)]
    rows += [(axis.path, ", ".join(map(in_words, axis.values))) for axis in asked.axes]
    rows += [(path, in_words(value)) for path, value in asked.fixed.items()]
    return [*rows, ("seeds", in_words(asked.seeds)), ("compared by", asked.reported)]
