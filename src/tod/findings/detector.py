"""What every detector is: a pure function of a run, one file each, found by its class."""

from abc import ABC, abstractmethod
from typing import ClassVar

from tod.base import Unknown, load_all
from tod.findings.finding import Finding
from tod.findings.run import TrainingRun


class Detector(ABC):
    """One question asked of a run.

    Attributes:
        kind: Identity for programs, the name of its file.
        checks: What it looks for, in two or three words, for the list of what was checked.
        order: Place of its mechanism in the chain from cause to effect, 0 first. It breaks ties
            between onsets at most one step apart, and nothing else.
        kinds: Kinds of findings that it can give, where they are not its own kind alone.
    """

    kind: ClassVar[str]
    checks: ClassVar[str]
    order: ClassVar[int]
    kinds: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def look(self, run: TrainingRun) -> tuple[Finding, ...] | Unknown:
        """What it sees in the run: findings, none of them, or what is missing to look."""


def unreadable(kind: str, why: str, needs: str, few: bool = False) -> Unknown:
    """Says that a detector could not look."""
    return Unknown(f"findings.{kind}", why, needs, "too_few" if few else "not_recorded")


def of_other_runs(kind: str, why: str, needs: str) -> Unknown:
    """Says that a detector has nothing to look at in runs of this kind, and lacks nothing."""
    return Unknown(f"findings.{kind}", why, needs, "not_applicable")


def detectors() -> tuple[Detector, ...]:
    """One of every kind, in the order of their mechanisms."""
    from tod.findings import detectors as package

    load_all(package.__name__, package.__path__)
    return tuple(sorted((c() for c in Detector.__subclasses__()), key=lambda d: (d.order, d.kind)))
