"""Numbers, counts and kinds in words, and which characters are printed."""

import math
import sys
import unicodedata

import pytest

from tod.base.text import counted, fixed, large, percent, plainly, visible, what_is


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0, "0"),
        (0.0, "0"),
        (0.12345, "0.123"),
        (0.00123456, "0.00123"),
        (1e-3, "0.001"),
        (9.99e-4, "0.001"),
        (9.4e-4, "0.00094"),
        (9.4e-5, "9.4e−5"),
        (1.0, "1"),
        (9.995, "9.99"),
        (12.34, "12.3"),
        (123.4, "123"),
        (120, "120"),
        (1234.5, "1,234"),
        (99_999, "99,999"),
        (1e5, "1e5"),
        (123_456, "1.2e5"),
        (1e10, "1e10"),
        (-2.5, "−2.5"),
        (-3.2e-5, "−3.2e−5"),
        (None, "–"),
        (math.nan, "–"),
        (math.inf, "–"),
        (-math.inf, "–"),
    ],
)
def test_three_digits(value, words):
    assert plainly(value) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (9999, "9,999"),
        (1e4, "10 k"),
        (123_456, "123 k"),
        (999_999, "1,000 k"),
        (1e6, "1 M"),
        (2.5e9, "2.5 G"),
        (1e12, "1 T"),
        (3.4e15, "3.4 P"),
        (1.2e18, "1.2 E"),
        (-2e6, "−2 M"),
        (5e-324, "4.9e−324"),
        (None, "–"),
        (math.nan, "–"),
    ],
)
def test_large_counts_have_a_unit(value, words):
    assert large(value) == words


def test_shares():
    assert [fixed(x) for x in (0.125, 1, -0.5, None, math.inf)] == [
        "0.12",
        "1.00",
        "−0.50",
        "–",
        "–",
    ]
    assert [percent(x) for x in (0.125, 1, -0.5, None, math.nan)] == [
        "12 %",
        "100 %",
        "−50 %",
        "–",
        "–",
    ]
    assert percent(0.12345, 1) == "12.3 %"


def test_counts_and_kinds():
    assert [counted(n, "file") for n in (0, 1, 2, 1024)] == [
        "0 files",
        "1 file",
        "2 files",
        "1,024 files",
    ]
    kinds = {
        None: "empty",
        True: "true or false",
        2: "a number",
        2.5: "a number",
        "x": "text",
        (): "a tuple",
    }
    assert {value: what_is(value) for value in kinds} == kinds
    assert (what_is({}), what_is([])) == ("a mapping", "a list")


def test_every_character_that_is_not_printed_becomes_one_that_is():
    """All of Unicode: what stays is printed, a space, a newline, a tab, or spells a word."""
    spelling = "\u200c\u200d\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd"
    spelling += "".join(map(chr, range(0x600, 0x606)))
    for code in range(sys.maxunicode + 1):
        character = chr(code)
        shown = visible(f"a{character}b")
        assert len(shown) == 3
        hidden = unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"}
        if not hidden or character in f"\n\t{spelling}":
            assert shown[1] == character
        elif code < 0x20:
            assert ord(shown[1]) == 0x2400 + code
        else:
            assert shown[1] == ("\u2421" if code == 0x7F else "\ufffd")
