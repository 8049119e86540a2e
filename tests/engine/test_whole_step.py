"""Rules that read numbers of the whole step: micro-batches have the gradient of the batch."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from by_hand import first_gradient

from tod.engine.settings import RunSettings
from tolerance import of_gradient

Make = Callable[..., RunSettings]
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

SHRUNK = {
    "operator__proposal__top_p": 0.8,
    "operator__action": {
        "kind": "policy_gradient",
        "aggregation": "sequence_mean_token_mean",
        "correction": {"kind": "shrunk", "of": {"kind": "token_mask", "low": 0.95, "high": 2.0}},
    },
}
RULES: dict[str, dict[str, Any]] = {
    "shrunk": SHRUNK,
    "weights_of_the_step": {
        "operator__action": {"kind": "weighted_regression", "weights": "target_of_step"}
    },
}


def gradient(settings: RunSettings) -> tuple[np.ndarray, Any]:
    _, first, evidence, _ = first_gradient(settings)
    return first, evidence


@pytest.mark.parametrize("rule", RULES)
def test_micro_batches_have_the_gradient_of_the_batch(small: Make, rule: str) -> None:
    changes = {"train__dtype": "float64", "train__max_grad_norm": None, **RULES[rule]}
    whole, _ = gradient(small("whole", **changes))
    parts, _ = gradient(small("parts", **changes, train__max_tokens_per_micro_batch=90))
    assert np.linalg.norm(whole) > 0
    assert np.linalg.norm(parts - whole) <= of_gradient("float64") * np.linalg.norm(whole)


def test_a_shrunk_mask_is_another_gradient_than_a_kept_one(small: Make) -> None:
    changes = {"train__dtype": "float64", "train__max_grad_norm": None, **SHRUNK}
    inner = SHRUNK["operator__action"]["correction"]["of"]
    shrunk, evidence = gradient(small("shrunk", **changes))
    kept, other = gradient(small("kept", **changes, operator__action__correction=inner))
    assert np.array_equal(evidence.rollouts.ids, other.rollouts.ids)
    assert np.linalg.norm(shrunk - kept) > 0.02 * np.linalg.norm(kept)
