"""The mutants: what is broken, what is left alone, and that a survivor is told from a kill."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
spec = importlib.util.spec_from_file_location("mutants", ROOT / "scripts" / "mutants.py")
mutants = importlib.util.module_from_spec(spec)
sys.modules["mutants"] = mutants
spec.loader.exec_module(mutants)

SOURCE = '''"""A text of 1 + 1."""

LIMIT: float = 0.5


def f(x: "N + 1", low=2):
    """Another 1 + 1."""
    if not x < LIMIT and low == 3:
        raise ValueError(f"{x + 1} is {low - 1}")
    return g(x, -low) if x else x * 2


class C(Base, frozen=True):
    """One more."""

    @wrapped(1 + 1)
    def h(self):
        return min(self.low, 1.5)


if TYPE_CHECKING:
    Kind = 1 | 2
'''
CHANGES = {
    ("0.5", "1.0", 0),
    ("2", "3", 6),
    ("not x < LIMIT", "x < LIMIT", 6),
    ("x < LIMIT", "x <= LIMIT", 6),
    ("x < LIMIT", "x >= LIMIT", 6),
    ("not x < LIMIT and low == 3", "not x < LIMIT or low == 3", 6),
    ("low == 3", "low != 3", 6),
    ("3", "4", 6),
    ("g(x, -low) if x else x * 2", "x * 2 if x else g(x, -low)", 6),
    ("g(x, -low)", "g(-low, x)", 6),
    ("-low", "low", 6),
    ("x * 2", "x / 2", 6),
    ("self.low", "self.high", 16),
    ("min", "max", 16),
    ("1.5", "3.0", 16),
}
"""(before, after, line of the function, its decorators included): no text, type or base class, and
no places of arguments that are symmetric."""


def test_what_is_broken(tmp_path, monkeypatch):
    monkeypatch.setattr(mutants, "ROOT", tmp_path)
    path = tmp_path / "m.py"
    path.write_text(SOURCE)
    made = mutants.mutants_of("base", path)
    got = {(m.before, m.after, m.function) for m in made}
    names = {(b, a, f) for b, a, f in got if b in {"low", "x"}}  # a neighbouring name each time
    assert got - names == CHANGES
    assert {a for b, a, _ in names} == {"high"}
    data = SOURCE.encode()
    assert all(data[m.start : m.stop].decode() == m.before for m in made)


def test_the_sample_is_of_the_seed():
    keys = [[m.key for m in mutants.sample(["arc"], 30, seed)] for seed in (0, 0, 1)]
    assert keys[0] == keys[1] != keys[2]
    assert len(set(keys[0])) == 30


def test_nearest_tests_come_first():
    mutant = mutants.Mutant("arc", "src/tod/arc/knobs.py", 9, 7, 0, 1, "constant", "1", "2")
    called = ["src/tod/arc/knobs.py:7"]
    tests = {
        "tests/regimes/test_x.py::a": {"calls": called, "seconds": 0.1},
        "tests/arc/test_laws.py::b": {"calls": called, "seconds": 0.2},
        "tests/arc/test_knobs.py::c": {"calls": called, "seconds": 0.9},
        "tests/arc/test_knobs.py::d": {"calls": called, "seconds": 0.3},
        "tests/arc/test_knobs.py::e": {"calls": ["src/tod/arc/knobs.py:70"], "seconds": 0.1},
    }
    assert [name[-1] for name in mutants.nearest(mutant, tests)] == ["d", "c", "b", "a"]


@pytest.mark.slow
def test_a_survivor_is_told_from_a_kill(tmp_path):
    """In a project of its own: one function with a test, one without."""
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "mutants.py").write_text(
        (ROOT / "scripts" / "mutants.py").read_text(encoding="utf-8")
    )
    for folder in ("src/tod/arc", "tests/arc"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "src/tod/__init__.py").write_text("")
    (tmp_path / "src/tod/arc/__init__.py").write_text("")
    (tmp_path / "src/tod/arc/sums.py").write_text(
        "def add(a, b):\n    return a + b\n\n\ndef times(a, b):\n    return a * b\n"
    )
    (tmp_path / "tests/arc/test_sums.py").write_text(
        "from tod.arc.sums import add, times\n\n\n"
        "def test_add():\n    assert add(2, 3) == 5\n\n\n"
        "def test_times():\n    assert times(2, 1) == 2\n"
    )
    for command in (["git", "init", "-q"], ["git", "add", "-A"]):
        subprocess.run(command, cwd=tmp_path, check=True)
    results = tmp_path / "found.jsonl"
    command = [sys.executable, "scripts/mutants.py", str(results), "--rooms", "arc"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    rows = [json.loads(line) for line in results.read_text().splitlines()]
    assert {(row["before"], row["result"]) for row in rows} == {
        ("a + b", "killed"),
        ("a * b", "survived"),
    }
    assert "src/tod/arc/sums.py:6" in done.stdout
    assert (tmp_path / "src/tod/arc/sums.py").read_text().count("+") == 1
    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert "once" not in again.stdout  # nothing is tried twice
