"""How many candidates: closed forms, and what rounding may not add."""

import numpy as np
import pytest

from tod.base import SpecError
from tod.regimes import k_for_error, k_for_ess, k_for_kl


def test_an_effective_number():
    assert k_for_ess(np.array([1.0, 0.5, 0.3, 1 / 3]), 8).tolist() == [8, 16, 27, 24]
    assert k_for_ess(np.array([1.0]), 0.2).tolist() == [1]
    with pytest.raises(SpecError, match="count = 0"):
        k_for_ess(np.ones(1), 0)


def test_an_error():
    assert k_for_error(np.array([1.0, 0.5]), 0.1).tolist() == [400, 800]
    with pytest.raises(SpecError, match="error = 0"):
        k_for_error(np.ones(1), 0)


def test_a_divergence():
    assert k_for_kl(np.log([1.0, 2.0, 7.5])).tolist() == [1, 2, 8]
    assert k_for_kl(np.log([2.0]), np.log(4)).tolist() == [8]
    assert k_for_kl(np.array([-5e-10])).tolist() == [1]  # rounding below 0
    for kl in (-1.5e-9, -1.0):
        with pytest.raises(SpecError, match="at least 0"):
            k_for_kl(np.array([kl]))
    assert k_for_kl(np.array([1e4])).tolist() == [np.inf]


def test_unknown_stays_unknown():
    assert np.isnan(k_for_ess(np.array([np.nan]), 8)).all()
