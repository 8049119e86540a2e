"""What locating a file gives: the triple, its fixed point, and the silent changes."""

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from tod.atlas.effects import SilentChange
from tod.atlas.entries import OperatorFamily
from tod.atlas.grid import row_of_kind
from tod.atlas.law import Law, base_letters
from tod.atlas.nearest import number
from tod.base.displayed import Displayed
from tod.candidates import Candidates
from tod.configurations.implied_target import EtaRule, Implied, implied
from tod.configurations.memory import Memory
from tod.configurations.spans import Span, in_words, spans_to_dict
from tod.configurations.without_effect import NoEffect
from tod.operators import Operator
from tod.procedure import Procedure
from tod.targets import Target, TargetSpec

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Located", "composition", "letters"]

SCHEMA = "tod.locate/1"


@dataclass(frozen=True, repr=False)
class Located(Displayed):
    """A configuration as a point of the atlas.

    Attributes:
        framework: ``trl``, ``verl``, ``openrlhf``, ``nemo_rl`` or ``tod``.
        version: Version whose defaults were filled in; None if there was nothing to fill in.
        version_from: What that version rests on; None where only one is recorded.
        other_releases: Settings that the file leaves out and that decide, by release, where the
            releases that it may be of differ.
        by_release: Parts that hang on the release though the newest is assumed, each with its
            values by release, oldest first, see `spans.spans`; what stands there is the newest's.
        method: What the framework calls it.
        recipe: Nearest named recipe, or None.
        procedure: The triple; None if there is no finite target, or a part is unknown.
        operator: (μ, A); None if the action has no composition here.
        target_family: Row of Table 1; None if there is no target.
        operator_family: Row of Table 2.
        law: Its fixed point.
        rule: The implied sharpness; None without a finite target.
        silent_changes: Settings that change the target without saying so.
        without_effect: Settings that change nothing where they stand.
        names: What a comparison assumes equal (``π_ref``, ``data``, ``reward``, ``template``), by
            what the file calls it; what it does not name is not there.
        written: Flat settings as the file writes them, those of no consequence here too.
        promised: What the file says of the rewards of its rollouts, see `promised.promised`.
        unknown: Keys that are not known here, and settings whose value is not in the file.
        near: Nearest known key of an unknown one.
        notes: What else a reader should know, the missing procedure's reason first.
        nearest: What the nearest recipe does otherwise.
        updates: Optimiser steps on every batch of rollouts; None if the file does not say.
        passes: How often each rollout of a batch is used; the updates that are left cut the batch
            into mini-batches. None if it is not known.
        updates_by: Settings that say how many, with their values; empty: none is known.
        memory: What its model needs by the size in its name; None if the file does not say enough.
        undetermined: Settings, and words of a command, that decide and were not read.
        open: Parts of the operator, as ``proposal.size``, that depend on what was not read; what
            stands there is what the defaults would make of it. ``updates``, ``recipe``,
            ``operator_family``, and ``operator`` as a whole, likewise.
        possible_changes: Silent changes under the defaults, that what was not read may undo.
        partial: Where the action has no composition: the triple with others in the place of the
            parts that have none.
        stands_in: Names of those, as ``action.advantage``: nothing is said of them.
    """

    framework: str
    method: str
    law: Law
    operator_family: OperatorFamily
    version: str | None = None
    version_from: str | None = None
    other_releases: tuple[str, ...] = ()
    by_release: Mapping[str, tuple[Span, ...]] = field(default_factory=dict)
    recipe: str | None = None
    procedure: Procedure | None = None
    operator: Operator | None = None
    target_family: str | None = None
    rule: EtaRule | None = None
    silent_changes: tuple[SilentChange, ...] = ()
    without_effect: tuple[NoEffect, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    written: Mapping[str, Any] = field(default_factory=dict)
    promised: Mapping[str, Any] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()
    near: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    nearest: tuple[str, ...] = ()
    updates: int | None = None
    passes: int | None = None
    updates_by: str = ""
    memory: Memory | None = None
    undetermined: tuple[str, ...] = ()
    open: frozenset[str] = frozenset()
    possible_changes: tuple[SilentChange, ...] = ()
    partial: Procedure | None = None
    stands_in: frozenset[str] = frozenset()

    @property
    def read(self) -> Operator | None:
        """(μ, A), with other parts in the place of those that have no composition."""
        if self.operator is not None or self.partial is None:
            return self.operator
        return self.partial.operator

    @property
    def not_said(self) -> frozenset[str]:
        """Parts of `read` of which nothing is known."""
        return self.open | self.stands_in

    @property
    def composition(self) -> dict[str, Any]:
        """Plain data of `read` by part, as ``action.trust_region``; none where there is none."""
        data = {} if self.read is None else self.read.model_dump(mode="json")
        blocks = ("proposal", "action", "auxiliary")
        return {f"{block}.{n}": x for block in blocks for n, x in data.get(block, {}).items()}

    @property
    def claims(self) -> dict[str, Any]:
        """What is claimed of the file, by part: the law by its letters, updates, the composition.

        Silent changes are called ``changes.`` and the names of their settings. A part of which
        nothing is known claims nothing.
        """
        made = {"law": self.law.letters, "updates": self.updates, **self.composition}
        made |= {f"changes.{change.name}": change.plain for change in self.silent_changes}
        return {name: value for name, value in made.items() if name not in self.not_said}

    @property
    def target(self) -> TargetSpec | None:
        """q* as declared; None without a finite one. For z-scored runs see `target_for`."""
        return None if self.procedure is None else self.procedure.target

    @property
    def status(self) -> Literal["known", "none", "unknown", "not_composed"]:
        """Whether there is a target: known, truly none, undetermined, or of no composition."""
        if self.procedure is not None:
            return "known"
        if self.undetermined:
            return "unknown"
        return "not_composed" if self.operator is None else "none"

    @property
    def cell(self) -> tuple[str, str] | None:
        """Row and column of the atlas that it stands in; None without a target, or if not known."""
        target = self.target_family
        if target is None or "operator_family" in self.open:
            return None
        return row_of_kind(target), self.operator_family

    def target_for(self, candidates: Candidates) -> Implied | None:
        """The implied target over these candidates, with η_c from their own σ_c if z-scored.

        None where the configuration has no finite target: assume one and say so. The reward is
        taken from the only utility if the target's name is not among the candidates'.

        Raises:
            DataError: The target's utility is missing and there are several others.
        """
        if self.procedure is None:
            return None
        return implied(self.procedure.tilt, self.rule, candidates)

    def to_dict(self) -> dict[str, Any]:
        """Plain data of schema ``tod.locate/1``."""
        return {
            "schema": SCHEMA,
            "framework": self.framework,
            "version": self.version,
            "version_from": self.version_from,
            "other_releases": list(self.other_releases),
            "by_release": spans_to_dict(self.by_release),
            "method": self.method,
            "recipe": self.recipe,
            "nearest": list(self.nearest),
            "target": _target_dict(self),
            "operator": _operator_dict(self),
            "silent_changes": list(map(asdict, self.silent_changes)),
            "without_effect": list(map(asdict, self.without_effect)),
            "names": dict(self.names),
            "undetermined": list(self.undetermined),
            "open": sorted(self.open),
            "unknown": list(self.unknown),
            "near": dict(self.near),
            "notes": list(self.notes),
        }

    def to_frame(self) -> "pl.DataFrame":
        """What was found, a row a statement, in the order of the screen.

        Columns: ``kind`` (``target``, ``operator``, ``by_release``, ``unknown``,
        ``moves_target``, ``changes_path``, ``no_effect``, ``not_known``, ``note``), ``setting``
        (null where it is about no single one) and ``says`` (null where nothing is known of it).
        """
        import polars as pl

        from tod.base.frames import frame_of

        target = None if self.procedure is None else letters(self.procedure.tilt)
        rows: list[tuple[str, str | None, str | None]] = [
            ("target", None, target),
            ("operator", None, composition(self.read, self.not_said)),
            *(
                ("by_release", name, in_words(row, self.framework, mine=True))
                for name, row in self.by_release.items()
            ),
            *(("unknown", name.removeprefix("**"), None) for name in self.undetermined),
        ]
        for change in self.silent_changes:
            kind = "moves_target" if change.moves_target else "changes_path"
            rows.append((kind, change.setting, change.effect))
        rows += [("no_effect", one.setting, one.why) for one in self.without_effect]
        rows += [("not_known", name, None) for name in self.unknown]
        rows += [("note", None, note) for note in self.notes]
        names = ("kind", "setting", "says")
        return frame_of(
            [dict(zip(names, row, strict=True)) for row in rows], dict.fromkeys(names, pl.String)
        )


def letters(target: Target) -> str:
    """A target in letters, ``q* ∝ π_ref·exp(25·correct)``."""
    anchor = target.anchor
    if anchor == {"mu": 1.0} and not target.tilts and not target.support:
        return "q* = q̂_data"
    if isinstance(anchor, dict):
        base = base_letters({str(name): rho for name, rho in anchor.items()})
    else:
        base = "(" + " + ".join(f"{w:.4g}·π_{name}" for name, w in anchor.weights.items()) + ")"
    terms = " + ".join(f"{tilt.eta:.4g}·{tilt.utility}" for tilt in target.tilts if tilt.eta)
    if target.selectivity is not None:
        terms = f"η_c·{target.selectivity.utility}"
    inside = f"·1{{{', '.join(target.support)}}}" if target.support else ""
    return f"q* ∝ {base}" + (f"·exp({terms})" if terms else "") + inside


def composition(operator: Operator | None, unread: Collection[str] = ()) -> str | None:
    """The action as a product of its parts, ``token ρ · clip[0.8, 1.28] · …``.

    Args:
        operator: The operator.
        unread: Names of parts that are not known, as ``action.trust_region``: a question mark.
    """
    if operator is None:
        return None
    data = operator.action.model_dump(mode="json")
    kind = data.pop("kind")
    data = {name: "?" if f"action.{name}" in unread else value for name, value in data.items()}
    terms = operator.auxiliary.model_dump(mode="json", exclude={"critic"})
    terms = {name: "?" if f"auxiliary.{name}" in unread else v for name, v in terms.items()}
    data |= {name: term for name, term in terms.items() if term is not None}
    parts = [f"{name} {_short(value)}" for name, value in data.items() if value is not None]
    return f"{kind}: {' · '.join(parts)}" if parts else kind


def _short(value: Any) -> str:
    if isinstance(value, dict):
        rest = ", ".join(
            f"{key} {_short(item)}"
            for key, item in value.items()
            if key != "kind" and item is not None
        )
        return f"{value.get('kind', '')}{f' ({rest})' if rest else ''}".strip()
    return number(value) if isinstance(value, float) else str(value)


def _target_dict(located: Located) -> dict[str, Any]:
    procedure, rule = located.procedure, located.rule
    known: dict[str, Any] = {
        "family": located.target_family,
        "status": located.status,
        "letters": None,
        "spec": None,
        "anchor": None,
        "tilts": None,
        "implied": located.law.to_dict(),
        "eta_rule": None,
    }
    if procedure is not None:
        tilt = procedure.tilt.model_dump(mode="json")
        known["letters"] = letters(procedure.tilt)
        known["spec"] = procedure.target.model_dump(mode="json")
        known["anchor"], known["tilts"] = tilt["anchor"], tilt["tilts"]
    if rule is not None:
        known["eta_rule"] = {"eta": rule.eta, "scale": rule.scale, "epsilon": rule.epsilon}
    return known


def _operator_dict(located: Located) -> dict[str, Any]:
    data: dict[str, Any] = {"family": located.operator_family, "composition": None}
    if located.operator is not None:
        data["composition"] = composition(located.operator, located.open)
    if located.read is not None:
        data |= located.read.model_dump(mode="json", exclude_defaults=False)
        for name in located.not_said:
            part, _, field_name = name.partition(".")
            if field_name in data.get(part, {}):
                data[part][field_name] = None
    if "operator_family" in located.open:
        data["family"] = None
    return data
