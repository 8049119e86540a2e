"""The processes and the threads of a run: who computes which contexts, how gradients are added up.

Every process draws and scores its own contexts, then all hold the whole batch, so that every
diagnostic, decision and record is computed from the same numbers everywhere. Gradients are sums
over processes of losses that are normalised by the totals of the whole batch: the number of
processes changes nothing but the order of additions.
"""

import math
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Int

from tod.base import ModelError, RunError
from tod.engine.sharding import Turns, in_shards, whole

T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """This process among its peers, as `torchrun` started them.

    Attributes:
        rank: Number of this process.
        size: Number of processes.
        device: Where this process computes.
        turns: Who goes through models in shards; every exchange waits until nobody does.
    """

    rank: int
    size: int
    device: torch.device
    turns: Turns = field(default_factory=Turns, compare=False)

    @classmethod
    def join(cls) -> "World":
        """The world that the environment describes; one process without `torchrun`."""
        from accelerate import PartialState

        state = PartialState(cpu=not torch.cuda.is_available())
        return cls(state.process_index, state.num_processes, state.device)

    @property
    def main(self) -> bool:
        """Whether this process writes."""
        return self.rank == 0

    def share(self, count: int) -> Int[np.ndarray, " c"]:
        """Which of ``count`` contexts are this process's: contiguous, as even as can be."""
        return np.array_split(np.arange(count), self.size)[self.rank]

    def gather(self, item: Any) -> list[Any]:
        """Every process's item, in order of rank, everywhere."""
        if self.size == 1:
            return [item]
        self.turns.end()
        found: list[Any] = [None] * self.size
        torch.distributed.all_gather_object(found, item)
        return found

    def in_main(self, make: Callable[[], T]) -> T | None:
        """``make()`` in the main process, None in the others, when all have come this far.

        Raises:
            RunError: As ``make`` raised it, in every process.
        """
        value, problem = None, None
        if self.main:
            try:
                value = make()
            except RunError as error:
                problem = str(error)
        problem = self.gather(problem)[0]
        if problem is not None:
            raise RunError(problem)
        return value

    def add_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Replace every gradient by its sum over the processes; a missing one counts as zero.

        Those of parameters in shards were added up in the backward pass.
        """
        if self.size == 1:
            return
        self.turns.end()
        for parameter in parameters:
            if in_shards(parameter):
                continue
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            torch.distributed.all_reduce(parameter.grad)

    def step(
        self,
        optimiser: torch.optim.Optimizer,
        parameters: list[torch.nn.Parameter],
        max_norm: float | None,
        complaint: str,
    ) -> float:
        """Add gradients over processes, clip, step; the norm before clipping.

        Args:
            optimiser: Whose step it is; its gradients are forgotten.
            parameters: What it trains.
            max_norm: Clip of the whole gradient's norm; None: no clip.
            complaint: What to say of a gradient that is not finite, after its norm.

        Raises:
            ModelError: The gradient is not finite; nothing was changed.
        """
        self.add_gradients(parameters)
        norm = clip(parameters, max_norm or math.inf)
        if not math.isfinite(norm):
            optimiser.zero_grad(set_to_none=True)
            raise ModelError(complaint.format(norm=norm))
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        return norm

    def wait(self) -> None:
        """Until every process is here."""
        if self.size > 1:
            self.turns.end()
            torch.distributed.barrier()


def clip(parameters: Iterable[torch.nn.Parameter], max_norm: float) -> float:
    """Scale all gradients so that their norm together is at most ``max_norm``; the norm before.

    ‖g‖ = √(Σ ‖g_p‖²) over all parameters, those in shards over all processes.
    """
    sharded: list[torch.nn.Parameter] = []
    held: list[torch.nn.Parameter] = []
    for parameter in parameters:
        (sharded if in_shards(parameter) else held).append(parameter)
    if not sharded:
        return float(torch.nn.utils.clip_grad_norm_(held, max_norm))
    norms = [_norm(group) for group in (sharded, held) if group]
    norm = torch.linalg.vector_norm(torch.stack(norms))
    for group in (sharded, held):
        torch.nn.utils.clip_grads_with_norm_(group, max_norm, norm)
    return float(norm)


def _norm(parameters: list[torch.nn.Parameter]) -> torch.Tensor:
    gradients = [p.grad for p in parameters if p.grad is not None]
    return whole(torch.nn.utils.get_total_norm(gradients))


_CGROUP = Path("/sys/fs/cgroup")


def default_threads() -> int:
    """Threads to give to torch: the processors this process may use and that nobody else does.

    The smallest of the processor affinity, the control group's quota and the processors left by
    the last minute's load; at least 1. Two threads on two busy processors are slower than one.
    """
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return free_threads(_affinity(), cgroup_quota(_CGROUP), os.cpu_count() or 1, load)


def free_threads(affinity: int, quota: float | None, processors: int, load: float) -> int:
    """min(affinity, quota, processors − load), the last rounded to the nearest; at least 1.

    Args:
        affinity: Processors this process may run on.
        quota: Processors' worth of time the control group allows; None: no limit.
        processors: Processors of the machine, which ``load`` is counted on.
        load: Mean number of runnable threads.
    """
    free = math.floor(processors - load + 0.5)
    allowed = affinity if quota is None else min(affinity, math.floor(quota))
    return max(1, min(allowed, free))


def cgroup_quota(root: Path) -> float | None:
    """Processors' worth of time allowed by the control group at ``root``; None when unlimited."""
    try:
        limit, period = (root / "cpu.max").read_text().split()[:2]
    except (OSError, ValueError):
        return _quota_v1(root / "cpu")
    return None if limit == "max" else int(limit) / int(period)


def _quota_v1(folder: Path) -> float | None:
    try:
        limit = int((folder / "cpu.cfs_quota_us").read_text())
        period = int((folder / "cpu.cfs_period_us").read_text())
    except (OSError, ValueError):
        return None
    return limit / period if limit > 0 and period > 0 else None


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
