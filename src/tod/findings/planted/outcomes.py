"""What findings said of planted runs, run by run and counted by scenario."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import comb
from typing import Any

from tod.findings.finding import Finding
from tod.findings.findings import Findings, find
from tod.findings.planted.scenario import Planted, Scenario, Truth

CHANCE = 1e-3
"""Probability of a count under its bound below which the bound is taken to be missed."""
HEALTHY_FAULTS = 0.02
"""Healthy runs with a fault, at most."""
HEALTHY_CRITICAL = 0.002
"""Healthy runs with a critical one, at most."""
DATABLE = 1.0
"""Blur of a ramp's onset, in steps, up to which it can be dated to two steps."""


@dataclass(frozen=True)
class PlantedOutcome:
    """What was said of one planted run.

    Attributes:
        scenario: Name of the scenario.
        seed: Its seed.
        steps: Training steps of the run.
        first: Kind of the first fault; None where there is none.
        faults: Kinds of all faults.
        critical: Whether one of them is critical.
        named: Whether the planted kind is among them.
        named_first: Whether it is the first of them.
        error: Onset less the truth, in steps of the grid; None where it was not named or has no
            onset. The first step stands for an onset before it.
        covered: Whether the interval of the onset holds the truth.
        blur: Error that noise leaves of the onset, in steps.
    """

    scenario: str
    seed: int
    steps: int
    first: str | None
    faults: tuple[str, ...]
    critical: bool
    named: bool = False
    named_first: bool = False
    error: float | None = None
    covered: bool = False
    blur: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {**asdict(self), "faults": list(self.faults)}

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> "PlantedOutcome":
        """What `to_dict` wrote."""
        return cls(**{**data, "faults": tuple(data["faults"])})


def outcome(scenario: Scenario, seed: int) -> PlantedOutcome:
    """Plant a run, ask every detector of it, compare with the truth."""
    planted = scenario.plant(seed)
    return compared(scenario.name, seed, planted, find(planted.run))


def compared(name: str, seed: int, planted: Planted, findings: Findings) -> PlantedOutcome:
    """What findings say of a run beside what was planted in it."""
    faults = tuple(fault.kind for fault in findings.faults)
    critical = any(fault.severity == "critical" for fault in findings.faults)
    steps, first = len(findings.run.steps), faults[0] if faults else None
    truth = planted.truth
    if truth is None or not any(_names(truth, fault) for fault in findings.faults):
        blur = 0.0 if truth is None else truth.blur
        return PlantedOutcome(name, seed, steps, first, faults, critical, blur=blur)
    error, covered = _dated(truth, findings)
    return PlantedOutcome(
        name,
        seed,
        steps,
        first,
        faults,
        critical,
        True,
        first in truth.kinds,
        error,
        covered,
        truth.blur,
    )


def _names(truth: Truth, fault: Finding) -> bool:
    """Whether a fault is what was planted: by its kind, and by its first cause where one is due."""
    first = fault.causes[0].kind if fault.causes else None
    return fault.kind in truth.kinds and (not truth.causes or first in truth.causes)


def _dated(truth: Truth, findings: Findings) -> tuple[float | None, bool]:
    """Onset less the truth, and whether the interval holds the truth."""
    onset = next(f.onset for f in findings.faults if _names(truth, f))
    if truth.shape == "whole" or onset is None:
        return None, False
    start = int(findings.run.steps[0])
    at = start if truth.step is None else truth.step
    step = start if onset.step is None else onset.step
    return (step - at) / truth.grid, onset.low <= at <= onset.high


@dataclass(frozen=True)
class ScenarioTally:
    """Counts of the outcomes of one scenario.

    Attributes:
        scenario: What was planted.
        runs: Planted runs.
        named: Runs in which the planted kind is a fault.
        first: Runs in which it is the first fault.
        dated: Named runs of which an onset is asked.
        within: Those whose onset is within the bound.
        datable: Those that noise leaves datable to the bound.
        datable_within: Those of them whose onset is within the bound.
        covered: Dated runs whose interval holds the truth.
        faults: Runs with any fault.
        critical: Runs with a critical one.
    """

    scenario: Scenario
    runs: int
    named: int
    first: int
    dated: int
    within: int
    datable: int
    datable_within: int
    covered: int
    faults: int
    critical: int

    @property
    def healthy(self) -> bool:
        """Whether nothing was planted."""
        return not self.scenario.kinds

    @property
    def missed(self) -> tuple[str, ...]:
        """Bounds that the counts contradict, each in words; healthy runs are counted together.

        A bound is contradicted where counts as bad as these have a probability below 1/1000 if it
        holds: four runs contradict less than fifty.
        """
        if self.healthy:
            return ()
        bounds = self.scenario.bounds
        counts = (
            ("named", self.named, self.runs, bounds.named),
            ("onset", self.datable_within, self.datable, bounds.onset),
            ("interval", self.covered, self.dated, bounds.covered),
        )
        return tuple(
            f"{word} in {count} of {runs}, not {bound:.0%}"
            for word, count, runs, bound in counts
            if below(count, runs, bound)
        )


def below(count: int, runs: int, bound: float) -> bool:
    """Whether so few successes, or fewer, have a probability below 1/1000 at a chance ``bound``."""
    if bound <= 0 or not runs:
        return False
    chance = sum(comb(runs, i) * bound**i * (1 - bound) ** (runs - i) for i in range(count + 1))
    return chance < CHANCE


def above(count: int, runs: int, bound: float) -> bool:
    """Whether so many events, or more, have a probability below 1/1000 at a chance ``bound``."""
    return below(runs - count, runs, 1 - bound)


def tallied(
    scenarios: Sequence[Scenario], outcomes: Iterable[PlantedOutcome]
) -> tuple[ScenarioTally, ...]:
    """Counts by scenario, in the order of the scenarios."""
    said: dict[str, list[PlantedOutcome]] = {scenario.name: [] for scenario in scenarios}
    for item in outcomes:
        if item.scenario in said:
            said[item.scenario].append(item)
    return tuple(_tally(scenario, said[scenario.name]) for scenario in scenarios)


def _tally(scenario: Scenario, outcomes: list[PlantedOutcome]) -> ScenarioTally:
    within = scenario.bounds.within
    dated = [o for o in outcomes if o.error is not None]
    near = [o for o in dated if o.error is not None and abs(o.error) <= within]
    return ScenarioTally(
        scenario,
        len(outcomes),
        sum(o.named for o in outcomes),
        sum(o.named_first for o in outcomes),
        len(dated),
        len(near),
        sum(o.blur <= DATABLE for o in dated),
        sum(o.blur <= DATABLE for o in near),
        sum(o.covered for o in dated),
        sum(bool(o.faults) for o in outcomes),
        sum(o.critical for o in outcomes),
    )


@dataclass(frozen=True)
class OutcomeSummary:
    """Counts of all scenarios, and the bounds that they contradict.

    Attributes:
        faults: Counts of the planted faults.
        healthy: Counts of the healthy families.
        false: Healthy runs in which each kind was called a fault, by kind.
    """

    faults: tuple[ScenarioTally, ...]
    healthy: tuple[ScenarioTally, ...]
    false: Mapping[str, int]

    @property
    def healthy_runs(self) -> int:
        """Healthy runs."""
        return sum(tally.runs for tally in self.healthy)

    @property
    def false_faults(self) -> int:
        """Healthy runs with a fault."""
        return sum(tally.faults for tally in self.healthy)

    @property
    def false_critical(self) -> int:
        """Healthy runs with a critical one."""
        return sum(tally.critical for tally in self.healthy)

    @property
    def missed(self) -> tuple[str, ...]:
        """Bounds that are contradicted, in words."""
        lines = [f"{t.scenario.name}: {words}" for t in self.faults for words in t.missed]
        runs = self.healthy_runs
        for word, count, bound in (
            ("a fault", self.false_faults, HEALTHY_FAULTS),
            ("a critical one", self.false_critical, HEALTHY_CRITICAL),
        ):
            if above(count, runs, bound):
                lines.append(f"{word} in {count} of {runs} healthy runs, not {bound:.1%}")
        return tuple(lines)

    @property
    def passed(self) -> bool:
        """Whether no bound is contradicted."""
        return not self.missed

    @property
    def lines(self) -> tuple[str, ...]:
        """The totals, in words."""
        lines = []
        if self.faults:
            runs = sum(tally.runs for tally in self.faults)
            first = sum(tally.first for tally in self.faults)
            lines.append(f"faults named first: {first} of {runs}")
        if self.healthy:
            which = ", ".join(f"{kind} {count}" for kind, count in sorted(self.false.items()))
            lines.append(
                f"healthy runs with a fault: {self.false_faults} of {self.healthy_runs}"
                + (f" ({which})" if which else "")
            )
        return tuple(lines)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "passed": self.passed,
            "missed": list(self.missed),
            "faults": [_counts(tally) for tally in self.faults],
            "healthy": [_counts(tally) for tally in self.healthy],
            "false": dict(sorted(self.false.items())),
        }


def _counts(tally: ScenarioTally) -> dict[str, Any]:
    """Name, kinds, bounds and counts of a scenario."""
    counts = {key: value for key, value in vars(tally).items() if key != "scenario"}
    scenario = tally.scenario
    names = {"name": scenario.name, "kinds": list(scenario.kinds), "shape": scenario.shape}
    if tally.healthy:
        return {"name": scenario.name, **{k: counts[k] for k in ("runs", "faults", "critical")}}
    return {**names, "bounds": asdict(scenario.bounds), **counts}


def summary(scenarios: Sequence[Scenario], outcomes: Iterable[PlantedOutcome]) -> OutcomeSummary:
    """All counts of some scenarios."""
    said = tuple(outcomes)
    tallies = tallied(scenarios, said)
    healthy = {tally.scenario.name for tally in tallies if tally.healthy}
    false: dict[str, int] = {}
    for item in said:
        for kind in set(item.faults) if item.scenario in healthy else ():
            false[kind] = false.get(kind, 0) + 1
    return OutcomeSummary(
        tuple(t for t in tallies if not t.healthy), tuple(t for t in tallies if t.healthy), false
    )
