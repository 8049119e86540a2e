"""Public names, lazy imports, and what `import tod` may not load."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import tod

ROOMS = ["base", "candidates", "targets", "operators", "diagnostics", "procedure", "regimes"]


@pytest.mark.parametrize("name", tod.__all__)
def test_public_name_is_there_and_documented(name: str) -> None:
    value = getattr(tod, name)
    assert name in dir(tod)
    assert name == "RECIPES" or value.__doc__


def test_all_is_sorted_and_whole() -> None:
    assert tod.__all__ == sorted(tod.__all__, key=lambda n: (not n.isupper(), n.islower(), n))
    assert set(tod.__all__) == {*tod._HOME, "arc", "__version__"}


def test_the_public_surface_is_listed_in_one_file() -> None:
    """Every name with the first line of what its docstring says, and no other."""
    page = (Path(__file__).parents[1] / "docs/python.md").read_text()
    listed = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", page, re.M))
    assert sorted(listed) == dir(tod) == sorted(tod.__all__)
    for name, said in listed.items():
        if name not in ("RECIPES", "__version__"):  # values, which have no docstring of their own
            first = getattr(tod, name).__doc__.strip().partition("\n")[0]
            assert said == first.replace("|", "\\|"), name


def loaded_by(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded after ``code``."""
    probe = f"import sys\n{code}\nprint(' '.join({{m.split('.')[0] for m in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("room", [*ROOMS, "atlas", "arc", "runs", "show", "cli.main"])
def test_room_loads_no_training_library(room: str) -> None:
    heavy = {"torch", "transformers", "trl", "accelerate", "peft", "datasets", "polars", "pandas"}
    assert not loaded_by(f"import tod.{room}") & heavy


def test_import_tod_loads_nothing_heavy() -> None:
    assert not loaded_by("import tod") & {"numpy", "torch", "pydantic", "polars"}


def test_theory_works_without_torch() -> None:
    code = """
import sys
sys.modules['torch'] = None
import numpy as np, tod
c = tod.Candidates(tod.Groups.equal(4, 4), {'u': np.arange(16.0) % 5}, log_mu=-np.ones(16))
t = tod.Target(anchor={'mu': 1.0}, tilts=[{'utility': 'u', 'eta': 1.0}])
p = tod.Procedure(target=t, operator={'action': {'kind': 'policy_gradient'}})
print(tod.classify(tod.examine(p, c).summary).verdict)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() in {"transition", "undetermined", "operator_dominated"}


def test_no_machine_path_in_the_project() -> None:
    root = Path(__file__).parents[1]
    done = subprocess.run(
        ["git", "grep", "-lIE", "/(work|farm)/", "--", "src", "docs", "configs", "README.md"],
        cwd=root,
        capture_output=True,
        text=True,
    )
    assert done.stdout == ""
