"""What the sampler produced: flat token arrays on the host, grouped twice."""

from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Bool, Float, Int

from tod.base import DataError, Groups
from tod.base.rows import chained, picked


@dataclass(frozen=True)
class Rollouts:
    """M completion tokens in N candidates in C contexts, with the log-probs they were drawn with.

    Attributes:
        prompts: Token ids of every context's prompt, [C] arrays of their own lengths (>= 1).
        contexts: N candidates in C contexts.
        sequences: M completion tokens in N candidates, the end-of-sequence token included.
        ids: Token ids.
        log_mu: log μ of every token as drawn, after temperature, top-k and top-p (nats). None
            when the candidates came from elsewhere and their sampler is unknown.
        truncated: Whether the candidate was cut before an end-of-sequence token.
        version: Batches that the weights were trained on which drew the candidate, as its server
            names them; None where no server drew it.
    """

    prompts: tuple[Int[np.ndarray, " P"], ...]
    contexts: Groups
    sequences: Groups
    ids: Int[np.ndarray, " M"]
    log_mu: Float[np.ndarray, " M"] | None
    truncated: Bool[np.ndarray, " N"]
    version: Int[np.ndarray, " N"] | None = None

    def __post_init__(self) -> None:
        """Check that the parts fit together."""
        if len(self.prompts) != len(self.contexts):
            raise DataError(f"{len(self.prompts)} prompts for {len(self.contexts)} groups.")
        if self.contexts.total != len(self.sequences) or self.sequences.total != len(self.ids):
            raise DataError(
                f"{self.contexts.total} rollouts in groups, {len(self.sequences)} sequences; "
                f"{self.sequences.total} tokens in sequences, {len(self.ids)} ids."
            )

    def take(self, chosen: Int[np.ndarray, " c"]) -> "Rollouts":
        """The chosen contexts, whole, in that order."""
        contexts, candidates = self.contexts.take(chosen)
        sequences, tokens = self.sequences.take(candidates)
        return Rollouts(
            prompts=picked(self.prompts, chosen),
            contexts=contexts,
            sequences=sequences,
            ids=self.ids[tokens],
            log_mu=picked(self.log_mu, tokens),
            truncated=self.truncated[candidates],
            version=picked(self.version, candidates),
        )

    def kept(self, rows: Bool[np.ndarray, " N"]) -> "Rollouts":
        """Without some candidates; contexts of which none is left go with them."""
        counts = np.bincount(self.contexts.owner[rows], minlength=len(self.contexts))
        there, chosen = np.flatnonzero(counts), np.flatnonzero(rows)
        sequences, tokens = self.sequences.take(chosen)
        return Rollouts(
            prompts=picked(self.prompts, there),
            contexts=Groups(counts[there]),
            sequences=sequences,
            ids=self.ids[tokens],
            log_mu=picked(self.log_mu, tokens),
            truncated=self.truncated[chosen],
            version=picked(self.version, chosen),
        )

    def tokens_of(self, chosen: Int[np.ndarray, " c"]) -> Int[np.ndarray, " m"]:
        """Where the tokens of the chosen contexts lie, in their order."""
        return self.sequences.take(self.contexts.take(chosen)[1])[1]

    def one_token(self) -> "Rollouts":
        """The least there is to compute: one token of the first prompt, and one completion of one.

        log μ is not kept.
        """
        one = Groups(np.array([1]))
        return Rollouts((self.prompts[0][:1],), one, one, self.ids[:1], None, np.array([False]))

    @staticmethod
    def concatenate(parts: "list[Rollouts]") -> "Rollouts":
        """Several rollouts one after the other."""
        names = [item.name for item in fields(Rollouts)]
        return Rollouts(*(chained([getattr(part, name) for part in parts]) for name in names))
