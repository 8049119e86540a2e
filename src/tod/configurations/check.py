"""What is worth a look in a configuration before it is launched."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import tod.operators as op
from tod.atlas.compare import ProcedureComparison
from tod.configurations.also_different import NOT_WRITTEN
from tod.configurations.locate import compare
from tod.configurations.point import Located
from tod.configurations.staleness import staleness

__all__ = ["Check", "CheckRemark", "check"]

SCHEMA = "tod.check/1"
Level = Literal["stop", "look", "note"]
"""``stop``: it cannot work as it stands; ``look``: it does other than it seems to; ``note``."""
ORDER: tuple[Level, ...] = ("stop", "look", "note")
GROUPED = (op.GroupMean, op.GroupZScore, op.LeaveOneOut, op.LeaveOneOutZScore)
"""Advantages that compare the rollouts of a prompt."""
UNREAD = {"proposal.size", "action.advantage"}
"""Parts of the operator on which the remark on K rests: left open, nothing is said."""
BASE = "the base"
"""What a remark calls the configuration that this one is checked against."""
RARE, ALL = 0.125, 0.999
"""A pass rate, and the share of the target on passes from which more sharpness changes nothing."""


@dataclass(frozen=True)
class CheckRemark:
    """One thing about a configuration.

    Attributes:
        level: See `Level`.
        setting: As its framework spells it; empty where it is about all of it.
        said: What it does, or fails to do.
    """

    level: Level
    setting: str
    said: str


@dataclass(frozen=True)
class Check:
    """A configuration before its launch.

    Attributes:
        located: The point of the atlas that it is.
        remarks: What is worth a look, what cannot work first.
        unchecked: What could not be checked, and what would allow it.
        against: What changed against another configuration; None: none was named.
        pilot: What rollouts say of it, a `tod.diagnosis/1` document; None: none were named.
    """

    located: Located
    remarks: tuple[CheckRemark, ...]
    unchecked: tuple[str, ...]
    against: ProcedureComparison | None = None
    pilot: Mapping[str, Any] | None = None

    @property
    def worst(self) -> Level | None:
        """The most severe level but notes; None where nothing is worth a look."""
        levels = {remark.level for remark in self.remarks} - {"note"}
        return next((level for level in ORDER if level in levels), None)

    def to_dict(self) -> dict[str, Any]:
        """Plain data of schema ``tod.check/1``."""
        return {
            "schema": SCHEMA,
            "worst": self.worst,
            "remarks": list(map(asdict, self.remarks)),
            "unchecked": list(self.unchecked),
            "located": self.located.to_dict(),
            "against": None if self.against is None else self.against.to_dict(),
            "pilot": self.pilot,
        }


def check(
    located: Located,
    base: Located | None = None,
    pilot: Mapping[str, Any] | None = None,
) -> Check:
    """What is worth a look before a configuration is launched.

    What a base shares is a note: it was launched with it.

    Args:
        located: The configuration.
        base: The one of the last run.
        pilot: Rollouts diagnosed at this configuration's target, as `tod.diagnosis/1`.
    """
    against = None if base is None else compare(located, base)
    own = list(_of_file(located))
    shared = set() if base is None else set(_of_file(base))
    own = [replace(r, level="note") if r in shared and r.level == "look" else r for r in own]
    remarks = [*_of_base(against), *own, *_of_pilot(located, pilot)]
    remarks.sort(key=lambda remark: ORDER.index(remark.level))
    unchecked = []
    if located.framework == "tod":
        unchecked.append("memory and time: tod run CONFIG --dry-run")
    elif located.memory is None:
        unchecked.append("memory: not enough is written of the model and how it is trained")
    if pilot is None:
        unchecked.append("η and K against rollouts: --pilot DUMP")
    if against is None:
        unchecked.append("what changed: --against CONFIG")
    return Check(located, tuple(dict.fromkeys(remarks)), tuple(unchecked), against, pilot)


def _of_file(located: Located) -> Iterator[CheckRemark]:
    """What the configuration alone says."""
    for name in located.undetermined:
        said = "not written here, and it decides what is aimed at"
        yield CheckRemark("look", name.removeprefix("**"), said)
    for key, close in located.near.items():
        yield CheckRemark("look", key, f"no setting known here; did you mean {close}?")
    operator = located.operator
    action = None if operator is None else operator.action
    advantage = action.advantage if isinstance(action, op.PolicyGradient) else None
    compared = isinstance(advantage, GROUPED) and not UNREAD & located.open
    if operator is not None and compared and operator.proposal.size == 1:
        said = "one rollout a prompt leaves nothing to compare it with: no baseline, or no gradient"
        yield CheckRemark("stop", "K = 1", said)
    for idle in located.without_effect:
        yield CheckRemark("look", idle.setting, f"no effect: {idle.why}")
    for change in located.silent_changes:
        if "entropy" in change.name and change.setting.endswith("(default)"):
            yield CheckRemark("look", change.setting, f"nobody set it: {change.effect}")
        elif change.moves_target:
            yield CheckRemark("note", change.setting, change.effect)
    stale = staleness(located)
    if stale is not None:
        look, said = stale
        yield CheckRemark("look" if look else "note", located.updates_by, said)
    yield from _of_sharpness(located)
    if located.memory is not None:
        yield CheckRemark("note", "memory", located.memory.words)


def _of_sharpness(located: Located) -> Iterator[CheckRemark]:
    """A pull so weak that, for rewards of 0 and 1, a stronger one would aim at the same."""
    rule = located.rule
    if rule is None or rule.scale != "constant" or located.law.shape != "exponential":
        return
    enough = math.log(ALL / (1 - ALL) * (1 - RARE) / RARE)
    if rule.eta > 4 * enough:
        said = (
            f"of a prompt solved once in {1 / RARE:g} the target has {ALL:.1%} on passes from a "
            f"sharpness of {enough:.2g} on, at rewards of 0 and 1: any more aims at the same"
        )
        yield CheckRemark("note", f"sharpness {rule.eta:.4g} = 1/β", said)


def _of_base(against: ProcedureComparison | None) -> Iterator[CheckRemark]:
    """What changed against another configuration."""
    if against is None:
        return
    if against.same_target not in ("yes", "unknown"):
        yield CheckRemark("look", "", f"another target than {BASE}: {against.reasons[0]}")
    for row in against.differences:
        if row.part not in ("law", "holds"):
            yield CheckRemark("note", row.part, f"{row.a}; {BASE} has {row.b}")
    for also in against.also:
        if also.what:
            own, theirs = also.a, f"{BASE} has {also.b}"
            if also.key_b not in ("", also.key_a):
                theirs = f"{BASE} has {also.key_b}={also.b}"
            elif also.b == NOT_WRITTEN:
                theirs = f"{NOT_WRITTEN} in {BASE}"
            yield CheckRemark("note", also.key_a or also.what, f"{own}; {theirs}")


def _of_pilot(located: Located, pilot: Mapping[str, Any] | None) -> Iterator[CheckRemark]:
    """What rollouts say of the configuration, and where they are not of it."""
    if pilot is None:
        return
    contexts = pilot["contexts"]
    drawn = contexts["candidates_per_context"]["median"]
    known = located.operator is not None and "proposal.size" not in located.open
    size = located.operator.proposal.size if known and located.operator is not None else None
    if size is not None and drawn != size:
        said = f"the pilot has {drawn:g} rollouts a prompt: what it says is of that K"
        yield CheckRemark("look", f"K = {size}", said)
    for finding in (pilot.get("findings") or {}).get("findings", []):
        if finding.get("kind") == "configured_samples":
            continue  # said above, by the setting
        level: Level = "look" if finding["severity"] in ("critical", "warning") else "note"
        yield CheckRemark(level, "pilot", finding["headline"])
    lost = contexts["zero_information"] / contexts["total"] if contexts["total"] else 0.0
    if lost > 0.5:
        yield CheckRemark("look", "pilot", f"{lost:.0%} of the prompts give no gradient at this K")
    regime = pilot["regime"]
    if regime["verdict"] in ("operator_dominated", "transition"):
        word = regime["verdict"].replace("_", "-")
        reason = f": {regime['reasons'][0]['why']}" if regime["reasons"] else ""
        level = "look" if regime["verdict"] == "operator_dominated" else "note"
        yield CheckRemark(level, "pilot", f"{word}{reason}")
