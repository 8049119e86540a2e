"""The embedded model with a short history of real updates."""

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # lying_server, planted_weights

from planted_weights import versions


@pytest.fixture(scope="session")
def history() -> list[Any]:
    """The model as it was after 0, 1, … 5 updates."""
    return versions()
