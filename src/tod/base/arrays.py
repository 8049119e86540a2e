"""Arrays of numpy and tensors of torch, told apart without importing torch."""

from typing import Any, Protocol, runtime_checkable

import numpy as np
from array_api_compat import array_namespace

__all__ = ["Array", "constant_like", "detach", "is_numpy", "namespace", "to_numpy"]


@runtime_checkable
class Array(Protocol):
    """A numpy array or a torch tensor; the theory needs only the operations both share.

    The dunder methods are declared with ``Any`` because neither library types them alike.
    """

    @property
    def shape(self) -> Any:
        """Lengths of the axes."""
        ...

    @property
    def dtype(self) -> Any:
        """Element type, of the array's own library."""
        ...

    def __add__(self, other: Any, /) -> Any: ...
    def __radd__(self, other: Any, /) -> Any: ...
    def __sub__(self, other: Any, /) -> Any: ...
    def __rsub__(self, other: Any, /) -> Any: ...
    def __mul__(self, other: Any, /) -> Any: ...
    def __rmul__(self, other: Any, /) -> Any: ...
    def __truediv__(self, other: Any, /) -> Any: ...
    def __rtruediv__(self, other: Any, /) -> Any: ...
    def __neg__(self) -> Any: ...
    def __getitem__(self, key: Any, /) -> Any: ...
    def __lt__(self, other: Any, /) -> Any: ...
    def __le__(self, other: Any, /) -> Any: ...
    def __gt__(self, other: Any, /) -> Any: ...
    def __ge__(self, other: Any, /) -> Any: ...


def namespace(*arrays: Array) -> Any:
    """The array-API namespace of the arrays' library (numpy or torch).

    Raises:
        TypeError: The arrays come from different libraries.
    """
    return array_namespace(*arrays)


def is_numpy(x: object) -> bool:
    """Whether ``x`` is a numpy array or scalar."""
    return isinstance(x, np.ndarray | np.generic)


def to_numpy(x: Any) -> np.ndarray[Any, np.dtype[Any]]:
    """A numpy view or copy of an array of either library, detached from any graph."""
    if is_numpy(x):
        return np.asarray(x)
    detached = x.detach() if hasattr(x, "detach") else x
    return np.asarray(detached.cpu() if hasattr(detached, "cpu") else detached)


def constant_like(values: object, like: Array) -> Any:
    """``values`` as an array of the library and device of ``like``; integers stay integers."""
    if is_numpy(like):
        return np.asarray(values)
    return array_namespace(like).asarray(values, device=like.device)  # type: ignore[attr-defined]


def detach(x: Any) -> Any:
    """``x`` cut from its autograd graph (numpy arrays have none)."""
    return x.detach() if hasattr(x, "detach") else x


def log_sum_exp(x: Any) -> Any:
    """Log Σ exp x over the last axis, which stays with length 1; −∞ where all are."""
    if is_numpy(x):
        return np.logaddexp.reduce(x, axis=-1, keepdims=True)
    return x.logsumexp(-1, keepdim=True)


def put_along(x: Any, index: Any, value: float) -> Any:
    """A copy of ``x`` with ``value`` at some places of its last axis."""
    if is_numpy(x):
        copy = x.copy()
        np.put_along_axis(copy, index, value, axis=-1)
        return copy
    return x.scatter(-1, index, value)
