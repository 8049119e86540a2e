"""Run the tests that need no torch under other versions of Python.

Usage: python scripts/test_pythons.py            # every python3.N that is here, but this one
       python scripts/test_pythons.py /usr/bin/python3.13 …

Each gets an environment of its own in build/, with the core and the libraries of those tests, at
the versions of constraints.txt. One line an interpreter: what passed, or the last lines where it
did not.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TRIED = ("3.11", "3.12", "3.13")
HEAVY = re.compile(
    r"\b(torch|trl|transformers|accelerate|peft|datasets|safetensors|reasoning_gym|math_verify|"
    r"tensorboard|tod\.(engine|live|study)|chromium|writers|world|warm\.training)\b|--dry-run"
)
LIBRARIES = ("arviz-stats", "beartype", "hypothesis", "jsonschema", "mpmath", "pandas", "pyarrow")
LIBRARIES += ("pytest", "pytest-xdist", "scipy")


def light_tests() -> list[str]:
    """Files of tests that name nothing that needs torch or a browser, nor do their fixtures."""
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    own = {path.parent: path.parent / "conftest.py" for path in files}
    heavy = {at for at, path in own.items() if path.exists() and HEAVY.search(path.read_text())}
    heavy |= {ROOT / "tests/engine", ROOT / "tests/engine/sampling"}
    return [
        str(path.relative_to(ROOT))
        for path in files
        if path.parent not in heavy - {ROOT / "tests"} and not HEAVY.search(path.read_text())
    ]


def interpreters() -> list[str]:
    """Commands of the tried versions that are on the path and run."""
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    said = {name: version_of(f"python{name}") for name in TRIED if name != here}
    return [f"python{name}" for name, version in said.items() if version]


def version_of(python: str) -> str:
    """What an interpreter calls itself, or nothing where it does not run."""
    try:
        done = subprocess.run([python, "-V"], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def environment_of(python: str) -> Path:
    """The interpreter of an environment with what the light tests need."""
    place = ROOT / "build" / version_of(python).lower().replace(" ", "-")
    own = place / "bin/python"
    if not own.exists():
        subprocess.run([python, "-m", "venv", place], check=True)
    pip = [own, "-m", "pip", "install", "-q", "--disable-pip-version-check", "-c"]
    subprocess.run([*pip, ROOT / "constraints.txt", "-e", ROOT, *LIBRARIES], check=True)
    return own


def tried(python: str) -> bool:
    """Print how the light tests end under an interpreter."""
    own = environment_of(python)
    options = ["-p", "no:cacheprovider", "-m", "not slow", "--continue-on-collection-errors"]
    command = [own, "-m", "pytest", *options, *light_tests()]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    lines = done.stdout.strip().splitlines()
    print(version_of(python), *lines[-(1 if done.returncode == 0 else 20) :], sep="\n  ")
    return done.returncode == 0


def main() -> int:
    """Try every interpreter; exit 1 where one fails."""
    ended = [tried(python) for python in sys.argv[1:] or interpreters()]
    return not all(ended)


if __name__ == "__main__":
    sys.exit(main())
