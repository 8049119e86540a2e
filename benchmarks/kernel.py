"""The per-context kernel against one warm pass of exp, and against a loop of library calls.

Run: ``OMP_NUM_THREADS=1 python benchmarks/kernel.py [--repeats 15] [--outside 0.01]``. The
yardstick is ``np.exp(x, out=y)`` into memory that was written before: an exp that allocates its
result measures the allocator. So the kernel, too, writes into memory that was written before; what
it takes with memory of its own is told beside it. Passes are taken in turn within one process, on
one thread, in seconds of processor time, which other programs disturb less; the best of each
counts. The loop is timed on a part and scaled. Exits 1 when a limit is missed.
"""

import argparse
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import logsumexp, softmax

from tod.base import Groups
from tod.diagnostics import weight_statistics

CANDIDATES, CONTEXTS, LOOPED = 10_000_000, 1_250_000, 2_000
LIMITS = {"equal": 5.0, "ragged": 10.0}
LOOP_LIMIT = 50.0


def ragged_sizes(rng: np.random.Generator) -> np.ndarray:
    """Sizes 1 to 16 around 8 in random order that add up to the same number of candidates."""
    sizes = rng.integers(1, 16, size=CONTEXTS)
    missing = CANDIDATES - int(sizes.sum())
    step = 1 if missing > 0 else -1
    room = np.flatnonzero((sizes + step >= 1) & (sizes + step <= 16))
    sizes[rng.choice(room, size=abs(missing), replace=False)] += step
    return sizes


def library_loop(log_w: np.ndarray, contexts: Groups) -> list[tuple[Any, ...]]:
    """The same statistics the way one would write them with scipy, context by context."""
    found = []
    for start, end in zip(contexts.offsets[:LOOPED], contexts.offsets[1:], strict=False):
        x = log_w[start:end]
        total, bar = logsumexp(x), softmax(x)
        ess = np.exp(2 * total - logsumexp(2 * x))
        variance = np.var(x, ddof=1) if len(x) > 1 else np.nan
        found.append((ess, bar.max(), np.sort(bar)[-2:].sum(), variance, total - np.log(len(x))))
    return found


def alternate(passes: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Least seconds of every pass, one after the other, repeated; the first round only warms."""
    seconds: dict[str, list[float]] = {name: [] for name in passes}
    for _ in range(repeats + 1):
        for name, run in passes.items():
            start = time.process_time()
            run()
            seconds[name].append(time.process_time() - start)
    return {name: min(values[1:]) for name, values in seconds.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--outside", type=float, default=0.0, help="share of log-weights at −∞")
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    log_w = rng.normal(size=CANDIDATES)
    log_w[rng.random(CANDIDATES) < arguments.outside] = -np.inf
    shapes = {
        "equal": Groups.equal(CONTEXTS, CANDIDATES // CONTEXTS),
        "ragged": Groups(ragged_sizes(rng)),
    }
    finite = rng.normal(size=CANDIDATES)
    warm, out = np.empty(CANDIDATES), np.empty((5, CONTEXTS))
    seconds = alternate(
        {"exp": lambda: np.exp(finite, out=warm)}
        | {name: lambda g=g: weight_statistics(log_w, g, out=out) for name, g in shapes.items()}
        | {f"new {name}": lambda g=g: weight_statistics(log_w, g) for name, g in shapes.items()}
        | {f"loop {name}": lambda g=g: library_loop(finite, g) for name, g in shapes.items()},
        arguments.repeats,
    )
    print(
        f"{CANDIDATES:.0e} log-weights in {CONTEXTS:.3g} contexts; "
        f"one warm exp {seconds['exp']:.4f} s"
    )
    missed = 0
    for name, limit in LIMITS.items():
        passes = seconds[name] / seconds["exp"]
        gain = seconds[f"loop {name}"] * CONTEXTS / LOOPED / seconds[name]
        missed += passes > limit or gain < LOOP_LIMIT
        print(
            f"{name:7} {seconds[name]:.3f} s  {passes:5.1f} exp passes (at most {limit:.0f})  "
            f"{seconds[f'new {name}']:.3f} s into new memory  "
            f"{gain:6.0f} x a scipy loop (at least {LOOP_LIMIT:.0f})"
        )
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
