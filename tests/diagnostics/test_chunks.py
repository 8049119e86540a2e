"""Pieces of whole contexts give what the whole gives."""

from dataclasses import fields

import numpy as np
import pytest

from tod.base import Groups
from tod.diagnostics import _chunks, measure


@pytest.mark.parametrize("limit", [1, 5, 16, 39, 1000])
def test_pieces_cover_everything_once(limit, ragged, monkeypatch):
    monkeypatch.setattr(_chunks, "CHUNK", limit)
    pieces = list(_chunks.chunks(ragged))
    assert np.concatenate([g.sizes for _, _, g in pieces]).tolist() == ragged.sizes.tolist()
    rows = [r for _, rows, _ in pieces for r in range(rows.start, rows.stop)]
    assert rows == list(range(ragged.total))
    assert all(g.total <= max(limit, 16) for _, _, g in pieces)
    assert all(g.total == rows.stop - rows.start for _, rows, g in pieces)


def test_no_pieces_of_nothing():
    assert list(_chunks.chunks(Groups(np.zeros(0, np.int64)))) == []


def test_the_record_does_not_depend_on_the_pieces(ragged, rng, monkeypatch):
    x, r = rng.normal(size=(2, ragged.total))
    utility = (x > 0).astype(float)
    answers = rng.integers(4, size=ragged.total)
    both = []
    for limit in (1 << 15, 6):
        monkeypatch.setattr(_chunks, "CHUNK", limit)
        both.append(measure(x, utility, ragged, utility=utility, log_r=r, answers=answers))
    whole, pieces = both
    for item in fields(whole):
        a, b = getattr(whole, item.name), getattr(pieces, item.name)
        if isinstance(a, np.ndarray | float):
            np.testing.assert_allclose(b, a, rtol=1e-12, err_msg=item.name)
        else:
            assert a == b, item.name
