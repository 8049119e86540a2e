"""Frameworks whose reader is a file of facts: rules for every part of the triple."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import tod.configurations.configuration as common
import tod.operators as op
from tod.atlas.effects import SilentChange
from tod.atlas.law import Law
from tod.base import SpecError
from tod.configurations.configuration import Configuration
from tod.configurations.framework import ANY, Computed, Facts, Settings, facts, flat
from tod.configurations.point import Located
from tod.configurations.rules import Cases, FrameworkReader, Rules, chosen, equals, filled, holds
from tod.configurations.trl import locate_trl
from tod.configurations.versions import facts_at

__all__ = ["locate_declared", "method_of", "prepared"]

PARTS = ("level", "trust_region", "advantage", "aggregation", "pull", "correction")
"""Parts of a policy gradient."""
PROPOSAL = ("prompts", "size", "temperature", "top_p", "top_k", "max_new_tokens")
SECTION = "section"
"""Value of a name that is a section with settings in it."""
COUNTS = ("prompts", "size", "max_new_tokens")
STANDS_IN = {"prompts": 1, "size": 2, "temperature": 1.0, "top_p": 1.0, "max_new_tokens": 1}
"""Of a proposal's part that is not known; it is marked so."""
ALL_TOKENS = 1_000_000
"""A top-k from which on nothing is cut."""


def reading_of(framework: str) -> FrameworkReader:
    """How a framework is read.

    Raises:
        SpecError: It has a reader of its own.
    """
    found = facts(framework).reading
    if found is None:
        raise SpecError(f"{framework}: it has a reader of its own, not one of its facts.")
    return found


def method_of(
    framework: str, values: Mapping[str, Any], method: str | None = None, where: str = ""
) -> str:
    """Key of the method that settings are of.

    Args:
        framework: One that is read by its facts.
        values: Flat settings.
        method: As asked.
        where: The file, for messages.

    Raises:
        SpecError: No method of that name, or the settings do not say which.
    """
    reading, known = reading_of(framework), facts(framework)
    if method in reading.methods:
        return str(method)
    for name in reading.selecting:
        if isinstance(values.get(name), Computed):
            raise SpecError(f"{where}: {name} (= {values[name]}) decides the method. Say --method.")
    renamed = Settings.of(framework, "", values).given
    sections = {name.partition(".")[0]: SECTION for name in renamed if "." in name}
    case = chosen(reading.method, {**sections, **reading.selecting, **sections, **renamed}.get)
    said = None if case is None else filled(case.then, renamed.get)
    if said in reading.methods:
        return str(said)
    if case is not None and case.outside:
        raise SpecError(f"{where}: {reading.called}: {case.outside}")
    said = ", ".join(
        f"{name}={renamed.get(name, reading.selecting[name])}" for name in reading.selecting
    )
    raise SpecError(
        f"{where}: {reading.called} {known.version}: no reader for {said or 'it'}. Known: "
        f"{', '.join(reading.methods)}."
    )


def prepared(framework: str, values: Mapping[str, Any], method: str) -> dict[str, Any]:
    """Flat settings, those without a default among them as what is not known.

    Args:
        framework: One that is read by its facts.
        values: Settings, nested or flat.
        method: Key of the method.
    """
    reading, known = reading_of(framework), facts(framework)
    given = flat(values)
    spelled = {known.renamed.get(name, name) for name in given}
    missing = {
        name: Computed(why)
        for name, why in reading.required.items()
        if name in known.defaults[method] and name not in spelled
    }
    sections = {
        name: SECTION
        for name in known.defaults[method]
        if name not in given and any(other.startswith(f"{name}.") for other in given)
    }
    layers = [str(one) for one in given.get("defaults") or [] if reading.harmless]
    unread = [one for one in layers if not re.search(reading.harmless, one)]
    named = [name for name in reading.bags if given.get(name) is not None]
    files = {f"{ANY}{name}={given[name]}": Computed(str(given[name])) for name in named}
    files |= {f"{ANY}{name}": Computed(name) for name in unread}
    rest = {name: value for name, value in given.items() if name not in named}
    return {**missing, **sections, **rest, **files}


def locate_declared(
    framework: str, values: Mapping[str, Any], method: str, known: Facts | None = None
) -> Located:
    """A configuration as a point of the atlas.

    Args:
        framework: One that is read by its facts.
        values: Flat settings.
        method: Key of the method.
        known: What is recorded of the framework, of another release.
    """
    s = Settings.of(framework, method, values, known)
    rules = reading_of(framework).methods[method]
    if rules.kind == "trl":
        return _of_trl(framework, s, rules)
    made = _Made(framework, s, rules)
    build = {
        "policy_gradient": made.policy_gradient,
        "pairs": made.pairs,
        "supervised": made.supervised,
        "outside": made.nothing,
        "not_read": made.nothing,
    }
    return made.located(build[rules.kind]())


@dataclass
class _Made:
    """A configuration in the making.

    Attributes:
        framework: Whose.
        s: Its settings.
        rules: Of its method.
        outside: Part: why it has no composition, or is not known.
        open: Parts that are not known, as `Located.open` names them.
    """

    framework: str
    s: Settings
    rules: Rules
    outside: dict[str, str] = field(default_factory=dict)
    open: set[str] = field(default_factory=set)

    @cached_property
    def method(self) -> str:
        """The method's name with what says more of it."""
        detail = self.rules.detail
        return f"{self.s.method}: {self.s[detail]}" if detail else self.s.method

    def part(self, name: str, cases: Cases | None = None) -> Any:
        """A part by its rules; what is not in the algebra, or not known, is noted.

        Args:
            name: Which part.
            cases: Its rules, where no field of `Rules` of that name has them.
        """
        case = chosen(getattr(self.rules, name) if cases is None else cases, self.s.__getitem__)
        if case is None:
            setting = self.rules.named.get(name, "").split()[:1]
            self.outside[name] = (
                self.s.why_not(setting[0]) if setting else f"{name}: not known here"
            )
            return None
        said = ", ".join(map(self.s.said, case.when)) or self.said(name)
        if case.outside:
            self.outside[name] = f"{said}: not in the algebra: {case.outside}".removeprefix(": ")
        elif case.unknown:
            self.outside[name] = f"{said}: not known here: {case.unknown}".removeprefix(": ")
        return filled(case.then, self.s.__getitem__)

    def said(self, part: str) -> str:
        """How the framework spells a part: its settings that have a value."""
        names = self.rules.named.get(part, "").split()
        return ", ".join(self.s.said(name) for name in names if self.s[name] is not None)

    def policy_gradient(self) -> Configuration:
        """The reward of rollouts."""
        beta = self.beta()
        config = self.begun(str(self.part("family") or "verifier_rl"))
        spec = {name: self.part(name) for name in PARTS}
        spec = {name: value for name, value in spec.items() if name not in self.outside}
        if beta <= 0.0:
            self.outside.pop("pull", None)
            spec["pull"] = None
        config.action = op.PolicyGradient.model_validate({"kind": "policy_gradient", **spec})
        config.target = common.reward_tilt(beta) if "pull" in spec else None
        if beta <= 0.0:
            config.no_target = f"{self.said('pull') or 'no KL'}: no finite target"
        config.proposal = self.proposal()
        config.updates = self.updates()
        entropy = float(self.part("entropy") or 0.0)
        config.auxiliary = common.auxiliary(entropy, critic=bool(self.part("critic")))
        config.likely = tuple(self.part("likely") or ())
        return config

    def pairs(self) -> Configuration:
        """A loss of pairs, or of single answers of two kinds."""
        reference = bool(self.part("reference"))
        config = common.pairs(
            self.framework, self.method, self.s, self.beta() if reference else 0.0
        )
        if not reference:
            config.no_target = "no reference policy: nothing is tilted"
            config.law = Law("climbs", why="no reference policy")
        loss = self.part("loss")
        if "loss" not in self.outside:
            config.action = op.Preference.model_validate({"kind": "preference", "loss": loss})
        if isinstance(loss, dict) and loss.get("kind") == "kto":
            config.proposal = op.DatasetProposal(source="dataset")
        config.likely = tuple(self.part("likely") or ())
        return config

    def supervised(self) -> Configuration:
        """The likelihood of data."""
        config = common.supervised(self.framework, self.method, self.s)
        self.part("weights")
        sharpened = bool(self.part("by_probability"))
        if "weights" in self.outside:
            config.action = None
        elif sharpened and config.action is not None:
            config.action, config.likely = config.action.revised(by_probability=True), ("dft",)
        return config

    def nothing(self) -> Configuration:
        """A method of which nothing is in the algebra."""
        config = self.begun(str(self.part("family") or "verifier_rl"))
        how = "not in the algebra" if self.rules.kind == "outside" else "not read here"
        config.refuse(f"{self.method}: {how}: {self.rules.why}")
        return config

    def begun(self, family: str) -> Configuration:
        """A configuration of the method."""
        return Configuration(self.framework, self.method, self.s, family)  # type: ignore[arg-type]

    def beta(self) -> float:
        """Weight of the KL.

        Raises:
            SpecError: It is negative.
        """
        value = float(self.part("beta") or 0.0)
        if value < 0.0:
            raise SpecError(f"{self.said('beta')}: a negative weight pushes away from π_ref.")
        return value

    def proposal(self) -> op.Proposal:
        """μ = π_old; what of it is not known is marked so.

        Raises:
            SpecError: Greedy decoding, or a size that is no whole number.
        """
        made: dict[str, Any] = {}
        for name in PROPOSAL:
            cases = self.rules.proposal.get(name)
            value = None if cases is None else self.part(f"proposal.{name}", cases)
            if cases is None or f"proposal.{name}" in self.outside:
                self.outside.pop(f"proposal.{name}", None)
                self.open.add(f"proposal.{name}")
                value = STANDS_IN.get(name)
            made[name] = _whole(self.said(name) or name, value) if name in COUNTS else value
        temperature = float(made["temperature"])
        if temperature <= 0.0:
            raise SpecError(f"{self.said('temperature')}: greedy decoding has no μ to weigh by.")
        top_k = int(float(made["top_k"] or 0))
        made["top_k"] = top_k if 0 < top_k < ALL_TOKENS else None
        made["top_p"] = 1.0 if made["top_p"] is None else made["top_p"]
        policy = self.rules.proposal.get("policy_temperature")
        if policy is not None:
            made["policy_temperature"] = self.part("proposal.policy_temperature", policy)
        return op.Proposal.model_validate({"source": "old", **made})

    def updates(self) -> int | None:
        """Optimiser steps on every batch; None where it is not known."""
        value = self.part("updates")
        if value is None:
            self.outside.pop("updates", None)
            self.open.add("updates")
            return None
        return max(1, int(float(value)))

    def located(self, config: Configuration) -> Located:
        """The point, with what is outside named and nothing claimed of it."""
        self.spelled(config)
        refused = self.part("refuse")
        config.change_as_recorded()
        whys = list(self.outside.values())
        if whys:
            config.no_target, config.law = whys[0], Law("other", why=whys[0])
            config.notes = [*whys[1:], *config.notes]
            config.known = [] if config.action is None else [(config.action, {})]
            config.action = None
            config.stands_in = frozenset(f"action.{name}" for name in self.outside if name in PARTS)
        elif refused:
            config.refuse(str(refused))
        found = config.located()
        if self.rules.kind in ("outside", "not_read"):  # none of its settings is looked at
            found = replace(found, unknown=(), near={})
        return replace(found, open=found.open | self.open)

    def spelled(self, config: Configuration) -> None:
        """How the framework spells the parts, what it changes without saying so, and notes."""
        for part in self.rules.named:
            said = self.said(part)
            away = "trust_region" if part == "clip" else part
            config.said[part] = "" if away in self.outside else said
        if self.part("bypass"):
            config.said["clip"] = ""
        if "clip" in config.said:
            config.said["clip"] = config.said["clip"].replace(" (default)", "")
        for remark in self.rules.changes:
            if holds(remark.when, self.s.__getitem__):
                said = ", ".join(self.s.said(name) for name in remark.setting.split())
                config.changes.append(SilentChange(said, remark.effect, remark.kind))
        config.notes += [
            note.effect for note in self.rules.notes if holds(note.when, self.s.__getitem__)
        ]


def _whole(name: str, value: Any) -> int:
    """A whole number of at least 1.

    Raises:
        SpecError: It is none.
    """
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = 0.0
    if not number.is_integer() or number < 1:
        raise SpecError(f"{name}: {value!r} is no whole number of at least 1.")
    return int(number)


def _of_trl(framework: str, s: Settings, rules: Rules) -> Located:
    """A configuration that TRL trains: its own fields, over the release that is pinned."""
    values = dict(rules.constant)
    for here, there in rules.fields.items():
        value = s.given.get(here, s.defaults[here])
        if value is not None and not equals(value, "null"):
            values[there] = s[here] if isinstance(value, Computed) else value
    known = facts_at("trl", rules.release, rules.method, values)
    found = locate_trl(values, rules.method, "", known)
    besides = chosen(rules.unread, s.__getitem__)
    if besides is not None and besides.unknown:
        found = _without_law(found, f"{', '.join(map(s.said, besides.when))}: {besides.unknown}")
    back = {there: here for here, there in rules.fields.items()}
    return replace(
        found,
        framework=framework,
        version=s.facts.version,
        method=f"{s.method}: TRL {rules.release} {rules.method}",
        silent_changes=tuple(
            replace(change, setting=_renamed(change.setting, back))
            for change in found.silent_changes
        ),
        without_effect=tuple(
            replace(idle, setting=said)
            for idle in found.without_effect
            for said in [_renamed(idle.setting, back)]
            if any(name.partition("=")[0] in s.given for name in said.split(", "))
        ),
        names=s.names,
        unknown=s.unknown,
        near=s.near,
        notes=(*found.notes, *(n.effect for n in rules.notes if holds(n.when, s.__getitem__))),
    )


def _without_law(found: Located, why: str) -> Located:
    """A point of which what it aims at is not known."""
    law = Law("other", why=why)
    whole = found.procedure or found.partial
    return replace(
        found,
        law=law,
        procedure=None,
        operator=None,
        partial=whole,
        rule=None,
        recipe=None,
        nearest=(),
        notes=(why, *found.notes),
    )


def _renamed(said: str, back: Mapping[str, str]) -> str:
    """Settings ``a=1, b=2`` under the names of the file."""
    pairs = (one.partition("=") for one in said.split(", "))
    return ", ".join(f"{back.get(name, name)}{sign}{value}" for name, sign, value in pairs)
