"""Reverse ESS: what draws from the target say of modes that the candidates cannot show."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from tod.base import to_numpy
from tod.diagnosis.target import Chosen
from tod.diagnostics import Coverage, harmonic_mean, reverse_ess
from tod.formats.reading import Reading


@dataclass(frozen=True, eq=False)
class Reverse:
    """The reverse check of a reading under a target.

    Attributes:
        reading: With its draws from the target.
        chosen: The target.
        log_w: log q̃*/μ of the candidates, [N].
    """

    reading: Reading
    chosen: Chosen | None
    log_w: Any

    @property
    def weighable(self) -> bool:
        """Whether the draws have all that the target reads.

        A selectivity finds its η from the candidates of a context: draws have none of their own.
        """
        samples, chosen = self.reading.samples, self.chosen
        if samples is None or chosen is None or chosen.target.target.selectivity is not None:
            return False
        general = chosen.target.target
        known = set(samples.candidates.recorded)
        return (
            set(general.utilities) <= set(samples.candidates.utility) and general.needs() <= known
        )

    @cached_property
    def by_context(self) -> tuple[Any, Any]:
        """Places of the contexts with draws, and exp(LSE ω(y) − ln K − LSE ω(z) + ln m) there.

        Contexts where either side has no finite weight at all are left out, but for draws that μ
        cannot propose: there it is 0.
        """
        samples = self.reading.samples
        if samples is None or not self.weighable:
            return np.zeros(0, dtype=np.int64), np.zeros(0)
        contexts, rows = self.reading.contexts.take(samples.at)
        of_samples = self._weigh_samples()
        draws, beyond = samples.candidates.contexts, of_samples == np.inf
        finite = np.where(beyond, 0.0, of_samples)
        with np.errstate(invalid="ignore"):
            found = to_numpy(reverse_ess(self.log_w[rows], contexts, finite, draws))
        found = np.where(to_numpy(draws.sum(beyond.astype(np.float64))) > 0, 0.0, found)
        known = np.isfinite(found)
        return samples.at[known], found[known]

    def _weigh_samples(self) -> Any:
        """ω of the draws, under the target in force at every step."""
        samples, chosen = self.reading.samples, self.chosen
        assert samples is not None and chosen is not None  # noqa: S101, PT018 - checked by the caller
        if not chosen.knobs:
            return _weights(chosen.target.target, samples.candidates)
        steps = self.reading.steps[samples.at]
        parts = [
            _weights(chosen.at(int(step)), samples.candidates.take(np.flatnonzero(steps == step)))
            for step in np.unique(steps)
        ]
        return np.concatenate(parts)  # contexts are in the order of their steps

    def coverage(self, at: slice | None = None) -> Coverage | None:
        """The harmonic mean over contexts (of a step): ESS of q*/μ with all of them pooled."""
        places, values = self.by_context
        if at is not None:
            values = values[(places >= at.start) & (places < at.stop)]
        return Coverage(reverse_ess=harmonic_mean(values)) if values.size else None


def _weights(target: Any, candidates: Any) -> Any:
    return to_numpy(target.log_weights(candidates)).astype(np.float64, copy=False)
