"""Remakes the files under tests/formats/real with the frameworks' own writers.

Usage: python scripts/real_writers NAME [NAME ...] --output tests/formats/real

Each framework must be importable: from its distribution, or a checkout on PYTHONPATH. What each
needs is said in the README there. Nothing here runs in ``make test``.
"""

import argparse
import importlib
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from given import make, save
from stand_ins import USED

NAMES = (
    "areal", "ms-swift", "nemo-rl", "open-instruct", "prime-rl", "skyrl", "slime", "tinker", "verl"
)  # fmt: skip


def main() -> None:
    """Write each named framework's files."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("names", nargs="+", choices=NAMES)
    parser.add_argument("--output", type=Path, required=True)
    told = parser.parse_args()
    given = make()
    told.output.mkdir(parents=True, exist_ok=True)
    save(given, told.output / "given.jsonl")
    for name in told.names:
        folder = told.output / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        version = importlib.import_module(name.replace("-", "_") + "_files").write(given, folder)
        print(f"{name}: written by {version}; left out: {', '.join(sorted(USED)) or 'nothing'}")


if __name__ == "__main__":
    main()
