"""What each context says by itself, all of it in one pass over cache-sized blocks.

The equations are in ``ess``, ``tails``, ``overlap``, ``coverage`` and ``classes``; a block shares
their shifts and exponentials. Where a log-prob ratio is too small for plain weights, and where a
context is so large that it fills vectors by itself, the equations are used as they stand.
"""

from typing import Any

import numpy as np

from tod.base import Groups
from tod.diagnostics import kernel
from tod.diagnostics.blocks import WIDE, Block, blocks
from tod.diagnostics.classes import INFORMATIVE, INVALID, SINGLETON, ZERO_INFORMATION, constant
from tod.diagnostics.coverage import RhoSums
from tod.diagnostics.overlap import carried_by, legs_of_columns, policy_proposal, target_policy

_LEGS = ("policy_proposal", "target_policy", "carried_by")
_RHO = ("rho_largest", "rho_total", "rho_squares")
_UTILITY = ("utility_mean", "utility_max", "utility_min")


def per_context(
    contexts: Groups, log_w: Any, tilt: Any, utility: Any, log_r: Any, top: int
) -> dict[str, Any]:
    """Columns of ``Diagnostics`` by name, [C]; numpy arrays in, all but log_w may be None."""
    names = [
        *kernel.NAMES,
        *(() if utility is None else _UTILITY),
        *(() if log_r is None else (*_LEGS, *_RHO)),
    ]
    found = dict(zip(names, np.empty((len(names), len(contexts))), strict=True))
    found["codes"] = np.empty(len(contexts), dtype=np.int8)
    for block in blocks(contexts):
        for name, value in _of_block(block, log_w, tilt, utility, log_r, top).items():
            found[name][block.contexts] = value
    return found


def _of_block(
    block: Block, log_w: Any, tilt: Any, utility: Any, log_r: Any, top: int
) -> dict[str, Any]:
    wide = block.size >= WIDE
    w = None if wide else block.columns(log_w)
    weighed = kernel.of_rows(block, log_w, top) if w is None else kernel.of_columns(w, top)
    found = dict(zip(kernel.NAMES, weighed, strict=True))
    found["codes"] = _codes(block, found["log_z"], tilt)
    if utility is not None:
        found |= _utility(block.columns(utility))
    if log_r is not None:
        found |= _policy(block, w, log_w, log_r)
    return found


def _codes(block: Block, log_z: Any, tilt: Any) -> Any:
    """As ``classes.context_classes``; log Ẑ is NaN throughout exactly the invalid contexts."""
    undefined = np.isnan(log_z)
    codes = np.full(len(log_z), INFORMATIVE if block.size > 1 else SINGLETON, dtype=np.int8)
    if tilt is not None:
        x = block.columns(tilt)
        low, high = x.min(axis=0), x.max(axis=0)
        undefined |= np.isnan(high)
        if block.size > 1:
            codes[constant(low, high, float(np.finfo(tilt.dtype).eps))] = ZERO_INFORMATION
    codes[undefined] = INVALID
    return codes


def _utility(u: Any) -> dict[str, Any]:
    return {
        "utility_mean": u.sum(axis=0) / len(u),
        "utility_max": u.max(axis=0),
        "utility_min": u.min(axis=0),
    }


def _policy(block: Block, w: Any, log_w: Any, log_r: Any) -> dict[str, Any]:
    """The two legs that read π, and the sums behind the mean of π/μ; w is e^ω over its largest."""
    r = block.columns(log_r)
    largest = r.max(axis=0)
    usable = np.isfinite(largest)
    with np.errstate(over="ignore", invalid="ignore"):
        r -= largest if usable.all() else np.where(usable, largest, 0.0)
        np.exp(r, out=r)
        rho = dict(zip(_RHO, (largest, r.sum(axis=0), np.einsum("kb,kb->b", r, r)), strict=True))
    legs = legs_of_columns(w, r) if w is not None and block.size > 1 and usable.all() else None
    if legs is None:
        omega, flat, groups = block.flat(log_w), block.flat(log_r), block.groups
        legs = (
            policy_proposal(flat, groups),
            target_policy(omega, flat, groups),
            carried_by(omega, flat, groups),
        )
    return rho | dict(zip(_LEGS, legs, strict=True))


def rho_sums(found: dict[str, Any], contexts: Groups) -> RhoSums | None:
    """The three columns taken out of ``found``; None without π."""
    if _RHO[0] not in found:
        return None
    largest, total, squares = (found.pop(name) for name in _RHO)
    return RhoSums(largest, total, squares, contexts.sizes)
