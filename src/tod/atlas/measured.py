"""Where recipes sit in the phase plane, as our own runs measured it."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any

EMBEDDED = "the embedded models"
"""Where the positions that come with the package were measured."""


@dataclass(frozen=True)
class Position:
    """A run in the plane of overlap and activation.

    Attributes:
        verdict: Regime of all steps read together.
        ess_rel: Mean over steps of the batch's median ESS_rel, in [1/K, 1]; None: unknown.
        activation: Mean over steps of the trust region's activation, in [0, 1]; None: it has none.
    """

    verdict: str
    ess_rel: float | None = None
    activation: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


@cache
def embedded() -> Mapping[str, Position]:
    """Positions by recipe that come with the package: every recipe once on the embedded models.

    Written by ``scripts/gallery.py`` together with the gallery's table. A recipe that was not run
    is absent.
    """
    text = files("tod.atlas").joinpath("measured.json").read_text(encoding="utf-8")
    return MappingProxyType({name: Position(**row) for name, row in json.loads(text).items()})


def words(positions: Mapping[str, Position]) -> str:
    """Verdicts with their ranges: ``transition (ESS_rel 0.26–0.31)``."""
    by_verdict: dict[str, list[Position]] = {}
    for position in positions.values():
        by_verdict.setdefault(position.verdict, []).append(position)
    return ", ".join(
        verdict.replace("_", "-") + _numbers(here) for verdict, here in by_verdict.items()
    )


def _numbers(positions: list[Position]) -> str:
    parts = [
        f"{label} {_range(known)}"
        for label, values in (
            ("ESS_rel", [position.ess_rel for position in positions]),
            ("activation", [position.activation for position in positions]),
        )
        if (known := [value for value in values if value is not None])
    ]
    return f" ({', '.join(parts)})" if parts else ""


def _range(values: list[float]) -> str:
    low, high = f"{min(values):.2f}", f"{max(values):.2f}"
    return low if low == high else f"{low}–{high}"
