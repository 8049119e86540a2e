"""The JSON of `tod diagnose` and `tod plan` as types; the schemas are generated from them.

The figures of a summary stand beside these keys, as `tod.diagnostics.Summary` has them.
"""

from typing import Annotated, Any, Literal, NotRequired

from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

from tod.base.unknown import UnknownKind
from tod.diagnosis.target import TargetSource
from tod.diagnostics.population_ess import Method
from tod.findings.finding import Severity
from tod.regimes.regime import Verdict
from tod.regimes.words import Word

Share = Annotated[float, Field(ge=0, le=1.000000001)] | None
Count = Annotated[int, Field(ge=0)]
Interval = tuple[float | None, float | None] | None
"""Distribution-free 90 % interval; an end is null when the sample cannot bound it."""
Leg = Literal["target_proposal", "policy_proposal", "target_policy"]
Tier = Literal["A", "B", "C", "D", "E"]

document = with_config(ConfigDict(extra="forbid", use_attribute_docstrings=True))


@document
class SourceBlock(TypedDict):
    """What was read."""

    format: str
    files: Count
    rows: Count
    rejected: Count
    steps: tuple[int, int] | None
    tier: Tier
    detected: str
    notes: list[str]
    rejections: list[str]
    """The first refused rows: file, row, field, value, reason."""


@document
class TiltBlock(TypedDict):
    """A reward and its sharpness; null where every prompt has one of its own."""

    utility: str
    eta: float | None


@document
class TargetBlock(TypedDict):
    """The target q*."""

    source: TargetSource
    anchor: dict[str, Any]
    """Exponents by policy name, or {kind: mixture, weights}."""
    tilts: list[TiltBlock]
    support: list[str]


@document
class ReasonBlock(TypedDict):
    """Why the verdict is not better, and what to turn."""

    why: str
    remedy: str
    kind: NotRequired[str]


@document
class IntervalBlock(TypedDict):
    """The 5, 50 and 95 % points of what is believed; null where there is no such end."""

    low: float | None
    value: float | None
    high: float | None


@document
class PopulationBlock(TypedDict):
    """ESS_rel of single prompts, as quantiles over the prompts with a signal."""

    median: IntervalBlock | None
    q10: IntervalBlock | None
    prompts: Count
    method: str | None
    """How it was read: declared, pass_rates, reward_values, weight_moments, range or sample."""
    unreadable: str | None
    """Why it could not be read."""
    bound: Share
    """What no prompt is below, by the declared range of the reward."""
    all_prompts: tuple[float, float] | None
    """The median over all prompts, those without a signal at either end of what they may have."""


@document
class LegBlock(TypedDict):
    """What one leg of the overlap says."""

    leg: Leg
    word: Word
    ess: PopulationBlock | None
    why: str | None


@document
class PoolBlock(TypedDict):
    """The steps that a run is judged by."""

    first: int
    last: int
    policy_first: int
    """First step behind the legs of the policy, where it changed level inside the pool."""


@document
class PointBlock(TypedDict):
    """The batch in the plain phase diagram."""

    coverage: float | None
    tail: float | None
    interval: NotRequired[IntervalBlock | None]
    """90 % interval of the coverage over the population. Of version 0.3 on."""
    coverage_kind: Literal["median", "q10"]
    tail_kind: Literal["max_weight", "log_w_variance"]
    region: Verdict


@document
class EtaBlock(TypedDict):
    """A range of sharpness over which the verdict and the word of target/proposal are the same."""

    eta: tuple[float, float]
    verdict: Verdict
    target_proposal: NotRequired[Word | None]
    """Of version 0.3 on."""


@document
class RegimeBlock(TypedDict):
    """The verdict, with all that is needed to act on it."""

    verdict: Verdict
    in_words: NotRequired[str]
    """The legs in words. Of version 0.3 on."""
    legs: NotRequired[list[LegBlock]]
    """The word of every leg with its intervals. Of version 0.3 on."""
    reasons: list[ReasonBlock]
    missing: list[str]
    point: PointBlock
    eta_intervals: list[EtaBlock]
    thresholds: dict[str, float]
    steps: NotRequired[tuple[int, int]]
    """First and last step behind ``regime_before``. Of version 0.3 on."""


@document
class AtYourK(TypedDict):
    """The largest sharpness with the drawn rollouts held fixed: at small K about twice too large.

    ``eta_max`` is null unless ``attained`` is yes: unbounded (no sharpness is too much), never
    (none is small enough), null (no informative prompt).
    """

    eta_max: float | None
    attained: Literal["yes", "unbounded", "never"] | None
    ci90: NotRequired[Interval]


@document
class FeasibleBlock(TypedDict):
    """The largest sharpness at which a quantile of ESS_rel over the population is at its goal.

    ``eta_max`` is the point, null unless ``attained`` is yes: unbounded (no sharpness is too much),
    never (none is small enough), null (no informative prompt). With ``method`` sample both are
    those at the drawn K, and nothing is safe.
    """

    ess_rel_target: float
    eta_max: float | None
    attained: Literal["yes", "unbounded", "never"] | None
    quantile: float
    safe: NotRequired[float | None]
    """A sharpness that keeps the goal in most populations that such a pilot comes from."""
    safe_attained: NotRequired[Literal["yes", "unbounded"] | None]
    high: NotRequired[float | None]
    guaranteed: NotRequired[float | None]
    """Keeps the goal for every prompt, by the declared range of the reward."""
    limit: NotRequired[IntervalBlock]
    """Of a 0/1 reward: what ESS_rel tends to for large eta, the quantile of the pass rate."""
    method: NotRequired[Method | None]
    prompts: NotRequired[Count]
    at_k: NotRequired[AtYourK]


@document
class CannotBlock(TypedDict):
    """A figure that is not known, why, and what would make it known."""

    what: str
    why: str
    needs: str
    kind: NotRequired[UnknownKind]


@document
class OnsetBlock(TypedDict):
    """First step that a finding holds of, with an interval; null from the first step on."""

    step: int | None
    low: int
    high: int


@document
class EvidenceBlock(TypedDict):
    """What shows a finding."""

    name: str
    text: str


@document
class CauseBlock(TypedDict):
    """Why; a fact only where the evidence excludes every other cause."""

    kind: str
    text: str
    certainty: Literal["fact", "likely", "possible"]
    decide: str


@document
class RemedyBlock(TypedDict):
    """What to do, and what it brings by these rows."""

    kind: str
    text: str
    effect: str
    promise: dict[str, float]


@document
class FindingBlock(TypedDict):
    """One thing that is wrong, or worth knowing, in the run."""

    kind: str
    severity: Severity
    headline: str
    onset: OnsetBlock | None
    evidence: list[EvidenceBlock]
    numbers: dict[str, float | None]
    causes: list[CauseBlock]
    remedies: list[RemedyBlock]
    best_step: int | None
    cost: str
    series: list[str]
    consequences: list[str]


@document
class FindingsBlock(TypedDict):
    """What went wrong and when: the first cause first; what was checked, what could not be."""

    severity: Severity | None
    findings: list[FindingBlock]
    clear: list[str]
    unknown: dict[str, CannotBlock]


@document
class DepartureBlock(TypedDict):
    """A figure that left the band of the twin."""

    series: str
    onset: OnsetBlock
    value: float
    twin: float
    sigmas: float | None
    unit: str


@document
class AgainstBlock(TypedDict):
    """The run beside a healthy twin: what left its band, the first first (--against)."""

    name: str
    departures: list[DepartureBlock]
    within: list[str]
    unmatched: list[str]
    twin_fault: str | None


@document
class WorstBlock(TypedDict):
    """A fragile prompt."""

    position: Count
    id: str
    step: int
    k: Count
    ess_rel: Share
    max_weight: Share
    utility_mean: float | None
    prompt: str | None


@document
class TrendBlock(TypedDict):
    """A step of several."""

    step: int
    ess_rel_q10: Share
    ess_rel_median: Share
    max_weight_median: Share
    utility_mean: float | None
    informative: Count | None
    contexts: Count
    policy_proposal: Share
    population: NotRequired[IntervalBlock | None]
    """Population median of target/proposal by the rows of the step alone. Of version 0.3 on."""
    regime: Verdict


@document
class KBlock(TypedDict):
    """ESS_rel of k candidates drawn without replacement from the same prompts."""

    leg: Leg
    k: Count
    contexts: Count
    median: Share
    q10: Share
    mean: Share


@document
class LengthBlock(TypedDict):
    """Tokens of a candidate."""

    median: Count
    q90: Count
    max: Count


@document
class SurrogateBlock(TypedDict):
    """ESS_rel of a log-weight and of a named stand-in for it."""

    leg: Literal["policy_proposal", "mismatch", "staleness", "target_proposal"]
    name: Literal["length_mean", "length_root", "tilt_only"]
    true: Share
    median: Share
    q10: Share


@document
class LongBlock(TypedDict):
    """What remains readable when sequence weights are near 1/K.

    A surrogate is never q*/μ: length_mean is log ρ/L, length_root log ρ/√L, tilt_only the rewards
    without the anchor. The shares divide the variance of log π − log μ within prompts.
    """

    length: LengthBlock
    contexts: Count
    surrogates: list[SurrogateBlock]
    mismatch_share: float | None
    staleness_share: float | None


@document
class SubsampleBlock(TypedDict):
    """Prompts, evenly spread, that the searches over sharpness read."""

    contexts: Count
    of: Count
    used_for: list[str]


@document
class TiltOnlyBlock(TypedDict):
    """ESS_rel of the tilts alone, were the anchor μ: a stand-in where q*/μ cannot be weighed."""

    median: Share
    q10: Share
    contexts: Count


@document
class AssumedBlock(TypedDict):
    """The same rows with an assumed target, where a configuration's own cannot be weighed.

    What is said without the configuration: it is true of the rows, and not of the run's own q*.
    """

    target: TargetBlock
    ess_rel_median: Share
    ess_rel_q10: Share
    verdict: Verdict
    feasible: FeasibleBlock | None


@document
class GateBlock(TypedDict):
    """What a trust region (--clip, --operator, --config) takes of the recorded tokens, as shares.

    ``of``: the two policies of ρ. ``positive`` and ``negative``: where the advantage (reward less
    its prompt's mean) is above and below 0: for a clip, its upper and lower clip fraction.
    ``active``: of the tokens with A ≠ 0. ``either``: at the worse sign of A, without a reward.
    """

    trust_region: dict[str, Any]
    level: Literal["token", "sequence_mean", "sequence_sum", "sequence_mean_of_clipped"]
    of: tuple[str, str]
    tokens: Count
    activation: float | None
    positive: float | None
    negative: float | None
    active: float | None
    either: float | None


AlphaBlock = TypedDict(
    "AlphaBlock", {"0": Share, "0.5": Share, "1": Share, "2": Share, "inf": Share}
)
RenyiBlock = TypedDict(
    "RenyiBlock",
    {"0.5": float | None, "1": float | None, "2": float | None, "inf": float | None},
)


@document
class WeightsBlock(TypedDict):
    """The weights in other words, medians over some informative prompts of the most common K.

    ``ess_rel_alpha``: the Hill number of order α over K (0 non-zero weights, 1 perplexity, 2 ESS,
    inf 1/largest). ``renyi``: D_α(q*‖μ) = −ln of it. A divergence read off K candidates is at most
    ln K. ``log_z``: log of the mean unnormalised weight.
    """

    contexts: Count
    ess_rel_alpha: AlphaBlock
    renyi: RenyiBlock
    kl_target_proposal: float | None
    kl_proposal_target: float | None
    chi2: float | None
    log_z: float | None


@document
class BelowBlock(TypedDict):
    """Share of the prompts below the limit ``ess_rel``, with the central 90 % of its Beta law."""

    ess_rel: float
    count: Count
    contexts: Count
    share: Share
    share_ci90: Interval


@document
class BootstrapBlock(TypedDict):
    """90 % percentile intervals of the statistics of ``ess_rel``, whole prompts resampled."""

    resamples: Count
    contexts: Count
    median_ci90: Interval
    q10_ci90: Interval
    mean_ci90: Interval


@document
class PerUtilityBlock(TypedDict):
    """ESS_rel of one tilt alone, at the target's anchor and its own sharpness."""

    utility: str
    eta: float
    contexts: Count
    median: Share
    q10: Share


@document
class TextsBlock(TypedDict):
    """How different completions are, as words: distinct-n, self-BLEU (1: all alike)."""

    contexts: Count
    distinct_1: Share
    distinct_2: Share
    self_bleu: Share
    unique_texts: Share


@document
class DiversityBlock(TypedDict):
    """How different the candidates of one prompt are; ``unique_answers``: distinct ones over K."""

    contexts: Count
    unique_answers: Share
    texts: TextsBlock | None


@document
class DiagnosisDocument(TypedDict):
    """A diagnosis of rollouts (tod diagnose --json).

    null means not computable from these files; the reason and the remedy are in ``cannot``.
    Logarithms are natural, divergences in nats.
    """

    schema: Literal["tod.diagnosis/1"]
    source: SourceBlock
    target: TargetBlock | None
    regime: RegimeBlock
    """Of the pool."""
    regime_before: NotRequired[RegimeBlock | None]
    """Of the steps before the last dated change, where there was one. Of version 0.3 on."""
    pool: NotRequired[PoolBlock | None]
    """Of version 0.3 on."""
    feasible: FeasibleBlock | None
    cannot: list[CannotBlock]
    findings: NotRequired[FindingsBlock]
    """Of version 0.2 on."""
    against: NotRequired[AgainstBlock]
    """Where the person named a twin."""
    worst_contexts: list[WorstBlock]
    trend: list[TrendBlock]
    changes: list[str]
    """Steps at which the run left or entered the stable region, in words."""
    k_trend: NotRequired[list[KBlock]]
    """Still falling at the right end: K is too small to read the population."""
    long_sequences: NotRequired[LongBlock | None]
    subsample: NotRequired[SubsampleBlock | None]
    tilt_only: NotRequired[TiltOnlyBlock | None]
    assumed: NotRequired[AssumedBlock | None]
    """Of version 0.2 on, with a configuration."""
    gate: NotRequired[GateBlock | None]
    weights: NotRequired[WeightsBlock | None]
    below: NotRequired[BelowBlock | None]
    bootstrap: NotRequired[BootstrapBlock | None]
    per_utility: NotRequired[list[PerUtilityBlock]]
    diversity: NotRequired[DiversityBlock | None]


@document
class PlanCounts(TypedDict):
    """Prompts of the pilot."""

    total: Count
    informative: Count
    read: Count


@document
class PlanK(TypedDict):
    """Rollouts of a prompt."""

    min: Count
    median: Count
    max: Count


@document
class PlanFeasible(TypedDict):
    """The largest sharpness for one goal; as in the diagnosis."""

    utility: str | None
    """The one reward that tilts; null for the target as a whole."""
    quantile: Literal["median", "q10"]
    eta_max: float | None
    attained: Literal["yes", "unbounded", "never"]
    ci90: Interval
    contexts: Count
    safe: NotRequired[float | None]
    """A sharpness that keeps the goal in most populations that such a pilot comes from."""
    safe_attained: NotRequired[Literal["yes", "unbounded"] | None]
    high: NotRequired[float | None]
    guaranteed: NotRequired[float | None]
    """Keeps the goal for every prompt, by the declared range of the reward."""
    limit: NotRequired[IntervalBlock]
    """Of a 0/1 reward: what ESS_rel tends to for large eta, the quantile of the pass rate."""
    method: NotRequired[Method | None]
    prompts: NotRequired[Count]
    at_k: NotRequired[AtYourK]


@document
class PlanRow(TypedDict):
    """ESS_rel at one sharpness, with the drawn rollouts held fixed, and of the population."""

    eta: Annotated[float, Field(ge=0)]
    median: Share
    q10: Share
    below: Share
    """Share of prompts below the goal."""
    max_weight: Share
    k: int | None
    """K for the wanted number of effective candidates, with the drawn rollouts held fixed."""
    mark: str | None
    population: NotRequired[IntervalBlock | None]
    """The median over the population of prompts."""
    needed: NotRequired[IntervalBlock | None]
    """K for the wanted number of effective candidates, by the population's median."""


@document
class NeededBlock(TypedDict):
    """K for one wish, over prompts: with the drawn rollouts held fixed, and of the population."""

    wanted: float | None
    median: int | None
    q90: int | None
    at_floor: Share
    population: NotRequired[IntervalBlock | None]
    """For the median prompt; only ``low`` under heavy tails: at least so many."""
    population_q90: NotRequired[IntervalBlock | None]
    """For nine prompts in ten."""


@document
class NeededK(TypedDict):
    """K for an effective number, for an error, and for averages to settle."""

    ess_count: NeededBlock
    error: NeededBlock
    kl: NeededBlock


@document
class PlanByK(TypedDict):
    """ESS_rel with fewer candidates, and what groups of any size show."""

    k: Count
    contexts: Count
    median: Share
    q10: Share
    ess: float | None
    informative: Share
    population_informative: NotRequired[IntervalBlock | None]
    """Share of groups of k whose rewards differ, by the law of the pass rates; beyond K too."""
    per_100: NotRequired[float | None]
    """Informative groups for every 100 rollouts."""


@document
class BestK(TypedDict):
    """The K with the most informative groups for the same number of rollouts."""

    k: int | None
    """Null where any K serves."""
    per_100: float | None
    why: str


@document
class StepLeg(TypedDict):
    """The policy's leg at a step."""

    step: int
    policy_proposal: Share


@document
class AgeLeg(TypedDict):
    """The policy's leg at an age of the proposal."""

    age: int
    policy_proposal: Share
    population: NotRequired[IntervalBlock | None]
    """The median over the population of prompts."""


@document
class RefreshBlock(TypedDict):
    """How old the proposal may become."""

    goal: float
    trend: list[StepLeg]
    age_from: Literal["lag", "leg"] | None
    by_age: list[AgeLeg]
    largest_age: int | None
    extrapolated: bool
    by: NotRequired[Literal["population", "sample"] | None]
    """What ``largest_age`` was read from."""
    at_k: NotRequired[int | None]
    """The largest age by the figures at the drawn K."""


@document
class PlanDocument(TypedDict):
    """A plan from a pilot batch (tod plan --json)."""

    schema: Literal["tod.plan/1"]
    source: SourceBlock
    target: TargetBlock
    ess_target: Annotated[float, Field(gt=0, lt=1)]
    """ESS_rel to keep."""
    contexts: PlanCounts
    k: PlanK
    eta: Annotated[float, Field(ge=0)]
    """Sharpness in force, nats per unit of reward."""
    feasible: list[PlanFeasible]
    table: list[PlanRow]
    needed_k: NeededK
    by_k: list[PlanByK]
    best_k: NotRequired[BestK | None]
    refresh: RefreshBlock | None
    cannot: list[CannotBlock]
