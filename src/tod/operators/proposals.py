"""Proposals μ: where candidates come from, and how stale the policy that draws them may become."""

from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from jaxtyping import Float
from pydantic import BeforeValidator, Discriminator, Field, FiniteFloat, Tag, model_validator

from tod.base import Spec, SpecError

__all__ = [
    "CHOICE",
    "AlternatingProposal",
    "AnyProposal",
    "DatasetProposal",
    "Dynamic",
    "LinearRefresh",
    "MixtureProposal",
    "PairsProposal",
    "PoolProposal",
    "Proposal",
    "ReplayProposal",
    "due",
]

Sampler = Literal["old", "ref", "teacher"]
"""``old``: the policy as it was at the last refresh. ``ref``, ``teacher``: frozen models."""
Semantics = Literal["sampled", "fixed"]
Count = Annotated[int, Field(ge=1)]

COLDEST = 1e-3
"""Least temperature: logits over it stay far from overflow, and a draw can still miss the mode."""
CHOICE = "preferred"
"""Name of the utility that a ``pairs`` proposal makes: what was chosen has more of it."""


class LinearRefresh(Spec):
    """Intervals between copies that change linearly with the step, rounded, then stay."""

    kind: Literal["linear"] = "linear"
    first: Count
    """Steps between copies at the start."""
    last: Count
    """Steps between copies from step ``over`` on."""
    over: Count
    """Steps over which it changes."""

    def interval(self, step: int) -> int:
        """Steps until the copy after the one that is made before ``step`` (from 1)."""
        done = min(1.0, (step - 1) / self.over)
        return round(self.first + done * (self.last - self.first))


def _readable(value: Any) -> Any:
    """One complaint in the place of one by every form there is."""
    if isinstance(value, dict):
        try:
            return LinearRefresh.parse(value)
        except SpecError as error:
            raise ValueError(str(error).replace("\n", " ")) from None
    listed = isinstance(value, list | tuple)
    for number in value if listed else () if value is None else (value,):
        whole = isinstance(number, int) and not isinstance(number, bool) and number >= 1
        if not (whole or isinstance(number, LinearRefresh)):
            raise ValueError(
                f"refresh is a whole number of steps from 1 on, a list of such intervals, "
                f"`{{kind: linear, first: 1, last: 8, over: 60}}` or null, not {value!r}"
            )
    if listed and not value:
        raise ValueError("refresh is an empty list: null never refreshes")
    return tuple(value) if listed else value


Refresh = Annotated[Count | tuple[Count, ...] | LinearRefresh | None, BeforeValidator(_readable)]
"""Steps between copies of the policy into μ: one number; a list of intervals, the last of which
stays; a linear change; None: never."""


class AnyProposal(Spec):
    """What every proposal says."""

    prompts: Count = 32
    """Contexts a step, C."""
    temperature: Annotated[FiniteFloat, Field(gt=0.0)] = 1.0
    """Divides the logits, in sampling and in every log-prob of the policy alike; at least 0.001."""
    max_new_tokens: Count = 64
    """Longest completion, in tokens."""

    @model_validator(mode="after")
    def _draws(self) -> Self:
        if self.temperature < COLDEST:
            raise ValueError(
                f"temperature {self.temperature:g} is greedy decoding: all K rollouts are one, "
                f"and log μ says nothing. Use at least {COLDEST:g}"
            )
        return self

    @property
    def scoring_temperature(self) -> float:
        """What divides the logits in every log-prob of the policy."""
        return self.temperature

    @property
    def samplers(self) -> tuple[Sampler, ...]:
        """Models that candidates are drawn from; none when they are given."""
        return ()

    @property
    def makes(self) -> tuple[str, ...]:
        """Utilities that come with the candidates, beside those that are scored."""
        return ()


class Dynamic(Spec):
    """Contexts are drawn until enough of them are kept: DAPO's dynamic sampling, 2503.14476.

    It reweights contexts by the chance to be kept, 1 − p^K − (1 − p)^K for a pass rate p.

    Source: DAPO, 2503.14476, eq. 11 (equation dynamic-sampling)
    """

    keep: Literal["informative"] = "informative"
    """``informative``: contexts whose tilts Σ_k η_k U_k differ."""
    max_rounds: Annotated[int, Field(ge=1, le=1000)] = 8
    """Draws of at most ``prompts`` contexts each; then contexts that were not kept fill up."""


class _DrawsCandidates(AnyProposal):
    """What every proposal says that draws its candidates."""

    size: Count = 16
    """Candidates a context, K."""
    refresh: Refresh = 1
    """Steps between copies of the current policy into μ; None never refreshes. A list holds the
    intervals one after another, ``{kind: linear, first: 1, last: 8, over: 60}`` changes them."""


class _Decoded(_DrawsCandidates):
    """What every proposal says that draws from one model."""

    top_p: Annotated[FiniteFloat, Field(gt=0.0, le=1.0)] = 1.0
    """Nucleus mass; below 1 it removes support from μ and the weights say so."""
    top_k: Count | None = None
    """Keep the k most likely tokens; None keeps all."""


class _Recorded(AnyProposal):
    """What every proposal says whose candidates are given: nothing is drawn, nothing refreshed."""

    size: ClassVar[int] = 1
    top_p: ClassVar[float] = 1.0
    top_k: ClassVar[int | None] = None
    refresh: ClassVar[int | None] = None


class Proposal(_Decoded):
    """μ(·|c): which policy generates, how many candidates, how they are decoded, how fresh."""

    source: Sampler = "old"
    """``old``: the policy as it was at the last refresh. ``ref``, ``teacher``: that model."""
    dynamic: Dynamic | None = None
    """Draw contexts until enough are informative; None takes all as they come."""
    policy_temperature: Annotated[FiniteFloat, Field(ge=COLDEST)] | None = None
    """Divides the logits in every log-prob of π and of the anchors, and in evaluation; None:
    ``temperature``. With another, candidates are no draws of π, and log π − log μ says so."""

    @property
    def scoring_temperature(self) -> float:
        """What divides the logits in every log-prob of the policy."""
        told = self.policy_temperature
        return self.temperature if told is None else told

    @property
    def samplers(self) -> tuple[Sampler, ...]:
        """The one model."""
        return (self.source,)


class DatasetProposal(_Recorded):
    """Completions of the task's rows: μ is the data, and its density is not known."""

    source: Literal["dataset"]
    completion: str = "answer"
    """Column that holds the completion."""


class PairsProposal(_Decoded):
    """Choices between candidates: columns of the task, or sampled from a known utility.

    With a ``utility`` candidates are drawn from ``model`` and ranked by U + s·G with G a standard
    Gumbel draw of each, so that P(y₁ ≻ y₂) = σ((U₁ − U₂)/s) for every pair (Bradley and Terry; the
    ranking is Plackett and Luce's). The score becomes the utility ``preferred``; of columns it is
    1 for the chosen and 0 for the rejected, which are a fixed set whose μ is not known.
    """

    source: Literal["pairs"]
    size: Annotated[int, Field(ge=2)] = 2
    """Candidates a context, K; columns hold two."""
    chosen: str = "chosen"
    """Column of the chosen completion."""
    rejected: str = "rejected"
    """Column of the rejected one."""
    utility: str | None = None
    """Utility that choices are sampled from; None reads the columns."""
    noise_scale: Annotated[FiniteFloat, Field(gt=0.0)] | None = None
    """s in units of the utility; None: the target's. Another one than the target's makes labels
    of another sharpness than the target is read with."""
    model: Sampler = "old"
    """What candidates are drawn from."""

    @model_validator(mode="after")
    def _two(self) -> Self:
        if self.utility is None and self.size != 2:
            raise ValueError("columns hold a chosen and a rejected completion: size is 2")
        return self

    @property
    def samplers(self) -> tuple[Sampler, ...]:
        """The one model, if choices are sampled."""
        return () if self.utility is None else (self.model,)

    @property
    def makes(self) -> tuple[str, ...]:
        """What was chosen."""
        return (CHOICE,)


class ReplayProposal(_DrawsCandidates):
    """Fresh contexts and contexts of earlier steps, each with the log μ it was drawn with.

    Full support only: log μ then is the log-prob of the policy that sampled.
    """

    source: Literal["replay"]
    fresh: Count | None = None
    """Contexts that are drawn anew every step; None: half of them, rounded up."""
    capacity: Count = 256
    """Contexts that the buffer holds; the oldest leave first."""
    model: Sampler = "old"
    """What fresh candidates are drawn from."""
    top_p: ClassVar[float] = 1.0
    top_k: ClassVar[int | None] = None

    @model_validator(mode="after")
    def _some(self) -> Self:
        if self.drawn > self.prompts:
            raise ValueError(f"fresh {self.fresh} is more than the {self.prompts} prompts a step")
        return self

    @property
    def drawn(self) -> int:
        """Fresh contexts a step."""
        return -(-self.prompts // 2) if self.fresh is None else self.fresh

    @property
    def samplers(self) -> tuple[Sampler, ...]:
        """The one model."""
        return (self.model,)


class MixtureProposal(_DrawsCandidates):
    """μ = Σ_j α_j μ_j over whole sequences: the balance heuristic (Veach and Guibas 1995).

    Every candidate is weighed by the mixture, whichever model drew it; the K of a context are
    split by the shares (largest remainders), and α_j is the part that was truly drawn.

    Source: Veach and Guibas 1995 (equation mixture-proposal)
    """

    source: Literal["mixture"]
    shares: Annotated[dict[Sampler, Annotated[FiniteFloat, Field(gt=0.0)]], Field(min_length=2)]
    """Share of every model; they are normalised."""
    top_p: ClassVar[float] = 1.0
    top_k: ClassVar[int | None] = None

    @model_validator(mode="after")
    def _all_drawn(self) -> Self:
        missing = [name for name, count in self.counts.items() if not count]
        if missing:
            raise ValueError(
                f"share {self.shares[missing[0]]} of {missing[0]!r} is no rollout out of "
                f"{self.size}: raise size, or leave it out"
            )
        return self

    @property
    def counts(self) -> dict[Sampler, int]:
        """Candidates of a context that every model draws, adding up to K."""
        total = sum(self.shares.values())
        exact = {name: self.size * share / total for name, share in self.shares.items()}
        counts = {name: int(value) for name, value in exact.items()}
        order = sorted(exact, key=lambda name: counts[name] - exact[name])
        for name in order[: self.size - sum(counts.values())]:
            counts[name] += 1
        return counts

    @property
    def samplers(self) -> tuple[Sampler, ...]:
        """The components."""
        return tuple(self.shares)


class AlternatingProposal(_Decoded):
    """Every step is the model's with probability λ, else the data's: GKD, 2306.13649.

    A step of the model draws ``prompts`` contexts of K with their log μ; one of the data takes as
    many completions, each of a prompt of its own. The data's density is not known, so theirs is a
    fixed set and no weight. With a model in the place of the data `mixture` has the density of
    both.
    """

    source: Literal["alternating"]
    on_policy: Annotated[FiniteFloat, Field(ge=0.0, le=1.0)] = 0.5
    """λ: chance that a step is drawn from the model."""
    model: Sampler = "old"
    """What candidates are drawn from."""
    completion: str = "answer"
    """Column that holds the completion of the data."""

    @property
    def samplers(self) -> tuple[Sampler, ...]:
        """The one model."""
        return (self.model,)


class PoolProposal(_Recorded):
    """Candidates of a file in the rollout format, whole contexts, the same ones every epoch."""

    source: Literal["pool"]
    path: str
    """Parquet, JSONL or a run directory: ``context, prompt, completion`` and optional ``log_mu``,
    ``utility.*``. ``tod://data/NAME`` is a file that comes with the recipes."""
    semantics: Semantics
    """``sampled``: drawn from the recorded μ. ``fixed``: a set of distinct candidates."""


def _which(value: Any) -> str:
    source = value.get("source") if isinstance(value, dict) else getattr(value, "source", None)
    return "policy" if source in (None, "old", "ref", "teacher") else str(source)


ProposalSpec = Annotated[
    Annotated[Proposal, Tag("policy")]
    | Annotated[DatasetProposal, Tag("dataset")]
    | Annotated[PairsProposal, Tag("pairs")]
    | Annotated[ReplayProposal, Tag("replay")]
    | Annotated[MixtureProposal, Tag("mixture")]
    | Annotated[AlternatingProposal, Tag("alternating")]
    | Annotated[PoolProposal, Tag("pool")],
    Discriminator(
        _which,
        custom_error_type="unknown_source",
        custom_error_message="unknown source: it is one of old, ref, teacher, dataset, pairs, "
        "replay, mixture, alternating, pool",
    ),
]


def due(refresh: int | tuple[int, ...] | LinearRefresh | None, step: int) -> bool:
    """Whether the policy is copied into μ before ``step`` (from 1, where μ always is the policy).

    It follows from the step alone, so that a resumed run refreshes as an uninterrupted one.
    """
    if refresh is None:
        return False
    if isinstance(refresh, int):
        return (step - 1) % refresh == 0
    copy, number = 1, 0
    while copy < step:
        if isinstance(refresh, LinearRefresh):
            copy += refresh.interval(copy)
        else:
            copy += refresh[min(number, len(refresh) - 1)]
        number += 1
    return copy == step


def gumbel(u: Float[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
    """Standard Gumbel draws −log(−log u) of uniforms in [0, 1); a 0 counts as 2^-54.

    The larger of U₁ + s·G₁ and U₂ + s·G₂ is the first with probability σ((U₁ − U₂)/s).
    """
    return -np.log(-np.log(np.maximum(u, 2.0**-54)))  # type: ignore[no-any-return]
