"""The target of a training configuration, as the atlas locates it, over what was read."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tod.configurations import Located
    from tod.formats import Reading


_STILL = (
    "what may still be read: groups, utilities and blind contexts as they are; ESS_rel, the "
    "verdict and the feasible eta as functions of an eta that you choose (--eta); with log-probs, "
    "pi/mu, mismatch and drift, which need no target"
)


def located(config: Path, reading: "Reading") -> tuple["Reading", Any, Any, list[str]]:
    """The reading, the target that a configuration implies for it, ``located``, and remarks.

    Where it implies no finite target (no KL term) the target is None, to be assumed, and the first
    remark says so. Where rewards are z-scored the reading gains the standardised utility, which
    the sharpness multiplies.
    """
    from tod.configurations import locate

    found = locate(config)
    remarks = [f"located: {found.framework} {found.method}", *found.notes]
    remarks += [f"{change.setting}: {change.effect}" for change in found.silent_changes]
    implied = found.target_for(reading)
    if implied is None:
        remarks.insert(1, f"{config.name} implies no finite target: one is assumed below")
        remarks.append(_STILL)
        return reading, None, None, remarks
    if implied.etas is not None:
        remarks.append(_spread_of_eta(implied.etas))
    same: Any = implied.candidates
    return same, implied.target, _kind(found), remarks


def _kind(found: "Located") -> str:
    """A recipe of ours declares its target; a framework's settings only imply it."""
    return "declared" if found.framework == "tod" else "located"


def _spread_of_eta(etas: Any) -> str:
    """What z-scoring makes of η, context by context."""
    import numpy as np

    from tod.diagnostics import quantile

    known = np.asarray(etas)[np.asarray(etas) > 0]
    if not known.size:
        return "rewards are z-scored and no context has any spread: eta_c is 0 everywhere"
    low, middle, high = (quantile(known, p) for p in (0.1, 0.5, 0.9))
    return (
        f"rewards are z-scored, so the implied eta_c differs by context: median {middle:.4g}, "
        f"10 % {low:.4g}, 90 % {high:.4g}"
    )
