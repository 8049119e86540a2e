"""Candidates: what the proposal μ produced for every context, in log space, ragged and frozen."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int, Num

from tod.base import Array, DataError, Groups, is_numpy, namespace
from tod.base.brief import Brief
from tod.base.rows import picked
from tod.candidates.tokens import Recorded, Tokens

POLICIES = ("mu", "old", "ref", "teacher", "policy")
"""Names an anchor may use. ``policy`` is π before it saw these candidates."""


@dataclass(frozen=True, repr=False)
class Labels(Brief):
    """What names a context or a candidate for people; no computation reads it but clustering.

    Attributes:
        context: Identity of every context, [C].
        step: Training step of every context, [C].
        prompt: Prompt of every context, [C], when text is held.
        completion: Completion of every candidate, [N], when text is held.
        length: Number of policy tokens of every candidate, [N].
        answer: Answer cluster of every candidate as integer codes, [N], equal codes = same answer.
    """

    context: tuple[str, ...] | None = None
    step: Int[np.ndarray, " C"] | None = None
    prompt: tuple[str, ...] | None = None
    completion: tuple[str, ...] | None = None
    length: Int[np.ndarray, " N"] | None = None
    answer: Int[np.ndarray, " N"] | None = None


@dataclass(frozen=True, repr=False)
class Candidates(Brief, Recorded):
    """N candidates in C contexts, with everything the theory may ask about them.

    Log-probs are sums over the policy's tokens, end-of-sequence included, in nats (never means).

    Attributes:
        contexts: Candidates in contexts.
        utility: U_k(y, c) by name, [N]; finite, or −∞ for "forbidden".
        log_mu: log μ(y|c) of the distribution that truly produced y, [N], or None if unknown.
        log_anchor: log π(y|c) by name (``old``, ``ref``, ``teacher``, ``policy``), [N] each.
        semantics: ``sampled`` (y_i ~ μ i.i.d., duplicates kept) or ``fixed`` (a set of distinct
            elements; weights are not divided by μ). Source: both are exact for their own reading,
            mixing them is biased.
        tokens: The same log-probs token by token, when recorded.
        labels: Names for people.
    """

    contexts: Groups
    utility: Mapping[str, Float[Array, " N"]]
    log_mu: Float[Array, " N"] | None = None
    log_anchor: Mapping[str, Float[Array, " N"]] = field(default_factory=dict)
    semantics: Literal["sampled", "fixed"] = "sampled"
    tokens: Tokens | None = None
    labels: Labels = field(default_factory=Labels)

    def __post_init__(self) -> None:
        """Freeze the mappings and check names, lengths and values."""
        object.__setattr__(self, "utility", MappingProxyType(dict(self.utility)))
        object.__setattr__(self, "log_anchor", MappingProxyType(dict(self.log_anchor)))
        unknown = [name for name in self.log_anchor if name not in POLICIES or name == "mu"]
        if unknown:
            raise DataError(
                f"log_anchor has {unknown[0]!r}: known names are {', '.join(POLICIES[1:])} "
                "(the proposal's own log-probs go to log_mu)."
            )
        for name, values in self.utility.items():
            self._check(f"reward {name!r}", values, lambda v: (v != v) | (v == float("inf")))
        for name in self.recorded:
            self._check(f"log_{name}", self.log_prob(name, ""), lambda v: (v != v) | (v > 1e-3))
        if self.tokens is not None and len(self.tokens.sequences) != self.contexts.total:
            raise DataError(
                f"{len(self.tokens.sequences)} token sequences for {len(self)} rollouts."
            )

    def __len__(self) -> int:
        """Number of candidates N."""
        return self.contexts.total

    def utilities(self, name: str) -> Any:
        """U_name(y, c), [N].

        Raises:
            DataError: There is no utility of that name.
        """
        if name not in self.utility:
            known = ", ".join(sorted(self.utility)) or "none"
            raise DataError(f"no reward {name!r} among the rollouts' rewards ({known}).")
        return self.utility[name]

    def take(self, chosen: Int[np.ndarray, " c"]) -> "Candidates":
        """The chosen contexts, whole, in that order."""
        contexts, rows = self.contexts.take(chosen)
        return replace(
            self.subset(rows, contexts),
            tokens=None if self.tokens is None else self.tokens.take(rows),
            labels=_take_labels(self.labels, chosen, rows),
        )

    def subset(self, rows: Int[np.ndarray, " n"], contexts: Groups) -> "Candidates":
        """Some candidates, regrouped by ``contexts`` (sub-sampling for a K-trend)."""
        return Candidates(
            contexts=contexts,
            utility=picked(self.utility, rows),
            log_mu=picked(self.log_mu, rows),
            log_anchor=picked(self.log_anchor, rows),
            semantics=self.semantics,
        )

    def _check(self, name: str, values: Num[Array, " N"], bad: Any) -> None:
        if tuple(values.shape) != (len(self),):
            raise DataError(f"{name} has shape {tuple(values.shape)}, expected ({len(self)},).")
        wrong = bad(values)
        if bool(namespace(values).any(wrong)):
            rows = np.flatnonzero(np.asarray(wrong if is_numpy(wrong) else wrong.cpu()))
            row = int(rows[0])
            context = int(self.contexts.owner[row])
            raise DataError(
                f"{name} of rollout {row - int(self.contexts.offsets[context])} of prompt "
                f"{context} is {float(values[row])} ({rows.size} such values): rewards are "
                "finite or −∞, log-probs are at most 0. Mend the source, or drop these rows."
            )


def _take_labels(labels: Labels, chosen: Any, rows: Any) -> Labels:
    index = dict.fromkeys(("context", "step", "prompt"), chosen)
    return Labels(**{k: picked(v, index.get(k, rows)) for k, v in vars(labels).items()})
