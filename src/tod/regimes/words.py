"""One word a leg, read on the interval of its population median."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tod.diagnostics.overlap import LEGS
from tod.diagnostics.population_ess import PopulationEss
from tod.diagnostics.summary import Summary
from tod.regimes.thresholds import Thresholds

__all__ = ["LegWord", "leg_words"]

Word = Literal[
    "stable",
    "transition",
    "dominated",
    "not_readable",
    "not_recorded",
    "no_interval",
    "declared",
    "not_applicable",
]
SPOKEN: Mapping[str, str] = {
    "not_readable": "not readable",
    "not_recorded": "not recorded",
    "no_interval": "a point without an interval",
    "declared": "on-policy by declaration",
    "not_applicable": "does not apply",
}
"""Words that are written otherwise than they are named."""


@dataclass(frozen=True)
class LegWord:
    """What one leg of the overlap says.

    Attributes:
        leg: ``target_proposal``, ``policy_proposal`` or ``target_policy``.
        word: ``stable`` where the whole interval of the median is at or above ``overlap_stable``,
            ``dominated`` where it is below ``overlap_dominated``, else ``transition``;
            ``not_readable`` where the interval reaches over both bounds or could not be made;
            ``no_interval`` for a point estimate alone; the others say why nothing was measured.
        ess: The intervals that it was read from; None where there are none.
        why: Why it is not readable, or which bound the tenth misses; None where nothing is to say.
    """

    leg: str
    word: Word
    ess: PopulationEss | None = None
    why: str | None = None

    @property
    def name(self) -> str:
        """``target/proposal``; the policy's leg says what it is about."""
        return self.leg.replace("_", "/")

    @property
    def spoken(self) -> str:
        """``target/proposal: stable``, ``staleness not recorded``."""
        if self.leg == "policy_proposal" and self.word == "not_recorded":
            return "staleness not recorded"
        if self.word == "declared":
            return SPOKEN["declared"]
        return f"{self.name}: {SPOKEN.get(self.word, self.word)}"

    @property
    def settled(self) -> bool:
        """Whether it stands in the way of no verdict: stable, declared or not applicable."""
        return self.word in ("stable", "declared", "not_applicable")

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        ess = None if self.ess is None else self.ess.to_dict()
        return {"leg": self.leg, "word": self.word, "ess": ess, "why": self.why}


def leg_words(
    summary: Summary, thresholds: Thresholds | None = None, *, certain: bool = False
) -> tuple[LegWord, ...]:
    """The word of every leg, in the order of `LEGS`.

    With π = μ declared the policy/proposal leg is ``declared`` and target/policy is read as
    target/proposal, which it equals. Off-policy target/policy has a point estimate and an upper
    end alone: it can be ``dominated``, never ``stable``.

    Args:
        summary: Diagnostics with their ``population``.
        thresholds: Bounds; the provisional defaults if None.
        certain: ``transition`` too needs its whole interval between the bounds, and is
            ``not_readable`` elsewhere: how one step of many is told.

    Source: TOD framework, section 5 (equation leg-word)
    """
    bounds = thresholds or Thresholds()
    words: dict[str, LegWord] = {}
    for leg in LEGS:
        if leg in summary.overlap.not_applicable:
            words[leg] = LegWord(leg, "not_applicable")
        elif leg == "policy_proposal" and leg in summary.overlap.declared:
            words[leg] = LegWord(leg, "declared")
        elif leg == "target_policy" and words["policy_proposal"].word == "declared":
            same = words["target_proposal"]
            words[leg] = LegWord(leg, same.word, same.ess, same.why)
        else:
            words[leg] = _measured(leg, summary, bounds, certain)
    return tuple(words.values())


def _measured(leg: str, summary: Summary, bounds: Thresholds, certain: bool) -> LegWord:
    ess = (summary.population or {}).get(leg)
    if ess is None:
        point = getattr(summary.overlap, leg)
        if point is None and (leg != "target_proposal" or summary.ess_rel.median is None):
            return LegWord(leg, "not_recorded")
        why = "the record holds a sample statistic alone, not the counts that a verdict reads"
        return LegWord(leg, "not_readable", None, why)
    if ess.median is None:
        return LegWord(leg, "not_readable", ess, ess.unreadable)
    low, high = ess.median.low, ess.median.high
    if high is not None and high < bounds.overlap_dominated:
        return LegWord(leg, "dominated", ess)
    if low is None:
        return LegWord(leg, "no_interval", ess)
    if low >= bounds.overlap_stable:
        return _with_tenth(leg, ess, bounds)
    below = low < bounds.overlap_dominated
    above = high is None or high >= bounds.overlap_stable
    if (below and above) or (certain and (below or above)):
        return LegWord(leg, "not_readable", ess, _between(ess))
    return LegWord(leg, "transition", ess)


def _with_tenth(leg: str, ess: PopulationEss, bounds: Thresholds) -> LegWord:
    """Stable, unless a tenth of the prompts is surely fragile."""
    high = None if ess.q10 is None else ess.q10.high
    if high is not None and high < bounds.ess_q10_dominated:
        why = f"a tenth of the prompts is below {high:.2f}"
        return LegWord(leg, "transition", ess, why)
    return LegWord(leg, "stable", ess)


def _between(ess: PopulationEss) -> str:
    """What is known of a median whose interval reaches over both bounds."""
    assert ess.median is not None  # noqa: S101 - it was read
    low, high = ess.median.low, ess.median.high
    if not low:
        top = "nothing" if high is None or high >= 1 else f"not above {high:.2f}"
        return f"{top}: the tail of the weights decides, and so few rollouts do not show it"
    return f"between {low:.2f} and {high:.2f}"
