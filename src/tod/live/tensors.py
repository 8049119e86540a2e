"""Padded tensors of any library as ragged rows."""

from typing import Any

import numpy as np

from tod.base import DataError


def as_numpy(values: Any) -> Any:
    """A tensor, array or list as an array on the host; half precisions become float32."""
    if hasattr(values, "detach"):
        values = values.detach()
        if values.is_floating_point():
            values = values.float() if values.element_size() < 4 else values
        return values.cpu().numpy()
    return np.asarray(values)


def masked_rows(name: str, values: Any, mask: Any) -> list[Any]:
    """Row i of ``values`` where ``mask`` is true.

    Raises:
        DataError: The shapes differ.
    """
    if values.shape != mask.shape:
        raise DataError(
            f"{name} has shape {tuple(values.shape)} and the mask of policy tokens "
            f"{tuple(mask.shape)}: they are aligned position by position."
        )
    return [row[keep] for row, keep in zip(values, mask, strict=True)]
