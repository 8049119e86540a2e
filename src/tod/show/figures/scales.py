"""From values to pixels."""

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """A linear or logarithmic map of ``domain`` onto ``pixels``."""

    domain: tuple[float, float]
    pixels: tuple[float, float]
    log: bool = False

    def __call__(self, value: float) -> float:
        """The pixel of a value; values outside the domain land on its edge."""
        low, high = (self._f(end) for end in self.domain)
        share = (self._f(value) - low) / (high - low) if high > low else 0.5
        start, end = self.pixels
        return start + min(max(share, 0.0), 1.0) * (end - start)

    def ticks(self, count: int = 5) -> list[float]:
        """About ``count`` round values inside the domain."""
        low, high = self.domain
        if self.log:
            first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
            stride = max(1, math.ceil((last - first + 1) / count))
            return [10.0**power for power in range(first, last + 1, stride)]
        step = _round_step((high - low) / max(count - 1, 1))
        first = math.ceil(low / step - 1e-9)
        return [step * i for i in range(first, math.floor(high / step + 1e-9) + 1)]

    def _f(self, value: float) -> float:
        return math.log10(max(value, 1e-300)) if self.log else value


def nice(values: Iterable[float | None], floor: float | None = 0.0) -> tuple[float, float]:
    """A round domain that holds all known values, and ``floor`` when it is given."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    if floor is not None:
        known.append(floor)
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    if high - low < 1e-12:
        high = low + (abs(low) or 1.0)
    step = _round_step((high - low) / 8)
    return math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step


def _round_step(raw: float) -> float:
    power = 10.0 ** math.floor(math.log10(raw)) if raw > 0 else 1.0
    return next(power * unit for unit in (1, 2, 2.5, 5, 10) if power * unit >= raw * (1 - 1e-9))
