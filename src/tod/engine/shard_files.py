"""Tensors in shards on disk: each process writes what it holds, any number of processes reads it.

By ``torch.distributed.checkpoint``, its format safetensors: nothing is pickled. Which slice of
which tensor a file holds is told by the file's header.
"""

import errno
import json
import math
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from tod.base import RunError
from tod.runs.atomic import sync

SEEN_WITHIN = 60.0
"""Seconds after which files of other machines must be seen: networks keep lists of a folder."""


def write(tensors: Mapping[str, torch.Tensor], folder: Path) -> None:
    """Write the tensors durably; all processes call it with the same names.

    Args:
        tensors: By name, of one axis at least: DTensors by slice, others by one process alone.
        folder: The same for all processes, on a file system that they share.

    Raises:
        OSError: The device is full, or cannot be written, in one of the processes.
    """
    checkpoint = _library()
    writer = _durable(checkpoint)(path=str(folder), save_distributed=True)
    try:
        with _quietly():
            checkpoint.save(dict(tensors), storage_writer=writer, no_dist=_alone())
    except checkpoint.CheckpointException as error:
        raise _as_system_error(error, folder) from error


def read(tensors: Mapping[str, torch.Tensor], folder: Path) -> None:
    """Fill the tensors in place, each process with the slices that it holds.

    Raises:
        RunError: A file cannot be read.
    """
    checkpoint = _library()
    reader = checkpoint.HuggingFaceStorageReader(path=str(folder))
    try:
        with _quietly():
            checkpoint.load(dict(tensors), storage_reader=reader, no_dist=True)
    except (checkpoint.CheckpointException, *_unreadable()) as error:
        raise RunError(f"{folder}: its shards cannot be read ({_first_line(error)}).") from None


def sizes(folder: Path) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor, after a look whether all its slices are there.

    Raises:
        RunError: A file cannot be read, or a slice is missing.
    """
    held: dict[str, int] = {}
    found: dict[str, tuple[int, ...]] = {}
    for file in sorted(folder.glob("*.safetensors")):
        for name, (offset, extent) in _slices(file).items():
            end = tuple(a + b for a, b in zip(offset, extent, strict=True))
            found[name] = tuple(map(max, found.get(name, end), end))
            held[name] = held.get(name, 0) + math.prod(extent)
    for name, shape in found.items():
        if held[name] != math.prod(shape):
            raise RunError(
                f"{folder} holds {held[name]} of {math.prod(shape)} numbers of {name!r}: a file of "
                "it is missing. Restore it, or remove the checkpoint to go on from the one before."
            )
    return found


def require_rows(
    folder: Path, held: Mapping[str, tuple[int, ...]], wanted: Mapping[str, tuple[int, ...]]
) -> None:
    """Nothing, if no tensor has fewer rows than it must: its last ones may lie in a missing file.

    Args:
        folder: Where they lie.
        held: Shapes by ``sizes``.
        wanted: Shapes that they must have; a name that is not held is passed over.

    Raises:
        RunError: One has fewer.
    """
    for name, shape in wanted.items():
        there = held.get(name, shape)
        if there[1:] == shape[1:] and there[:1] < shape[:1]:
            raise RunError(
                f"{folder} holds {there[0]} of {shape[0]} rows of {name!r}: a file of it is "
                "missing. Restore it, or remove the checkpoint to go on from the one before."
            )


def wait_until_seen(wanted: Mapping[str, torch.Tensor], folder: Path) -> None:
    """Wait until this process sees all that was written, by others on other machines too.

    Raises:
        OSError: It does not within ``SEEN_WITHIN`` seconds.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in wanted.items()}
    until = time.monotonic() + SEEN_WITHIN
    while not _sees(shapes, folder):
        if time.monotonic() > until:
            said = "files that other processes wrote are not seen; do all machines share it?"
            raise OSError(errno.EIO, said, str(folder))
        time.sleep(0.5)


def _sees(shapes: Mapping[str, tuple[int, ...]], folder: Path) -> bool:
    try:
        return sizes(folder) == shapes
    except RunError:  # a slice is not there yet, or half of a file
        return False


def _slices(file: Path) -> dict[str, tuple[list[int], list[int]]]:
    """Offset and shape of every slice in a file."""
    from safetensors import safe_open

    try:
        with safe_open(file, framework="pt") as opened:
            told = json.loads(opened.metadata()["DCP_SHARDING_INFO"])
            return {
                name: (told[name]["saved_offsets"], opened.get_slice(name).get_shape())
                for name in opened.keys()  # noqa: SIM118 - it is no mapping
            }
    except (RecursionError, *_unreadable()) as error:  # type: ignore[misc]
        raise RunError(
            f"{file} cannot be read ({_first_line(error)}). Restore it, or remove the checkpoint "
            "to go on from the one before."
        ) from None


def _library() -> Any:
    """torch.distributed.checkpoint, which must know safetensors."""
    from torch.distributed import checkpoint

    if not hasattr(checkpoint, "HuggingFaceStorageWriter"):
        raise RunError(
            f"checkpoints of `train.sharding` need a newer torch than {torch.__version__}: it "
            "writes no shards as safetensors. Install torch 2.13, or run without it."
        )
    return checkpoint


def _durable(checkpoint: Any) -> Any:
    """The writer, its files on the device when a process says that it wrote them.

    The library's own flushes all of a file but its last bytes, which are still in a buffer.
    """

    class Writer(checkpoint.HuggingFaceStorageWriter):  # type: ignore[misc]
        def write_data(self, plan: Any, planner: Any) -> Any:
            made = super().write_data(plan, planner)
            for name in {result.storage_data.relative_path for result in made.wait()}:
                sync(Path(self.path) / name)
            return made

    return Writer


@contextmanager
def _quietly() -> Iterator[None]:
    """Without being told that one process reads or writes by itself, which is what is meant."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled", UserWarning)
        yield


def _alone() -> bool:
    return not (torch.distributed.is_available() and torch.distributed.is_initialized())


def _unreadable() -> tuple[type[Exception], ...]:
    from safetensors import SafetensorError

    return (SafetensorError, OSError, ValueError, KeyError, TypeError, AssertionError, RuntimeError)


def _as_system_error(error: Any, folder: Path) -> OSError:
    """The system's own error of the first process that failed."""
    causes = [cause for cause, _ in error.failures.values()]
    for cause in causes:
        if isinstance(cause, OSError):
            return cause
    return OSError(errno.EIO, _first_line(causes[0] if causes else error), str(folder))


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
