"""Faults and parts that are planted in a copy of the package, and what the suite makes of them.

A wrong member that is dropped in as one class fails the laws, though no list knows it. A right one
passes them, and is known to configurations, dry runs and error messages, by one file.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

REGION = '''

class Planted(TrustRegion):
    """A gate that closes as ρ leaves 1: g = 1/ρ where ρ > 1."""

    kind: Literal["planted"] = "planted"

    def gate(self, log_rho: Any, advantage: Any, length: Any = None) -> Any:
        """min(1, 1/ρ)."""
        return namespace(log_rho).exp(-namespace(log_rho).maximum(log_rho, 0 * log_rho))

    def surrogate(self, log_rho: Any, advantage: Any, length: Any = None) -> Any:
        """A·ρ below 1, A·(1 + log ρ) above."""
        xp = namespace(log_rho)
        low = xp.exp(xp.minimum(log_rho, 0 * log_rho))
        return (low + xp.maximum(log_rho, 0 * log_rho)) * advantage
'''
TARGET = '''"""A planted family."""

from typing import Literal

from tod.targets.target import ByEta, Target, Tilt


class Planted(ByEta):
    """q* ∝ π_old·exp(η·r)."""

    kind: Literal["planted"] = "planted"
    utility: str
    """Name of the reward r."""

    @property
    def target(self) -> Target:
        """The tilt."""
        return Target(anchor={"old": 1.0}, tilts=(Tilt(utility=self.utility, eta=self.eta),))
'''
DENSITY = '''

class Wrong(Target):
    """A target whose density forgets the anchor."""

    def log_density(self, candidates):
        """The tilt alone."""
        return self.tilt(candidates)
'''
RULE = '''

class Planted(SelectionRule):
    """argmin U, ties at random."""

    kind: Literal["planted"] = "planted"
    needs_anchors: ClassVar[bool] = False

    def select(self, pool: SelectionPool, uniforms: Float[Array, " N"]) -> Selection:
        """The worst of every context."""
        return _all(best(-to_numpy(pool.value), pool.contexts, uniforms))

    def chances(self, pool: SelectionPool) -> Float[np.ndarray, " N"]:
        """Equal shares of the ties."""
        return _shared_by_best(-to_numpy(pool.value), pool.contexts)
'''
READER = '''"""A planted reader of TOD rollouts."""

from dataclasses import replace

from tod.formats import own
from tod.formats.format import FileProbe
from tod.formats.roles import Roles
from tod.formats.table import read_table

COLUMN = {"log_mu": "log_mu", "log_old": "log_old"}
NAMES = ("step", "context", "candidate", "log_mu", "log_old", "log_ref", "utility.reward")


def read(files, rows):
    """Columns by name."""
    for path in files:
        keys = FileProbe(path).keys
        read_table(path, Roles({n: COLUMN.get(n, n) for n in NAMES if n in keys}), rows)


FORMAT = replace(own.FORMAT, name="tod-planted", title="Planted", read=read, specificity=101)
'''


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the package, in which files may be changed."""
    return shutil.copytree(ROOT / "src" / "tod", tmp_path / "src" / "tod")


def add(file: Path, code: str, before: str = "") -> None:
    """One class more in a file, before a line or at the end."""
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    place = text.index(before) if before else len(text)
    file.write_text(text[:place].rstrip("\n") + code + "\n\n" + text[place:], encoding="utf-8")


def run(package: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A child process that imports the copy."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(package.parent), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=300,
    )


def laws(package: Path, name: str, only: str = "planted") -> subprocess.CompletedProcess[str]:
    """The laws of one union on the planted member."""
    file = f"tests/laws/test_{name}.py"
    done = run(package, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", file, "-k", only)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done


def plant_region(package: Path, code: str = REGION) -> None:
    add(package / "operators" / "trust_regions.py", code, "def gated(")


def plant_rule(package: Path, code: str = RULE) -> None:
    add(package / "operators" / "selection.py", code, "def _all(")


def test_a_right_region_passes_and_one_with_seven_times_its_surrogate_fails(package):
    plant_region(package)
    passed = laws(package, "trust_regions")
    assert passed.returncode == 0, passed.stdout
    file = package / "operators" / "trust_regions.py"
    good = file.read_text(encoding="utf-8")
    right = "return (low + xp.maximum(log_rho, 0 * log_rho)) * advantage"
    file.write_text(good.replace(right, right.replace("return ", "return 7 * ")), encoding="utf-8")
    failed = laws(package, "trust_regions")
    assert failed.returncode == 1
    assert "test_autograd_of_the_surrogate_is_the_credit[token-planted]" in failed.stdout


def test_a_planted_region_is_known_to_dry_runs_and_error_messages(package):
    plant_region(package)
    region = "operator.action.trust_region.kind"
    recipe = ["-m", "tod.cli.main", "run", "configs/dr_grpo.yaml", "--dry-run"]
    known = run(package, *recipe, "operator.action.trust_region={kind: planted}")
    assert known.returncode == 0, known.stderr
    assert "planted" in known.stdout
    typo = run(package, *recipe, "operator.action.trust_region={kind: plnted}")
    assert typo.returncode == 2
    assert "Did you mean `planted`?" in typo.stderr, region


@pytest.mark.slow
@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("eta=self.eta", "eta=2 * self.eta"),
        ("utility=self.utility", "utility='passed'"),
        ("return Target(", "return Wrong("),
    ],
    ids=["twice the sharpness", "another utility", "a density without the anchor"],
)
def test_a_wrong_target_fails(package, right, wrong):
    file = package / "targets" / "planted.py"
    add(file, TARGET.replace(right, wrong))
    if "Wrong" in wrong:
        text = file.read_text(encoding="utf-8")
        head, tail = text.split("\n\n\nclass Planted")
        file.write_text(head + "\n" + DENSITY + "\n\nclass Planted" + tail, encoding="utf-8")
    failed = laws(package, "targets")
    assert failed.returncode == 1
    assert "[planted]" in failed.stdout


@pytest.mark.slow
def test_a_right_target_is_one_file(package):
    add(package / "targets" / "planted.py", TARGET)
    passed = laws(package, "targets")
    assert passed.returncode == 0, passed.stdout
    recipe = ["-m", "tod.cli.main", "run", "configs/dr_grpo.yaml", "--dry-run"]
    known = run(package, *recipe, "target={kind: planted, utility: correct, eta: 2.5}")
    assert known.returncode == 0, known.stderr
    assert "q* ∝ π_old·exp(2.5·correct)" in known.stdout
    typo = run(package, *recipe, "target={kind: plantd, utility: correct, eta: 2.5}")
    assert "Did you mean `planted`?" in typo.stderr


@pytest.mark.slow
def test_a_right_selection_rule_passes_and_one_that_draws_from_another_law_fails(package):
    plant_rule(package)
    passed = laws(package, "selection_rules")
    assert passed.returncode == 0, passed.stdout
    file = package / "operators" / "selection.py"
    good = file.read_text(encoding="utf-8")
    right = "return _all(best(-to_numpy(pool.value), pool.contexts, uniforms))"
    wrong = "return _all(best(-to_numpy(pool.value), pool.contexts, 0 * to_numpy(uniforms)))"
    file.write_text(good.replace(right, wrong), encoding="utf-8")
    failed = laws(package, "selection_rules")
    assert failed.returncode == 1
    assert "test_what_is_put_out_follows_the_law_that_is_stated[planted]" in failed.stdout


def plant_reader(package: Path, code: str) -> None:
    """The reader's file: nothing else names it."""
    (package / "formats" / "planted.py").write_text(code, encoding="utf-8")


@pytest.mark.slow
def test_a_right_reader_is_two_files_and_one_that_swaps_two_policies_fails(package, tmp_path):
    plant_reader(package, READER)
    passed = laws(package, "formats")
    assert passed.returncode == 0, passed.stdout
    wrong = READER.replace('{"log_mu": "log_mu"', '{"log_mu": "log_old"')
    plant_reader(package, wrong.replace('"log_old": "log_old"}', '"log_old": "log_mu"}'))
    failed = laws(package, "formats")
    assert failed.returncode == 1
    assert "test_what_is_written_is_recognised_and_read_back[tod-planted]" in failed.stdout
    (tmp_path / "x.jsonl").write_text("{}")
    refused = run(
        package, "-m", "tod.cli.main", "diagnose", str(tmp_path), "--format", "tod-plantd"
    )
    assert "Did you mean 'tod-planted'?" in refused.stderr


@pytest.mark.slow
def test_a_reader_without_a_writer_fails(package):
    plant_reader(package, READER.replace("tod-planted", "elsewhere"))
    failed = laws(package, "formats", "elsewhere")
    assert failed.returncode == 1
    assert "add `write_elsewhere`" in failed.stdout
