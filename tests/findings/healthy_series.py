"""Healthy curves of several kinds: what every detector of a metric log must stay silent on."""

from collections.abc import Iterator

import numpy as np

KINDS = ("noise", "ar", "trend", "saturation", "late")


def curves(
    count: int = 200, seed: int = 0
) -> Iterator[tuple[str, np.random.Generator, np.ndarray]]:
    """Kind, generator and a curve in about [0, 1], of 20 to 400 steps."""
    for i in range(count):
        rng = np.random.default_rng(10_000 * seed + i)
        size = int(rng.choice([20, 40, 100, 200, 400]))
        t = np.linspace(0, 1, size)
        kind = KINDS[i % len(KINDS)]
        shape = {
            "noise": np.full(size, 0.5),
            "ar": np.full(size, 0.5),
            "trend": 0.2 + 0.6 * t,
            "saturation": 0.2 + 0.6 * (1 - np.exp(-6 * t)),
            "late": 0.2 + 0.6 / (1 + np.exp(-12 * (t - 0.6))),
        }[kind]
        yield kind, rng, shape + ar(rng, size, 0.03, 0.6 if kind == "ar" else 0.2)


def ar(rng: np.random.Generator, size: int, scale: float, rho: float) -> np.ndarray:
    """Stationary noise of correlation rho between steps."""
    e = rng.normal(0, 1, size)
    x = np.empty(size)
    x[0] = e[0]
    for i in range(1, size):
        x[i] = rho * x[i - 1] + np.sqrt(1 - rho * rho) * e[i]
    return scale * x
