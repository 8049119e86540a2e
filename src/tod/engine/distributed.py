"""The processes of a run: who computes which contexts, and how gradients are added up.

Every process draws and scores its own contexts, then all hold the whole batch, so that every
diagnostic, decision and record is computed from the same numbers everywhere. Gradients are sums
over processes of losses that are normalised by the totals of the whole batch: the number of
processes changes nothing but the order of additions.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Int

from tod.base import RunError

T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """This process among its peers, as `torchrun` started them.

    Attributes:
        rank: Number of this process.
        size: Number of processes.
        device: Where this process computes.
    """

    rank: int
    size: int
    device: torch.device

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
        """Replace every gradient by its sum over the processes; a missing one counts as zero."""
        if self.size == 1:
            return
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            torch.distributed.all_reduce(parameter.grad)

    def wait(self) -> None:
        """Until every process is here."""
        if self.size > 1:
            torch.distributed.barrier()
