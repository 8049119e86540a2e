"""What a correction of the sampler's mismatch does to the aim."""

from tod.atlas.effects import SilentChange
from tod.configurations.settings import Settings


def sequence_mask_note(s: Settings, name: str) -> list[SilentChange]:
    """Caps and masks of importance weights: the mean weight falls below one, unevenly."""
    mode = str(s[name])
    whole = mode.startswith("sequence")
    effect = (
        "long answers leave the bounds first and are dropped: E[ρ·1{kept}] < 1, a length bias"
        if whole
        else "weights are cut token by token: the push is that of a nearby law, not of π_old"
    )
    return [SilentChange(s.said(name), effect)]
