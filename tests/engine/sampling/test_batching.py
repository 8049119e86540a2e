import numpy as np
import pytest
import torch

from tod.engine.sampling.batching import batches, fitting_rows, left_padded

LENGTHS = np.array([5, 2, 9, 2, 7, 5])


@pytest.mark.parametrize("even", [False, True])
@pytest.mark.parametrize("rows", [1, 3, 4, 7, 100])
def test_every_candidate_is_drawn_once(rows, even):
    seen = []
    for batch in batches(LENGTHS, 4, rows, even=even):
        assert 1 <= len(batch.owner) <= rows
        assert len(set(batch.contexts.tolist())) == len(batch.contexts)
        assert set(batch.owner.tolist()) == set(range(len(batch.contexts)))
        if even:
            assert len(set(LENGTHS[batch.contexts])) == 1
        seen += zip(batch.contexts[batch.owner].tolist(), batch.candidate.tolist(), strict=True)
    assert sorted(seen) == [(c, k) for c in range(6) for k in range(4)]
    assert len(seen) == 24


def test_prompts_of_like_length_go_together():
    parts = [LENGTHS[b.contexts].tolist() for b in batches(LENGTHS, 4, 8, even=False)]
    assert parts == [[2, 2], [5, 5], [7, 9]]


def test_left_padding():
    prompts = [np.array([7, 8, 9]), np.array([5])]
    ids, mask = left_padded(prompts, 0, torch.device("cpu"))
    assert ids.tolist() == [[7, 8, 9], [0, 0, 5]]
    assert mask.tolist() == [[1, 1, 1], [0, 0, 1]]
    assert left_padded(prompts[:1] * 2, 0, torch.device("cpu"))[1] is None


def test_rows_fit_the_memory(tiny_model, monkeypatch):
    model = tiny_model("llama")
    row = 2 * 2 * 2 * 8 * 4 * 100 + 12 * 41  # K and V, layers, kv heads, head dim, bytes, tokens
    for free, rows in ((4 * row * 7, 7), (1, 1), (1 << 50, 512)):
        monkeypatch.setattr("tod.engine.sampling.batching.available", lambda _, f=free: f)
        assert fitting_rows(model, 100) == rows
