"""What a run's YAML says: a recipe's triple, and everything needed to run it."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, FiniteFloat, field_validator, model_validator

from tod.arc import ArcConfig, check_connected, check_path
from tod.atlas import Entry
from tod.base import FileName, Spec, SpecError, read_mapping
from tod.base.overrides import apply_override
from tod.engine.consistency import check_operators, frozen_names
from tod.engine.data.task_specs import CountdownTask, TaskSpec
from tod.engine.lora import LoraSpec
from tod.engine.trackers.names import TrackerName
from tod.engine.utilities.utility_specs import (
    CountdownUtility,
    JudgeUtility,
    LogLikelihoodUtility,
    TextUtility,
    UtilitySpec,
)
from tod.operators import (
    NoCredit,
    Operator,
    PolicyGradient,
    Proposal,
    Residual,
    SelectionRule,
    SequentialMonteCarlo,
    UtilityTwist,
    WithinBudget,
)
from tod.procedure import Procedure, moving_anchors
from tod.runs import Manifest
from tod.serving.spec import ServedPolicy, SyncSpec
from tod.targets import TargetSpec

Count = Annotated[int, Field(ge=1, strict=True)]
Positive = Annotated[FiniteFloat, Field(gt=0.0)]


MAY_DIFFER = (
    "output",
    "name",
    "record_token_ids",
    "track",
    "train.sharding",
    *(f"policy.{name}" for name in ("server", "in_flight", "timeout", "patience", "key", "sync")),
)
"""Settings that a resumed run may change; schedules and draws depend on all others."""


LENGTH = "train.steps"
"""What a run that goes on may change where the steps that are done stay what they were."""


class Anchors(Spec):
    """Which models the target's anchor names mean; ``old``, ``mu`` and ``policy`` are known."""

    ref: str | None = None
    """Frozen reference; None: the model as it was at the start."""
    teacher: str | None = None
    """Teacher; None: there is none."""


class Train(Spec):
    """Optimisation: how long, how fast, how exact."""

    steps: Count = 60
    """Batches of candidates."""
    updates_per_batch: Count = 1
    """Optimiser steps on every batch; above 1 the trust region has something to do."""
    learning_rate: Annotated[Positive, Field(le=10.0)] = 3e-4
    """Peak learning rate of AdamW."""
    schedule: Literal["constant", "linear", "cosine"] = "cosine"
    """Decay to zero over the updates of the schedule, after the warm-up."""
    schedule_steps: Count | None = None
    """Steps that the schedule is laid over; None: those of the run. With more of them the run ends
    before the rate is 0, and can be made longer up to there."""
    warmup: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Share of the updates of the schedule over which the rate rises from zero."""
    weight_decay: Annotated[FiniteFloat, Field(ge=0.0)] = 0.0
    """AdamW's decoupled weight decay."""
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (
        0.9,
        0.99,
    )
    """AdamW's averaging constants."""
    epsilon: Annotated[FiniteFloat, Field(ge=1e-6)] = 1e-6
    """AdamW's ε, at least 1e-6: below, rounding noise at a stationary point becomes full steps."""
    max_grad_norm: Positive | None = 1.0
    """Clip of the whole gradient's norm; None: no clip."""
    dtype: Literal["float32", "bfloat16", "float64"] = "float32"
    """Precision of the forward; parameters and moments are float32 at least."""
    seed: int = 0
    """Seed of everything that is drawn."""
    prompt_seed: int | None = None
    """Seed of the order of the prompts alone; None: ``seed``."""
    checkpoint_every: Count = 10
    """Steps between checkpoints; the last step always has one."""
    keep_checkpoints: Count = 2
    """Checkpoints that are kept."""
    max_tokens_per_micro_batch: Count = 16384
    """Most token positions in one forward with gradient."""
    sharding: Literal["fsdp2"] | None = None
    """How several processes hold the models: fsdp2, a slice of every parameter, gradient and moment
    each (docs/scale.md); None: each holds all of them."""

    @model_validator(mode="after")
    def _some_rate(self) -> Self:
        laid = self.schedule_steps
        if laid is not None and self.steps > laid and self.schedule != "constant":
            raise ValueError(
                f"steps {self.steps} go beyond schedule_steps {laid}, where the {self.schedule} "
                "schedule has come to a rate of 0 and nothing more is learned. Raise "
                "schedule_steps, or take `schedule: constant`"
            )
        return self


class Evaluate(Spec):
    """Evaluation on held-out prompts."""

    held_out_prompts: Count = 200
    """Prompts that training never sees."""
    samples_per_prompt: Count = 16
    """Samples of each, drawn at the policy's temperature with its full support."""
    every: Count | None = None
    """Steps between evaluations; None: before the first and after the last step only."""
    utility: str | None = None
    """Which utility is reported, one that is read off the text; None: the target's first."""
    start: bool = True
    """Whether to evaluate before the first step; not needed where another run of it did."""


class ProbeSettings(Spec):
    """Candidates of the reference, drawn once and scored under the policy every few steps."""

    prompts: Count = 16
    """Prompts of the probe: the first of the training order."""
    size: Annotated[int, Field(ge=2, strict=True)] = 8
    """Candidates of each."""
    every: Count | None = None
    """Steps between readings; None: as often as ``share`` allows."""
    share: Annotated[Positive, Field(le=1.0)] = 0.01
    """Most that the probe may cost, its draw included, as a share of the operations of the run;
    not asked where ``every`` is set."""


class Search(Spec):
    """Selection at test time: what is searched, and how the K-scaling curve is found."""

    contexts: Count = 256
    """Prompts that are searched; all there are where the split has fewer."""
    split: Literal["held_out", "train", "all"] = "held_out"
    """Which prompts of the task; ``all``: both, in the order of their rows."""
    answer: str | None = None
    """Regular expression that finds a completion's answer, for votes: its last match, or the
    first group of it. None: the last ``<answer>``, else the last ``\\boxed{}``, else all of it."""
    similarity: Literal["token_f1", "exact"] = "token_f1"
    """G of minimum Bayes risk: F1 of the multisets of words and signs, or the same text."""
    subsets: Count = 64
    """Subsets of every size that the curve averages over in a context, at least."""
    dtype: Literal["float32", "bfloat16", "float64"] = "float32"
    """Precision of the models."""
    seed: int = 0
    """Seed of everything that is drawn."""

    @model_validator(mode="after")
    def _readable(self) -> Self:
        try:
            re.compile(self.answer or "")
        except re.error as error:
            raise ValueError(f"answer {self.answer!r} is no regular expression: {error}") from None
        return self


class RunSettings(Spec):
    """A recipe with everything needed to run it; YAML maps one to one onto it."""

    name: FileName
    """What people call the run; its directory begins with it unless ``output`` says another."""
    atlas: Entry | None = Field(default=None, exclude=True)
    """What the atlas knows of the method; a run neither reads nor records it."""
    model: str = "tod://tiny"
    """Model to start from: ``tod://`` name, directory, or hub id."""
    policy: ServedPolicy | None = None
    """Servers of this model that draw the candidates; None: this process draws them."""
    peft: LoraSpec | None = None
    """Adapters to train in the place of the weights."""
    anchors: Anchors = Anchors()
    """What the anchor names mean."""
    task: TaskSpec = CountdownTask()
    """Where prompts come from."""
    utilities: tuple[UtilitySpec, ...] = (CountdownUtility(name="correct"),)
    """What is measured of a completion; the target says which of them it tilts by."""
    target: TargetSpec
    """q*."""
    operator: Operator
    """(μ, A)."""
    operators: dict[str, Operator] = Field(default_factory=dict)
    """Further operators by name that a controller may authorise (``arc.operators``); the one
    above is called ``main``."""
    train: Train = Train()
    """Optimisation."""
    evaluate: Evaluate | None = Evaluate()
    """Evaluation; None: never."""
    search: Search | None = None
    """Selection at test time, when the action selects: filled in then, and None otherwise."""
    arc: ArcConfig | None = None
    """Adaptive regime controller; None: knobs stay as declared."""
    probe: ProbeSettings | None = None
    """What the policy no longer samples is read off candidates of the reference; None: never."""
    output: Path | None = None
    """Run directory; None: one of its own in ``runs``, named by recipe, overrides and an id."""
    track: tuple[TrackerName, ...] = ()
    """Trackers that every step is also sent to; none uses a network unless its variables say so."""
    record_token_ids: bool = True
    """Whether ``rollouts/`` holds the token ids of prompts and completions."""

    @field_validator("utilities", mode="after")
    @classmethod
    def _some(cls, given: tuple[UtilitySpec, ...]) -> tuple[UtilitySpec, ...]:
        if not given:
            raise ValueError(
                "the list is empty, and evaluation reports one even where the target reads none: "
                "name one, such as `utilities: [{name: correct, kind: exact_match}]`"
            )
        return given

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        known = {utility.name for utility in self.utilities}
        if len(known) < len(self.utilities):
            raise ValueError("two rewards under `utilities` share a name: give each its own")
        if not self.text_utilities:
            raise ValueError(
                "every reward is a log-likelihood or a judge's, and what evaluation reports is "
                "read off the text: add one that is, such as exact_match"
            )
        if self.reported not in {utility.name for utility in self.text_utilities}:
            raise ValueError(
                f"evaluate.utility names {self.reported!r}, and evaluation reads off the text: "
                f"{', '.join(utility.name for utility in self.text_utilities)}"
            )
        operators = {"main": self.operator, **self.operators}
        check_operators(operators, self.target.target, frozenset(known), self.anchors.teacher)
        if "teacher" in self.target.target.names and self.anchors.teacher is None:
            raise ValueError("the target names `teacher`: say which model with `anchors.teacher`")
        if "policy" in self.target.target.names:
            raise ValueError("an anchor cannot be `policy`: it moves at every update. Use `old`")
        _check_purpose(self)
        _check_served(self)
        _check_particles(self)
        _check_judges(self)
        if self.selects and self.search is None:
            object.__setattr__(self, "search", Search())
        if self.arc is not None:
            _check_arc(self)
        if self.probe is not None:
            _check_probe(self)
        return self

    @property
    def text_utilities(self) -> tuple[TextUtility, ...]:
        """Utilities that are read off the completions by themselves."""
        models = (LogLikelihoodUtility, JudgeUtility)
        return tuple(u for u in self.utilities if not isinstance(u, models))

    @property
    def asked(self) -> tuple[JudgeUtility, ...]:
        """Utilities that servers are asked for."""
        return tuple(u for u in self.utilities if isinstance(u, JudgeUtility))

    @property
    def judges(self) -> dict[str, str]:
        """Models whose log-likelihood is a utility, by ``utility.NAME``."""
        judging = [u for u in self.utilities if isinstance(u, LogLikelihoodUtility)]
        return {f"utility.{u.name}": u.model for u in judging}

    @property
    def reported(self) -> str:
        """The utility that evaluation reports: the one named, else the target's first of a text."""
        if self.evaluate is not None and self.evaluate.utility is not None:
            return self.evaluate.utility
        known = [utility.name for utility in self.text_utilities]
        aimed = [name for name in self.target.target.utilities if name in known]
        return (aimed or known)[0]

    @property
    def selects(self) -> bool:
        """Whether the action selects at test time instead of training."""
        return isinstance(self.operator.action, SelectionRule)

    @property
    def unloaded(self) -> bool:
        """Whether servers draw and nothing is scored by the model here: its weights stay away.

        So it is where the log μ of the draws is the model's own log-prob, or no anchor asks for it.
        """
        if self.policy is None or not self.selects:
            return False
        target, proposal = self.target.target, self.operator.proposal
        own = "old" in target.needs() or self.model in self.frozen.values()
        plain = getattr(proposal, "top_p", 1.0) == 1.0 and proposal.top_k is None
        return not own or (plain and proposal.scoring_temperature == proposal.temperature)

    @property
    def searching(self) -> Search:
        """How it searches; asked only where the action selects."""
        assert self.search is not None  # noqa: S101 - filled in when the action selects
        return self.search

    @property
    def steps(self) -> int:
        """Batches of candidates of the whole run, at most."""
        if self.search is None:
            return self.train.steps
        return -(-self.search.contexts // self.operator.proposal.prompts)

    @property
    def seed(self) -> int:
        """Seed of everything that is drawn."""
        return self.train.seed if self.search is None else self.search.seed

    @property
    def prompt_seed(self) -> int:
        """Seed of the order of the prompts."""
        told = self.train.prompt_seed if self.search is None else None
        return self.seed if told is None else told

    @property
    def held_dtype(self) -> str:
        """Precision in which models are held: of what is trained, float32 at least."""
        if self.search is not None:
            return self.search.dtype
        return "float64" if self.train.dtype == "float64" else "float32"

    @property
    def every_operator(self) -> tuple[Operator, ...]:
        """The operators that may be in force, the recipe's own first."""
        return (self.operator, *self.operators.values())

    @property
    def frozen(self) -> dict[str, str]:
        """Models that never move, by name: anchors, samplers, teachers and judges."""
        anchors = {"ref": self.anchors.ref or self.model, "teacher": self.anchors.teacher or ""}
        names = frozen_names(self.target.target, self.every_operator)
        return {name: anchors[name] for name in names} | self.judges

    def operator_named(self, name: str) -> Operator:
        """The operator of that name; ``main`` is the recipe's own."""
        return self.operator if name == "main" else self.operators[name]

    @property
    def procedure(self) -> Procedure:
        """The triple."""
        return Procedure(target=self.target, operator=self.operator)

    @property
    def directory(self) -> Path:
        """Where the run is written; until it has a place (`tod.engine.place`), how that begins."""
        return self.output or Path("runs") / self.name

    @classmethod
    def load(cls, path: Path, overrides: tuple[str, ...] = ()) -> Self:
        """The settings of a YAML file with dotted overrides, ``operator.proposal.size=16``.

        Raises:
            SpecError: Unreadable, unknown keys, impossible values; each with its path.
        """
        data = read_mapping(path, "A recipe is a mapping with `target` and `operator`.")
        for override in overrides:
            apply_override(data, override)
        return cls.parse(data, f"{path} with {', '.join(overrides)}" if overrides else str(path))

    @classmethod
    def of_run(cls, path: Path, overrides: tuple[str, ...] = ()) -> Self:
        """The settings of a run that is there, with dotted overrides, to go on with it.

        Raises:
            RunError: It is no run.
            SpecError: It was written by a version whose settings are not these, or an override
                means nothing.
        """
        data = {**Manifest.read(path / "manifest.json").recipe, "output": str(path)}
        for override in overrides:
            apply_override(data, override)
        return cls.parse(data, str(path))

    def plain(self) -> dict[str, Any]:
        """The resolved settings as plain data, as the manifest keeps them."""
        return self.model_dump(mode="json")


def read_today(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe of a manifest with every setting that versions since have added.

    Each at what the recipe of that version means by leaving it out; as it stands where this version
    does not read it.
    """
    try:
        return RunSettings.parse(recipe).plain()
    except SpecError:
        return dict(recipe)


def _check_purpose(settings: RunSettings) -> None:
    """Refuse blocks of training in a search, and of search in training."""
    kind = settings.operator.action.kind
    if not settings.selects:
        if settings.search is not None:
            raise ValueError(
                f"`search` is for actions that select at test time, and {kind!r} trains: "
                "remove the block, or select (best_of_k, resample, …)"
            )
        for name, operator in settings.operators.items():
            if isinstance(operator.action, SelectionRule):
                raise ValueError(
                    f"operators.{name} selects at test time ({operator.action.kind!r}) in a run "
                    "that trains: search in a run of its own, on the trained model"
                )
        return
    idle = {
        "train": settings.train != Train(),
        "evaluate": settings.evaluate not in (None, Evaluate()),
        "peft": settings.peft is not None,
        "operators": bool(settings.operators),
        "arc": settings.arc is not None,
        "probe": settings.probe is not None,
    }
    proposal = settings.operator.proposal
    if not isinstance(proposal, Proposal) or getattr(proposal, "dynamic", None) is not None:
        raise ValueError(
            "a search draws K rollouts of every prompt from one model: give a proposal with "
            "source old, ref or teacher, and without `dynamic`"
        )
    for name in (name for name, given in idle.items() if given):
        raise ValueError(
            f"`{name}` is for training, and {kind!r} selects at test time: remove the block "
            "(seed, dtype and the number of prompts are in `search`)"
        )


def _check_probe(settings: RunSettings) -> None:
    """Refuse a probe of a target that is not b·exp(ηU) from the reference."""
    target = settings.target.target
    if target.selectivity is None and not target.tilts:
        raise ValueError(
            "`probe` reads how far the policy has come from b to b·exp(ηU), and this target tilts "
            "by no utility: remove `probe`, or give the target one"
        )
    if target.support:
        raise ValueError(
            "`probe` reads how far the policy has come from b to b·exp(ηU), and this target "
            "excludes completions altogether: remove `probe`, or use a finite eta"
        )
    if "teacher" in target.names:
        raise ValueError(
            "`probe` draws from the reference, and this target is anchored at a teacher: remove "
            "`probe`"
        )


def _check_served(settings: RunSettings) -> None:
    """Refuse servers where draws of something else than the model are asked, or whole weights."""
    if settings.policy is None:
        return
    for name, operator in {"operator": settings.operator, **settings.operators}.items():
        proposal = operator.proposal
        if "old" not in proposal.samplers:
            raise ValueError(
                f"`policy` serves `model`, and {name}.proposal.source is {proposal.source!r}: "
                "use source old"
            )
        if proposal.refresh != settings.operator.proposal.refresh:
            raise ValueError(
                f"`policy` is refreshed by one schedule, and that of {name}.proposal differs: "
                "give all operators the same `refresh`"
            )
    if settings.selects and settings.policy.sync != SyncSpec():
        raise ValueError(
            "`policy.sync` is for training, and a search sends no weights: remove the block"
        )
    if settings.train.sharding is not None:
        raise ValueError(
            "`policy` names servers, which are sent whole adapters, and `train.sharding` slices "
            "them: remove one of the two"
        )
    if not settings.selects and settings.peft is None:
        raise ValueError(
            "`policy` names servers and this recipe trains all weights: servers are sent adapters. "
            "Add `peft: {kind: lora}`, or remove `policy`"
        )


def _check_particles(settings: RunSettings) -> None:
    """Refuse sequential Monte Carlo where nothing can stop in the middle of an answer, or weigh."""
    rule = settings.operator.action
    if not isinstance(rule, SequentialMonteCarlo):
        return
    if settings.policy is not None:
        raise ValueError(
            "`policy` names servers, which draw whole answers, and smc stops in the middle of "
            "them: remove `policy`, or use action resample"
        )
    if "mu" in settings.target.target.names:
        raise ValueError(
            "the target is anchored at `mu`, and smc resamples: what its answers are drawn from "
            "depends on the twist. Anchor the target at `old`"
        )
    if settings.asked:
        raise ValueError("smc weighs every answer it draws: a judge may leave some out. Remove it")
    texts = {utility.name for utility in settings.text_utilities}
    if isinstance(rule.twist, UtilityTwist) and rule.twist.utility not in texts:
        raise ValueError(
            f"the twist reads reward {rule.twist.utility!r} off unfinished answers, and "
            f"`utilities` has {', '.join(sorted(texts))}: add it there, or mend the twist"
        )
    if rule.guide == "teacher" and settings.anchors.teacher is None:
        raise ValueError("the twist asks `teacher`: say which model with `anchors.teacher`")


def _check_judges(settings: RunSettings) -> None:
    """Refuse judges where a candidate cannot be left out that none of them judged."""
    if not settings.asked:
        return
    name = settings.asked[0].name
    for where, operator in {"operator": settings.operator, **settings.operators}.items():
        if not isinstance(operator.proposal, Proposal):
            raise ValueError(
                f"reward {name!r} is a judge's, which may stay unknown, and {where}.proposal."
                f"source {operator.proposal.source!r} cannot leave rollouts out: use source old, "
                "ref or teacher"
            )
    if settings.probe is not None:
        raise ValueError(
            f"reward {name!r} is a judge's, which may stay unknown, and `probe` needs it of every "
            "rollout: remove `probe`"
        )


def _check_arc(settings: RunSettings) -> None:
    assert settings.arc is not None  # noqa: S101 - checked by the caller
    unknown = [name for name in settings.arc.operators if name not in {"main", *settings.operators}]
    if unknown:
        raise ValueError(
            f"arc.operators names {unknown[0]!r}: known are main"
            f"{''.join(', ' + name for name in settings.operators)} (add it under `operators`)"
        )
    action = settings.operator.action
    if isinstance(getattr(action, "weights", None), WithinBudget):
        raise ValueError(
            "weights kl_budget find η in every step, so that `arc` would turn nothing: use weights "
            "`target`, or remove `arc`"
        )
    if all(
        isinstance(settings.operator_named(name).action, NoCredit)
        for name in settings.arc.operators or ("main",)
    ):
        raise ValueError(
            f"arc.knob = {settings.arc.knob!r} but action 'auxiliary' does not read the target: "
            "the controller would turn a knob that is connected to nothing. Use an action that "
            "gives credit, or remove `arc`"
        )
    gradient = action if isinstance(action, PolicyGradient) else None
    pull = gradient.pull if gradient is not None else None
    at = f":{pull.at}" if isinstance(pull, Residual) else ""
    check_connected(
        settings.arc,
        advantage=gradient.advantage.kind if gradient is not None else "weights",
        updates_per_batch=settings.train.updates_per_batch,
        pull=f"{pull.kind}{at}" if pull is not None else None,
        refresh=None if settings.operator.proposal.refresh is None else 1,
        target_kind=settings.target.kind,
        beta=settings.target.knobs().get("beta"),
    )
    check_path(settings.arc, moving_anchors(settings.target.target))
