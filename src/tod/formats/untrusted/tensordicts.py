"""What ``torch.save`` writes of a TensorDict, as plain columns and without torch or tensordict.

The names below are those that tensordict 0.10 to 0.15 and NumPy ask for; each has a stand-in that
builds arrays, lists and dictionaries, and nothing else.
"""

from typing import Any

import numpy as np

from tod.formats.untrusted.pickles import Names, Opaque
from tod.formats.untrusted.torch_files import rebuild_tensor


def _opaque(*_: Any) -> Opaque:
    return Opaque()


def _fields(_: Any, state: Any) -> dict[str, Any]:
    found = state["_tensordict"]
    if type(found) is not dict:
        raise TypeError("a TensorDict whose fields are no dictionary")
    return found


def _of_type(function: Any, _: Any, arguments: Any, *__: Any) -> Any:
    """A tensor with attributes: only what this module builds is called."""
    if function not in (rebuild_tensor, _jagged):
        raise TypeError("a tensor that is rebuilt by something else")
    return function(*arguments)


def _jagged(parts: Any) -> list[Any] | None:
    """Rows of a jagged nested tensor; None where another axis than the first is ragged."""
    values, offsets, lengths = parts["values"], parts["offsets"], parts["lengths"]
    if parts["_ragged_idx"] != 1:
        return None
    starts = offsets[:-1]
    ends = offsets[1:] if lengths is None else starts + lengths
    return _slices(values, starts, ends)


def _strided(buffer: Any, sizes: Any, strides: Any, starts: Any) -> list[Any] | None:
    """Rows of a strided nested tensor of vectors; None for matrices."""
    if sizes.ndim != 2 or sizes.shape[1] != 1 or (strides != 1).any():
        return None
    return _slices(buffer, starts, starts + sizes[:, 0])


def _slices(values: Any, starts: Any, ends: Any) -> list[Any]:
    if len(starts) and not (starts.min() >= 0 and (starts <= ends).all()):
        raise ValueError("a nested tensor of negative extent")
    if len(ends) and ends.max() > len(values):
        raise ValueError("a nested tensor that reaches beyond its values")
    return [values[a:b] for a, b in zip(starts.tolist(), ends.tolist(), strict=True)]


class _Kind(Opaque):
    """A NumPy dtype by name; its state holds the byte order."""

    def __init__(self, name: Any, *_: Any) -> None:
        self.name = name if type(name) is str else ""

    def known(self) -> np.dtype[Any]:
        """The dtype, of numbers only."""
        big = isinstance(self.state, tuple) and self.state[1:2] == (">",)
        kind = np.dtype(self.name).newbyteorder(">" if big else "<")
        if kind.kind not in "biuf":
            raise TypeError(f"a NumPy value of type {self.name}")
        return kind


def _scalar(kind: Any, raw: Any) -> Any:
    return np.frombuffer(raw, dtype=kind.known(), count=1)[0].item()


def _encode(text: Any, name: Any) -> bytes:
    if name != "latin1" or type(text) is not str:
        raise ValueError("bytes written in another way than NumPy's")
    return text.encode("latin1")


def _set(items: Any = ()) -> set[Any]:
    return set(items)


NAMES: Names = {
    "tensordict._reductions._make_td": _fields,
    "tensordict._td.TensorDict": _opaque,
    "tensordict.tensorclass.NonTensorData": _opaque,
    "tensordict.tensorclass.NonTensorStack": _opaque,
    "torch.Size": tuple,
    "torch.Tensor": _opaque,
    "torch._tensor._rebuild_from_type_v2": _of_type,
    "torch._utils._rebuild_nested_tensor": _strided,
    "torch._dynamo.decorators._DimRange": _opaque,
    "torch.nested._internal.nested_tensor.NestedTensor": _opaque,
    "torch.nested._internal.nested_tensor._rebuild_njt": _jagged,
    "__builtin__.set": _set,
    "builtins.set": _set,
    "_codecs.encode": _encode,
    "numpy.dtype": _Kind,
    "numpy.ndarray": _opaque,
    "numpy.core.multiarray.scalar": _scalar,
    "numpy.core.multiarray._reconstruct": _opaque,
    "numpy._core.multiarray.scalar": _scalar,
    "numpy._core.multiarray._reconstruct": _opaque,
}


def column(value: Any, count: int) -> list[Any] | None:
    """One entry per row of a field: arrays of tensors, plain data of the rest; None if unusable."""
    if isinstance(value, np.ndarray):
        rows = list(value) if value.ndim else []
    elif isinstance(value, list):
        rows = value
    elif isinstance(value, Opaque) and isinstance(value.state, dict):
        parts = value.state.get("tensordicts")
        rows = [_data(value)] * count if parts is None else [_data(part) for part in parts]
    else:
        return None
    return rows if len(rows) == count else None


def _data(value: Any) -> Any:
    """The object inside a ``NonTensorData``."""
    state = value.state if isinstance(value, Opaque) else None
    inner = state.get("non_tensordict") if isinstance(state, dict) else None
    return inner.get("data") if isinstance(inner, dict) else None


def plain(value: Any, room: list[int] | None = None) -> Any:
    """NumPy arrays of objects as lists, in dictionaries and lists too.

    Raises:
        ValueError: It holds more than ten thousand things, as an object that holds itself does.
    """
    room = [10_000] if room is None else room
    room[0] -= 1
    if room[0] < 0:
        raise ValueError("an object without end")
    if isinstance(value, Opaque):
        state = value.state
        array = isinstance(state, tuple) and len(state) == 5 and isinstance(state[4], list)
        return plain(state[4], room) if array else None
    if isinstance(value, dict):
        return {key: plain(item, room) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, room) for item in value]
    return value
