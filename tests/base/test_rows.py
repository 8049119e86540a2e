"""Rows of columns against indexing, and batches chained against concatenation."""

import numpy as np

from tod.base import Groups
from tod.base.rows import chained, picked


def test_rows_are_picked_from_every_kind_of_column():
    rows = np.array([2, 0, 2])
    column = {"x": np.array([5, 6, 7]), "names": ("a", "b", "c"), "unknown": None}
    found = picked(column, rows)
    assert found["x"].tolist() == [7, 5, 7]
    assert (found["names"], found["unknown"]) == (("c", "a", "c"), None)
    assert picked(None, rows) is None


def test_batches_are_chained_and_what_one_does_not_know_is_unknown():
    assert chained([np.array([1, 2]), np.array([3])]).tolist() == [1, 2, 3]
    assert chained([("a",), ("b", "c")]) == ("a", "b", "c")
    assert chained([Groups.equal(2, 3), Groups.equal(1, 2)]).sizes.tolist() == [3, 3, 2]
    for parts in ([None, np.ones(2)], [np.ones(2), None], [None, None]):
        assert chained(parts) is None
    both = chained([{"x": ("a",), "y": None}, {"x": ("b",), "y": ("c",), "z": ("d",)}])
    assert both == {"x": ("a", "b"), "y": None}


def test_what_was_chained_is_picked_apart_again():
    one, two = {"x": np.arange(3), "n": ("a", "b", "c")}, {"x": np.arange(2) + 7, "n": ("d", "e")}
    whole = chained([one, two])
    for part, rows in ((one, np.arange(3)), (two, np.arange(3, 5))):
        again = picked(whole, rows)
        assert again["x"].tolist() == part["x"].tolist()
        assert again["n"] == part["n"]
