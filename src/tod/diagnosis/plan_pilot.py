"""The batch that a plan reads: its candidates, weighed, and the contexts that say something."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from tod.base import DataError, Groups, SpecError
from tod.diagnosis.target import SourcedTarget, TargetSource, choose, unweighable
from tod.formats.reading import Reading
from tod.population import LegStatistics, leg_statistics
from tod.procedure import declared_width, weigh, weights_at
from tod.regimes.largest import spread_out, varied
from tod.targets import Target

__all__ = ["Pilot", "checked", "of_utility", "pilot_of"]


@dataclass(frozen=True, eq=False)
class Pilot:
    """Candidates of a pilot under a target, as many a context as are planned.

    Attributes:
        reading: All that was recorded.
        target: In its general form.
        rows: The candidates that are read.
        contexts: Their contexts.
        base: log b/μ of them, [N]; None where it is 0 throughout.
        unit: Their tilt at η = 1, [N].
        eta: Sharpness in force.
    """

    reading: Reading
    target: Target
    rows: Any
    contexts: Groups
    base: Float[np.ndarray, " N"] | None
    unit: Float[np.ndarray, " N"]
    eta: float

    @cached_property
    def informative(self) -> Int[np.ndarray, " c"]:
        """Places of the contexts in which the tilt differs."""
        return np.flatnonzero(varied(self.unit, self.contexts))

    @cached_property
    def places(self) -> Int[np.ndarray, " c"]:
        """Of the informative contexts that are read."""
        return spread_out(self.informative)  # type: ignore[no-any-return]

    @cached_property
    def part(self) -> "Pilot":
        """The informative contexts that are read, alone."""
        contexts, rows = self.contexts.take(self.places)
        base = None if self.base is None else self.base[rows]
        return Pilot(self.reading, self.target, rows, contexts, base, self.unit[rows], self.eta)

    def log_w(self, eta: float) -> Float[np.ndarray, " N"]:
        """Log w at a sharpness."""
        return weights_at(self.base, self.unit, eta)

    def statistics(self, ranges: Mapping[str, Sequence[float]]) -> LegStatistics:
        """Counts and moments; of nothing where the candidates were not sampled.

        Args:
            ranges: Least and largest value that a utility can have, by name, as declared.
        """
        if self.reading.semantics != "sampled":
            return LegStatistics()
        anchored = self.base is None
        return leg_statistics(
            self.contexts,
            log_w=self.unit if anchored else self.log_w(self.eta),
            anchored=anchored,
            informative=varied(self.unit, self.contexts),
            eta=self.eta,
            width=declared_width(self.target, ranges),
        )


def pilot_of(reading: Reading, sourced: SourcedTarget, k: int | None) -> Pilot:
    """The pilot under its target.

    Args:
        reading: Candidates.
        sourced: The target.
        k: Candidates per context that are read; all of them if None.

    Raises:
        SpecError: No context has as many.
        DataError: The target has no single sharpness, or no context is informative.
    """
    rows, contexts = _with_k(reading, k)
    whole, weights = sourced.target.target, weigh(sourced.target, reading, sourced.knobs)
    if weights.declared is None:
        raise DataError(
            "the target's selectivity finds an eta for every context: there is no single sharpness "
            "to plan. Give a target with an eta, or --utility."
        )
    base, unit = weights.base(rows), weights.unit(rows)
    pilot = Pilot(reading, whole, rows, contexts, base, unit, weights.declared)
    if not pilot.informative.size:
        raise DataError(
            f"in none of {len(contexts)} contexts do the candidates differ in "
            f"{', '.join(whole.utilities)}: they say nothing about sharpness. Raise K, or give "
            "easier or harder contexts, or partial credit."
        )
    return pilot


def checked(reading: Reading, ess_target: float, utility: str | None, k: int | None) -> None:
    """Refuse arguments outside their range.

    Raises:
        SpecError: A goal outside (0, 1), a utility that the files do not hold, or K below 2.
    """
    if not 0 < ess_target < 1:
        raise SpecError(
            f"target_ess = {ess_target}: a relative effective sample size to keep lies in (0, 1). "
            "0.5 is usual."
        )
    if utility is not None and utility not in reading.utility:
        known = ", ".join(reading.utility) or "none"
        raise SpecError(f"no utility {utility!r} in the files (there: {known}).")
    if k is not None and k < 2:
        raise SpecError(f"k = {k}: a context needs two candidates to say anything.")


def of_utility(
    reading: Reading,
    target: Any,
    eta: float | None,
    source: TargetSource | None,
    utility: str | None,
) -> SourcedTarget:
    """The target of a plan: of one utility alone where one is named.

    Raises:
        DataError: It cannot be weighed.
    """
    sourced = choose(reading, target, eta, source)
    lack = None if utility is not None and sourced is not None else unweighable(reading, sourced)
    if sourced is None or lack is not None:
        why, needs = (lack.why, lack.needs) if lack else ("no target", "a utility per candidate")
        raise DataError(f"{why}: there is no sharpness to plan. Give {needs}.")
    if utility is None:
        return sourced
    general = sourced.target.target
    known = {tilt.utility: tilt.eta for tilt in general.tilts}
    sharpness = known.get(utility) or (eta if eta is not None else 1.0)
    single = general.revised(tilts=[{"utility": utility, "eta": sharpness}])
    return SourcedTarget(single, sourced.source)


def _with_k(reading: Reading, k: int | None) -> tuple[Any, Groups]:
    """All candidates, or k of each context that has as many; and their contexts."""
    if k is None:
        return slice(None), reading.contexts
    sizes = reading.contexts.sizes
    enough = np.flatnonzero(sizes >= k)
    if not enough.size:
        raise SpecError(
            f"k = {k} and the pilot has at most {int(sizes.max())} candidates in a context: more "
            "than were drawn cannot be simulated. Draw a larger pilot, or leave --k out and read "
            "the needed K."
        )
    whole, rows = reading.contexts.take(enough)
    order = np.argsort(whole.owner + np.random.default_rng(0).random(len(rows)))
    return rows[np.sort(order[whole.position < k])], Groups.equal(len(enough), k)
