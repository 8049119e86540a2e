"""Numbers in words."""

import pytest

from tod.base.text import plainly


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (-0.0, "0"), (0.0, "0"), (-0.25, "−0.25"), (1e-5, "1e−5"), (12.345, "12.3")],
)
def test_a_number_in_words(value, text):
    assert plainly(value) == text
