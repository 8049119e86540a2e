"""Swap studies: do operators of one target end at one policy, and what would have told?

A study runs every operator in every condition at every seed: an arm. Of an arm its final policy is
compared with those of all others, on draws of the same random numbers:

    D[a, s, b, t]    distance of operator a at seed s from operator b at seed t
    E(a, b) = mean over s ≠ t of D[a, s, b, t] − ½·D[a, s, a, t] − ½·D[b, s, b, t]

E is 0 where two operators end at the same distribution of policies, whatever their seeds do, and
grows with what the operator itself changes. Two numbers in, one out:

    >>> import numpy as np
    >>> from tod.study.swap import Condition, excess
    >>> ends = np.array([[0.1, 0.3], [0.6, 0.8]])  # a policy in one number: 2 operators, 2 seeds
    >>> apart = np.abs(ends[:, :, None, None] - ends[None, None])
    >>> setting = Condition("η 1", "world 0", ("clip", "mle"), (0, 1), apart, ends[..., None])
    >>> round(float(excess(setting)[0, 1]), 3)
    0.3
"""

from tod.study.swap.condition import Condition
from tod.study.swap.excess import excess

__all__ = ["Condition", "excess"]
