"""What a swap study is: a target, operators, settings, seeds; and the arms that follow from it."""

import copy
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from tod.base import Spec, SpecError, read_mapping
from tod.base.overrides import assign
from tod.engine.settings import RunSettings

__all__ = ["Arm", "ConditionSpec", "Measure", "StudyFile", "SwapSpec", "TaskWorld"]

Changes = dict[str, Any]
"""Values by dotted path of a recipe, such as ``operator.proposal.refresh: 64``. Two are not of the
recipe: ``eta`` turns the target, whatever kind it is, to that sharpness; ``seed_offset`` is added
to the seed, for other random numbers."""
OWN = ("eta", "seed_offset")
UNHASHED = ("output", "name", "track")
"""Settings of a run that change nothing of what comes of it."""
LATER = (
    "policy",
    "probe",
    "evaluate.utility",
    "train.schedule_steps",
    "train.sharding",
)
"""Settings that recipes have had since outcomes were committed. Unset they are left out of hashes,
so that a study that was begun before goes on."""
Role = Literal["study", "positive", "negative", "ladder", "equal"]


class TaskWorld(Spec):
    """A task, with the models that its arms start from: a cluster of the statistics."""

    models: dict[str, str]
    """Models by name, ``base`` among them; ``{base}`` in a value of `set` means it. A path without
    ``tod://`` is relative to the file of the study."""
    set: Changes
    """What of the recipe is this task's own."""
    operators: tuple[str, ...] | None = None
    """The study's operators that are run on it; None: all."""

    @model_validator(mode="after")
    def _based(self) -> Self:
        if "base" not in self.models:
            raise ValueError("`models` needs `base`: the model that arms start from")
        return self


class ConditionSpec(Spec):
    """One condition: what every operator meets alike."""

    name: str
    """What the tables call it, such as ``η 5, refresh 64``."""
    set: Changes = Field(default_factory=dict)
    """What of the recipe it changes."""
    role: Role = "study"
    """``positive``: its operators must differ; ``negative``: they are one under two names;
    ``ladder``: steps of one setting; the smallest that is seen is the detectable effect;
    ``equal``: its operators are one by algebra, and must end at one policy at every seed."""
    operators: dict[str, Changes] | None = None
    """Operators of its own in the place of the study's; the first is the one compared with."""
    by_operator: dict[str, Changes] = Field(default_factory=dict)
    """What it changes of some operators alone, such as each one's own best rate."""
    only: tuple[str, ...] | None = None
    """Operators of the study that it is run with; None: all."""
    without: tuple[str, ...] = ()
    """Operators of the study that it leaves out."""
    tasks: tuple[str, ...] | None = None
    """The tasks it is run on; None: all."""
    seeds: tuple[int, ...] | None = None
    """Seeds of its own, where it needs more or fewer; None: the study's."""


class Measure(Spec):
    """What is measured of every arm's final policy."""

    prompts: Annotated[int, Field(ge=2)] = 64
    """Held-out prompts of the common completions."""
    size: Annotated[int, Field(ge=1)] = 32
    """Common completions of a prompt from each of the pool's models."""
    models: tuple[str, ...] = ("base", "warm")
    """Models that draw the common completions, by the task's names; those without are left out."""
    positions: Annotated[int, Field(ge=1)] = 1200
    """Positions, about, at which the whole next-token distribution is kept."""


class StudyFile(Spec):
    """What is read from a study's file."""

    @classmethod
    def load(cls, path: Path) -> Self:
        """The study of a YAML file.

        Raises:
            SpecError: Unreadable, unknown keys, impossible values; each with its path.
        """
        return cls.parse(read_mapping(path, "A study is a mapping; see docs/swap.md."), str(path))


class SwapSpec(StudyFile):
    """A study: every operator in every condition of every task at every seed.

    Attributes stand in a YAML file one to one; `SwapSpec.load` reads it.
    """

    kind: Literal["language_model"] = "language_model"
    name: str
    """What the study is called."""
    recipe: dict[str, Any]
    """What all arms share; as a recipe for `tod run` without what the rest sets."""
    tasks: dict[str, TaskWorld]
    """Tasks by name."""
    operators: dict[str, Changes]
    """Operators by name: what of the recipe is their own."""
    contrast: tuple[str, ...] = ()
    """Operators that are run and reported and not compared: they have another target."""
    conditions: tuple[ConditionSpec, ...]
    """The conditions."""
    seeds: tuple[int, ...]
    """Seeds of the arms that are reported."""
    measure: Measure = Measure()
    """What is measured of every arm."""

    @model_validator(mode="after")
    def _known(self) -> Self:
        for seeds in (self.seeds, *(c.seeds for c in self.conditions if c.seeds is not None)):
            _check_seeds(seeds)
        names = [condition.name for condition in self.conditions]
        if len(set(names)) < len(names):
            raise ValueError("two conditions share a name: give each its own")
        if strange := {*self.contrast} - {*self.operators}:
            raise ValueError(f"`contrast` names {sorted(strange)}, which the study has not")
        for condition in self.conditions:
            strange = {*condition.without, *(condition.only or ())} - {*self.operators}
            strange |= {*condition.by_operator} - {*self.operators, *(condition.operators or ())}
            strange |= {*(condition.tasks or ())} - {*self.tasks}
            strange |= {n for world in self.tasks.values() for n in world.operators or ()} - {
                *self.operators
            }
            if strange:
                raise ValueError(
                    f"condition {condition.name!r} names {sorted(strange)}, which the study has not"
                )
        return self

    def operators_of(self, condition: ConditionSpec, task: str) -> dict[str, Changes]:
        """The operators that a condition compares on a task."""
        if condition.operators is not None:
            return condition.operators
        asked = self.tasks[task].operators
        return {
            name: changes
            for name, changes in self.operators.items()
            if name not in condition.without
            and (asked is None or name in asked)
            and (condition.only is None or name in condition.only)
        }

    def seeds_of(self, condition: ConditionSpec) -> tuple[int, ...]:
        """The seeds that a condition is run at."""
        return self.seeds if condition.seeds is None else condition.seeds

    def tasks_of(self, condition: ConditionSpec) -> tuple[str, ...]:
        """The tasks that a condition is run on."""
        return tuple(self.tasks) if condition.tasks is None else condition.tasks

    def arms(self) -> Iterator["Arm"]:
        """Every arm, two seeds of everything first, so that a part of the study says something.

        Raises:
            SpecError: A recipe is impossible; its arm is named.
        """
        most = max(len(self.seeds_of(condition)) for condition in self.conditions)
        for start in range(0, most, 2):
            for task in self.tasks:
                for condition in self.conditions:
                    if task in self.tasks_of(condition):
                        for seed in self.seeds_of(condition)[start : start + 2]:
                            for operator in self.operators_of(condition, task):
                                yield self.arm(task, condition, operator, seed)

    def arm(self, task: str, condition: ConditionSpec, operator: str, seed: int) -> "Arm":
        """One arm, its recipe resolved.

        Raises:
            SpecError: The recipe is impossible.
        """
        world = self.tasks[task]
        data = copy.deepcopy(self.recipe)
        own = self.operators_of(condition, task)[operator]
        laid = (world.set, condition.set, own, condition.by_operator.get(operator, {}))
        for changes in laid:
            for path, value in changes.items():
                if path not in OWN:
                    assign(data, path, _filled(value, world.models), path)
        special = {name: value for changes in laid for name, value in changes.items()}
        arm = Arm(task, condition.name, operator, seed, {})
        data.setdefault("model", world.models["base"])
        data["name"] = arm.slug
        assign(data, "train.seed", seed + special.get("seed_offset", 0), "train.seed")
        settings = RunSettings.parse(data, f"{task}, {condition.name}, {operator}")
        if "eta" in special:
            settings = settings.revised(target=settings.target.turned({"eta": special["eta"]}))
        return Arm(task, condition.name, operator, seed, settings.plain())


def _check_seeds(seeds: tuple[int, ...]) -> None:
    """Refuse seeds that tell nothing.

    Raises:
        ValueError: There are fewer than two, or one is there twice.
    """
    if len(seeds) < 2:
        raise ValueError(
            "`seeds` has fewer than two: nothing tells seeds from operators. Give four or more"
        )
    if len(set(seeds)) < len(seeds):
        raise ValueError("`seeds` names one twice: its arms would be one run counted twice")


def _filled(value: Any, models: Mapping[str, str]) -> Any:
    """A value with ``{name}`` replaced by that model.

    Raises:
        SpecError: The task has no model of that name.
    """
    if not isinstance(value, str):
        return value
    named = re.fullmatch(r"\{(\w+)\}", value)
    if named is None:
        return value
    if named[1] not in models:
        raise SpecError(
            f"{value}: the task has no model of that name. It has {', '.join(sorted(models))}."
        )
    return models[named[1]]


@dataclass(frozen=True)
class Arm:
    """One run of the study.

    Attributes:
        task: Name of its task.
        condition: Name of its condition.
        operator: Name of its operator.
        seed: Seed, before any offset.
        recipe: The whole recipe, plain; paths of models as the study has them.
    """

    task: str
    condition: str
    operator: str
    seed: int
    recipe: Mapping[str, Any]

    @property
    def slug(self) -> str:
        """A file's name."""
        text = f"{self.task}--{self.condition}--{self.operator}--{self.seed}"
        return re.sub(r"[^A-Za-z0-9.-]+", "_", text.replace("η", "eta").replace("×", "x"))

    @property
    def hashed(self) -> str:
        """A hash of the recipe, the same wherever the study lies."""
        return digest({n: x for n, x in as_first(self.recipe).items() if n not in UNHASHED})

    def settings(self, root: Path, output: Path) -> RunSettings:
        """The run, with models found from the study's folder.

        Args:
            root: Folder that paths of models are relative to.
            output: Run directory.
        """
        anchors = {
            name: None if model is None else located(model, root)
            for name, model in self.recipe["anchors"].items()
        }
        return RunSettings.parse(
            {
                **self.recipe,
                "model": located(self.recipe["model"], root),
                "anchors": anchors,
                "output": str(output),
            }
        )


def located(model: str, root: Path) -> str:
    """A model's place: in the study's own folder where it is there, else as it is named."""
    return str(root / model) if "://" not in model and (root / model).is_dir() else model


def as_first(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe without settings that came later (`LATER`) and are not set."""
    data = copy.deepcopy(dict(recipe))
    for path in LATER:
        *blocks, name = path.split(".")
        holder: Any = data
        for block in blocks:
            holder = holder.get(block) or {}
        if name in holder and holder[name] is None:
            del holder[name]
    return data


def digest(data: Any) -> str:
    """A short hash of plain data."""
    text = json.dumps(data, sort_keys=True, ensure_ascii=False)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
