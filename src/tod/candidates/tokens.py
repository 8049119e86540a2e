"""Token-level log-probs of candidates: M policy tokens in N sequences."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from tod.base import Array, DataError, Groups, MissingLogProbs
from tod.base.brief import Brief
from tod.base.rows import picked


class Recorded:
    """What holds log-probs by name of policy: those of μ, and of what an anchor may name."""

    log_mu: Any
    log_anchor: Mapping[str, Any]

    @property
    def recorded(self) -> tuple[str, ...]:
        """Names whose log-probs are there, ``mu`` first."""
        return (() if self.log_mu is None else ("mu",)) + tuple(self.log_anchor)

    def log_prob(self, name: str, purpose: str) -> Any:
        """The log-probs log π_name of every candidate [N], or of every token [M], nats.

        Raises:
            MissingLogProbs: It was not recorded; ``purpose`` says what needed it.
        """
        values = self.log_mu if name == "mu" else self.log_anchor.get(name)
        if values is None:
            raise MissingLogProbs(name, purpose, self.recorded)
        return values


@dataclass(frozen=True, repr=False)
class Tokens(Brief, Recorded):
    """M tokens that the policy itself produced (prompt, padding, tool output are not here).

    Attributes:
        sequences: Tokens in candidates.
        log_mu: log μ of every token as drawn, or None.
        log_anchor: log π of every token by name (``old``, ``ref``, ``teacher``, ``policy``).
        ids: Token ids, or None.
    """

    sequences: Groups
    log_mu: Float[Array, " M"] | None = None
    log_anchor: Mapping[str, Float[Array, " M"]] = field(default_factory=dict)
    ids: Int[Array, " M"] | None = None

    def __post_init__(self) -> None:
        """Freeze the mapping and check lengths."""
        object.__setattr__(self, "log_anchor", MappingProxyType(dict(self.log_anchor)))
        named: dict[str, Any] = {"log_mu": self.log_mu, "ids": self.ids, **self.log_anchor}
        for name, values in named.items():
            if values is not None and tuple(values.shape) != (self.sequences.total,):
                raise DataError(
                    f"token {name} has shape {tuple(values.shape)}, there are "
                    f"{self.sequences.total} tokens."
                )

    def take(self, rows: Int[np.ndarray, " n"]) -> "Tokens":
        """The chosen sequences, whole, in that order."""
        sequences, at = self.sequences.take(rows)
        return Tokens(
            sequences=sequences,
            log_mu=picked(self.log_mu, at),
            log_anchor=picked(self.log_anchor, at),
            ids=picked(self.ids, at),
        )
