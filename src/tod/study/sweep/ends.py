"""How the runs of a sweep stand: read from their directories alone, whatever stopped them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from tod.diagnosis import verdict_of_run
from tod.runs import RunDirectory
from tod.runs.facts import lookup
from tod.runs.lock import writer_of

__all__ = ["End", "Evaluation", "State", "read_end", "state_of"]

State = Literal["done", "cut short", "failed", "waiting"]
"""Ended; stopped before its end, from where it goes on; stopped by an error; not begun."""


@dataclass(frozen=True)
class Evaluation:
    """Held-out prompts at a step: mean utility, and its standard error over prompts."""

    step: int
    value: float
    error: float | None


@dataclass(frozen=True, eq=False)
class End:
    """A run of a sweep.

    Attributes:
        name: Of its directory.
        values: A value an axis.
        seed: Its seed.
        state: How it stands.
        step: Steps that are done.
        steps: Steps that it has in all.
        seconds: What the done ones took.
        evaluations: Of held-out prompts, by step.
        by_prompt: Mean utility of every held-out prompt after the last step, [P]; None before it,
            and where none was evaluated.
        reward: Mean of the reported reward over the candidates of every step, by step.
        tails: Largest weight of the median prompt, by step; None is unknown.
        judged: ``regime`` and ``pool`` as `tod diagnose` of the run has them; empty before.
        failed: Why it failed; empty where it did not.
    """

    name: str
    values: tuple[Any, ...]
    seed: int
    state: State
    step: int
    steps: int
    seconds: float
    evaluations: tuple[Evaluation, ...] = ()
    by_prompt: Float[np.ndarray, " P"] | None = None
    reward: Mapping[int, float] = field(default_factory=dict)
    tails: Mapping[int, float | None] = field(default_factory=dict)
    judged: Mapping[str, Any] = field(default_factory=dict)
    failed: str = ""

    @property
    def verdict(self) -> str | None:
        """The regime of the run; None where it did not end."""
        found = (self.judged.get("regime") or {}).get("verdict")
        return None if found is None else str(found)

    @property
    def last(self) -> Evaluation | None:
        """The evaluation after the last step; None where there is none."""
        done = self.evaluations and self.evaluations[-1].step == self.steps
        return self.evaluations[-1] if done else None

    @property
    def first(self) -> Evaluation | None:
        """The evaluation before the first step; None where there is none."""
        return next((one for one in self.evaluations if one.step == 0), None)


def state_of(path: Path, steps: int, records: Sequence[Mapping[str, Any]]) -> State:
    """How a run stands, by what lies in its directory.

    A run ends when its model is written and its lock let go of: one that was killed in between is
    cut short, and goes on from its last step.

    Args:
        path: Its directory.
        steps: Steps that it has in all.
        records: Of its steps.
    """
    if not RunDirectory.begun(path):
        return "waiting"
    last = max((int(record["step"]) for record in records), default=0)
    ended = last >= steps and (path / "model").is_dir() and writer_of(path) is None
    return "done" if ended else "cut short"


def read_end(
    path: Path, values: Sequence[Any], seed: int, steps: int, reported: str, failed: str = ""
) -> End:
    """A run as its directory tells it.

    Args:
        path: Its directory; it may be missing.
        values: A value an axis.
        seed: Its seed.
        steps: Steps that it has in all.
        reported: The reward that is evaluated.
        failed: Why it failed when it was last run.
    """
    records: list[dict[str, Any]] = []
    if RunDirectory.begun(path):
        records = sorted(RunDirectory.open(path).steps.read(), key=lambda r: int(r["step"]))
    state = state_of(path, steps, records)
    evaluated = [r for r in records if lookup(r, "held_out.pass_at_1") is not None]
    last = evaluated[-1] if evaluated else {}
    by_prompt = lookup(last, "held_out.by_prompt") if last.get("step") == steps else None
    done = [record for record in records if record["step"] > 0]
    return End(
        name=path.name,
        values=tuple(values),
        seed=seed,
        state="failed" if failed and state != "done" else state,
        step=max((int(record["step"]) for record in done), default=0),
        steps=steps,
        seconds=sum(sum((r.get("seconds") or {}).values()) for r in records),
        evaluations=tuple(_evaluation(record) for record in evaluated),
        by_prompt=None if by_prompt is None else np.array(by_prompt, np.float64),
        reward={int(r["step"]): x for r in done if (x := r["utility"].get(reported)) is not None},
        tails={int(r["step"]): lookup(r, "tails.max_weight_median") for r in done},
        judged=verdict_of_run(path).to_dict() if state == "done" else {},
        failed="" if state == "done" else failed,
    )


def _evaluation(record: Mapping[str, Any]) -> Evaluation:
    told = record["held_out"]
    return Evaluation(int(record["step"]), told["pass_at_1"], told["standard_error"])
