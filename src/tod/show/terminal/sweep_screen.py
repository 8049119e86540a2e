"""What a sweep says on a screen: the answer, the settings, what each setting changes, where."""

import textwrap
from pathlib import Path

from tod.base.text import DASH, counted, visible
from tod.show.words import verdict_words
from tod.study.swap.estimate import Estimate
from tod.study.sweep.compare import Along, Combination, Comparison
from tod.study.sweep.document import FILE, SweepDocument

__all__ = ["regime_of", "signed", "sweep_lines", "with_error"]

WIDE, LINES = 80, 24
NAME = 27
"""Width of a setting's name."""


def sweep_lines(
    document: SweepDocument, found: Comparison, folder: Path, page: Path | None = None
) -> list[str]:
    """The screen, at most `LINES` lines of `WIDE` columns.

    Args:
        document: What was asked, with the answer.
        found: What the runs say.
        folder: Where they lie.
        page: Where the page was written; None: it was not.
    """
    head = [*_wrapped(document.answer), *_wrapped(_counts(document, found)), ""]
    tail = [
        *_along(found),
        *_troubles(document),
        *_alike(found),
        *_wrapped(_read_on(found)),
        *_places(folder, page),
    ]
    room = LINES - len(head) - len(tail) - 2
    return [visible(line) for line in [*head, *_settings(found, max(1, room)), "", *tail]]


def with_error(estimate: Estimate | None) -> str:
    """``0.312 ± 0.021``, the half-width of the 95 % interval over seeds; a dash for unknown.

    >>> with_error(Estimate(0.25, 0.01, 3)), with_error(Estimate(0.25, None, 1)), with_error(None)
    ('0.250 ± 0.043', '0.250', '–')
    """
    if estimate is None:
        return DASH
    return f"{estimate.value:.3f}{_half(estimate)}"


def signed(estimate: Estimate) -> str:
    """``+0.012 ± 0.021``: a difference, alike.

    >>> signed(Estimate(-0.25, 0.01, 3))
    '−0.250 ± 0.043'
    """
    value = round(estimate.value, 3) + 0.0  # no minus before a zero
    return f"{value:+.3f}{_half(estimate)}".replace("-", "−")


def regime_of(cell: Combination) -> str:
    """The verdict of all runs of a setting; how they differ where they do.

    A dash before any ended.
    """
    told = cell.verdicts
    if len(told) <= 1:
        return next((verdict_words(name).name for name in told), DASH)
    return "differs by seed"


def _half(estimate: Estimate) -> str:
    interval = estimate.interval()
    return "" if interval is None else f" ± {interval[1] - estimate.value:.3f}"


def _counts(document: SweepDocument, found: Comparison) -> str:
    """How many runs, how long, from where."""
    runs = document.runs
    steps = sorted({run.steps for run in runs})
    done = sum(run.state == "done" for run in runs)
    cells = counted(len(found.cells), "setting")
    seeds = counted(len(document.seeds), "seed")
    ended = f"{done} of {counted(len(runs), 'run')} of {'/'.join(map(str, steps))} steps ended"
    starts = [cell.start.value for cell in found.cells if cell.start is not None]
    low, high = (f"{end:.3f}" for end in (min(starts), max(starts))) if starts else ("", "")
    before = f"; before training {low if low == high else f'{low} to {high}'}" if starts else ""
    return f"{document.recipe}: {cells} x {seeds}, {ended}{before}"


def _settings(found: Comparison, room: int) -> list[str]:
    """A line a setting, the best first."""
    ranked = found.ranked
    if not ranked:
        return []
    shown = ranked if len(ranked) <= room - 1 else ranked[: max(1, room - 2)]
    wide = max(7, min(NAME, max(len(cell.label) for cell in shown)))
    gap = "  " if wide + 13 + 14 + 4 + 18 + 4 * 2 <= WIDE else " "
    rows = [("setting", "pass@1", "less the best", "told", "regime")]
    for cell in shown:
        effect = found.less_best(cell)
        less = "" if effect is None else signed(effect.difference)
        told = {True: "yes", False: "no", None: ""}[found.told(effect)]
        rows.append((_within(cell.label, wide), with_error(cell.end), less, told, regime_of(cell)))
    lines = [
        gap.join((f"{a:<{wide}}", f"{b:<13}", f"{c:<14}", f"{d:<4}", e)).rstrip()
        for a, b, c, d, e in rows
    ]
    if len(shown) < len(ranked):
        lines.append(f"and {counted(len(ranked) - len(shown), 'setting')} more")
    return lines


def _along(found: Comparison) -> list[str]:
    """A line or two a setting: its means over the others, and its largest difference."""
    lines = []
    for one in found.along:
        if one.means and one.largest is not None:
            lines += _wrapped(_said(one, found), indent="  ")
    return ["Averaged over the other settings:", *lines, ""] if lines else []


def _said(one: Along, found: Comparison) -> str:
    means = sorted(one.means.items(), key=lambda item: -item[1].value)
    few = means if len(means) <= 5 else [means[0], means[-1]]
    said = ", ".join(f"{name} {mean.value:.3f}" for name, mean in few)
    effect = one.largest
    assert effect is not None  # noqa: S101 - asked only where there is one
    told = {True: ", told", False: ", not told", None: ""}[found.told(effect)]
    pair = f"{effect.operator} less {effect.against}"
    return f"{said}; {pair} {signed(effect.difference)}{told}"


def _troubles(document: SweepDocument) -> list[str]:
    """Runs that failed or did not end, and operators that bring more than how they act."""
    failed = [run for run in document.runs if run.state == "failed"]
    lines = [_cut(f"failed: {run.name}: {run.failed}") for run in failed[:2]]
    if len(failed) > 2:
        lines.append(f"failed: {counted(len(failed) - 2, 'run')} more")
    if document.unequal:
        lines += _wrapped(f"not the operators alone: {'; '.join(document.unequal)}")[:2]
    return lines


def _alike(found: Comparison) -> list[str]:
    """Settings that do nothing: their runs end alike on every prompt."""
    groups = [" and ".join(labels) for labels in found.alike]
    return (
        _wrapped(f"alike at every step and on every prompt: {'; '.join(groups)}")[:2]
        if groups
        else []
    )


def _read_on(found: Comparison) -> str:
    """How the figures are to be read."""
    seeds = {len(cell.ended) for cell in found.ranked}
    if not seeds:
        return ""
    if max(seeds) < 2:
        if max(len(cell.runs) for cell in found.cells) > 1:
            return "One seed of a setting has ended so far, which has no interval."
        return "One seed has no interval: seeds=3 tells settings from chance."
    tests = max((effect.tests for effect in found.pairs), default=0)
    return (
        f"±: 95 % over seeds, of each by itself; told: p <= {found.level:g} after Holm over "
        f"{counted(tests, 'pair')}."
    )


def _places(folder: Path, page: Path | None) -> list[str]:
    return [f"{'page' if page else 'all of it'}: {page or folder / FILE}"]


def _wrapped(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(text, WIDE, initial_indent=indent, subsequent_indent=2 * indent)


def _within(text: str, wide: int) -> str:
    """The text, or both of its ends: settings differ at either.

    >>> _within("eta 1, weighted_mle_centred", 17)
    'eta 1, w…_centred'
    """
    if len(text) <= wide:
        return text
    return f"{text[: wide // 2]}…{text[len(text) - (wide - 1 - wide // 2) :]}"


def _cut(text: str) -> str:
    return text if len(text) <= WIDE else text[: WIDE - 1] + "…"
