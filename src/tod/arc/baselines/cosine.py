"""Half a cosine from 0 to the declared sharpness."""

from math import cos, pi

from tod.arc.config import ArcConfig


def cosine(config: ArcConfig, goal: float, deadline: int, time: int) -> float:
    """Sharpness at batch ``time`` (from 0): η*·(1 − cos(π·min(1, (t+1)/(D+1))))/2.

    Source: open-loop baseline (equation cosine-ramp)
    """
    share = min(1.0, (time + 1) / (deadline + 1))
    return goal if share == 1.0 else max(config.eta_min, goal * (1 - cos(pi * share)) / 2)
