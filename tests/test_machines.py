"""The walk over machines: what runs on each, and that nothing with a number in it is left out."""

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
spec = importlib.util.spec_from_file_location("machines", ROOT / "scripts" / "test_machines.py")
machines = importlib.util.module_from_spec(spec)
sys.modules["machines"] = machines
spec.loader.exec_module(machines)


def test_files_with_bounds_are_run_and_those_without_numbers_are_not():
    chosen = set(machines.numeric())
    assert "tests/targets/test_families.py" in chosen
    assert "tests/base/test_text.py" not in chosen
    for room in machines.ROOMS:
        for path in (ROOT / "tests" / room).rglob("test_*.py"):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            bounds = [
                node
                for node in ast.walk(tree)
                if isinstance(node, ast.ImportFrom) and node.module == "tolerance"
            ]
            assert not bounds or str(path.relative_to(ROOT)) in chosen, path


@pytest.mark.parametrize("rooms", [["base"], machines.ROOMS])
def test_a_run_goes_on_bit_for_bit_on_every_machine(rooms):
    assert "tests/engine/test_resume.py" in machines.numeric(rooms)
    assert all((ROOT / name).is_file() for name in machines.ALWAYS)
    seen = [machines.environment(name) for name in machines.MACHINES]
    assert {e["OMP_NUM_THREADS"] for e in seen} == {"1", "2", "4"}
    assert {e.get("ATEN_CPU_CAPABILITY", "own") for e in seen} == {"default", "avx2", "own"}
    alone = [e for e in seen if "ONEDNN_MAX_CPU_ISA" not in e]
    assert {e["OMP_NUM_THREADS"] for e in alone} == {"1", "2", "4"}, "threads alone"
    assert {e["OPENBLAS_CORETYPE"] for e in seen if e not in alone} >= {"Nehalem", "Haswell"}


def test_variables_of_another_machine_do_not_leak(monkeypatch):
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "avx2")
    assert "ATEN_CPU_CAPABILITY" not in machines.environment("own-1")
    assert machines.environment("aten-default")["ATEN_CPU_CAPABILITY"] == "default"


def test_a_forced_machine_is_the_one_that_computes():
    """torch says itself what it uses."""
    script = "import torch; print(torch.backends.cpu.get_cpu_capability(), torch.get_num_threads())"
    for name, want in (("aten-default", "DEFAULT 1"), ("own-4", "4"), ("own-2", "2")):
        done = subprocess.run(
            [sys.executable, "-c", script],
            env=machines.environment(name),
            capture_output=True,
            text=True,
        )
        assert done.stdout.strip().endswith(want), done.stderr


def test_an_unknown_machine_is_named(capsys):
    assert machines.main(["nehalme"]) == 2
    assert "no machine nehalme; there are own-1" in capsys.readouterr().out
