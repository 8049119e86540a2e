"""The grid: seven target families by six operator families, and what is known of every cell."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from tod.atlas.entries import Recipe, recipes
from tod.atlas.measured import EMBEDDED, Position, embedded
from tod.base import Spec, read_mapping
from tod.operators import PolicyGradient, Preference, WeightedRegression

TARGETS: dict[str, str] = {
    "scalar_reward": "Scalar reward tilt; data",
    "preference": "Preference-induced tilt",
    "multi_objective": "Multi-objective, constraints",
    "two_anchor": "Two-anchor proximal",
    "verifier": "Verifier, rejection",
    "teacher": "Teacher, distillation",
    "finite_candidates": "Finite-candidate posterior",
}
"""Rows: the framework's Table 1."""
OPERATORS: dict[str, str] = {
    "supervised": "Supervised",
    "preference_surrogate": "Preference surrogate",
    "proximal_rl": "Proximal RL",
    "verifier_rl": "Verifier RL",
    "on_policy_distillation": "On-policy distillation",
    "test_time": "Test-time search",
}
"""Columns: the framework's Table 2."""
ROW_OF = {"data": "scalar_reward", "tilt": "scalar_reward"}
"""Where targets stand that Table 1 has no row for: SFT's data target (b = q̂_data, η = 0; its
second lens is a reward, the supervised log-likelihood), and the general form."""


class Empty(Spec):
    """Why a cell holds no recipe."""

    kind: Literal["untried", "not_sensible"]
    """Nobody has a recipe for it here, or the two do not go together."""
    why: str
    """One sentence."""


@cache
def empty_cells() -> Mapping[tuple[str, str], Empty]:
    """Why cells without a recipe have none, by target and operator family."""
    path = Path(__file__).parent / "empty_cells.yaml"
    return {
        (row, column): Empty.parse(data, f"{path}: {row}, {column}")
        for row, columns in read_mapping(path, "Reasons by target and operator.").items()
        for column, data in columns.items()
    }


@dataclass(frozen=True)
class Cell:
    """A target family under an operator family.

    Attributes:
        target: Row.
        operator: Column.
        recipes: Names of what stands there.
        proposals: Where their candidates come from.
        diagnostics: What has to be logged to see the cell's phase position.
        papers: Of its recipes.
        measured: Phase positions of our own runs by recipe; None if there are none.
        empty: Why no recipe stands there; None where one does.
    """

    target: str
    operator: str
    recipes: tuple[str, ...] = ()
    proposals: tuple[str, ...] = ()
    diagnostics: tuple[str, ...] = ()
    papers: tuple[str, ...] = ()
    measured: Mapping[str, Position] | None = None
    empty: Empty | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        data = asdict(self)
        data["empty"] = None if self.empty is None else self.empty.model_dump()
        return {key: list(x) if isinstance(x, tuple) else x for key, x in data.items()}


def grid(measured: Mapping[str, Position] | None = None) -> tuple[Cell, ...]:
    """All 42 cells, row by row.

    Args:
        measured: Phase position by recipe name, unknown if absent; None: as measured on the
            embedded models.
    """
    entries = tuple(recipes().values())
    seen = embedded() if measured is None else measured
    return tuple(_cell(row, column, entries, seen) for row in TARGETS for column in OPERATORS)


def document(cells: tuple[Cell, ...], on: str = EMBEDDED) -> dict[str, Any]:
    """The grid as plain data: ``targets``, ``operators``, ``cells``; ``on``: where measured."""
    return {
        "schema": "tod.grid/1",
        "targets": list(TARGETS),
        "operators": list(OPERATORS),
        "measured_on": on,
        "cells": [cell.to_dict() for cell in cells],
    }


def row_of(entry: Recipe) -> str:
    """Row of Table 1 that a recipe stands in."""
    return row_of_kind(entry.target.kind)


def row_of_kind(kind: str) -> str:
    """Row of Table 1 that a kind of target stands in."""
    return ROW_OF.get(kind, kind)


def _cell(
    row: str, column: str, entries: tuple[Recipe, ...], measured: Mapping[str, Position]
) -> Cell:
    here = [entry for entry in entries if (row_of(entry), entry.family) == (row, column)]
    seen = {entry.name: measured[entry.name] for entry in here if entry.name in measured}
    return Cell(
        target=row,
        operator=column,
        recipes=tuple(entry.name for entry in here),
        proposals=_distinct(_source(entry) for entry in here),
        diagnostics=_distinct(item for entry in here for item in needed(entry)),
        papers=_distinct(paper for entry in here for paper in entry.papers),
        measured=seen or None,
        empty=None if here else empty_cells()[row, column],
    )


def needed(entry: Recipe) -> tuple[str, ...]:
    """What has to be logged to place runs of a recipe in the phase plane."""
    weights = [f"log_{name}" for name in sorted(entry.procedure.tilt.needs())]
    found = ["ess_rel", "tails", *weights]
    action = entry.operator.action
    if entry.family == "test_time":
        return (*found, "pass_at_k")
    if isinstance(action, PolicyGradient):
        found += ["activation", "overlap.policy_proposal", "drift"]
    if isinstance(action, PolicyGradient | WeightedRegression):
        found.append("contexts.zero_information")
    if isinstance(action, Preference):
        found.append("log_mu of the data")
    return tuple(found)


def _source(entry: Recipe) -> str:
    proposal = entry.operator.proposal
    fresh = "" if proposal.refresh is not None or not proposal.samplers else ", never refreshed"
    return f"{proposal.source}{fresh}"


def _distinct(items: Any) -> tuple[str, ...]:
    return tuple(dict.fromkeys(items))
