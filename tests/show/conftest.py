"""Lets the tests of this room share a synthetic run."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def run_path(tmp_path_factory):
    """A run of forty steps, with a controller."""
    from synthetic_run import make_run

    return make_run(tmp_path_factory.mktemp("runs") / "quickstart", steps=40, arc=True)


@pytest.fixture(scope="session")
def other_path(tmp_path_factory):
    """A shorter run of another recipe, without a controller."""
    from synthetic_run import make_run

    return make_run(tmp_path_factory.mktemp("runs") / "sharp", steps=25, eta=9.0, seed=5)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A browser of the tests of one file."""
    from browser import Browser

    opened = Browser(tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()
