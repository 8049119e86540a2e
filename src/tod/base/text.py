"""Text for people: numbers and counts in words, and text from files made safe to print."""

import math
import unicodedata
from collections import Counter
from collections.abc import Iterable

DASH = "–"
"""Stands for a number that is not known."""

# Joiners spell words (Persian, Indic, emoji) and prefix marks are drawn: no text hides behind them.
_SPELLING = frozenset("\u200c\u200d\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd") | {
    chr(code) for code in range(0x600, 0x606)
}
_UNPRINTED = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


class _Visible(dict[int, int]):
    """Code of a character → code that stands for it, for ``str.translate``; filled as it is met."""

    def __missing__(self, code: int) -> int:
        """Decide on a character that is met for the first time."""
        character = chr(code)
        shown = code
        if character not in "\n\t" and unicodedata.category(character) in _UNPRINTED:
            shown = 0x2400 + code if code < 0x20 else 0x2421 if code == 0x7F else 0xFFFD
        if character in _SPELLING:
            shown = code
        self[code] = shown
        return shown


_VISIBLE = _Visible()


def visible(text: str) -> str:
    r"""The text without a character that steers a terminal, reorders text or hides in it.

    Control characters (C0 but newline and tab, DEL, C1), bidirectional and other format
    characters, lone surrogates and line separators each become one visible character, so that
    places in the text stay: ␛ for escape, � where there is no picture.

    >>> visible("a\x1b[31mb"), visible("x\u202ey"), visible("line\n\tnext")
    ('a␛[31mb', 'x�y', 'line\n\tnext')
    """
    return text if text.isprintable() else text.translate(_VISIBLE)


def what_is(value: object) -> str:
    """What a value of a YAML or JSON file is, in words.

    >>> what_is(None), what_is([1]), what_is(True), what_is(2.5)
    ('empty', 'a list', 'true or false', 'a number')
    """
    if value is None:
        return "empty"
    words = {dict: "a mapping", list: "a list", str: "text", bool: "true or false"}
    known = words | {int: "a number", float: "a number"}
    return known.get(type(value), f"a {type(value).__name__}")


def distinct(names: Iterable[str]) -> tuple[str, ...]:
    """The names, with ``#2``, ``#3`` … on repeats.

    >>> distinct(["a", "b", "a"])
    ('a', 'b', 'a#2')
    """
    seen: Counter[str] = Counter()
    numbered = []
    for name in names:
        seen[name] += 1
        numbered.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
    return tuple(numbered)


def counted(count: int, noun: str) -> str:
    """``1 file``, ``1,024 files``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


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


def large(value: float | None) -> str:
    """A large count with a unit: 1.2 M, 3.4 G, 5.6 T.

    >>> large(1234567), large(950), large(None), large(2.5e15)
    ('1.23 M', '950', '–', '2.5 P')
    """
    if value is None or not math.isfinite(value):
        return DASH
    for size, unit in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            scaled = value / (1e3 if unit == "k" else size)
            return f"{plainly(scaled)} {unit}"
    return plainly(value)
