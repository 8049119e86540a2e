"""Models in shards: every process keeps a slice of each parameter, and gathers a layer to use it.

FSDP2 (``torch.distributed.fsdp.fully_shard``) slices every parameter along its first axis. What a
forward or a backward pass needs is gathered layer by layer and freed after it; gradients are added
up and sliced in the backward pass. Embeddings, output head and final norm are one more piece, which
is gathered with the first layer and stays until the processes next exchange something.

Gathering takes all processes, and they do not pass through a model equally often: one draws longer
rollouts, another has no context left. So before every forward they agree whose turn it is, and who
does not need it goes through the layers with one token, of which nothing is kept (`Turns`). In the
backward pass they must be together: every process has as many micro-batches (`tod.engine.update`),
and a model that trains is forwarded once in each.
"""

from typing import Any

import torch

from tod.base import ModelError, RunError
from tod.engine.forward.layout import choose
from tod.engine.forward.model_parts import body, device, layers_of
from tod.engine.models import plain
from tod.engine.sampling.sampler_path import sampler_path

_WITHOUT_GRADIENT = 2**16
"""Forwards that nobody differentiates come first: those with gradient are then the same for all."""


class Turns:
    """The order in which the processes go through their models in shards; empty without any."""

    def __init__(self) -> None:
        self._models: list[Any] = []
        self._inside = 0

    def add(self, model: Any) -> None:
        """Let the forwards of a model in shards take turns, in every process at the same time."""
        self._models.append(model)
        number = len(self._models)

        def before(*_: Any) -> None:
            self._inside += 1
            if self._inside == 1:
                self._take(number + (0 if torch.is_grad_enabled() else _WITHOUT_GRADIENT))

        def after(*_: Any) -> None:
            self._inside -= 1

        for module in (plain(model), body(model)):
            module.register_forward_pre_hook(before, prepend=True)
            module.register_forward_hook(after, always_call=True)
        with torch.no_grad():  # the first forward of all tells FSDP2 which module is the outermost
            plain(model)(input_ids=_one_token(model), use_cache=False)
        self.end()

    def settle(self) -> None:
        """Take part in the forwards of other processes until none needs one."""
        if self._models:
            self._take(0)

    def end(self) -> None:
        """The same, then free all that was gathered."""
        self.settle()
        for model in self._models:
            whole = plain(model)
            if hasattr(whole, "reset_iter_state"):  # frees its lists of past forwards as well
                whole.reset_iter_state()
            else:
                whole.reshard()

    def forget(self) -> None:
        """Be empty again."""
        self._models.clear()

    def _take(self, wanted: int) -> None:
        """Wait for this process's turn of a forward; of 0, until no process wants one."""
        while True:
            asked = self._most_urgent(wanted)
            if asked:
                # of the outermost module only what lies outside the layers: they gather themselves
                plain(self._models[asked % _WITHOUT_GRADIENT - 1]).unshard()
            if asked == wanted:
                return
            self._gather_for_others(asked)

    def _most_urgent(self, wanted: int) -> int:
        number = torch.tensor(wanted, device=device(self._models[0]))
        torch.distributed.all_reduce(number, op=torch.distributed.ReduceOp.MAX)
        return int(number)

    def _gather_for_others(self, asked: int) -> None:
        """Gather every layer that other processes use."""
        if asked < _WITHOUT_GRADIENT:
            raise RunError(
                "another process has a forward with gradient that this one has not: the model in "
                "shards would wait for ever. Report it, and run without `train.sharding`."
            )
        model = self._models[asked % _WITHOUT_GRADIENT - 1]
        self._inside += 1
        try:
            with torch.no_grad():
                body(model)(input_ids=_one_token(model), use_cache=False)
        finally:
            self._inside -= 1


def shard(model: Any, where: torch.device, turns: Turns, *, trained: bool = False) -> Any:
    """The model, its parameters now DTensors of which each process holds a slice.

    Args:
        model: Whole, the same in every process; changed in place.
        where: Device of this process.
        turns: What orders its forwards from here on.
        trained: Whether it is differentiated, which asks for one forward in a micro-batch.

    Raises:
        ModelError: Its layers cannot be found, or its forward in training is not one.
        RunError: Its parameters are whole after all.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FSDPModule, fully_shard

    _try_whole(model, trained=trained)
    mesh = init_device_mesh(where.type, (torch.distributed.get_world_size(),))
    for layer in layers_of(model):
        fully_shard(layer, mesh=mesh)
    fully_shard(plain(model), mesh=mesh)
    for module in plain(model).modules():
        if isinstance(module, FSDPModule):
            # a plain sum: losses are normalised by the whole batch, and gloo knows no scaled one
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)
    left = [name for name, p in model.named_parameters() if not in_shards(p)]
    if left:
        raise RunError(
            f"{left[0]} of {type(plain(model)).__name__} was not put in shards by FSDP2. "
            "Run without `train.sharding`."
        )
    turns.add(model)
    return model


def in_shards(tensor: Any) -> bool:
    """Whether this process holds a slice of it only."""
    return hasattr(tensor, "full_tensor")


def local(tensor: Any) -> torch.Tensor:
    """What this process holds of a tensor."""
    held: torch.Tensor = tensor.to_local() if in_shards(tensor) else tensor
    return held


def whole(tensor: Any) -> torch.Tensor:
    """All of a tensor, in every process; all must ask for it."""
    gathered: torch.Tensor = tensor.full_tensor() if in_shards(tensor) else tensor
    return gathered


def like(tensor: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """A whole value, the same in every process, held as another tensor is."""
    if not in_shards(tensor):
        return value
    from torch.distributed.tensor import distribute_tensor

    mesh, placements = tensor.device_mesh, tensor.placements  # type: ignore[attr-defined]
    return distribute_tensor(value.to(tensor.device), mesh, placements, src_data_rank=None)


def _try_whole(model: Any, *, trained: bool) -> None:
    """Decide sampler and layout while the model is whole; the answers are remembered."""
    sampler_path(model)
    layout = choose(model)
    if trained and layout != "packed":
        raise ModelError(
            f"{type(plain(model)).__name__} is trained in layout {layout!r}, in which processes go "
            "through it unequally often, and `train.sharding: fsdp2` needs one forward in a "
            "micro-batch (layout 'packed'). Run without it, or take another model."
        )


def _one_token(model: Any) -> torch.Tensor:
    return torch.zeros((1, 1), dtype=torch.int64, device=device(model))
