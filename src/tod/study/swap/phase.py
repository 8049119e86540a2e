"""The phase diagram put to the test: what was foreseen of a condition against what it became."""

from collections.abc import Sequence
from dataclasses import dataclass

from tod.regimes import Thresholds
from tod.study.swap.condition import Condition
from tod.study.swap.excess import mean_excess
from tod.study.swap.outcomes import REGIMES
from tod.study.swap.verdict import ConditionVerdict

__all__ = ["FORESEEN", "Phase", "foreseen", "phases"]

FORESEEN = (*REGIMES, "undetermined")
"""Words that are foreseen, in the order of the table."""


@dataclass(frozen=True)
class Phase:
    """The conditions of which one word was foreseen.

    Attributes:
        foreseen: ``swap_stable``, ``transition``, ``operator_dominated`` or ``undetermined``.
        conditions: How many.
        policies_apart: Those whose E is over the limit.
        utility_apart: Those in which a pair of operators differs in utility after correction.
        excess: The largest E with its condition.
        difference: The largest |difference| in utility of a pair with its condition.
        violators: Conditions that became what was not foreseen by E: stable ones over the limit,
            dominated ones that are not.
        violators_utility: The same by utility.
    """

    foreseen: str
    conditions: int
    policies_apart: int
    utility_apart: int
    excess: tuple[float, str]
    difference: tuple[float, str] | None
    violators: tuple[str, ...]
    violators_utility: tuple[str, ...]


def foreseen(condition: Condition, bounds: Thresholds | None = None) -> str:
    """What TOD says of a condition before its end.

    The verdict of the first tenth of the steps, the mean over arms; in exact worlds, which have
    none, the smallest leg before training against the bounds of the verdict, with what the
    proposal does not cover.

    Args:
        condition: With its diagnostics.
        bounds: Bounds of the verdict; None: the defaults.
    """
    bounds = bounds or Thresholds()
    read = condition.diagnostics
    if "regime early" in read:
        place = read["regime early"]
        return "undetermined" if place is None else REGIMES[round(place)]
    smallest, missing = read.get("ess_tri"), read.get("oracle_uncovered")
    if smallest is None:
        return "undetermined"
    if smallest < bounds.overlap_dominated:
        return "operator_dominated"
    covered = missing is not None and missing < bounds.missing_mass_stable
    return "swap_stable" if smallest > bounds.overlap_stable and covered else "transition"


def phases(
    conditions: Sequence[Condition], verdicts: Sequence[ConditionVerdict], limit: float
) -> list[Phase]:
    """A row for every word that was foreseen of some condition.

    Args:
        conditions: Of the study, contrasts left out.
        verdicts: Theirs, in the same order.
        limit: E above which policies are apart.
    """
    words = [foreseen(condition) for condition in conditions]
    rows = list(zip(words, conditions, verdicts, strict=True))
    return [
        _phase(word, [(c, v) for own, c, v in rows if own == word], limit)
        for word in FORESEEN
        if word in words
    ]


def _phase(word: str, rows: list[tuple[Condition, ConditionVerdict]], limit: float) -> Phase:
    named = [(f"{c.cluster}, {c.name}", mean_excess(c).value, v) for c, v in rows]
    over = [name for name, e, _ in named if e > limit]
    parted = [name for name, _, v in named if v.parting]
    pairs = [(abs(v.effect.difference.value), name) for name, _, v in named if v.effect is not None]
    return Phase(
        foreseen=word,
        conditions=len(rows),
        policies_apart=len(over),
        utility_apart=len(parted),
        excess=max((e, name) for name, e, _ in named),
        difference=max(pairs, default=None),
        violators=_strange(word, [name for name, _, _ in named], over),
        violators_utility=_strange(word, [name for name, _, _ in named], parted),
    )


def _strange(word: str, names: Sequence[str], apart: Sequence[str]) -> tuple[str, ...]:
    """The conditions that became what the word does not say; none where it says nothing."""
    if word == "swap_stable":
        return tuple(name for name in names if name in apart)
    if word == "operator_dominated":
        return tuple(name for name in names if name not in apart)
    return ()
