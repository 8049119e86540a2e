"""Bounds of tests: from precision and size, digits printed, or standard errors; never from a run.

A bound of a test says what may differ without a fault. There are four kinds.

* Rounding: correct orders of the same sum differ by a multiple of the unit roundoff that grows with
  the number of operations and with cancellation (`rounding`).
* Printing: a value typed from a table is known to half a unit of its last digit (`printed`).
* Chance: a mean over draws differs from its expectation by a few standard errors (`chance`).
* Truncation: a difference quotient leaves out the next term of its series (`central_difference`).

The defaults of ``pytest.approx`` (1e-6 and 1e-12) and of ``assert_allclose`` (1e-7) are for values
in double precision that nothing large cancels in: 1e-7 is γ_n of n·condition = 9e8.
"""

import math
from typing import Any

import numpy as np

SMALLEST = float(np.finfo("float64").tiny)
"""Below it a double has no relative precision."""


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

    Two computed results are apart by twice as much. An exp, log or sqrt counts as up to four
    operations, which is what the vectorised libraries promise.

    Args:
        dtype: The type computed in.
        n: Operations on the longest path from an input to the result: for a sum its length.
        condition: By how much a relative error of what is computed grows: Σ|x_i| / |Σx_i| of a sum,
            |x| of exp(x), 1/|log x| of log(x); the product of those on the way.
        sigmas: λ. Of one number 6 (3e-8 to be outside); 1 is enough of the norm of a long vector,
            whose errors average.
    """
    u = unit_roundoff(dtype)
    worst = n * u / (1 - n * u) if n * u < 1 else math.inf
    likely = math.expm1(sigmas * math.sqrt(n) * u + n * u * u / (1 - u))
    return condition * min(worst, likely)


def double(n: float, condition: float = 1.0) -> float:
    """How far two results in double precision are apart, relative to them: twice `rounding`."""
    return 2 * rounding("float64", n, condition)


def of_weights(dtype: Any, k: float, spread: float) -> float:
    """How far two computations of a statistic of K self-normalised weights are apart.

    A weight exp(x) has the rounding of x, |x|·u, and that of exp; ESS, legs and Rényi orders square
    weights and their sum. Relative of weights, masses and ESS; absolute of logarithms of them.

    Args:
        dtype: The type computed in.
        k: Weights in a context.
        spread: Largest |log w| of the weights, less their maximum where that is exact.
    """
    return 2 * rounding(dtype, k + 8, 4 * (1 + spread))


def printed(decimals: int) -> float:
    """Error of a value written with so many decimals: half a unit of the last one."""
    return 0.5 * 10.0**-decimals


def stated(value: float, source: str) -> float:
    """A number that somebody else adds or stops at, as a bound: the one place for a literal.

    Args:
        value: It.
        source: Who states it, and where it enters.
    """
    if not source:
        raise ValueError(f"{value} needs a source: whose number is it?")
    return value


def chance(spread: float, draws: float, sigmas: float = 5.0) -> float:
    """How far the mean of independent draws may be from its expectation.

    Args:
        spread: Standard deviation of one draw; of a share p it is √(p·(1 − p)) ≤ 1/2.
        draws: How many.
        sigmas: Standard errors: 6e-7 of all seeds are further away than 5.
    """
    return sigmas * spread / math.sqrt(draws)


def central_difference(step: float, third: float, size: float = 1.0) -> float:
    """Error of (f(x + h) − f(x − h)) / 2h: truncation h²·|f‴|/6, and rounding u·|f|/h.

    Args:
        step: h.
        third: Bound of |f‴| between the two points.
        size: Bound of |f| there, times the operations it takes.
    """
    return step**2 * third / 6 + unit_roundoff("float64") * size / step


def minimum(dtype: Any, size: float, curvature: float) -> float:
    """How far from a minimum its values cannot be told apart: √(2·u·|f|/f″).

    Args:
        dtype: The type that f is computed in.
        size: |f| there, times the operations it takes.
        curvature: f″ there.
    """
    return math.sqrt(2 * unit_roundoff(dtype) * size / curvature)


def of_credit(dtype: Any, size: float = 20.0) -> float:
    """How far two computations of a credit are apart, relative to the largest of the batch.

    Credit = weight · gate · exp(log ρ) · advantage: an exp of a sum over the tokens of a sequence,
    and means over a group.

    Args:
        dtype: The type computed in.
        size: Largest |log π| of a sequence, or |log w|, nats.
    """
    return 2 * rounding(dtype, 16, 4 * (1 + size))


def assert_credit(got: Any, want: Any, dtype: Any = "float64", size: float = 20.0) -> None:
    """Check credits, arrays or tensors, to their rounding; where they cancel, to the largest's."""
    theirs, near = np.asarray(want, dtype=float), of_credit(dtype, size)
    largest = np.abs(theirs).max(initial=0.0)
    np.testing.assert_allclose(np.asarray(got, dtype=float), theirs, rtol=near, atol=near * largest)


def significant(digits: int) -> float:
    """Relative error of a value written with so many digits: half a unit of the last, at most."""
    return 0.5 * 10.0 ** (1 - digits)


def decoder_path(
    layers: int, width: int, inner: int, head: int, positions: int, vocabulary: int
) -> int:
    """Additions on the longest path through a decoder, from the embedding to log π of a token.

    A layer: two norms, attention's scores and its mean over positions, the products into queries,
    the output, the feed-forward, and back from its ``inner`` width. Then a norm, the head, and the
    softmax over the vocabulary.
    """
    layer = 2 * width + head + positions + 3 * width + inner
    return layers * layer + 2 * width + vocabulary


EMBEDDED = decoder_path(3, 96, 256, 32, 64, 21)
"""Of the model that comes with the package."""
ANSWER = 20
"""Tokens of its completions in the tests, at most."""


def of_log_prob(dtype: Any, path: float = EMBEDDED, size: float = 10.0) -> float:
    """How far two layouts of one forward are apart in log π of a token, nats.

    Args:
        dtype: The type computed in.
        path: `decoder_path` of the model.
        size: Largest logit, whose difference from the others log π is.
    """
    return 2 * rounding(dtype, path, size)


def of_sequence(dtype: Any) -> float:
    """The same of log π of a whole completion of the embedded model."""
    return ANSWER * of_log_prob(dtype)


def of_gradient(dtype: Any, path: float = EMBEDDED, tokens: float = 640, rows: float = 32) -> float:
    """How far two orders of one gradient's sums are apart, relative to its norm.

    Forward, back, then over the tokens. Rows of a group pull with opposite signs, so that their
    sum is as small as one of random directions: √rows smaller than the sum of their norms.
    """
    return 2 * rounding(dtype, 2 * path + tokens, rows**0.5, sigmas=1)
