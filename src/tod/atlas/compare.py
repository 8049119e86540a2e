"""Comparing two procedures: same target? same proposal? what differs, and is a swap licensed?"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from tod.atlas.effects import SilentChange, structural
from tod.atlas.entries import Recipe, recipe
from tod.atlas.grid import row_of
from tod.atlas.law import Law, close, exponents, follows, law_of
from tod.atlas.nearest import number
from tod.base.displayed import Displayed
from tod.operators import Operator, UpdateRule, WeightedRegression, WithinBudget
from tod.procedure import Procedure
from tod.targets import Target

if TYPE_CHECKING:
    import polars as pl

    from tod.regimes import Regime

SameTarget = Literal["yes", "no", "one_update_only", "unknown"]
SIZES = (
    "proposal.prompts",
    "proposal.size",
    "proposal.max_new_tokens",
    "proposal.utility",
    "auxiliary.critic",
    "updates a batch",
    "passes over a batch",
)
"""Parts that make no other procedure: how much is computed, and what a utility is called."""
ONE_PROCEDURE = "one target and one action: the same procedure but for its sizes"


@dataclass(frozen=True)
class ProcedureDifference:
    """A part of which the two sides say different things."""

    part: str
    a: str
    b: str


@dataclass(frozen=True)
class Also:
    """A setting that two files write differently and that no part of a triple holds.

    Attributes:
        what: ``learning rate``, ``model``, ``data``…; empty: none of those, and no value is said.
        key_a: What the first file calls it; empty: it has none of that kind.
        a: Its value there, or that it is not written or not known.
        key_b: What the second calls it.
        b: Its value there.
    """

    what: str
    key_a: str
    a: str
    key_b: str
    b: str


@dataclass(frozen=True, repr=False)
class ProcedureComparison(Displayed):
    """Whether two procedures aim at one thing.

    Attributes:
        a: Name of the first.
        b: Name of the second.
        same_target: ``yes``: iterated, both converge to one law; ``one_update_only``: one update of
            either aims at the same, their fixed points differ or do not exist; ``unknown``: a
            setting that decides is not known.
        same_proposal: Whether candidates come about alike.
        differences: Part by part.
        swap_licensed: False where no target is shared; on data true only if it is and the regime
            is swap-stable. None without data, or if the data do not tell.
        reasons: One sentence each, the deciding one first.
        cells: Row and column of the atlas of both; None where one has none, or it is not known.
        also: Settings of two files that differ too: rates, models, data, batches, seeds.
    """

    a: str
    b: str
    same_target: SameTarget
    same_proposal: bool | None
    differences: tuple[ProcedureDifference, ...]
    swap_licensed: bool | None
    reasons: tuple[str, ...]
    cells: tuple["tuple[str, str] | None", "tuple[str, str] | None"] = (None, None)
    also: tuple[Also, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        lists = {
            "differences": list(map(asdict, self.differences)),
            "reasons": list(self.reasons),
            "also": list(map(asdict, self.also)),
        }
        data = {"schema": "tod.compare/1", **asdict(self), **lists}
        return {name: value for name, value in data.items() if name != "cells"}

    def to_frame(self) -> "pl.DataFrame":
        """A row a part in which the two differ: ``part``, what ``a`` says, what ``b`` says."""
        import polars as pl

        from tod.base.frames import frame_of

        columns = dict.fromkeys(("part", "a", "b"), pl.String)
        return frame_of(list(map(asdict, self.differences)), columns)


@dataclass(frozen=True)
class Side:
    """One side of a comparison: what of a procedure the question needs.

    Attributes:
        name: What to call it.
        law: Its fixed point.
        operator: (μ, A), if known.
        target: q* of one update, if there is one.
        claims: What the atlas claims of it, if it is a named recipe.
        changes: Its silent changes, as locating it names them.
        names: What a comparison assumes equal, by what this side calls it.
        undetermined: Settings that decide and are not known of it.
        updates: Optimiser steps on every batch of rollouts; None if it is not known.
        passes: How often each rollout of a batch is used; None if it is not known.
        cell: Row and column of the atlas; None where it has none, or it is not known.
        assumed: What its law rests on though nothing says it, in a sentence; empty: nothing.
        framework: Whose configuration file it is; empty: it is none.
        written: Flat settings of that file, as it writes them.
    """

    name: str
    law: Law
    operator: Operator | None
    target: Target | None
    claims: str | None = None
    changes: tuple[SilentChange, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    undetermined: tuple[str, ...] = ()
    updates: int | None = None
    passes: int | None = None
    cell: tuple[str, str] | None = None
    assumed: str = ""
    framework: str = ""
    written: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, what: "Side | Recipe | Procedure | str") -> "Side":
        """The side of a recipe, its name, or a procedure.

        Raises:
            SpecError: No recipe has that name.
        """
        if isinstance(what, Side):
            return what
        if isinstance(what, str):
            what = recipe(what)
        procedure = what if isinstance(what, Procedure) else what.procedure
        name, claims = (
            (what.name, what.shares_target) if isinstance(what, Recipe) else ("procedure", None)
        )
        law, changes = law_of(procedure), structural(procedure)
        cell = (row_of(what), what.family) if isinstance(what, Recipe) else None
        return cls(name, law, procedure.operator, procedure.tilt, claims, changes, cell=cell)


def compare(left: Side, right: Side, regime: "Regime | None" = None) -> ProcedureComparison:
    """Whether two procedures share a target, and what differs.

    The only utility of a foreign configuration is taken to be the other side's only utility: no
    configuration names it, and the comparison says that it was assumed.

    Args:
        left: One of them.
        right: The other.
        regime: What data say; a pair of procedures alone licenses no swap.
    """
    right, assumed = _aligned(left, right)
    differences = _differences(left, right)
    same, why = _judged(left, right, differences)
    proposals = _proposals(left, right)
    licensed, verdict = _licence(same, regime)
    assumed += _names(left, right) if same in ("yes", "one_update_only") else []
    if same != "unknown":
        assumed += dict.fromkeys(one.assumed for one in (left, right) if one.assumed)
    reasons = [why, *verdict, *assumed, *_claims((left, right))]
    return ProcedureComparison(
        left.name,
        right.name,
        same,
        proposals,
        differences,
        licensed,
        tuple(reasons),
        (left.cell, right.cell),
    )


def _judged(
    left: Side, right: Side, differences: Sequence[ProcedureDifference]
) -> tuple[SameTarget, str]:
    """Whether the targets are one, once everything that locating names is counted."""
    unknown = [
        f"{one.name}: {', '.join(name.removeprefix('**') for name in one.undetermined)}"
        for one in (left, right)
        if one.undetermined
    ]
    if unknown:
        return "unknown", f"not known, as long as these are not: {'; '.join(unknown)}"
    same, why = _same(left, right)
    moved = [
        f"{one.name}: {change.plain}: {change.effect}"
        for one, other in ((left, right), (right, left))
        for change in unshared(one, other)
        if change.kind == "target"
    ]
    if same != "no" and moved:
        more = f"; and {len(moved) - 1} more" if len(moved) > 1 else ""
        return "no", f"one side moves it: {moved[0]}{more}"
    if same == "yes" and why == ONE_PROCEDURE and differences:
        parts = ", ".join(one.part for one in differences)
        return same, f"one target and one action; they differ in {parts}"
    lawless = not (left.law.finite or right.law.finite)
    if same != "yes" and lawless and _budget(left) == _budget(right):
        return _without_law(left, right, (same, why), differences)
    return same, why


def _without_law(
    left: Side,
    right: Side,
    said: tuple[SameTarget, str],
    differences: Sequence[ProcedureDifference],
) -> tuple[SameTarget, str]:
    """Two sides of which neither has a finite law are told apart by what differs."""
    same, why = said
    known = left.operator is not None and right.operator is not None
    apart = [one.part for one in differences if one.part not in SIZES]
    stated = None in (left.target, right.target) or left.target == right.target
    if known and not apart and stated and left.law.letters == right.law.letters:
        return "yes", f"neither has a finite law ({left.law.letters}); they are one procedure"
    if left.law.letters == right.law.letters:
        why = f"neither has a finite law to share ({left.law.letters})"
        if same == "one_update_only":
            why += ", and one update of either climbs alike"
    return same, f"{why}; they differ in {', '.join(apart)}" if apart else why


def unshared(one: Side, other: Side) -> list[SilentChange]:
    """Changes of one side that the other has not, with the same value where both name it so.

    What law or composition say is compared there.
    """
    there = {change.plain for change in other.changes}
    effects = {change.effect: change.name for change in other.changes}
    return [
        change
        for change in one.changes
        if change.kind in ("target", "push")
        and change.plain not in there
        # one framework's spelling of an effect is not another's: then the effect is compared
        and (change.effect not in effects or effects[change.effect] == change.name)
    ]


def _names(left: Side, right: Side) -> list[str]:
    """What is taken to be one thing on both sides though nothing says so."""
    said = []
    for what in dict.fromkeys([*left.names, *right.names]):
        a, b = left.names.get(what), right.names.get(what)
        if a != b:
            named = ", ".join(
                f"{one.name} names {value}" if value else f"{one.name} does not name it"
                for one, value in ((left, a), (right, b))
            )
            said.append(f"assumed: one {what}; {named}")
    return said


def _aligned(left: Side, right: Side) -> tuple[Side, list[str]]:
    """The right side with its only utility called as the left side's only one."""
    mine, theirs = list(left.law.etas), list(right.law.etas)
    if len(mine) != 1 or len(theirs) != 1 or mine == theirs:
        return right, []
    from dataclasses import replace

    law = replace(right.law, etas={mine[0]: right.law.etas[theirs[0]]})
    target = right.target
    if target is not None and len(target.tilts) == 1:
        target = target.revised(tilts=[{"utility": mine[0], "eta": target.tilts[0].eta}])
    said = f"assumed: {theirs[0]!r} of {right.name} is {mine[0]!r} of {left.name}, on one scale"
    return replace(right, law=law, target=target), [said]


def _same(left: Side, right: Side) -> tuple[SameTarget, str]:
    if _one_thing(left, right):
        return "yes", ONE_PROCEDURE
    if left.law.same(right.law):
        stale = _stale(left) or _stale(right)
        if stale:
            return "no", f"{stale}: its law holds only while μ follows π, and it does not"
        ends = "converge to" if _trains(left) or _trains(right) else "put out, as K → ∞,"
        return "yes", f"both {ends} {left.law.letters}"
    if _one_update(left, right):
        return (
            "one_update_only",
            f"one update aims at the same; iterated: {left.law.letters} against "
            f"{right.law.letters}",
        )
    ends = f"{left.law.letters} against {right.law.letters}"
    budgets = [one for one in (left, right) if _budget(one) is not None]
    if budgets and _budget(left) != _budget(right):
        said = ", ".join(f"{one.name} {_budget(one):g} nats" for one in budgets)
        return "no", f"η is what a KL budget allows ({said}), whatever is declared; {ends}"
    return "no", ends


def _budget(one: Side) -> float | None:
    """Nats that its weights spend on the sharpness, in the place of the declared one."""
    action = None if one.operator is None else one.operator.action
    weights = action.weights if isinstance(action, WeightedRegression) else None
    return weights.budget if isinstance(weights, WithinBudget) else None


def _one_thing(left: Side, right: Side) -> bool:
    """Whether both state the same target and take the same action on it, of the same μ's kind."""
    if left.operator is None or right.operator is None or not left.target or not right.target:
        return False
    if left.target != right.target or left.law != right.law:
        return False
    terms = [one.auxiliary.revised(critic=None) for one in (left.operator, right.operator)]
    if left.operator.action != right.operator.action or terms[0] != terms[1]:
        return False
    drawn = [
        (p.source, p.samplers, p.refresh) for p in (left.operator.proposal, right.operator.proposal)
    ]
    return drawn[0] == drawn[1] or not (_stale(left) or _stale(right))


def _trains(one: Side) -> bool:
    return one.operator is None or isinstance(one.operator.action, UpdateRule)


def _stale(one: Side) -> str:
    """Its name, if the law holds on-policy alone and the proposal is not."""
    if one.law.holds == "always" or one.operator is None or follows(one.operator):
        return ""
    return one.name


def _one_update(left: Side, right: Side) -> bool:
    """Whether the first update of both aims at one law: q* at π_old = π_ref, by the same rule."""
    if "other" in (left.law.shape, right.law.shape):
        return False
    if left.law.scale != right.law.scale or "rational" in (left.law.shape, right.law.shape):
        return False
    if left.target is None or right.target is None:
        both = left.law.shape == right.law.shape == "climbs"
        return both and left.target is None and right.target is None
    if left.operator is None or right.operator is None:
        return False
    etas = [{t.utility: t.eta for t in one.target.tilts} for one in (left, right) if one.target]
    bases = [
        _at_start(one.target, one.operator) for one in (left, right) if one.target and one.operator
    ]
    if _budget(left) != _budget(right):
        return False
    return (close(etas[0], etas[1]) or _budget(left) is not None) and close(bases[0], bases[1])


def _at_start(target: Target, operator: Operator) -> dict[str, float]:
    """Exponents of b where π_old still is π_ref."""
    powers = exponents(target, operator)
    merged = {name: rho for name, rho in powers.items() if name != "old"}
    merged["ref"] = merged.get("ref", 0.0) + powers.get("old", 0.0)
    return merged


def _proposals(left: Side, right: Side) -> bool | None:
    if left.operator is None or right.operator is None:
        return None
    return left.operator.proposal == right.operator.proposal


def _licence(same: SameTarget, regime: "Regime | None") -> tuple[bool | None, list[str]]:
    if same == "unknown":
        return None, []
    if regime is None:
        if same == "no":
            return False, ["no shared target, so there is nothing to swap"]
        return None, ["no data: no pair of configurations alone licenses a swap (give --on)"]
    at = f"there the regime is {regime.verdict.replace('_', ' ')}"
    if same == "no":
        return False, [f"no shared target, so there is nothing to swap; {at}"]
    if same == "one_update_only":
        return False, [f"shared for one update only: iterated they part; {at}"]
    why = [reason.why for reason in regime.reasons[:2]]
    if regime.verdict == "undetermined":
        return None, [f"{at}: the data do not tell", *why]
    return regime.verdict == "swap_stable", [at, *why]


def _claims(sides: Sequence[Side]) -> list[str]:
    """What the atlas claims of named recipes, where it is not a plain yes."""
    said = {
        "no": "does not converge to the target it states",
        "one_update": "reaches its stated target in one update only",
        "on_policy": "reaches its stated target only while μ follows π",
    }
    return [f"{one.name} {said[one.claims]}" for one in sides if one.claims in said]


def _differences(left: Side, right: Side) -> tuple[ProcedureDifference, ...]:
    found = []
    if not left.law.same(right.law) and left.law.letters != right.law.letters:
        found.append(ProcedureDifference("law", left.law.letters, right.law.letters))
    if left.law.holds != right.law.holds:
        found.append(ProcedureDifference("holds", left.law.holds, right.law.holds))
    if left.operator is None or right.operator is None:
        return (*found, *_named_apart(left, right))
    for group in ("proposal", "action", "auxiliary"):
        found += _apart(group, left.operator, right.operator)
    if None not in (left.updates, right.updates) and left.updates != right.updates:
        found.append(ProcedureDifference("updates a batch", str(left.updates), str(right.updates)))
    if None not in (left.passes, right.passes) and left.passes != right.passes:
        found.append(
            ProcedureDifference("passes over a batch", str(left.passes), str(right.passes))
        )
    return (*found, *_named_apart(left, right))


def _named_apart(left: Side, right: Side) -> list[ProcedureDifference]:
    """Everything that locating names of one side alone: a difference, by construction."""
    rows: dict[str, list[str]] = {}
    for place, (one, other) in enumerate(((left, right), (right, left))):
        for change in unshared(one, other):
            value = change.plain.partition("=")[2] or "set"
            rows.setdefault(change.name, ["not set", "not set"])[place] = value
    return [ProcedureDifference(name, *values) for name, values in rows.items()]


def _apart(group: str, left: Operator, right: Operator) -> list[ProcedureDifference]:
    """Part by part where both are of one kind, else as wholes."""
    specs = [getattr(one, group) for one in (left, right)]
    mine, theirs = (spec.model_dump(mode="json") for spec in specs)
    if type(specs[0]) is not type(specs[1]):
        return [ProcedureDifference(group, short(mine), short(theirs))]
    return [
        ProcedureDifference(f"{group}.{part}", _said(mine, part, left), _said(theirs, part, right))
        for part in dict.fromkeys([*mine, *theirs])
        if mine.get(part) != theirs.get(part)
    ]


def _said(data: dict[str, Any], part: str, operator: Operator) -> str:
    """A part; a constant length that is the longest completion says so."""
    value = data.get(part)
    longest = isinstance(value, dict) and value.get("kind") == "constant"
    longest = longest and value["length"] == operator.proposal.max_new_tokens  # type: ignore[index]
    return short(value) + (", the longest completion" if longest else "")


def short(value: Any) -> str:
    """A part of a specification in a few words."""
    if isinstance(value, dict):
        rest = [
            f"{k}={short(v)}"
            for k, v in value.items()
            if k not in ("kind", "source") and v is not None
        ]
        return " ".join([str(value.get("kind", value.get("source", ""))), *rest]).strip()
    if value is None:
        return "none"
    return number(value) if isinstance(value, float) else str(value)
