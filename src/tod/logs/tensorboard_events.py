"""TensorBoard's event files, read with its own library."""

from pathlib import Path
from typing import Any

from tod.base.extras import load
from tod.logs.rows import LogRows
from tod.logs.text_lines import regular

MARK = ".tfevents."
_AROUND = 16
"""Bytes of a record beside its content: a length of eight, and two checksums of four."""


def read_events(path: Path, rows: LogRows) -> None:
    """Add the scalars of one event file, a row a value.

    Raises:
        DataError: It is not a regular file.
        MissingPackage: TensorBoard is not installed.
    """
    rows.open(regular(path))
    loader = load("tensorboard.backend.event_processing.event_file_loader")
    parse = load("tensorboard.compat.proto.event_pb2").Event.FromString
    number, read = 0, 0
    for number, record in enumerate(loader.RawEventFileLoader(str(path)).Load(), start=1):
        read += len(record) + _AROUND
        try:
            event = parse(record)
        except Exception as error:  # protobuf's DecodeError, from either of its implementations
            rows.reject(number, "record", None, f"not an event ({type(error).__name__})")
            continue
        figures: dict[str, Any] = {}
        for value in event.summary.value if event.HasField("summary") else ():
            scalar = _scalar(value)
            if scalar is not None:
                figures[value.tag] = scalar
        if figures:
            rows.add(number, {"_step": event.step, "_timestamp": event.wall_time, **figures})
    left = path.stat().st_size - read
    if left > 0:  # the loader ends without a word where a record is cut off or damaged
        rows.reject(number + 1, "record", None, f"cut off or damaged: {left:,} bytes are not read")


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
