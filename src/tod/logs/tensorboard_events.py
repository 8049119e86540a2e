"""TensorBoard's event files, read with its own library."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tod.base.extras import load
from tod.logs.rows import Rows
from tod.logs.text_lines import regular

MARK = ".tfevents."


def read_events(path: Path, rows: Rows) -> None:
    """Add the scalars of one event file, a row a value.

    Raises:
        DataError: It is not a regular file.
        MissingPackage: TensorBoard is not installed.
    """
    rows.open(regular(path))
    loader = load("tensorboard.backend.event_processing.event_file_loader")
    for number, event in enumerate(_events(loader, path, rows), start=1):
        figures: dict[str, Any] = {}
        for value in event.summary.value if event.HasField("summary") else ():
            scalar = _scalar(value)
            if scalar is not None:
                figures[value.tag] = scalar
        if figures:
            rows.add(number, {"_step": event.step, "_timestamp": event.wall_time, **figures})


def _events(loader: Any, path: Path, rows: Rows) -> Iterator[Any]:
    """The events up to the first that is damaged; a file whose writer still runs is not damaged."""
    events = loader.LegacyEventFileLoader(str(path)).Load()
    number = 0
    while True:
        try:
            event = next(events)
        except StopIteration:
            return
        except Exception as error:  # DataLossError, protobuf's DecodeError
            rows.reject(number + 1, "record", None, f"damaged ({type(error).__name__}): the end")
            return
        number += 1
        yield event


def _scalar(value: Any) -> float | None:
    """A summary's number: ``simple_value``, or the tensor of one element that newer writers use."""
    if value.HasField("simple_value"):
        return float(value.simple_value)
    if not value.HasField("tensor"):
        return None
    tensor = value.tensor
    if any(axis.size != 1 for axis in tensor.tensor_shape.dim):
        return None
    for numbers in (tensor.float_val, tensor.double_val, tensor.int_val, tensor.int64_val):
        if len(numbers) == 1:
            return float(numbers[0])
    import numpy as np

    kinds = {1: "<f4", 2: "<f8", 3: "<i4", 9: "<i8"}
    kind = np.dtype(kinds[tensor.dtype]) if tensor.dtype in kinds else None
    if kind is None or len(tensor.tensor_content) != kind.itemsize:
        return None
    return float(np.frombuffer(tensor.tensor_content, kind)[0])
