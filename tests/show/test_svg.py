"""Markup as values."""

import pytest

from tod.show.figures.svg import Html, join, number, tag, text


def test_text_is_escaped_unless_it_is_markup():
    assert tag("p", "<b>", tag("i", "&")) == "<p>&lt;b&gt;<i>&amp;</i></p>"


def test_attributes_are_escaped_and_named():
    made = tag("a", class_="x", data_at="\"'<>", hidden=True, open=False, title=None, x1=1.5)
    assert made == '<a class="x" data-at="&quot;&#x27;&lt;&gt;" hidden x1="1.5"></a>'


def test_void_elements_have_no_end():
    assert tag("meta", charset="utf-8") == '<meta charset="utf-8">'


@pytest.mark.parametrize("bad", ["\x00", "\x1b", "\u202e", "\u2066", "\ud800", "\x85"])
def test_invisible_characters_become_visible(bad):
    shown = text(f"a{bad}b")
    assert bad not in shown
    assert len(shown) == 3
    shown.encode("utf-8")


def test_line_breaks_and_tabs_stay():
    assert text("a\n\tb") == "a\n\tb"


def test_join_opens_lists_and_drops_nothing_else():
    assert join(["a<", None, [Html("<br>"), 3]]) == "a&lt;<br>3"


def test_numbers_are_short():
    assert [number(v) for v in (1.0, 1.256, -0.004, float("nan"))] == ["1", "1.26", "-0", "0"]
