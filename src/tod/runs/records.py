"""What one step writes: the names of the diagnosis schema, and nothing that is not known.

``None`` is "unknown" everywhere; a NaN or an infinity becomes ``None`` on its way to disk.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, is_dataclass
from pathlib import PurePath
from typing import Any

from tod.base import DataError
from tod.diagnostics.summary import Summary

__all__ = ["HeldOut", "Ledger", "StepRecord", "comparable", "plain"]

VOLATILE = ("time", "seconds")
"""The fields of a record that a resumed run does not reproduce: they read the clock."""


@dataclass(frozen=True)
class Ledger:
    """Compute of one step; ``flops`` counts multiply and add as two."""

    sample_tokens: int = 0
    score_tokens: int = 0
    train_tokens: int = 0
    flops: float | None = None
    sample_flops: float | None = None
    score_flops: float | None = None
    train_flops: float | None = None
    probe_flops: float | None = None
    """Of the draw of a probe and its readings; part of ``flops``. None without a probe."""


@dataclass(frozen=True)
class HeldOut:
    """Evaluation on prompts that training never sees; the standard error clusters by prompt.

    Attributes:
        pass_at_1: Mean of the utility over all samples.
        pass_at_k: Share of prompts with a sample at the utility's full mark.
        standard_error: Of ``pass_at_1``.
        prompts: Prompts.
        samples: Samples of each.
        by_prompt: Mean of the utility by prompt, in the task's order: two runs of one task pair.
    """

    pass_at_1: float | None = None
    pass_at_k: float | None = None
    standard_error: float | None = None
    prompts: int = 0
    samples: int = 0
    by_prompt: tuple[float, ...] | None = None


@dataclass(frozen=True)
class StepRecord:
    """One line of ``steps.jsonl``.

    Attributes:
        step: Counts from 1; 0 is the state before the first update.
        utility: Mean of every utility over the candidates of the step.
        summary: Diagnostics of the step's batch, with the population of the pool so far.
        statistics: What the step adds to the pool (`tod.population.LegStatistics`).
        pool: First and last step behind the population; it is read at some steps only.
        reward_range: Least and largest value of every utility that has a declared range.
        regime: ``{"verdict": ..., "reasons": [{"why": ..., "remedy": ...}], "thresholds": {...}}``.
        knobs: ``eta``, ``tau``, ``beta`` in force at this step, those that exist.
        ledger: Tokens and FLOPs of this step alone, not of the run so far.
        decision: The controller's decision taken *after* this step.
        held_out: Present at the steps that evaluate.
        served: Where servers draw: the version asked for, how many versions old the candidates
            are, mean and most, and what every transfer of weights showed.
        optimiser: ``loss``, ``grad_norm``, ``learning_rate``, whatever the engine knows.
        time: Unix time at the end of the step (volatile).
        seconds: Wall time by phase (volatile).
    """

    step: int
    utility: dict[str, float | None]
    summary: Summary = field(default_factory=Summary)
    regime: dict[str, Any] | None = None
    knobs: dict[str, float | None] = field(default_factory=dict)
    ledger: Ledger = field(default_factory=Ledger)
    decision: dict[str, Any] | None = None
    held_out: HeldOut | None = None
    optimiser: dict[str, float | None] = field(default_factory=dict)
    world_size: int = 1
    statistics: dict[str, Any] | None = None
    pool: dict[str, int] | None = None
    reward_range: dict[str, list[float]] = field(default_factory=dict)
    served: dict[str, Any] | None = None
    time: float | None = None
    seconds: dict[str, float] | None = None

    def to_dict(self) -> dict[str, Any]:
        """The record as it is written: the summary's parts lie beside the rest."""
        data = asdict(self)
        summary = data.pop("summary")
        head = {key: data.pop(key) for key in ("step", "time", "utility")}
        record: dict[str, Any] = plain({**head, **summary, **data})
        return record


def validated(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record as plain data, or an error that names what is wrong with it.

    Raises:
        DataError: The step is not a count, or a value is not plain data.
    """
    data: dict[str, Any] = plain(record)
    step = data.get("step")
    if not isinstance(step, int) or isinstance(step, bool) or step < 0:
        raise DataError(
            f"a record's step is {step!r}; it orders the records and resuming cuts by it. "
            "Give a whole number from 0 on."
        )
    if not isinstance(data.get("utility", {}), dict):
        raise DataError(f"step {step}: utility is {data['utility']!r}, not one mean per reward.")
    return data


def comparable(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record without what reads the clock: equal in a resumed and an uninterrupted run."""
    return {key: value for key, value in record.items() if key not in VOLATILE}


def plain(value: Any, path: str = "") -> Any:
    """JSON-ready data: numpy scalars and arrays unpacked, NaN and infinities to None.

    Raises:
        DataError: A value of a type that JSON does not have, with its dotted path.
    """
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item, f"{path}.{key}") for key, item in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value), path)
    if isinstance(value, PurePath):
        return str(value)
    if hasattr(value, "tolist"):
        return plain(value.tolist(), path)
    if isinstance(value, Sequence | set | frozenset) and not isinstance(value, bytes | bytearray):
        items = sorted(value) if isinstance(value, set | frozenset) else value
        return [plain(item, f"{path}[{i}]") for i, item in enumerate(items)]
    raise DataError(
        f"{path.lstrip('.') or 'the record'} is a {type(value).__name__}: records hold numbers, "
        "text, lists and mappings only. Convert it before writing."
    )
