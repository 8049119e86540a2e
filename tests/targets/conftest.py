"""A small language, enumerated, with everything any target family may ask of it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tod.base import Groups
from tod.candidates import Candidates


def _normalised(logits: np.ndarray) -> np.ndarray:
    return logits - np.logaddexp.reduce(logits)


def _language(make: Any = np.asarray, *, contexts: int = 3, length: int = 3) -> Candidates:
    """All 27 strings over {a, b, c} of length 3 in every context, as a *fixed* enumeration.

    Policies are random and skewed; ``reward`` is heavy-tailed, ``passed`` binary, ``style`` signed.
    """
    rng = np.random.default_rng(11)
    size = 3**length
    policies = {
        name: np.concatenate(
            [_normalised(1.5 * rng.standard_normal(size)) for _ in range(contexts)]
        )
        for name in ("mu", "old", "ref", "teacher")
    }
    n = contexts * size
    utility = {
        "log_data": policies["teacher"] + 0.3 * np.sin(np.arange(n)),
        "reward": rng.exponential(1.0, n) ** 1.5,
        "passed": (rng.random(n) < 0.2).astype(float),
        "style": rng.standard_normal(n),
    }
    return Candidates(
        contexts=Groups.equal(contexts, size),
        utility={name: make(values) for name, values in utility.items()},
        log_mu=make(policies.pop("mu")),
        log_anchor={name: make(values) for name, values in policies.items()},
    )


@pytest.fixture
def language() -> Callable[..., Candidates]:
    """Makes the enumerated language in a library; its candidates are all strings, once each."""
    return _language
