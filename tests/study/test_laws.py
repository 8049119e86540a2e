"""The predicted laws against their own defining equations."""

import numpy as np
import pytest

from tod.study.distances import total_variation
from tod.study.laws import (
    squared_choices,
    standardised_sharpness,
    tilted,
    token_exponential,
    token_rational,
    weighted,
)
from tolerance import double

NEAR = double(3 * 27, 16)
"""Sums over 27 sequences of laws down to e^−16."""


def _values(language, law, u):
    """Q(s, v) = E_π[U | s, v] by enumeration over prefixes."""
    p, words = np.exp(law), language.sequences.split(language.symbols)
    states = language.sequences.split(language.states)
    q = np.zeros((len(law), language.state_count, language.vocabulary))
    for s in range(language.state_count):
        for v in range(language.vocabulary):
            through = [
                i for i, word in enumerate(words) if (s, v) in zip(states[i], word, strict=True)
            ]
            q[:, s, v] = (p[:, through] * u[:, through]).sum(axis=1) / p[:, through].sum(axis=1)
    return q


def test_with_one_token_the_exponential_law_is_the_tilt(flat):
    law = token_exponential(flat.language, flat.base, 0.8, flat.utility)
    np.testing.assert_allclose(law, flat.target(0.8), rtol=0, atol=NEAR)


def test_with_one_token_the_rational_law_solves_its_equation(flat):
    law = token_rational(flat.language, flat.base, 0.8, flat.utility)
    q, b, u = np.exp(law), np.exp(flat.base), flat.utility
    mean = (q * u).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(q, b / (1 - 0.8 * (u - mean)), rtol=NEAR * (q / b).max())
    np.testing.assert_allclose(q.sum(axis=1), 1.0)
    assert float(total_variation(law, flat.target(0.8)).mean()) > 0.1


@pytest.mark.parametrize("which", ["small", "ragged_world"])
def test_token_laws_solve_their_equations_in_every_state(which, request):
    world = request.getfixturevalue(which)
    language, base, eta = world.language, world.base, 0.9
    b = np.exp(language.conditionals(base))
    law = token_exponential(language, base, eta, world.utility)
    p, q = np.exp(language.conditionals(law)), _values(language, law, world.utility)
    expected = b * np.exp(eta * q)
    np.testing.assert_allclose(p, expected / expected.sum(axis=2, keepdims=True), rtol=NEAR)
    law = token_rational(language, base, eta, world.utility)
    p, q = np.exp(language.conditionals(law)), _values(language, law, world.utility)
    mean = (p * q).sum(axis=2, keepdims=True)
    np.testing.assert_allclose(p, b / (1 - eta * (q - mean)), rtol=NEAR * (p / b).max())


def test_beyond_one_token_a_kl_in_the_loss_is_not_the_kl_of_sequences(small):
    law = token_exponential(small.language, small.base, 1.5, small.utility)
    assert float(total_variation(law, small.target(1.5)).mean()) > 0.1


def test_standardised_sharpness_is_self_consistent_and_smallest(flat):
    u = flat.utility
    s = standardised_sharpness(lambda x: tilted(flat.base, x, u), 0.8, u)
    assert s is not None

    def product(x):
        p = np.exp(tilted(flat.base, x, u))
        mean = (p * u).sum(axis=1, keepdims=True)
        return x * np.sqrt((p * (u - mean) ** 2).sum(axis=1))

    np.testing.assert_allclose(product(s), 0.8, rtol=NEAR)
    for smaller in np.linspace(0.05, 0.99, 30):
        assert (product(smaller * s) < 0.8).all()


def test_a_sharpness_that_is_never_reached_is_none(flat):
    u = flat.utility
    assert standardised_sharpness(lambda x: tilted(flat.base, x, u), 30.0, u) is None


def test_squared_choices_against_least_squares(flat):
    mu, beta, scale = flat.target(0.4), 0.6, 1.3
    law = squared_choices(flat.base, mu, beta, flat.utility, scale)
    for c in range(2):
        u, m = flat.utility[c], np.exp(mu[c])
        i, j = np.divmod(np.arange(27 * 27), 27)
        p = 1 / (1 + np.exp(-(u[i] - u[j]) / scale))
        root = np.sqrt(m[i] * m[j])
        rows = (np.eye(27)[i] - np.eye(27)[j]) * root[:, None]
        fitted, _, rank, s = np.linalg.lstsq(rows, (2 * p - 1) / (2 * beta) * root, rcond=None)
        near = double(27 * 27, (s[0] / s[rank - 1]) ** 2)  # Wedin, with a residual
        delta = law[c] - flat.base[c]
        np.testing.assert_allclose(delta - delta.mean(), fitted - fitted.mean(), rtol=0, atol=near)


def test_weights_on_a_proposal(small):
    law = weighted(small.target(0.5), small.utility)
    np.testing.assert_allclose(law, small.target(1.5), rtol=0, atol=NEAR)
