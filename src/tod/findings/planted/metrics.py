"""The metric log of a healthy run: figures that trainers write beside the rollouts."""

import numpy as np
from jaxtyping import Float

EVALUATIONS = 20
"""Evaluations in a run, at most."""


def autoregressive(
    rng: np.random.Generator, size: int, deviation: float, correlation: float = 0.5
) -> Float[np.ndarray, " T"]:
    """Stationary noise whose neighbours correlate: x_t = ρ·x_{t−1} + ε_t.

    Args:
        rng: Random numbers.
        size: Steps T.
        deviation: Standard deviation of x, ≥ 0.
        correlation: ρ, in [0, 1).
    """
    warm = 60
    noise = rng.normal(0, 1, size + warm)
    kernel = correlation ** np.arange(warm)
    values: np.ndarray = np.convolve(noise, kernel)[warm : warm + size]
    return values * deviation * float(np.sqrt(1 - correlation**2))


def pass_rates(skill: Float[np.ndarray, " T"], spread: float) -> Float[np.ndarray, " T"]:
    """Mean pass rate over prompts of normal difficulty, by 200 equally likely ones, [T]."""
    u = (np.arange(200) + 0.5) / 200
    normal = np.log(u / (1 - u)) / 1.702  # the logistic law that is nearest to the normal one
    rates: np.ndarray = (1 / (1 + np.exp(-(skill[:, None] - spread * normal)))).mean(axis=1)
    return rates


def healthy_metrics(
    pass_rate: Float[np.ndarray, " T"], rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Figures by canonical name, [T] each; NaN where a log would be silent.

    Entropy falls to 0.45 and more of its start, the KL grows to less than 0.2 nats, gradients have
    heavy tails, the learning rate warms up and decays, an evaluation follows the pass rate of its
    own prompts.

    Args:
        pass_rate: Of the evaluation's prompts by step, [T].
        rng: Random numbers.
    """
    size = len(pass_rate)
    t = np.linspace(0, 1, size)
    noise = {name: autoregressive(rng, size, 0.06) for name in ("entropy", "kl", "clip", "gap")}
    entropy = rng.uniform(0.3, 1.5) * rng.uniform(0.45, 1.1) ** t
    kl = rng.uniform(0.01, 0.2) * (1 - np.exp(-rng.uniform(1, 5) * t)) + 2e-4
    clip = rng.uniform(0.002, 0.08) * np.exp(rng.uniform(-0.7, 0.7) * t)
    gap = rng.uniform(0.002, 0.02) * np.exp(rng.uniform(-0.2, 0.4) * t)
    tails = 0.12 * rng.standard_t(3, size)
    warm = np.minimum(1.0, (np.arange(size) + 1) / max(1, round(0.05 * size)))
    decay = 0.5 * (1 + np.cos(np.pi * t)) if rng.random() < 0.5 else np.ones(size)
    metrics = {
        "entropy": entropy * np.exp(noise["entropy"]),
        "kl": kl * np.exp(2 * noise["kl"]),
        "clip_fraction": clip * np.exp(2 * noise["clip"]),
        "mismatch": gap * np.exp(noise["gap"]),
        "grad_norm": rng.uniform(0.1, 1.5) * np.exp(autoregressive(rng, size, 0.15) + tails),
        "learning_rate": 1e-6 * warm * np.maximum(decay, 0.1),
    }
    every = max(1, size // EVALUATIONS)
    asked = np.arange(size) % every == every - 1
    level = np.clip(0.9 * pass_rate + rng.uniform(0, 0.05), 0.01, 0.99)
    metrics["eval.accuracy"] = np.where(asked, rng.binomial(400, level) / 400, np.nan)
    return metrics
