"""Passes timed in turn, so that what slows the machine slows all of them."""

import statistics
import time
from collections.abc import Callable
from typing import Any


def alternate(passes: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Median seconds of every pass, one after the other, repeated; the first round only warms."""
    seconds: dict[str, list[float]] = {name: [] for name in passes}
    for _ in range(repeats + 1):
        for name, run in passes.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values[1:]) for name, values in seconds.items()}
