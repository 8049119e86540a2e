"""Two anchors as knobs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tod.arc.knobs import scale_anchors, weigh_reference
from tod.base import SpecError
from tolerance import double

positive = st.floats(1e-3, 1e3)


@given(positive, positive, positive, st.floats(0.1, 10))
def test_scaling_keeps_the_geometric_anchor_and_weighing_keeps_the_sharpness(
    tau, beta, total, factor
):
    a, b = scale_anchors(tau, beta, total)
    assert a + b == pytest.approx(total)
    assert a / b == pytest.approx(tau / beta)
    c, d = weigh_reference(tau, beta, factor)
    assert c + d == pytest.approx(tau + beta)
    assert d == pytest.approx(min(tau + beta, factor * beta))
    assert c >= 0


def test_reference_values():
    assert scale_anchors(0.3, 0.1, 0.8) == pytest.approx((0.6, 0.2), abs=double(4))
    # the anchor distribution itself, on two-anchor policies of three outcomes
    old, ref = np.array([0.2, 0.5, 0.3]), np.array([0.4, 0.35, 0.25])

    def anchor(tau, beta):
        p = old ** (tau / (tau + beta)) * ref ** (beta / (tau + beta))
        return p / p.sum()

    np.testing.assert_allclose(
        anchor(0.3, 0.1), anchor(*scale_anchors(0.3, 0.1, 7.0)), rtol=double(8)
    )


@pytest.mark.parametrize("values", [(0, 0, 1), (-1, 2, 1), (1, 1, 0), (1, 1, float("inf"))])
def test_impossible_anchors_are_refused(values):
    with pytest.raises(SpecError):
        scale_anchors(*values)
    with pytest.raises(SpecError):
        weigh_reference(1.0, 1.0, -1.0)
