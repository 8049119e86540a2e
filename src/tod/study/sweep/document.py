"""``sweep.json``: what a sweep asked, how its runs stand, and what they say."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from tod.base import RunError
from tod.base.text import what_is
from tod.runs import plain
from tod.runs.atomic import explained, write_atomic
from tod.study.swap.estimate import Estimate
from tod.study.swap.paired import Effect
from tod.study.sweep.answer import answer
from tod.study.sweep.axis import Axis
from tod.study.sweep.compare import Comparison, compare
from tod.study.sweep.ends import End, State, read_end

__all__ = ["FILE", "SCHEMA", "SweepAxis", "SweepDocument", "SweepRun", "read"]

SCHEMA = "tod.sweep/1"
FILE = "sweep.json"


@dataclass(frozen=True)
class SweepAxis:
    """A setting that takes several values.

    Attributes:
        path: Where it stands in a recipe, dotted.
        name: Its short name.
        values: Its values.
    """

    path: str
    name: str
    values: list[Any]


@dataclass(frozen=True)
class SweepRun:
    """A run.

    Attributes:
        name: Of its directory.
        values: A value an axis, in their order.
        seed: Its seed.
        recipe: A hash of its recipe but for name and place.
        steps: Steps that it has in all.
        state: ``done``, ``cut short``, ``failed`` or ``waiting``.
        step: Steps that are done.
        seconds: What these took; null before any.
        start: Mean held-out utility before training; null where unknown.
        end: The same after the last step.
        standard_error: Of ``end``, over prompts.
        verdict: The regime of the run; null before it ended.
        failed: Why it failed; null where it did not.
    """

    name: str
    values: list[Any]
    seed: int
    recipe: str
    steps: int
    state: State = "waiting"
    step: int = 0
    seconds: float | None = None
    start: float | None = None
    end: float | None = None
    standard_error: float | None = None
    verdict: str | None = None
    failed: str | None = None


@dataclass(frozen=True)
class Setting:
    """One combination of values; its runs differ by their seeds alone.

    Attributes:
        label: In words.
        values: A value an axis, in their order.
        seeds: Seeds of the runs that ended.
        end: Mean held-out utility after the last step; null before any run ended.
        interval: 95 % interval over seeds; null with fewer than two.
        verdicts: How many runs have which regime.
    """

    label: str
    values: list[Any]
    seeds: list[int]
    end: float | None
    interval: list[float] | None
    verdicts: dict[str, int]


@dataclass(frozen=True)
class Difference:
    """One setting less another, prompt by prompt at the same seeds.

    Attributes:
        axis: The axis whose values they are, averaged over the other axes; null for settings.
        first: What is compared.
        second: What it is compared with.
        value: Mean difference in held-out utility.
        interval: 95 % interval over seeds; null with fewer than two.
        seeds: How many seeds both have.
        p: After Holm's correction over ``tests``; null with fewer than two seeds.
        tests: How many differences are corrected together.
        told: Whether they are told apart; null where nothing can tell.
    """

    axis: str | None
    first: str
    second: str
    value: float
    interval: list[float] | None
    seeds: int
    p: float | None
    tests: int
    told: bool | None


@dataclass(frozen=True)
class SweepDocument:
    """What a sweep is, and what came of it.

    Attributes:
        schema: ``tod.sweep/1``.
        recipe: The recipe, as it was called.
        fixed: Settings of all runs, by dotted path.
        base: A hash of what all runs share.
        axes: What differs, but for the seed.
        seeds: The seeds.
        reported: The reward that is evaluated on held-out prompts.
        runs: All runs.
        answer: Which setting ended best, and whether by more than seeds explain.
        settings: Every combination, in the order of the grid.
        differences: Every two settings, and every two values of an axis averaged over the others.
        unequal: What the operators bring besides how they act.
    """

    schema: str
    recipe: str
    fixed: dict[str, Any]
    base: str
    axes: list[SweepAxis]
    seeds: list[int]
    reported: str
    runs: list[SweepRun]
    answer: str
    settings: list[Setting]
    differences: list[Difference]
    unequal: list[str]

    @property
    def spanned(self) -> tuple[Axis, ...]:
        """The axes as the grid has them."""
        return tuple(Axis(axis.path, axis.name, tuple(axis.values)) for axis in self.axes)

    def ends(self, folder: Path) -> list[End]:
        """How its runs stand now.

        Args:
            folder: Where it is written.
        """
        return [
            read_end(
                folder / run.name, run.values, run.seed, run.steps, self.reported, run.failed or ""
            )
            for run in self.runs
        ]

    def compared(self, folder: Path) -> Comparison:
        """What its runs say now."""
        return compare(self.spanned, self.ends(folder))

    def concluded(self, found: Comparison) -> "SweepDocument":
        """The same with what a comparison of its runs says."""
        ends = {end.name: end for cell in found.cells for end in cell.runs}
        return replace(
            self,
            runs=[_stands(run, ends[run.name]) for run in self.runs],
            answer=answer(found),
            settings=[
                Setting(
                    cell.label,
                    list(cell.values),
                    sorted(cell.ended),
                    None if cell.end is None else cell.end.value,
                    _ends(cell.end),
                    cell.verdicts,
                )
                for cell in found.cells
            ],
            differences=[
                *(_difference(None, effect, found) for effect in found.pairs),
                *(
                    _difference(one.axis.path, effect, found)
                    for one in found.along
                    for effect in one.effects
                ),
            ],
        )

    def write(self, folder: Path) -> None:
        """Put it into the folder of the sweep in one step.

        Raises:
            RunError: The disk is full.
        """
        text = json.dumps(plain(asdict(self)), indent=1, ensure_ascii=False) + "\n"
        with explained(str(folder / FILE), lambda: "the runs themselves"):
            write_atomic(folder / FILE, text)


def read(folder: Path) -> SweepDocument:
    """The sweep of a folder.

    Raises:
        RunError: There is none, or it is damaged or of another schema.
    """
    path = folder / FILE
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(
            f"{folder} holds no sweep: it has no {FILE}. `tod sweep RECIPE target.eta=1,2` makes "
            "one; `tod report RUN RUN` lays runs side by side."
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path} cannot be read ({error}). Call the sweep again.") from None
    schema = data.get("schema") if isinstance(data, dict) else what_is(data)
    if schema != SCHEMA:
        raise RunError(f"{path} has schema {schema!r}, and this version reads {SCHEMA!r}.")
    try:
        return TypeAdapter(SweepDocument).validate_python(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise RunError(f"{path}: {where}: {first['msg']}. It is damaged: call the sweep again.") \
            from None  # fmt: skip


def _stands(run: SweepRun, end: End) -> SweepRun:
    """A run as it stands."""
    first, last = end.first, end.last
    return replace(
        run,
        state=end.state,
        step=end.step,
        seconds=round(end.seconds, 1) if end.step else None,
        start=None if first is None else first.value,
        end=None if last is None else last.value,
        standard_error=None if last is None else last.error,
        verdict=end.verdict,
        failed=end.failed or None,
    )


def _difference(axis: str | None, effect: Effect, found: Comparison) -> Difference:
    told = effect.difference
    return Difference(
        axis=axis,
        first=effect.operator,
        second=effect.against,
        value=told.value,
        interval=_ends(told),
        seeds=told.seeds,
        p=effect.adjusted,
        tests=effect.tests,
        told=found.told(effect),
    )


def _ends(estimate: Estimate | None) -> list[float] | None:
    interval = None if estimate is None else estimate.interval()
    return None if interval is None else list(interval)
