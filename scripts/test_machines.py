"""Run the numeric tests as other machines compute: fewer instructions, other numbers of threads.

`python scripts/test_machines.py [MACHINE ...] [--rooms base,arc]` runs all machines, or the named
ones, one after another in one process and prints one line for each; exit status 1 when one of them
is red. What pytest said of a machine is written to `runs/machines/MACHINE.txt`. Of each package the
files of tests that compare numbers are run (`numeric`), and on every machine those of `ALWAYS`.
Instruction sets can only be forced down: what the processor lacks it cannot be given, and the
machine of that name then is the processor's own.
"""

import argparse
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from numpy._core._multiarray_umath import __cpu_dispatch__ as dispatched

ROOT = Path(__file__).parents[1]
OUTPUT = ROOT / "runs" / "machines"
ROOMS = (
    "base",
    "candidates",
    "targets",
    "operators",
    "diagnostics",
    "procedure",
    "regimes",
    "arc",
    "study",
    "laws",
    "atlas",
    "engine",
)
"""Folders of tests whose numbers the machine's arithmetic can change."""
ALWAYS = (
    "tests/engine/test_resume.py",
    "tests/engine/test_train.py",
    "tests/engine/test_rows.py",
    "tests/engine/test_world.py",
)
"""Runs that were stopped go on bit for bit, and two processes have the gradient of one."""
COMPARED = re.compile(
    r"\b(approx|isclose|allclose|assert_allclose|assert_close|assert_credit|assert_array_equal)\("
    r"|\barray_equal\(|torch\.equal\(|^from tolerance import",
    re.MULTILINE,
)
"""What a file that compares numbers holds."""


def numeric(rooms: Iterable[str] = ROOMS) -> list[str]:
    """Files of tests that compare numbers, of these folders, and those of `ALWAYS`."""
    files = [path for room in rooms for path in sorted((ROOT / "tests" / room).rglob("test_*.py"))]
    compared = [path for path in files if COMPARED.search(path.read_text(encoding="utf-8"))]
    return list(dict.fromkeys([*(str(path.relative_to(ROOT)) for path in compared), *ALWAYS]))


def numpy_without(*beginnings: str) -> str:
    """Instruction sets that numpy chooses at run time, as its variable lists what to leave out."""
    return " ".join(name for name in dispatched if name.startswith(beginnings))


def machine(
    aten: str, onednn: str, openblas: str, mkl: str, numpy: str, libm: str
) -> dict[str, str]:
    """The environment in which every library computes with the instructions of one processor."""
    return {
        "ATEN_CPU_CAPABILITY": aten,
        "ONEDNN_MAX_CPU_ISA": onednn,
        "OPENBLAS_CORETYPE": openblas,
        "MKL_ENABLE_INSTRUCTIONS": mkl,
        "NPY_DISABLE_CPU_FEATURES": numpy,
        "GLIBC_TUNABLES": f"glibc.cpu.hwcaps={libm}",
    }


WIDE = ("AVX512", "X86_V4")
FUSED = (*WIDE, "AVX2", "FMA", "F16C", "X86_V3")
NEHALEM = machine(
    "default", "SSE41", "Nehalem", "SSE4_2", numpy_without(*FUSED, "AVX"), "-AVX,-AVX2,-FMA"
)
SANDYBRIDGE = machine(
    "default", "AVX", "Sandybridge", "SSE4_2", numpy_without(*FUSED), "-AVX2,-FMA"
)
HASWELL = machine("avx2", "AVX2", "Haswell", "AVX2", numpy_without(*WIDE), "-AVX512F")
FOUR = {"OMP_NUM_THREADS": "4", "MKL_DYNAMIC": "FALSE"}  # on however few cores
MACHINES = {
    "own-1": {"OMP_NUM_THREADS": "1"},
    "own-2": {"OMP_NUM_THREADS": "2"},
    "own-4": FOUR,
    "aten-default": {"ATEN_CPU_CAPABILITY": "default"},
    "aten-avx2": {"ATEN_CPU_CAPABILITY": "avx2"},
    "nehalem": NEHALEM,
    "sandybridge-2": {**SANDYBRIDGE, "OMP_NUM_THREADS": "2"},
    "haswell-4": {**HASWELL, **FOUR},
}
"""Variables of every machine; one thread where nothing is said, and no other of these variables."""


def environment(name: str) -> dict[str, str]:
    """This environment, with the machine's variables and no other machine's."""
    own = {variable for variables in MACHINES.values() for variable in variables}
    rest = {key: value for key, value in os.environ.items() if key not in own}
    return {**rest, "OMP_NUM_THREADS": "1", **MACHINES[name]}


def run(name: str, rooms: Iterable[str] = ROOMS) -> bool:
    """Run the numeric tests as on one machine, print a line, and tell whether all passed."""
    options = ["-m", "not slow", "-p", "no:cacheprovider", "-p", "no:xdist"]
    command = [sys.executable, "-m", "pytest", *options, *numeric(rooms)]
    started = time.monotonic()
    done = subprocess.run(
        command, cwd=ROOT, env=environment(name), capture_output=True, text=True, check=False
    )
    (OUTPUT / f"{name}.txt").write_text(done.stdout + done.stderr)
    said = (done.stdout.strip() or done.stderr.strip()).splitlines()[-1:] or ["said nothing"]
    verdict = "green" if done.returncode == 0 else "RED"
    print(f"{name:14} {verdict:5} {time.monotonic() - started:5.0f} s  {said[0]}", flush=True)
    return done.returncode == 0


def main(words: list[str]) -> int:
    """All machines, or those named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("machines", nargs="*", default=list(MACHINES), metavar="MACHINE")
    parser.add_argument("--rooms", default=",".join(ROOMS))
    options = parser.parse_args(words)
    unknown = [name for name in options.machines if name not in MACHINES]
    if unknown:
        print(f"no machine {', '.join(unknown)}; there are {', '.join(MACHINES)}")
        return 2
    OUTPUT.mkdir(parents=True, exist_ok=True)
    red = [name for name in options.machines if not run(name, options.rooms.split(","))]
    return int(bool(red))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
