"""What the sampler produced: flat token arrays on the host, grouped twice."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from tod.base import DataError, Groups


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
    """

    prompts: tuple[Int[np.ndarray, " P"], ...]
    contexts: Groups
    sequences: Groups
    ids: Int[np.ndarray, " M"]
    log_mu: Float[np.ndarray, " M"] | None
    truncated: Bool[np.ndarray, " N"]

    def __post_init__(self) -> None:
        """Check that the parts fit together."""
        if len(self.prompts) != len(self.contexts):
            raise DataError(f"{len(self.prompts)} prompts for {len(self.contexts)} contexts.")
        if self.contexts.total != len(self.sequences) or self.sequences.total != len(self.ids):
            raise DataError(
                f"{self.contexts.total} candidates in contexts, {len(self.sequences)} sequences; "
                f"{self.sequences.total} tokens in sequences, {len(self.ids)} ids."
            )

    def take(self, chosen: Int[np.ndarray, " c"]) -> "Rollouts":
        """The chosen contexts, whole, in that order."""
        contexts, candidates = self.contexts.take(chosen)
        sequences, tokens = self.sequences.take(candidates)
        return Rollouts(
            prompts=tuple(self.prompts[int(c)] for c in chosen),
            contexts=contexts,
            sequences=sequences,
            ids=self.ids[tokens],
            log_mu=None if self.log_mu is None else self.log_mu[tokens],
            truncated=self.truncated[candidates],
        )

    @staticmethod
    def concatenate(parts: "list[Rollouts]") -> "Rollouts":
        """Several rollouts one after the other."""
        unknown = any(part.log_mu is None for part in parts)
        return Rollouts(
            prompts=tuple(prompt for part in parts for prompt in part.prompts),
            contexts=Groups(np.concatenate([part.contexts.sizes for part in parts])),
            sequences=Groups(np.concatenate([part.sequences.sizes for part in parts])),
            ids=np.concatenate([part.ids for part in parts]),
            log_mu=None
            if unknown
            else np.concatenate([p.log_mu for p in parts if p.log_mu is not None]),
            truncated=np.concatenate([part.truncated for part in parts]),
        )
