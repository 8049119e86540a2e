"""From what a framework's reader understood to a located point: the part all of them share."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import tod.operators as op
from tod.atlas.effects import ChangeKind, SilentChange, structural
from tod.atlas.entries import OperatorFamily, recipes
from tod.atlas.law import Law, law_of
from tod.atlas.nearest import nearest
from tod.base import SpecError
from tod.configurations.framework import Settings
from tod.configurations.implied_target import rule_of
from tod.configurations.memory import memory_of
from tod.configurations.point import Located
from tod.configurations.promised import promised
from tod.configurations.staleness import passes_of, updates_by
from tod.configurations.without_effect import NoEffect, without_effect
from tod.procedure import Procedure
from tod.targets import Data, PreferenceTarget, ScalarReward, Target, TargetSpec

REWARD = "reward"
"""What the reward of a foreign configuration is called: no configuration names it."""
SCORE = "preference"
"""The latent score of choices; no configuration names it."""


@dataclass
class Configuration:
    """A configuration as its framework's reader understood it.

    Attributes:
        framework: Which framework.
        method: What the framework calls the method.
        settings: What was read.
        family: Row of Table 2.
        action: A, if it has a composition here.
        target: The target; None if there is no finite one.
        no_target: Why there is none, or why the action has no composition.
        known: Where the action has no composition: rules with its parts that do, and how the
            framework spells what is particular to them (empty: it stands in, nothing is said of
            it); read for silent changes alone.
        stands_in: Names of the parts of those rules that are not the configuration's.
        proposal: μ.
        auxiliary: Terms of the loss beside the action's.
        said: How the framework spells the structural settings, see `structural`.
        changes: What is particular to the framework.
        idle: Settings without effect that only the framework's reader sees.
        notes: What else a reader should know.
        updates: Optimiser steps on every batch.
        epsilon: Added to σ where rewards are z-scored.
        likely: Recipes to prefer among equally near ones.
        law: Its fixed point, if the composition does not say.
    """

    framework: str
    method: str
    settings: Settings
    family: OperatorFamily
    action: op.UpdateRule | None = None
    target: TargetSpec | None = None
    no_target: str = ""
    known: list[tuple[op.UpdateRule, Mapping[str, str]]] = field(default_factory=list)
    stands_in: frozenset[str] = frozenset()
    proposal: op.AnyProposal = field(default_factory=op.Proposal)
    auxiliary: op.Auxiliary = field(default_factory=op.Auxiliary)
    said: dict[str, str] = field(default_factory=dict)
    changes: list[SilentChange] = field(default_factory=list)
    idle: list[NoEffect] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    updates: int | None = 1
    likely: tuple[str, ...] = ()
    law: Law | None = None
    target_family: str | None = None

    def change(self, setting: str, effect: str, kind: ChangeKind = "target") -> None:
        """Note a silent change by the name of a setting."""
        self.changes.append(SilentChange(self.settings.said(setting), effect, kind))

    def refuse(self, why: str) -> None:
        """There is no finite target, and no law of ours: why."""
        self.target, self.no_target, self.law = None, why, Law("other", why=why)

    def change_as_recorded(self) -> None:
        """Note every setting that is on, or set, of which the facts say what it changes."""
        s = self.settings
        kinds = s.facts.kinds
        for name, effect in s.facts.when_on.items():
            if name in s.defaults and s.flag(name):
                self.change(name, effect, kinds.get(name, "target"))
        for name, effect in s.facts.when_set.items():
            if name in s.defaults and s[name] is not None:
                self.change(name, effect, kinds.get(name, "target"))

    def located(self) -> Located:
        """The point of the atlas."""
        whole = None if self.action is None else self._with(self.action)
        operator = None if whole is None else whole.operator
        known = self.target is not None
        law = self.law or (Law("other", why=self.no_target) if whole is None else law_of(whole))
        name, differs = nearest(operator, self.likely) if operator is not None else (None, ())
        placed = self.target if operator is not None else None
        return Located(
            framework=self.framework,
            version=self.settings.facts.version,
            method=self.method,
            law=law,
            operator_family=self.family if name is None else recipes()[name].family,
            recipe=name,
            nearest=differs,
            procedure=whole if known else None,
            operator=operator,
            target_family=self.target_family or (placed.kind if placed else None),
            rule=rule_of(law) if known else None,
            silent_changes=self._silent(),
            without_effect=(*self._without_effect(whole), *self.idle),
            names=self.settings.names,
            promised=promised(self.settings),
            memory=memory_of(self.settings.given, _draws_to_reference(whole, known)),
            unknown=self.settings.unknown,
            near=self.settings.near,
            notes=self._notes(),
            updates=self.updates,
            passes=passes_of(self.framework, self.settings),
            partial=None if whole is not None or not self.known else self._with(self.known[0][0]),
            stands_in=self.stands_in if whole is None else frozenset(),
            updates_by=updates_by(self.framework, self.settings),
        )

    def _without_effect(self, whole: Procedure | None) -> tuple[NoEffect, ...]:
        return without_effect(self.settings, whole, self.updates, self.said.get("clip", ""))

    def _with(self, action: op.UpdateRule) -> Procedure:
        """The triple with that action; without a target π_old stands for one."""
        operator = op.Operator(proposal=self.proposal, action=action, auxiliary=self.auxiliary)
        return Procedure(target=self.target or Target(anchor={"old": 1.0}), operator=operator)

    def _silent(self) -> tuple[SilentChange, ...]:
        """What the structure changes, as far as it is known, and what the framework does."""
        said = {**self.said, **({"eta": "β⁻¹"} if self.settings.computed else {})}
        rules = self.known if self.action is None else [(self.action, {})]
        found = [
            change
            for rule, more in rules
            for change in structural(self._with(rule), {**said, **more}, self.updates or 1)
        ]
        named = [change for change in found if change.setting]
        return tuple(dict.fromkeys([*named, *self.changes]))

    def _notes(self) -> tuple[str, ...]:
        missing = self.target is None or self.action is None
        first = [self.no_target] if self.no_target and missing else []
        stale = []
        if (self.updates or 1) > 1:
            stale.append(
                f"{self.updates} updates on every batch of rollouts: μ is stale for all but the "
                "first"
            )
        return (*first, *self.notes, *stale)


def _draws_to_reference(whole: Procedure | None, known: bool) -> bool:
    """Whether a copy of π_ref is loaded: for a KL, or for log-ratios of pairs with a target."""
    action = None if whole is None else whole.operator.action
    if isinstance(action, op.PolicyGradient):
        return action.pull is not None
    return isinstance(action, op.Preference) and known


def supervised(framework: str, method: str, s: Settings) -> Configuration:
    """The likelihood of data, every token of the batch alike."""
    config = Configuration(framework, method, s, "supervised", target=Data(), updates=None)
    config.action = op.WeightedRegression(weights=op.Uniform(), aggregation=op.TokenMean())
    config.proposal, config.likely = op.DatasetProposal(source="dataset"), ("sft",)
    return config


def pairs(framework: str, method: str, s: Settings, beta: float = 0.0) -> Configuration:
    """A loss of pairs whose labels are choices with unit noise: π_ref·exp(r/β), or no target."""
    config = Configuration(framework, method, s, "preference_surrogate", updates=None)
    config.proposal, config.target_family = op.PairsProposal(source="pairs"), "preference"
    config.notes.append(
        "μ is the data set's unknown author: overlap cannot be computed without its log-probs"
    )
    if beta > 0:
        config.target = PreferenceTarget(utility=SCORE, beta=beta)
    else:
        config.no_target = "no KL coefficient: no finite target"
    return config


def clip(low: float, high: float, cap: float | None) -> op.Clip | op.DualClip:
    """A clip, with a cap where A < 0 if there is one."""
    if cap is None:
        return op.Clip(low=low, high=high)
    return op.DualClip(low=low, high=high, cap=cap)


def log_clip(low: float, high: float) -> op.Clip:
    """A clip of log ρ to [−low, high]: as bounds on ρ they are e^−low and e^high."""
    return op.Clip(low=-math.expm1(-low), high=math.expm1(high))


def cut_weights(kind: object, low: float, high: float) -> op.CorrectionSpec:
    """Weights of a sampler's mismatch: ``icepop``, ``seq-mask-tis``, else cut token by token."""
    if kind == "icepop":
        return op.TokenMask(low=low, high=high)
    if kind == "seq-mask-tis":
        return op.GeometricRejection(low=low, high=high, weighted=True)
    return op.TokenTruncation(floor=low, cap=high)


def reward_tilt(beta: float) -> ScalarReward | None:
    """π_ref·exp(r/β), or None at β = 0."""
    return ScalarReward(eta=1.0 / beta, utility=REWARD) if beta > 0 else None


def auxiliary(entropy: float = 0.0, critic: bool = False) -> op.Auxiliary:
    """An entropy bonus and a critic, if there are any."""
    return op.Auxiliary(
        entropy=op.EntropyBonus(weight=entropy) if entropy > 0 else None,
        critic=op.Critic() if critic else None,
    )


def coefficient(s: Settings, name: str) -> float:
    """A weight of a KL; positive where it is not written.

    Raises:
        SpecError: It is negative: the policy would be pushed away from its anchor.
    """
    value = s.number(name)
    if not value and any(other == name or other.startswith("**") for other in s.computed):
        return 1.0
    if value < 0.0:
        raise SpecError(f"{s.said(name)}: a negative weight pushes away from π_ref: no target.")
    return value


def proposal_of(
    s: Settings, names: Mapping[str, str], prompts: int | None = None, size: int | None = None
) -> op.Proposal:
    """μ = π_old from decoding settings; ``top_k`` of −1, 0 or none keeps everything.

    Args:
        s: The settings.
        names: Of ``prompts``, ``size``, ``temperature``, ``top_p``, ``top_k`` and
            ``max_new_tokens`` in the framework, those that it has.
        prompts: Contexts a batch, where no setting says it.
        size: Candidates a context, likewise.

    Raises:
        SpecError: A temperature of 0: greedy decoding has no μ to weigh by.
    """
    temperature = s.number(names["temperature"])
    if temperature <= 0.0:
        raise SpecError(
            f"{s.said(names['temperature'])}: greedy decoding has no μ to weigh by. Sample with a "
            "positive temperature."
        )
    top_k = int(s.number(names["top_k"])) if "top_k" in names else 0
    return op.Proposal(
        source="old",
        prompts=prompts if prompts is not None else s.whole(names["prompts"]),
        size=size if size is not None else s.whole(names["size"]),
        temperature=temperature,
        top_p=s.number(names["top_p"]),
        top_k=top_k if top_k > 0 else None,
        max_new_tokens=s.whole(names["max_new_tokens"]),
    )
