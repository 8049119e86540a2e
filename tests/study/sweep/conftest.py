"""Sweeps that the tests of this room share."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def swept(tmp_path_factory):
    """A sweep of two by two settings at two seeds, stopped in the last step of its second run."""
    from small_sweep import Stop, grid, stop_at

    from tod.study.sweep.run import run_sweep

    folder = tmp_path_factory.mktemp("sweep") / "small"
    with pytest.raises(Stop):
        run_sweep(grid(), folder, progress=stop_at(runs=1, told=3))
    before = {path.parent.name: path.stat().st_mtime_ns for path in folder.glob("*/manifest.json")}
    run_sweep(grid(), folder)
    return folder, before
