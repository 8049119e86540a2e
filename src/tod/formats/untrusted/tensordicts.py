"""What ``torch.save`` writes of a TensorDict, as plain columns and without torch or tensordict.

The names below are those that tensordict 0.10 to 0.15 and NumPy ask for; each has a stand-in that
builds arrays, lists and dictionaries, and nothing else.
"""

from typing import Any

import numpy as np

from tod.formats.untrusted import numpy_values
from tod.formats.untrusted.pickles import Name, Names, Opaque, flat_keys
from tod.formats.untrusted.torch_files import rebuild_tensor


def _fields(_: Any, state: Any) -> dict[str, Any]:
    fields = state["_tensordict"] if type(state) is dict else None
    if type(fields) is not dict:
        raise TypeError("a TensorDict whose fields are no dictionary")
    return fields


def _of_type(function: Any, _: Any, arguments: Any, *__: Any) -> Any:
    """A tensor with attributes: only what this module builds is called."""
    if type(function) is not Name or function.stands_for not in (rebuild_tensor, jagged):
        raise TypeError("a tensor that is rebuilt by something else")
    return function.stands_for(*arguments)


def jagged(fields: Any) -> list[Any] | None:
    """Rows of a jagged nested tensor; None where another axis than the first is ragged."""
    if type(fields) is not dict:
        raise TypeError("a nested tensor without fields")
    values, offsets, lengths = fields["values"], fields["offsets"], fields["lengths"]
    if fields["_ragged_idx"] != 1:
        return None
    offsets = _places(offsets, axes=1)
    starts = offsets[:-1]
    ends = offsets[1:] if lengths is None else starts + _places(lengths, axes=1)
    return _rows_of(values, starts, ends)


def strided(buffer: Any, sizes: Any, strides: Any, starts: Any) -> list[Any] | None:
    """Rows of a strided nested tensor of vectors; None for matrices."""
    sizes, strides, starts = _places(sizes, axes=2), _places(strides, axes=2), _places(starts, 1)
    if sizes.shape[1] != 1 or (strides != 1).any():
        return None
    return _rows_of(buffer, starts, starts + sizes[:, 0])


def _places(value: Any, axes: int) -> Any:
    """Whole numbers of the file, which must be below 2^53 so that their sums do not wrap."""
    if type(value) is not np.ndarray or value.dtype.kind != "i" or value.ndim != axes:
        raise TypeError("a nested tensor whose offsets are no whole numbers")
    value = value.astype(np.int64)
    if value.size and (int(value.min()) < 0 or int(value.max()) >= 1 << 53):
        raise ValueError("a nested tensor of negative or endless extent")
    return value


def _rows_of(values: Any, starts: Any, ends: Any) -> list[Any]:
    if type(values) is not np.ndarray or values.ndim < 1 or starts.shape != ends.shape:
        raise TypeError("a nested tensor without values, or with more starts than ends")
    if len(starts) and not (starts <= ends).all():
        raise ValueError("a nested tensor of negative extent")
    if len(ends) and int(ends.max()) > len(values):
        raise ValueError("a nested tensor that reaches beyond its values")
    return [values[a:b] for a, b in zip(starts.tolist(), ends.tolist(), strict=True)]


def _members(items: Any = ()) -> set[Any]:
    return set(flat_keys(items))


NAMES: Names = {
    **numpy_values.NAMES,
    "tensordict._reductions._make_td": _fields,
    "tensordict._td.TensorDict": Opaque,
    "tensordict.tensorclass.NonTensorData": Opaque,
    "tensordict.tensorclass.NonTensorStack": Opaque,
    "torch.Size": tuple,
    "torch.Tensor": Opaque,
    "torch._tensor._rebuild_from_type_v2": _of_type,
    "torch._utils._rebuild_nested_tensor": strided,
    "torch._dynamo.decorators._DimRange": Opaque,
    "torch.nested._internal.nested_tensor.NestedTensor": Opaque,
    "torch.nested._internal.nested_tensor._rebuild_njt": jagged,
    "__builtin__.set": _members,
    "builtins.set": _members,
}


def column(value: Any, count: int) -> list[Any] | None:
    """One entry per row of a field: arrays of tensors, plain data of the rest; None if unusable."""
    if isinstance(value, np.ndarray):
        return list(value) if value.ndim and len(value) == count else None
    if isinstance(value, list):
        return value if len(value) == count else None
    if not isinstance(value, Opaque) or not isinstance(value.state, dict):
        return None
    inner = value.state.get("tensordicts")
    if inner is None:
        return [_data(value)] * count
    whole = isinstance(inner, list) and len(inner) == count
    return [_data(item) for item in inner] if whole else None


def _data(value: Any) -> Any:
    """The object inside a ``NonTensorData``."""
    state = value.state if isinstance(value, Opaque) else None
    inner = state.get("non_tensordict") if isinstance(state, dict) else None
    return inner.get("data") if isinstance(inner, dict) else None


def plain(value: Any, room: list[int] | None = None) -> Any:
    """NumPy arrays of objects as lists, in dictionaries and lists too.

    Raises:
        ValueError: It holds more than ten thousand things, shared ones counted every time.
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
