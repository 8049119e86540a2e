"""A study of runs that are there: directories of `tod run`, compared without training anything."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from tod.base import SpecError
from tod.engine.settings import RunSettings
from tod.runs import RunDirectory
from tod.study.swap.arms import Common, draw_common, outcome_of, start_outcome
from tod.study.swap.assemble import compared
from tod.study.swap.condition import Condition
from tod.study.swap.outcomes import Outcome
from tod.study.swap.spec import Measure, StudyFile, digest

__all__ = ["RunsSpec", "compare_runs"]

SHARED = ("model", "task", "utilities", "evaluate", "anchors")
"""What of a recipe must be equal in all runs for their ends to be compared."""


class RunsSpec(StudyFile):
    """Runs by operator, a directory a seed."""

    kind: Literal["runs"] = "runs"
    name: str
    """What the study is called."""
    runs: dict[str, Annotated[tuple[Path, ...], Field(min_length=2)]]
    """Run directories by operator; a path is relative to the file of the study. The n-th of every
    operator share the seed, so that they drew by the same random numbers."""
    measure: Measure = Measure(models=("base",))
    """What is measured of every run."""

    @model_validator(mode="after")
    def _paired(self) -> Self:
        if len(self.runs) < 2:
            raise ValueError("`runs` has one operator: there is nothing to compare it with")
        counts = {name: len(paths) for name, paths in self.runs.items()}
        if len(set(counts.values())) > 1:
            raise ValueError(f"operators have unequal numbers of runs, {counts}: pair them by seed")
        return self


def compare_runs(spec: RunsSpec, root: Path) -> Condition:
    """The one condition of runs that are there.

    Args:
        spec: The runs.
        root: Folder that their paths are relative to.

    Raises:
        SpecError: The runs differ in what must be equal, or seeds are not paired; named.
        DataError: A run was not evaluated by held-out prompt, or has no model.
    """
    opened = {
        name: [RunDirectory.open(root / path) for path in paths]
        for name, paths in spec.runs.items()
    }
    recipes = {str(run.path): run.manifest.recipe for runs in opened.values() for run in runs}
    _check_shared(recipes)
    seeds = _seeds(opened)
    first = next(iter(opened.values()))[0]
    settings = RunSettings.parse(first.manifest.recipe, str(first.path))
    common = draw_common(settings, [settings.model], spec.measure)
    ends = [
        [_outcome(run, name, seed, common) for run, seed in zip(runs, seeds, strict=True)]
        for name, runs in opened.items()
    ]
    start = start_outcome(settings, common)
    target = settings.target.target
    facts: dict[str, float | str | None] = {
        "role": "study",
        "rate": settings.train.learning_rate,
        "steps": settings.train.steps,
    }
    names = (str(target), digest(settings.plain()["task"]))
    return compared(names, tuple(opened), seeds, ends, start, common.pool, facts)


def _outcome(run: RunDirectory, operator: str, seed: int, common: Common) -> Outcome:
    return outcome_of(run, common, {"operator": operator, "seed": seed, "condition": run.path.name})


def _check_shared(recipes: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse runs that differ in what must be equal.

    Raises:
        SpecError: Two do; the key and both values are named.
    """
    (first, recipe), *rest = recipes.items()
    for path, other in rest:
        for key in SHARED:
            if recipe.get(key) != other.get(key):
                raise SpecError(
                    f"{path}: `{key}` is {other.get(key)!r:.80}, and in {first} it is "
                    f"{recipe.get(key)!r:.80}. Runs that are compared share it."
                )


def _seeds(opened: Mapping[str, list[RunDirectory]]) -> tuple[int, ...]:
    """The seeds that all operators share.

    Raises:
        SpecError: An operator has others, or one twice.
    """
    by_operator = {
        name: tuple(int(run.manifest.recipe["train"]["seed"]) for run in runs)
        for name, runs in opened.items()
    }
    (first, seeds), *rest = by_operator.items()
    for name, others in rest:
        if others != seeds:
            raise SpecError(
                f"{name} has seeds {list(others)} and {first} has {list(seeds)}: runs of one place "
                "in the lists share a seed, or nothing is paired. Put them in the same order."
            )
    if len(set(seeds)) < len(seeds):
        raise SpecError(f"seeds {list(seeds)}: one is there twice, which is one run counted twice.")
    return seeds
