"""From values to pixels, and values as people read them."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

DASH = "–"


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


def plainly(value: float | None) -> str:
    """Three significant digits; a dash for unknown.

    >>> plainly(0.12345), plainly(12.0), plainly(None), plainly(-3.2e-5)
    ('0.123', '12', '–', '−3.2e−5')
    """
    if value is None or not math.isfinite(value):
        return DASH
    if value == 0:
        return "0"
    if 1e-3 <= abs(value) < 1e5:
        digits = max(0, 2 - math.floor(math.log10(abs(value))))
        shown = f"{value:,.{digits}f}"
        shown = shown.rstrip("0").rstrip(".") if "." in shown else shown
    else:
        shown = f"{value:.2g}".replace("e-0", "e-").replace("e+0", "e").replace("e+", "e")
    return shown.replace("-", "−")


def fixed(value: float | None) -> str:
    """Two decimals, for shares and ESS_rel: columns of them line up."""
    if value is None or not math.isfinite(value):
        return DASH
    return f"{value:.2f}".replace("-", "−")


def percent(value: float | None, digits: int = 0) -> str:
    """A share in percent."""
    if value is None or not math.isfinite(value):
        return DASH
    return f"{100 * value:.{digits}f} %".replace("-", "−")


def counted(value: float | None) -> str:
    """A large count with a unit: 1.2 M, 3.4 G, 5.6 T.

    >>> counted(1234567), counted(950), counted(None), counted(2.5e15)
    ('1.23 M', '950', '–', '2.5 P')
    """
    if value is None or not math.isfinite(value):
        return DASH
    for size, unit in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            scaled = value / (1e3 if unit == "k" else size)
            return f"{plainly(scaled)} {unit}"
    return plainly(value)
