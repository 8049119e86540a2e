"""Answers and similarity of texts."""

import numpy as np
import pytest

from tod.reranking.answers import answer, answer_codes, similarity


@pytest.mark.parametrize(
    ("text", "pattern", "expected"),
    [
        (" 12*3-8 ", None, "12*3-8"),
        ("<answer>1</answer> so <answer> 2 </answer>", None, "2"),
        (r"\boxed{1} or \boxed{\frac{1}{2}}.", None, r"\frac{1}{2}"),
        (r"\boxed{\frac{1}{2}", None, r"\boxed{\frac{1}{2}"),
        ("  ", None, None),
        ("#### 7, then #### 42", r"#### (\d+)", "42"),
        ("7 and 42", r"\d+", "42"),
        ("none", r"\d+", None),
        ("ab", "(x)?b", None),
    ],
)
def test_answers(text, pattern, expected):
    assert answer(text, pattern) == expected


def test_codes_are_equal_for_equal_answers_and_negative_for_none():
    codes = answer_codes(["4", None, "5", "4"])
    assert codes[0] == codes[3] != codes[2]
    assert codes[1] == -1
    assert (codes[[0, 2, 3]] >= 0).all()


def test_token_f1_is_a_symmetric_gain():
    texts = ["a b b", "b a", "", "c", "", "a b b"]
    found = similarity(texts, "token_f1")
    assert found[0, 1] == pytest.approx(2 * 2 / 5)
    assert found[0, 3] == 0.0
    assert found[2, 4] == 1.0
    assert found[2, 3] == 0.0
    np.testing.assert_array_equal(found, found.T)
    np.testing.assert_array_equal(np.diag(found), 1.0)
    assert similarity(["12*3", "12+3"], "token_f1")[0, 1] == pytest.approx(2 * 2 / 6)
    exact = similarity(texts, "exact")
    assert exact[0].tolist() == [1, 0, 0, 0, 0, 1]
