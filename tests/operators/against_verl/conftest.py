"""What verl 0.9.1's own functions said, and the same inputs as ours see them."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from tod.base import Groups
from tod.operators import Batch, Totals

SCRIPT = Path(__file__).with_name("verl_values.py")


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("verl_values", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["verl_values"] = module
    spec.loader.exec_module(module)
    return module


verl_values = _load()
VALUES = dict(np.load(verl_values.FILE))


class Said:
    """The numbers of one draw: inputs as our batch, and verl's outputs by case."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        names = verl_values.Draw.__dataclass_fields__
        self.draw = verl_values.Draw(**{n: VALUES[f"{seed}/draw/{n}"] for n in names})

    def __call__(self, case: str, what: str) -> Any:
        """A number or the values of all tokens."""
        found = VALUES[f"{self.seed}/{case}/{what}"]
        return float(found) if found.ndim == 0 else found

    def batch(self, change: str = "", **given: Any) -> Batch:
        """Our batch on these inputs: η = 1, the reference's exponent 0.04 as the KL's coefficient.

        ``change`` names what a case does to the draw.
        """
        draw = {"lone": verl_values.lone, "far": verl_values.far}.get(change, lambda d: d)(
            self.draw
        )
        contexts, sequences = Groups(draw.contexts), Groups(draw.lengths)
        rho = given.pop("rho", 0.04)
        fields = {
            "contexts": contexts,
            "sequences": sequences,
            "log_policy": draw.log_policy,
            "log_old": draw.log_old,
            "value": draw.reward,
            "tilt": draw.reward,
            "sharpness": 1.0,
            "totals": Totals.of(sequences, contexts),
            "log_mu_tokens": draw.log_mu,
            "log_mu": sequences.sum(draw.log_mu),
            "log_base_tokens": draw.log_ref,
            "log_base": sequences.sum(draw.log_ref),
            "pulled": {"ref": (draw.log_ref, rho)},
            "critic": draw.values,
        }
        return Batch(**{**fields, **given})


@pytest.fixture(params=verl_values.SEEDS)
def said(request: pytest.FixtureRequest) -> Said:
    """One random ragged batch and verl's numbers on it."""
    return Said(request.param)


@pytest.fixture
def script() -> Path:
    """Makes the file of verl's numbers."""
    return SCRIPT


@pytest.fixture
def kept() -> dict[str, np.ndarray]:
    """All that the file holds."""
    return VALUES


def _gap(ours: Any, theirs: np.ndarray) -> float:
    """Largest difference relative to the largest entry."""
    assert np.abs(theirs).max() > 1e-6, "nothing to compare"
    return float(np.abs(np.asarray(ours) - np.asarray(theirs)).max() / np.abs(theirs).max())


@pytest.fixture
def gap() -> Callable[..., float]:
    """Distance of two gradients."""
    return _gap
