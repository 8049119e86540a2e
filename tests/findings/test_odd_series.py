"""Figures that no run should have, and many do: no detector falls over them."""

import numpy as np
import pytest

from tod.findings import Series, TrainingRun, find

NAMES = (
    "reward", "reward.format", "zero_variance", "all_fail", "all_pass", "length", "length_wrong",
    "length_right", "truncated", "empty", "unique", "same_text", "entropy", "kl", "clip_fraction",
    "clip_low", "clip_high", "grad_norm", "learning_rate", "mismatch", "staleness",
    "environment_errors", "eval.accuracy", "chosen_logp", "rejected_logp", "margin", "accuracy",
    "distillation_loss", "step_time",
)  # fmt: skip
SHAPES = {
    "constant": lambda rng, n: np.full(n, 3.0),
    "zero": lambda rng, n: np.zeros(n),
    "negative": lambda rng, n: -np.exp(rng.normal(0, 3, n)),
    "large": lambda rng, n: np.exp(rng.normal(0, 20, n)),
    "tiny": lambda rng, n: 1e-300 * rng.random(n),
    "jump": lambda rng, n: np.where(np.arange(n) < n // 2, 0.0, 1e6),
    "mostly unknown": lambda rng, n: np.where(rng.random(n) < 0.6, np.nan, rng.random(n)),
    "unknown": lambda rng, n: np.full(n, np.nan),
    "coin": lambda rng, n: (rng.random(n) < 0.5).astype(float),
}


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 12, 20, 40])
def test_every_detector_looks_at_odd_figures(size):
    rng = np.random.default_rng(size)
    for _ in range(40):
        series = {}
        for name in NAMES:
            values = SHAPES[str(rng.choice(list(SHAPES)))](rng, size)
            steps = np.sort(rng.choice(3 * size, size, replace=False))
            unit = str(rng.choice(["", "nats per token", "nats per sequence"]))
            series[name] = Series(name, steps, values, unit=unit)
        found = find(TrainingRun(series)).to_dict()
        looked = len(found["clear"]) + len(found["unknown"])
        assert looked + len({item["kind"] for item in found["findings"]}) > 0
