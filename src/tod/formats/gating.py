"""What a trust region would take from recorded tokens: activation, recomputed from log-probs.

A gate reads log ρ_t = log π − log π_old of every token and the sign of its candidate's advantage,
which is not known before the whole context was read. So a reader keeps four numbers a candidate:
Σ_t (1 − min(g_t, 1/g_t)) were A positive, zero or negative, and with the worse sign at every token.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from tod.base import Array, Groups, SpecError
from tod.diagnostics.activation import changed, share_of
from tod.operators import (
    GroupMean,
    Level,
    Operator,
    PolicyGradient,
    TrustRegionSpec,
    Unbounded,
    at_level,
)
from tod.operators.advantages import ByToken

PAIRS = (("policy", "old"), ("policy", "mu"))
"""Policies whose ratio the gate reads; the second where the old one is not recorded."""


@dataclass(frozen=True)
class Gate:
    """The trust region of an operator, over recorded log-probs.

    Attributes:
        trust_region: The gate g(ρ, A).
        level: Grain of ρ.
        advantage: What a candidate is compared with; one by token counts as the context's mean.
    """

    trust_region: TrustRegionSpec
    level: Level = "token"
    advantage: Any = GroupMean()

    @classmethod
    def of(cls, operator: Operator) -> "Gate":
        """The gate of an operator.

        Raises:
            SpecError: Its action is no policy gradient, or has no trust region.
        """
        action = operator.action
        if not isinstance(action, PolicyGradient) or not cls.has(operator):
            raise SpecError(
                f"an operator with the action {action.kind!r} has no trust region here. Name one "
                "that has, or give --clip LOW,HIGH."
            )
        by_token = isinstance(action.advantage, ByToken)
        advantage = GroupMean() if by_token else action.advantage
        return cls(action.trust_region, action.level, advantage)

    @staticmethod
    def has(operator: Operator) -> bool:
        """Whether an operator has a trust region."""
        action = operator.action
        if not isinstance(action, PolicyGradient):
            return False
        return not isinstance(action.trust_region, Unbounded)

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Policies whose ratio the gate reads, the first that is recorded."""
        return PAIRS

    def columns(
        self, logs: Mapping[str, Float[np.ndarray, " M"]], sequences: Groups | None = None
    ) -> dict[str, Any]:
        """What is kept of token log-probs by policy: a number a sequence under a name each.

        Args:
            logs: Tokens of every policy, sequence after sequence.
            sequences: Tokens in sequences; None: they are one, and the numbers are plain.
        """
        found: dict[str, Any] = {}
        for first, second in PAIRS:
            if first in logs and second in logs:
                log_rho = logs[first] - logs[second]
                groups = sequences or Groups.equal(1, len(log_rho))
                taken = self.of_tokens(log_rho, groups, logs[second])
                for i, column in enumerate(taken.T):
                    value = column if sequences is not None else float(column[0])
                    found[f"{first}/{second}/{i}"] = value
        return found

    def of_tokens(
        self,
        log_rho: Float[np.ndarray, " M"],
        sequences: Groups,
        log_old: Float[np.ndarray, " M"] | None = None,
    ) -> Float[np.ndarray, "n 4"]:
        """Σ_t changed(g) by sequence: for A > 0, A = 0, A < 0, and the worse of A ≠ 0 per token."""
        x = at_level(log_rho, sequences, self.level)
        length = np.repeat(sequences.sizes, sequences.sizes).astype(np.float64)
        taken = [np.asarray(sequences.sum(row)) for row in self._taken(x, length, log_old)]
        return np.stack(taken, axis=1)

    def of_sequences(
        self, log_rho: Float[np.ndarray, " N"], length: Float[np.ndarray, " N"]
    ) -> Float[np.ndarray, "N 4"] | None:
        """The same from sums over sequences; None where the gate reads every token."""
        if self.level not in ("sequence_mean", "sequence_sum"):
            return None
        x = log_rho / length if self.level == "sequence_mean" else log_rho
        return (length * self._taken(x, length)).T  # type: ignore[no-any-return]

    def _taken(self, log_rho: Any, length: Any, log_old: Any = None) -> Any:
        region = self.trust_region
        old = {"log_old": log_old} if region.reads_old else {}
        gates: list[Any] = [
            region.gate(log_rho, np.full(len(log_rho), s), length, **old) for s in (1.0, 0.0, -1.0)
        ]
        taken = changed(np.stack(gates))
        return np.concatenate([taken, np.maximum(taken[:1], taken[2:])])

    def advantages(self, utility: Float[Array, " N"], contexts: Groups) -> Float[np.ndarray, " N"]:
        """Advantage of every candidate; 0 where a context's utilities are equal.

        A candidate that is forbidden (utility −∞) counts with the largest weight of all, negative.
        """
        u: Any = np.asarray(utility, dtype=np.float64)
        known = np.isfinite(u)
        safe = np.where(known, u, 0.0)
        a = np.asarray(self.advantage(safe, contexts))
        a = np.where(known, a, -np.abs(a[known]).max(initial=1.0))
        if self.advantage.kind == "raw":
            return a
        flat = np.asarray(contexts.max(u)) == np.asarray(contexts.min(u))
        return np.where(np.asarray(contexts.spread(flat)), 0.0, a)


@dataclass(frozen=True)
class Gated:
    """What a trust region changes of recorded tokens: ``activation``, and shares of the tokens.

    Attributes:
        gate: The trust region and its level.
        of: The two policies of ρ.
        tokens: Tokens behind it.
        activation: Share of the gradient's weight, as ``diagnostics.activation``; None where no
            utility tells A, or A is 0 everywhere.
        positive: Share of all tokens that is taken where A > 0 (a clip's upper fraction).
        negative: The same where A < 0 (a clip's lower fraction).
        active: Share of the tokens with A ≠ 0; None if there is none.
        either: Share outside for at least one sign of A: needs no utility; counts more.
        by_step: ``activation`` by step.
    """

    gate: Gate
    of: tuple[str, str]
    tokens: int
    activation: float | None
    positive: float | None
    negative: float | None
    active: float | None
    either: float
    by_step: Mapping[int, float]

    def to_dict(self) -> dict[str, Any]:
        """The ``gate`` block of the diagnosis schema."""
        return {
            "trust_region": self.gate.trust_region.model_dump(mode="json"),
            "level": self.gate.level,
            "of": list(self.of),
            "tokens": self.tokens,
            "activation": self.activation,
            "positive": self.positive,
            "negative": self.negative,
            "active": self.active,
            "either": self.either,
        }


def gated(
    gate: Gate,
    of: tuple[str, str],
    taken: Float[np.ndarray, "N 4"],
    length: Float[np.ndarray, " N"],
    steps: Any,
    advantage: Float[np.ndarray, " N"] | None,
) -> Gated:
    """Shares from what every candidate would lose by the sign of its advantage.

    Args:
        gate: The trust region.
        of: The two policies of ρ.
        taken: As ``Gate.of_tokens``.
        length: Tokens of every candidate.
        steps: Step of every candidate.
        advantage: Its advantage; None is unknown.
    """
    total = float(length.sum())
    either = _share(taken[:, 3], total)
    if advantage is None:
        return Gated(gate, of, int(total), None, None, None, None, either, {})
    up, down = advantage > 0, advantage < 0
    size = np.abs(advantage)
    size /= max(float(size.max(initial=0.0)), np.finfo(np.float64).tiny)

    def activation(rows: Any) -> float | None:
        return share_of(float((size * mine)[rows].sum()), float((size * length)[rows].sum()))

    mine = np.where(up, taken[:, 0], np.where(down, taken[:, 2], taken[:, 1]))
    on = float(length[up | down].sum())
    return Gated(
        gate=gate,
        of=of,
        tokens=int(total),
        activation=activation(slice(None)),
        positive=_share(mine[up], total),
        negative=_share(mine[down], total),
        active=_share(mine[up | down], on) if on else None,
        either=either,
        by_step={
            int(step): share
            for step in np.unique(steps)
            if (share := activation(steps == step)) is not None
        },
    )


def _share(values: Any, total: float) -> float:
    return float(values.sum(dtype=np.float64)) / total
