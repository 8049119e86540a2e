"""The writers of every format, as a fixture: tests are imported by path, not as a package."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        f"dump_{name}", Path(__file__).with_name(f"{name}.py")
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[f"dump_{name}"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def writers() -> Any:
    """Functions that write one small world in every format."""
    module: Any = _load("writers")
    module.write_verl_batch = _load("queue_writer").write_verl_batch
    return module


@pytest.fixture(scope="session")
def world(writers: Any) -> Any:
    """Three steps of six groups of four."""
    return writers.make_world()
