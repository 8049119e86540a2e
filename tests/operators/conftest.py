"""Batches as update rules see them: ragged, skewed, with ties and a singleton."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tod.base import Groups
from tod.operators import Batch, Totals

MakeBatch = Callable[..., Batch]


def _batch(
    make: Any = np.asarray, *, eta: float = 1.7, drift: float = 0.4, **changes: Any
) -> Batch:
    rng = np.random.default_rng(7)
    contexts = Groups(np.array([3, 1, 5, 2, 4]))
    sequences = Groups(rng.integers(1, 9, contexts.total))
    old = -rng.gamma(1.5, 0.8, sequences.total)
    policy = np.minimum(old + drift * (rng.gamma(2.0, 1.0, sequences.total) - 1.6), -1e-3)
    ref = np.minimum(old + 0.3 * rng.standard_normal(sequences.total), -1e-3)
    value = rng.exponential(1.0, contexts.total) ** 2
    value[4:6] = 0.25  # ties inside a context that is not constant
    value[9:11] = 0.5  # a constant context
    log_mu = sequences.sum(old) + 0.2 * rng.standard_normal(contexts.total)
    base = sequences.sum(ref)
    given = {
        "contexts": contexts,
        "sequences": sequences,
        "log_policy": make(policy),
        "log_old": make(old),
        "value": make(value),
        "tilt": make(eta * value),
        "sharpness": eta,
        "totals": Totals.of(sequences, contexts),
        "log_w": make(eta * value + base - log_mu),
        "log_mu": make(log_mu),
        "log_base": make(base),
        "pulled": {"ref": (make(ref), 1.0)},
        "log_base_tokens": make(ref),
    }
    return Batch(**{**given, **changes})


@pytest.fixture
def make_batch() -> MakeBatch:
    """A batch of five contexts; ``make`` chooses the library, keywords replace parts."""
    return _batch


def _example(make: Any = np.asarray) -> tuple[Batch, Any]:
    contexts, sequences = Groups(np.array([2])), Groups(np.array([3, 4]))
    old = make([-1.0, -2.0, -0.5, -0.7, -1.5, -2.5, -0.3])
    policy = make([-0.5, -2.1, -0.5, -1.2, -0.2, -2.4, -0.35])
    ref = make([-1.1, -1.9, -0.6, -0.8, -1.4, -2.6, -0.3])
    mu = make([-1.1, -1.2, -0.5, -0.7, -1.6, -2.4, -0.3])
    advantage = make([1.2, -0.7])
    batch = Batch(
        contexts=contexts,
        sequences=sequences,
        log_policy=policy,
        log_old=old,
        value=advantage,
        tilt=advantage,
        sharpness=1.0,
        totals=Totals.of(sequences, contexts),
        pulled={"ref": (ref, 0.04)},
    )
    return batch, mu


@pytest.fixture
def example() -> Callable[..., tuple[Batch, Any]]:
    """Two sequences of three and four tokens with known losses, and their log μ by token."""
    return _example


@pytest.fixture
def sampled(example: Callable[..., tuple[Batch, Any]], backend: Any) -> Batch:
    """The same with its log μ by token, in the arrays of a library."""
    batch, mu = example(backend.make)
    return replace(batch, log_mu_tokens=mu)
