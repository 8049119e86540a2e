"""Small worlds that the tests share."""

import sys
from pathlib import Path

import pytest

from tod.study.population import Policies
from tod.study.world import FiniteWorld, make_world

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def small() -> FiniteWorld:
    """27 sequences of three tokens, two contexts."""
    return make_world(0, vocabulary=3, length=3, contexts=2)


@pytest.fixture(scope="session")
def ragged_world() -> FiniteWorld:
    """15 sequences of one to three tokens, two contexts."""
    return make_world(1, vocabulary=3, length=3, contexts=2, ends=True)


@pytest.fixture(scope="session")
def flat() -> FiniteWorld:
    """27 sequences of one token."""
    return make_world(2, vocabulary=27, length=1, contexts=2)


@pytest.fixture(scope="session")
def policies(small: FiniteWorld) -> Policies:
    return Policies.of(small)
