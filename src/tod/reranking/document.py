"""The JSON of `tod rerank` as types; its schema is generated from them.

Of every mean over prompts there are its value, its standard error and its 95 % interval; null
where it is not known.
"""

from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

from tod.diagnosis.documents import Count, SourceBlock, TargetBlock, document
from tod.reranking.doubling import Doubling
from tod.reranking.verdict import Answer, Measure

Interval = tuple[float, float] | None
"""95 % over prompts; null below two of them."""


@document
class MeanBlock(TypedDict):
    """A mean over prompts."""

    value: float | None
    se: float | None
    ci95: Interval


@document
class FiguresBlock(TypedDict):
    """Means over prompts of the reward, of passing, and of the second score."""

    utility: float | None
    utility_se: float | None
    utility_ci95: Interval
    gold: float | None
    gold_se: float | None
    gold_ci95: Interval
    pass_rate: float | None
    """Share of prompts with full marks; null where the reward is not one within [0, 1]."""
    pass_rate_se: float | None
    pass_rate_ci95: Interval


@document
class SelectedBlock(FiguresBlock):
    """The same of what is put out."""

    accepted: float
    """Share of prompts of which anything is put out."""


@document
class CurvePointBlock(FiguresBlock):
    """What a rule puts out of k candidates."""

    k: Count
    tokens: float | None
    """Mean tokens of k candidates of a prompt."""
    accepted: float
    coverage: float | None
    """pass@k: that any of k candidates passes."""
    coverage_se: float | None
    coverage_ci95: Interval
    method: Literal["exact", "subsampling"]
    against_first: MeanBlock | None
    """Less the first rule, paired by prompt."""


@document
class BoundBlock(TypedDict):
    """Rejection with a declared bound."""

    log_bound: float
    beyond: float | None
    """Share of candidates whose weight exceeds it: draws are not of the target if any does."""
    largest_log_w: float | None


@document
class RuleBlock(TypedDict):
    """A rule."""

    rule: dict[str, Any]
    """Its kind and settings."""
    name: str
    """The word that named it."""
    candidates: FiguresBlock
    selected: SelectedBlock
    gain: FiguresBlock
    """Selected less all candidates, paired by prompt."""
    effective: float | None
    """Candidates that share the choice in the median prompt."""
    bound: NotRequired[BoundBlock]
    curve: list[CurvePointBlock]


@document
class OverOptimisedBlock(TypedDict):
    """Whether more selection by the reward costs the second score."""

    answer: Answer
    peak: Count | None
    """Size at which its mean is largest."""
    loss: MeanBlock | None
    gap: MeanBlock | None


@document
class VerdictBlock(TypedDict):
    """What the curve of the first rule says."""

    measure: Measure
    k: Count
    enough: Answer
    worth: float
    """The least gain of a doubling that counts."""
    last: Doubling | None
    next: Doubling | None
    kl: float | None
    """Upper bound of the KL of what is put out to the sampler, nats; best of K only."""
    effective: float | None
    over_optimised: OverOptimisedBlock


@document
class SizesBlock(TypedDict):
    """Candidates of a prompt."""

    min: Count
    max: Count
    curve: Count
    """Up to which the curves go."""


@document
class RerankDocument(TypedDict):
    """What `tod rerank --json` writes."""

    schema: Literal["tod.rerank/1"]
    source: SourceBlock
    target: TargetBlock | None
    seed: int
    utility: str
    gold: str | None
    """Name of the second score, which no rule reads."""
    contexts: Count
    candidates: Count
    k: SizesBlock
    contexts_in_curve: Count
    rules: list[RuleBlock]
    verdict: VerdictBlock
    notes: list[str]
