"""How long the missing runs of a sweep will take: by those that are there, else by operations."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tod.engine.costs import ForwardWork, ModelCost
from tod.engine.data.load import load_task
from tod.engine.forecast import forecast
from tod.engine.models import skeleton
from tod.engine.settings import RunSettings
from tod.runs import RunDirectory
from tod.study.sweep.document import SweepDocument
from tod.study.sweep.grid import SweepGrid

__all__ = ["Hours", "hours_of"]

SHARE = 0.2
"""Share of a step that its operations take at the rate of matrix products: measured 0.18 to 0.20
with the embedded model (README, figures); larger models have a larger one, and are faster."""


@dataclass(frozen=True)
class Hours:
    """What the missing runs will take.

    Attributes:
        each: Seconds of every missing run, by name.
        measured: Whether runs that are there tell it; else it is an upper estimate by operations.
    """

    each: Mapping[str, float]
    measured: bool

    def total(self, processes: int) -> float:
        """Hours of all, so many at a time."""
        longest = max(self.each.values(), default=0.0)
        return max(sum(self.each.values()) / processes, longest) / 3600


def hours_of(
    grid: SweepGrid, document: SweepDocument, folder: Path, missing: Mapping[str, int]
) -> Hours:
    """Seconds of every missing run.

    Args:
        grid: All runs.
        document: How they stand.
        folder: Where they lie.
        missing: Steps that are missing, by run.
    """
    measured = _seconds_of_a_step(document, folder)
    if measured is not None:
        return Hours({name: steps * measured for name, steps in missing.items()}, measured=True)
    rate = SHARE * _matrix_rate()
    by_values: dict[tuple[str, ...], float] = {}
    each = {}
    for run in grid.runs:
        if run.name in missing:
            key = tuple(map(str, run.values))
            if key not in by_values:
                by_values[key] = _operations(run.settings(folder)) / rate
            each[run.name] = by_values[key]
    return Hours(each, measured=False)


def _seconds_of_a_step(document: SweepDocument, folder: Path) -> float | None:
    """Mean seconds of a step, with evaluation, of the runs that are there; None before any."""
    seconds, steps = 0.0, 0
    for run in document.runs:
        if RunDirectory.begun(folder / run.name):
            for record in RunDirectory.open(folder / run.name).steps.read():
                seconds += sum((record.get("seconds") or {}).values())
                steps += record["step"] > 0
    return seconds / steps if steps else None


def _operations(settings: RunSettings) -> float:
    """Operations of a whole run, evaluation with it, every completion at its full length."""
    told = forecast(settings, load_task(settings.task, settings.prompt_seed))
    evaluation = settings.evaluate
    if evaluation is None:
        return told.flops
    steps, every = settings.train.steps, evaluation.every or settings.train.steps
    times = evaluation.start + -(-steps // every)
    count = evaluation.held_out_prompts * evaluation.samples_per_prompt
    length, prompt = settings.operator.proposal.max_new_tokens, told.prompt_tokens
    tokens = evaluation.held_out_prompts * prompt + count * length
    work = ForwardWork(
        tokens, count * (length * prompt + length * (length + 1) // 2), count * length
    )
    model = skeleton(settings.model, settings.peft)
    return told.flops + times * float(ModelCost.of(model).forward(work))


def _matrix_rate(size: int = 512, times: int = 5) -> float:
    """Operations a second of a product of matrices on one thread, the best of a few."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        a = torch.rand(size, size)
        product = torch.empty(size, size)
        seconds = []
        for _ in range(times):
            began = time.perf_counter()
            torch.mm(a, a, out=product)
            seconds.append(time.perf_counter() - began)
    finally:
        torch.set_num_threads(before)
    return float(2 * size**3 / min(seconds))
