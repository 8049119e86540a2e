"""Text for people: numbers and counts in words, and text from files made safe to print."""

import unicodedata

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


def counted(count: int, noun: str) -> str:
    """``1 file``, ``1,024 files``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
