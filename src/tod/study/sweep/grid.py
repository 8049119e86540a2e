"""The runs of a sweep: a recipe at every combination of the values of some settings and seeds."""

import copy
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, product
from math import prod
from pathlib import Path
from typing import Any

from tod.atlas import recipe_file
from tod.base import SpecError, concrete, parse_yaml, read_mapping
from tod.base.overrides import assign
from tod.base.text import distinct
from tod.engine.settings import MAY_DIFFER, RunSettings
from tod.runs.differing import differing, in_words, short_names
from tod.study.swap.spec import digest
from tod.study.sweep.axis import OPERATOR, Axis
from tod.targets import TargetFamily

__all__ = ["PlannedRun", "SweepGrid", "grid_of", "parse_words"]

SEEDS, SEED, SHARPNESS = "seeds", "train.seed", "target.eta"
SHARED = ("task", "utilities", "evaluate")
"""What all runs of a sweep share: their ends are compared on the same held-out prompts."""
MOST_RUNS = 4096
"""Runs of a sweep: each has a directory, and the differences are of every two settings."""
LONGEST = 24
"""Characters of a value in the name of a run; longer ones are numbered."""


@dataclass(frozen=True)
class PlannedRun:
    """One run of a sweep.

    Attributes:
        name: Of its directory, made of what differs.
        values: A value an axis, in their order.
        seed: Of everything that is drawn.
        recipe: Resolved, plain, without a place.
        reported: The reward that its evaluation reports.
    """

    name: str
    values: tuple[Any, ...]
    seed: int
    recipe: Mapping[str, Any]
    reported: str

    @property
    def digest(self) -> str:
        """A hash of the recipe but for its name and place."""
        return digest({key: x for key, x in self.recipe.items() if key not in MAY_DIFFER})

    def settings(self, folder: Path) -> RunSettings:
        """The run, in the folder of the sweep."""
        output = str(folder / self.name)
        return RunSettings.parse({**self.recipe, "name": self.name, "output": output}, self.name)


@dataclass(frozen=True)
class SweepGrid:
    """All runs of a sweep.

    Attributes:
        recipe: The recipe, as it was called.
        fixed: Settings of all runs, by path.
        axes: What differs, the operator last; without the seed.
        seeds: The seeds of every combination.
        base: A hash of what all runs share.
        runs: Every combination at the first seed, then at the next.
        unequal: Settings inside the operators that are not the operator's alone, in words.
    """

    recipe: str
    fixed: Mapping[str, Any]
    axes: tuple[Axis, ...]
    seeds: tuple[int, ...]
    base: str
    runs: tuple[PlannedRun, ...]
    unequal: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """Where it is written if nobody says: equal words find it again, others never."""
        names = "-".join(slug(axis.name) for axis in self.axes) or "seed"
        return Path("runs") / f"{slug(Path(self.recipe).stem)}-by-{names}-{self.base[:6]}"


def parse_words(words: Iterable[str]) -> dict[str, tuple[Any, ...]]:
    """Values by path of ``path=value,value`` words; a comma inside brackets or quotes is its own.

    >>> parse_words(["target.eta=1,2", "train.steps=20"])
    {'target.eta': (1, 2), 'train.steps': (20,)}

    Raises:
        SpecError: A word is no such thing, a setting is there twice, or a value is.
    """
    settings: dict[str, tuple[Any, ...]] = {}
    for word in words:
        path, equals, text = word.partition("=")
        if not equals or not path.strip() or not text.strip():
            raise SpecError(
                f"{word[:80]!r} is not `path=value` or `path=value,value`, as in "
                "`target.eta=1,2,4`."
            )
        if path in settings:
            raise SpecError(f"{path[:80]} is there twice: give all of its values in one word.")
        read = [parse_yaml(item, f"{word!r:.200}") for item in _split(text)]
        if len(read) == 1 and isinstance(read[0], list) and path == SEEDS:
            path, read = SEED, read[0]
        settings[path] = _told_once(path, read)
    return settings


def grid_of(recipe: str, settings: Mapping[str, Sequence[Any]]) -> SweepGrid:
    """The runs of a recipe and some settings.

    ``seeds`` holds a number of seeds, from the recipe's own on, or the seeds. ``target.eta`` turns
    the target to that sharpness, whatever kind it is. ``operator`` takes the block ``operator`` of
    recipes by name, or of YAML files.

    Args:
        recipe: A recipe's name, or a YAML file.
        settings: Values by path; those of several span the grid.

    Raises:
        SpecError: A recipe is not there, a combination is impossible, or it cannot be compared.
    """
    data = read_mapping(recipe_file(recipe), "A recipe is a mapping with `target` and `operator`.")
    data.pop("atlas", None)
    settings, seeds = _seeds(data, settings)
    fixed = {path: values[0] for path, values in settings.items() if len(values) == 1}
    several = [path for path, values in settings.items() if len(values) > 1]
    names = short_names(sorted(several, key=lambda path: (path == OPERATOR, path)))
    axes = tuple(Axis(path, name, tuple(settings[path])) for path, name in names.items())
    _comparable(axes, fixed)
    _few_enough([len(seeds), *(len(axis.values) for axis in axes)])
    runs = []
    for seed in seeds:
        for values in product(*(axis.values for axis in axes)):
            own = {axis.path: value for axis, value in zip(axes, values, strict=True)}
            runs.append(_planned(recipe, data, axes, {**fixed, **own}, values, seed))
    if len(reported := {run.reported: None for run in runs}) > 1:
        raise SpecError(
            f"the settings are evaluated by different rewards ({', '.join(reported)}), so their "
            "ends cannot be compared. Make a sweep for each."
        )
    names_of = distinct(run.name for run in runs)
    runs = [replace(run, name=name) for run, name in zip(runs, names_of, strict=True)]
    base = digest([data.get("name"), _without(data, axes), fixed])
    return SweepGrid(recipe, fixed, axes, seeds, base, tuple(runs), _unequal(axes, runs))


def slug(text: str) -> str:
    """Text as a part of a file's name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", text).strip("_.") or "_"


def _split(text: str) -> list[str]:
    """Items between commas that stand in no bracket and no quotes."""
    cuts, depth, quote = [-1], 0, ""
    for place, sign in enumerate(text):
        if quote:
            quote = "" if sign == quote else quote
        elif sign in "'\"":
            quote = sign
        elif sign in "[{(":
            depth += 1
        elif sign in "]})":
            depth -= 1
        if sign == "," and not quote and depth == 0:
            cuts.append(place)
    return [text[a + 1 : b] for a, b in pairwise([*cuts, len(text)])]


def _told_once(path: str, values: Sequence[Any]) -> tuple[Any, ...]:
    """The values.

    Raises:
        SpecError: One is there twice, or is empty.
    """
    _few_enough([len(values)])
    for place, value in enumerate(values):
        if value in values[:place]:
            raise SpecError(
                f"{path[:80]}: {in_words(value)[:80]} is there twice, which is one run twice."
            )
    return tuple(values)


def _seeds(
    data: Mapping[str, Any], settings: Mapping[str, Sequence[Any]]
) -> tuple[dict[str, tuple[Any, ...]], tuple[int, ...]]:
    """The other settings, and the seeds.

    Raises:
        SpecError: Seeds are named twice, or are no whole numbers.
    """
    rest = {path: tuple(values) for path, values in settings.items()}
    if SEEDS in rest and SEED in rest:
        raise SpecError(f"`{SEEDS}` and `{SEED}` both name the seeds: give one of them.")
    told = rest.pop(SEEDS, None)
    first = (data.get("train") or {}).get("seed", 0)
    seeds = rest.pop(SEED, (first,)) if told is None else told
    if not all(isinstance(seed, int) and not isinstance(seed, bool) for seed in seeds):
        raise SpecError(f"{SEEDS}={','.join(map(in_words, seeds))}: write how many, or which ones.")
    if told is not None and len(told) == 1:
        if told[0] < 1:
            raise SpecError(f"{SEEDS}={told[0]}: one seed at least.")
        _few_enough([told[0]])
        seeds = tuple(range(first, first + told[0]))
    return rest, tuple(seeds)


def _few_enough(counts: Sequence[int]) -> None:
    """Refuse more runs than a sweep may have, before any is made.

    Raises:
        SpecError: With how many it would be.
    """
    if prod(counts) > MOST_RUNS:
        many = [f"{count:,}" if count < 10**15 else "very many" for count in counts]
        raise SpecError(
            f"{' x '.join(many)} are more than the {MOST_RUNS:,} runs that a sweep may have. Give "
            "fewer values or seeds, or make several sweeps."
        )


def _comparable(axes: Sequence[Axis], fixed: Mapping[str, Any]) -> None:
    """Refuse axes along which ends cannot be compared, and places.

    Raises:
        SpecError: One is named.
    """
    for axis in axes:
        if axis.path.partition(".")[0] in SHARED:
            raise SpecError(
                f"{axis.path} differs: runs of a sweep are compared on the same held-out prompts "
                f"and rewards. Make a sweep for every {axis.name}."
            )
    for path in ("name", "output"):
        if path in fixed or any(axis.path == path for axis in axes):
            raise SpecError(f"{path}: runs are named by what differs. Name the folder with -o.")


def _planned(
    recipe: str,
    data: Mapping[str, Any],
    axes: Sequence[Axis],
    settings: Mapping[str, Any],
    values: tuple[Any, ...],
    seed: int,
) -> PlannedRun:
    """One run, its recipe resolved.

    Raises:
        SpecError: It is impossible, or it selects at test time.
    """
    words = [_file_word(axis, value) for axis, value in zip(axes, values, strict=True)]
    name = "--".join([*words, f"seed-{seed}"])
    made: dict[str, Any] = copy.deepcopy({**data, "name": name, "output": None})
    turned: float | None = None
    for path in sorted(settings, key=lambda path: path.count(".")):
        value = settings[path]
        if path == OPERATOR and isinstance(value, str):
            value = _operator_of(value)
        if path == SHARPNESS and not _declares_eta(made):
            turned = value
            continue
        assign(made, path, copy.deepcopy(value), f"{path}={in_words(value)}")
    assign(made, SEED, seed, f"{SEED}={seed}")
    told = ", ".join(axis.told(value) for axis, value in zip(axes, values, strict=True))
    run = RunSettings.parse(made, told or recipe)
    if turned is not None:
        run = run.revised(target=run.target.turned({"eta": float(turned)}))
    if run.selects:
        raise SpecError(
            f"{told or recipe}: {run.operator.action.kind!r} selects at test time and trains "
            "nothing. `tod rerank` lays rules side by side on the same rollouts."
        )
    return PlannedRun(name, values, seed, run.plain(), run.reported)


def _operator_of(name: str) -> Any:
    """The block ``operator`` of a recipe.

    Raises:
        SpecError: There is no such recipe, or it has none.
    """
    path = recipe_file(name)
    data = read_mapping(path, "A recipe has its operator under `operator`.")
    if "operator" not in data:
        raise SpecError(f"operator={name}: {path} has no block `operator`.")
    return data["operator"]


def _declares_eta(data: Mapping[str, Any]) -> bool:
    """Whether the target of a recipe has a key ``eta`` of its own; the others are turned."""
    target = data.get("target")
    kind = target.get("kind") if isinstance(target, Mapping) else None
    families = {family.model_fields["kind"].default: family for family in concrete(TargetFamily)}
    return kind not in families or "eta" in families[kind].model_fields


def _file_word(axis: Axis, value: Any) -> str:
    """A setting as a part of a file's name."""
    said = slug(Path(value).stem if axis.path == OPERATOR and isinstance(value, str)
                else in_words(value))  # fmt: skip
    if len(said) > LONGEST:
        said = str(axis.values.index(value) + 1)
    by_name = axis.path == OPERATOR and isinstance(value, str)
    return said if by_name else f"{slug(axis.name)}-{said}"


def _without(data: Mapping[str, Any], axes: Sequence[Axis]) -> dict[str, Any]:
    """A recipe without the settings that differ, its seed, name and place."""
    rest = copy.deepcopy(dict(data))
    for path in (*(axis.path for axis in axes), SEED, "name", "output"):
        *parents, last = path.split(".")
        here: Any = rest
        for key in parents:
            here = here.get(key) if isinstance(here, dict) else None
        if isinstance(here, dict):
            here.pop(last, None)
    return rest


def _unequal(axes: Sequence[Axis], runs: Sequence[PlannedRun]) -> tuple[str, ...]:
    """What operators bring besides how they act: proposals that differ with the operator alone."""
    place = next((i for i, axis in enumerate(axes) if axis.path == OPERATOR), None)
    if place is None:
        return ()
    first = {
        name: next(run for run in runs if run.values[place] == name)
        for name in axes[place].values
        if isinstance(name, str)
    }
    proposals = [run.recipe["operator"]["proposal"] for run in first.values()]
    own = {axis.path for axis in axes}
    return tuple(
        f"{path}: " + ", ".join(f"{name} {in_words(p.get(path))}" for name, p in
                                zip(first, proposals, strict=True))
        for path in differing(proposals)
        if f"operator.proposal.{path}" not in own
    )  # fmt: skip
