"""Context classes are disjoint, and blindness is never read as health."""

import numpy as np
import pytest

from tod.base import Groups
from tod.diagnostics import constant_within, context_classes, ess_rel
from tod.diagnostics.classes import CLASSES, all_pass_all_fail, binary_levels, passes

INFORMATIVE, ZERO_INFORMATION, SINGLETON, INVALID = range(4)


def test_names_follow_the_codes():
    assert CLASSES == ("informative", "zero_information", "singleton", "invalid")


def test_every_class(backend):
    contexts = Groups(np.array([2, 2, 1, 2, 1, 2, 2]))
    inf, nan = np.inf, np.nan
    tilt = [0.0, 1.0, 3.0, 3.0, 5.0, 0.0, 1.0, 2.0, 1.0, nan, 0.0, -inf]
    log_w = [0.0, 1.0, 3.0, 3.0, 5.0, -inf, -inf, nan, 1.0, 0.0, 0.0, -inf]
    codes = context_classes(backend.make(log_w), backend.make(tilt), contexts)
    assert codes.tolist() == [
        INFORMATIVE,
        ZERO_INFORMATION,
        SINGLETON,
        INVALID,  # nothing of the target's support was drawn
        INVALID,  # before singleton
        INVALID,  # NaN in the tilt
        INFORMATIVE,  # a forbidden candidate is information
    ]


def test_constant_utility_is_blind_though_its_ess_is_high(backend):
    """Two anchors: equal utilities leave anchor weights, and ESS_rel is then not even 1."""
    contexts = Groups.equal(1, 4)
    log_w = backend.make([0.1, -0.2, 0.15, 0.0])
    assert float(ess_rel(log_w, contexts)[0]) > 0.97
    assert context_classes(log_w, backend.make(np.ones(4)), contexts).tolist() == [1]


def test_a_target_without_tilts_is_never_blind(backend):
    contexts = Groups(np.array([3, 1]))
    codes = context_classes(backend.make(np.zeros(4)), None, contexts)
    assert codes.tolist() == [INFORMATIVE, SINGLETON]


def test_constant_up_to_the_order_of_a_sum(backend):
    x = backend.make([0.1, 0.2, 0.3])
    summed = [(x[0] + x[1]) + x[2], x[0] + (x[1] + x[2])]
    tilt = backend.make([float(v) for v in summed])
    assert constant_within(tilt, Groups.equal(1, 2)).tolist() == [True]
    apart = backend.make([1.0, 1.0 + backend.rounding(64)])
    assert constant_within(apart, Groups.equal(1, 2)).tolist() == [False]


def test_constant_at_the_edges(backend):
    x = backend.make([-np.inf, -np.inf, -np.inf, 0.0, 0.0, 0.0, np.nan, np.nan])
    assert constant_within(x, Groups.equal(4, 2)).tolist() == [True, False, True, False]


def test_all_pass_and_all_fail(backend):
    contexts = Groups(np.array([2, 2, 2, 1]))
    flat = np.array([1, 1, 0, 0, 1, 0, 0], dtype=float)
    for utility in (flat, 2 * flat - 1):
        passed, failed = all_pass_all_fail(backend.make(utility), contexts)
        assert passed.tolist() == [True, False, False, False]
        assert failed.tolist() == [False, True, False, True]
        assert passes(backend.make(utility)).tolist() == (flat == 1).tolist()


@pytest.mark.parametrize("utility", [[0.0, 0.5], [-1.0, 0.0], [np.nan, 1.0], []])
def test_utilities_that_are_not_binary(utility, backend):
    x = backend.make(utility)
    assert binary_levels(x) is None
    assert passes(x) is None
    if len(utility):
        assert all_pass_all_fail(x, Groups.equal(1, len(utility))) is None


def test_one_level_alone_is_still_binary():
    assert binary_levels(np.zeros(3)) == (0.0, 1.0)
    assert binary_levels(np.ones(3)) == (0.0, 1.0)
    assert binary_levels(-np.ones(3)) == (-1.0, 1.0)
