"""Numbers in words."""

import pytest

from tod.base.text import number


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "?"), (-0.0, "0"), (0.0, "0"), (-0.25, "-0.25"), (1e-4, "1.0e-04"), (12.345, "12.3")],
)
def test_a_number_in_words(value, text):
    assert number(value) == text
