"""Remakes the files under tests/logs/real with the libraries that write such logs.

Usage: python scripts/real_logs NAME [NAME ...] --output tests/logs/real

Each library must be importable; what each needs is said in the README there. ``given/`` beside
that folder holds what each writer was handed, a row a call. Nothing here runs in ``make test``.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import plain_writers
import trainers

WRITERS = {
    "tensorboard": plain_writers.tensorboard,
    "tinker": plain_writers.tinker,
    "trackio": plain_writers.trackio,
    "trl": trainers.grpo,
    "trl-dpo": trainers.dpo,
    "verl": plain_writers.verl,
    "wandb": plain_writers.wandb,
}


def main() -> None:
    """Write each named log."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("names", nargs="+", choices=list(WRITERS))
    parser.add_argument("--output", type=Path, required=True)
    told = parser.parse_args()
    for name in told.names:
        folder = (told.output / name).resolve()
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        version, given = WRITERS[name](folder)
        save(told.output.parent / "given" / f"{name}.jsonl", given)
        print(f"{name}: written by {version}")


def save(path: Path, given: list[dict[str, Any]]) -> None:
    """Keep what a writer was handed; a trainer's own figures are handed by nobody."""
    if given:
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in given))


if __name__ == "__main__":
    main()
