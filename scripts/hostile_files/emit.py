"""Opcodes of pickles: plain data as Python writes it, with pieces of a grammar in its place."""

import io
import random
import struct
import zipfile
from dataclasses import dataclass
from typing import Any

import numpy as np

SIZES = (0, 1, 2, 3, 7, 8, 9, 63, 64, 999, 1000, 1 << 20, (1 << 31) - 1, 1 << 31, 1 << 40)
SIZES += ((1 << 61) + 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 1, 1 << 100, -1, -8, -1000, -(1 << 62))
STORAGES = (
    "FloatStorage", "DoubleStorage", "HalfStorage", "BFloat16Storage", "LongStorage", "IntStorage",
    "ShortStorage", "CharStorage", "ByteStorage", "BoolStorage",
)  # fmt: skip
ADMITTED = (
    "torch._utils._rebuild_tensor_v2", "collections.OrderedDict", "numpy.dtype", "numpy.ndarray",
    "_codecs.encode", "numpy._core.multiarray.scalar", "numpy._core.multiarray._reconstruct",
    "tensordict._reductions._make_td", "tensordict._td.TensorDict", "torch.Size", "torch.Tensor",
    "tensordict.tensorclass.NonTensorData", "tensordict.tensorclass.NonTensorStack",
    "torch._tensor._rebuild_from_type_v2", "torch._utils._rebuild_nested_tensor",
    "torch.nested._internal.nested_tensor._rebuild_njt", "builtins.set", "torch.device",
    "skyrl.backends.skyrl_train.training_batch.TrainingInputBatch",
    "skyrl.backends.skyrl_train.training_batch._rebuild_tensor_batch",
)  # fmt: skip
FORBIDDEN = ("os.system", "builtins.eval", "builtins.getattr", "torch.load", "a.b\x1b[2J", "\n.x")


@dataclass(frozen=True)
class Code:
    """Opcodes that leave one object on the stack."""

    raw: bytes


def number(value: int) -> bytes:
    """A whole number by the shortest opcode."""
    if 0 <= value < 256:
        return b"K" + bytes([value])
    if -(1 << 31) <= value < 1 << 31:
        return b"J" + struct.pack("<i", value)
    raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    if len(raw) < 256:
        return b"\x8a" + bytes([len(raw)]) + raw
    return b"\x8b" + struct.pack("<i", len(raw)) + raw


def text(value: str) -> bytes:
    """A text."""
    raw = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(raw)) + raw


def name(full: str) -> bytes:
    """A global."""
    module, _, own = full.rpartition(".")
    return text(module) + text(own) + b"\x93"


def emit(value: Any) -> bytes:
    """Opcodes of plain data; a ``Code`` stands for itself."""
    if isinstance(value, Code):
        return value.raw
    if value is None or isinstance(value, bool):
        return {None: b"N", True: b"\x88", False: b"\x89"}[value]
    if isinstance(value, int):
        return number(value)
    if isinstance(value, float):
        return b"G" + struct.pack(">d", value)
    if isinstance(value, str):
        return text(value)
    if isinstance(value, bytes):
        return b"B" + struct.pack("<I", len(value)) + value
    if isinstance(value, dict):
        return b"}(" + b"".join(emit(k) + emit(v) for k, v in value.items()) + b"u"
    inside = b"".join(map(emit, value))
    return b"](" + inside + b"e" if isinstance(value, list) else b"(" + inside + b"t"


def call(function: str, *arguments: Any) -> Code:
    """A global called with arguments."""
    return Code(name(function) + emit(tuple(arguments)) + b"R")


def storage(key: str, kind: str = "FloatStorage", count: int = 0) -> Code:
    """A persistent id as torch writes it."""
    kind_of = Code(name(f"torch.{kind}"))
    return Code(emit(("storage", kind_of, key, "cpu", count)) + b"Q")


def tensor(
    source: Any, size: Any, stride: Any = None, offset: Any = 0, more: tuple[Any, ...] = ()
) -> Code:
    """A tensor over something; contiguous where no stride is given."""
    if stride is None and isinstance(size, tuple) and all(isinstance(n, int) for n in size):
        stride = tuple(int(np.prod(size[i + 1 :], dtype=object)) for i in range(len(size)))
    return call("torch._utils._rebuild_tensor_v2", source, offset, size, stride, False, None, *more)


def archive(pickled: bytes, storages: dict[str, bytes], rng: random.Random) -> bytes:
    """A torch file: the zip of one pickle and its storages, now and then with false headers."""
    buffer = io.BytesIO()
    deflated = zipfile.ZIP_DEFLATED if rng.random() < 0.01 else zipfile.ZIP_STORED
    with zipfile.ZipFile(buffer, "w", deflated) as made:
        made.writestr("x/data.pkl", pickled)
        for key, raw in storages.items():
            made.writestr(f"x/data/{key}", raw)
    data = bytearray(buffer.getvalue())
    if rng.random() < 0.05:  # a size in the central directory
        at = data.rfind(b"PK\x01\x02") + rng.choice((20, 24, 42))
        data[at : at + 4] = struct.pack("<I", rng.choice(SIZES) & 0xFFFFFFFF)
    return bytes(data)
