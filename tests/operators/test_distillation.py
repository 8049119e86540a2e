"""A divergence on the teacher's likeliest tokens, by sums over those tokens one by one."""

import math

import numpy as np
import pytest

from tod.base import to_numpy
from tod.operators import FullVocabulary
from tod.operators.distillation import divergence

TOKENS, VOCABULARY, TOP = 4, 7, 3


@pytest.fixture
def laws(rng):
    """Teacher and policy, [4, 7], the teacher's order another one in every row."""
    z = 1.5 * rng.normal(size=(2, TOKENS, VOCABULARY))
    return z - np.logaddexp.reduce(z, axis=-1, keepdims=True)


def cut(rest, log_p, log_q):
    """Both laws on the teacher's three likeliest tokens, by hand."""
    top = sorted(range(VOCABULARY), key=lambda v: -log_p[v])[:TOP]
    p, q = np.exp(log_p[top]), np.exp(log_q[top])
    if rest == "renormalised":
        return p / p.sum(), q / q.sum()
    if rest == "bucket":
        return np.append(p, 1 - p.sum()), np.append(q, 1 - q.sum())
    return p, q


@pytest.mark.parametrize("rest", ["bucket", "renormalised", "dropped"])
@pytest.mark.parametrize("kind", ["forward_kl", "reverse_kl"])
def test_the_likeliest_tokens_of_the_teacher_and_the_rest(laws, backend, rest, kind):
    log_p, log_q = laws
    term = FullVocabulary(divergence=kind, top_k=TOP, rest=rest)
    got = to_numpy(divergence(term, backend.make(log_p), backend.make(log_q)))
    want = []
    for row in range(TOKENS):
        p, q = cut(rest, log_p[row], log_q[row])
        a, b = (p, q) if kind == "forward_kl" else (q, p)
        want.append(sum(x * math.log(x / y) for x, y in zip(a, b, strict=True)))
    near = backend.of_weights(VOCABULARY, np.abs(laws).max())
    np.testing.assert_allclose(got, want, rtol=0, atol=near)


def test_indices_that_are_handed_over_are_used_as_they_are(laws, backend):
    log_p, log_q = map(backend.make, laws)
    term = FullVocabulary(divergence="forward_kl", top_k=TOP, rest="renormalised")
    order = np.argsort(-laws[0], axis=-1)
    top, last = (backend.make(order[:, part]) for part in (slice(TOP), slice(-TOP, None)))
    whole = divergence(term, log_p, log_q)
    top, last = (x.astype(int) if backend.name == "numpy_f64" else x.long() for x in (top, last))
    near = backend.of_weights(VOCABULARY, np.abs(laws).max())
    np.testing.assert_allclose(
        to_numpy(divergence(term, log_p, log_q, top)), to_numpy(whole), rtol=0, atol=near
    )
    other = to_numpy(divergence(term, log_p, log_q, last))
    assert np.abs(other - to_numpy(whole)).max() > near


def test_as_many_tokens_as_there_are_is_the_whole_law(laws):
    log_p, log_q = laws
    whole = divergence(FullVocabulary(divergence="reverse_kl"), log_p, log_q)
    for k in (VOCABULARY, VOCABULARY + 1):
        term = FullVocabulary(divergence="reverse_kl", top_k=k)
        np.testing.assert_array_equal(divergence(term, log_p, log_q), whole)
