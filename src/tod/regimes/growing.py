"""The verdict of a run that goes on: counts at every step, intervals at some."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from tod.diagnostics.population_ess import PopulationEss
from tod.diagnostics.summary import Summary
from tod.population import LegStatistics
from tod.regimes.pool import Pool, policy_level, pool_of

__all__ = ["GrowingPool"]

EVERY = 10
"""Steps between two readings of the pool, at the least."""
SHARE = 0.1
"""Steps between two readings, as a share of the pool: all readings of a run cost O(n log n)."""


class GrowingPool:
    """The pool of a run so far; its population is read at the first steps, then now and then.

    Attributes:
        read_at: The last step at which the population was read; None before the first.
        since: First step after the last dated change, where one is known; the pool starts there.
    """

    def __init__(self) -> None:
        self._steps: list[int] = []
        self._statistics: list[LegStatistics] = []
        self._summaries: list[Summary] = []
        self._population: dict[str, PopulationEss] | None = None
        self._pool: Pool | None = None
        self.read_at: int | None = None
        self.since: int | None = None

    @classmethod
    def of_records(cls, records: Iterable[Mapping[str, Any]]) -> "GrowingPool":
        """The pool after steps that are on disk; those without statistics are left out."""
        pool = cls()
        for record in records:
            if record.get("statistics") is not None:
                statistics = LegStatistics.from_dict(record["statistics"])
                pool._hold(int(record["step"]), statistics, Summary.from_dict(dict(record)))
                pool.read_at = (record.get("pool") or {}).get("last", pool.read_at)
        pool._population = None if pool.read_at is None else pool._read()
        return pool

    def add(
        self, step: int, statistics: LegStatistics, summary: Summary, *, last: bool = False
    ) -> Summary:
        """The step's record with the population of the pool, as it was last read.

        Args:
            step: Its number.
            statistics: What it adds.
            summary: Its record.
            last: Whether the run ends here, so that the pool is read whatever came before.
        """
        self._hold(step, statistics, summary)
        done = len(self._steps)
        wait = max(EVERY, int(SHARE * done))
        since = done if self.read_at is None else sum(s > self.read_at for s in self._steps[-wait:])
        if last or done <= EVERY or since >= wait:
            self.read_at = step
            self._population = self._read(everybody=last)
        return replace(summary, population=self._population)

    @property
    def steps(self) -> dict[str, int] | None:
        """First and last step behind the population."""
        return None if self._pool is None else self._pool.to_dict()

    def _hold(self, step: int, statistics: LegStatistics, summary: Summary) -> None:
        self._steps.append(step)
        self._statistics.append(statistics)
        self._summaries.append(summary)

    def _read(self, *, everybody: bool = False) -> dict[str, PopulationEss] | None:
        until = self.read_at
        count = sum(until is None or step <= until for step in self._steps)
        steps = self._steps[:count]
        level = policy_level(steps, self._summaries[:count])
        self._pool = pool_of(steps, self._statistics[:count], self.since, level)
        return None if self._pool is None else self._pool.population(everybody=everybody)
