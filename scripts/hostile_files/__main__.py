"""Reads files made to harm by a grammar, in child processes with limits, and counts what comes.

Usage: python scripts/hostile_files [--count 100000] [--seed 0] [--kinds pickles yaml keys names]

Prints one line a kind: answers, refusals, faults; exits 1 if there is a fault (a crash, a hang, an
error that is not ours or names no file, a byte from outside of a file's own buffers).
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from hostile_files.children import run

KINDS = ("pickles", "yaml", "keys", "names")


def main() -> int:
    """Run, print, and write the counts where they are wanted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--output", type=Path, help="a JSON file for the counts")
    parser.add_argument("--whole", action="store_true", help="print faults in full")
    told = parser.parse_args()
    said = {}
    for kind in told.kinds:
        made = run(kind, told.seed, told.count)
        said[kind] = {
            "seed": told.seed,
            "cases": sum(made.counts.values()) + len(made.faults),
            "outcomes": dict(sorted(made.counts.items())),
            "faults": len(made.faults),
            "longest_seconds": round(made.longest[0], 3),
            "longest_seed": made.longest[1],
            "peak_mb": made.peak // 10**6,
        }
        print(kind, json.dumps(said[kind]), flush=True)
        for seed, why in sorted(made.faults.items())[:5]:
            print(f"  seed {seed}: {why if told.whole else why.strip()[-200:]}", flush=True)
        if told.output:
            told.output.write_text(json.dumps(said, indent=2) + "\n")
    return 1 if any(item["faults"] for item in said.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
