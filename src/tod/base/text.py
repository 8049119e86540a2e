"""Numbers and counts in words, the same on every screen and in every message."""


def number(value: float | None) -> str:
    """Three digits; a question mark is unknown."""
    if value is None:
        return "?"
    if value != 0 and not 1e-3 <= abs(value) < 1e4:
        return f"{value:.1e}"
    return f"{value + 0.0:.3g}"  # -0 is 0


def interval(bounds: list[float | None] | None) -> str:
    """An interval after its value; nothing where there is none."""
    if bounds is None:
        return ""
    low, high = bounds
    return f" [{number(low)}, {number(high)}]"


def counted(count: int, noun: str) -> str:
    """``1 file``, ``1,024 files``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
