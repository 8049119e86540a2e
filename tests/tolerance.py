"""Bounds of tests: from precision and size, digits printed, or standard errors; never from a run.

A bound of a test says what may differ without a fault. There are three kinds. Rounding: two correct
orders of the same sum differ by a multiple of the unit roundoff that grows with the number of
operations and with cancellation. Printing: a value typed from a table is known to half a unit of
its last digit. Chance: a mean over draws differs from its expectation by a few standard errors.
"""

import math
from typing import Any

import numpy as np


def unit_roundoff(dtype: Any) -> float:
    """Largest relative error u of one rounded operation: half the gap between 1 and its successor.

    Args:
        dtype: A floating type of numpy or torch, or its name (``"float32"``, ``"bfloat16"``).
    """
    name = dtype if isinstance(dtype, str) else getattr(dtype, "__name__", str(dtype))
    name = name.removeprefix("torch.")
    return 2.0**-8 if name == "bfloat16" else float(np.finfo(name).eps) / 2


def rounding(dtype: Any, n: float, condition: float = 1.0, *, sigmas: float = 6.0) -> float:
    """Relative error of a result reached by ``n`` rounded operations in a row.

    The smaller of two bounds on |computed − exact| / |exact|:

    * always: γ_n = n·u / (1 − n·u) (Higham, Accuracy and Stability, lemma 3.1);
    * for rounding errors of mean zero: exp(λ·√n·u + n·u² / (1 − u)) − 1, with probability at least
      1 − 2·exp(−λ²·(1 − u)² / 2) (Higham and Mary, SIAM J. Sci. Comput. 41, 2019, theorem 2.4).

    Args:
        dtype: The type computed in.
        n: Operations on the longest path from an input to the result: for a sum its length.
        condition: Σ|x_i| / |Σx_i| of what is summed, 1 where nothing cancels.
        sigmas: λ. Of one number 6 (3e-8 to be outside); 1 is enough of the norm of a long vector,
            whose errors average.
    """
    u = unit_roundoff(dtype)
    worst = n * u / (1 - n * u) if n * u < 1 else math.inf
    likely = math.expm1(sigmas * math.sqrt(n) * u + n * u * u / (1 - u))
    return condition * min(worst, likely)
