"""The drift budget: the reference's weight rises while drift is over it, and comes back after."""

from math import isclose

from tod.arc.config import ArcConfig
from tod.arc.knobs import Values, heavier_reference, reference_share, toward_share
from tod.arc.state import ArcState


def pull_back(
    config: ArcConfig, drift_over: float | None, knobs: Values, move: float
) -> tuple[Values, float]:
    """β up by drift/budget within the slew; what β cannot give, sharpness gives."""
    asked = min(drift_over or 0.0, config.slew)
    share = reference_share(knobs)
    if share is not None and share < 1:
        return heavier_reference(knobs, asked), move
    return knobs, min(move, -asked)


def give_back(config: ArcConfig, state: ArcState, knobs: Values) -> tuple[Values, list[str]]:
    """β one step back to its declared share, and that it is said."""
    back = toward_share(knobs, state.declared, config.slew)
    return back, ["drift is back in budget: beta returns"] if back != knobs else []


def same_share(a: Values, b: Values) -> bool:
    """Whether the geometric anchor is the same up to rounding."""
    return isclose(reference_share(a) or 0.0, reference_share(b) or 0.0, rel_tol=1e-9)
