"""What findings cost on top of reading: 102 400 rollouts of verl, CPU seconds of one process.

    python benchmarks/findings.py [ROWS]

Reading is `tod.read` of a verl dump (rewards and groups). Findings add codes of all texts, the
table of rollouts and all detectors: what reading with `digest=hash`, as `tod diagnose` does, and
the rest take beyond that. The best of five repetitions counts, since others may use the machine.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

PROMPTS, K = 64, 8
REPEATS = 5


def write(folder: Path, rows: int) -> None:
    """A file a step of answers of 400 characters, of which a third passes."""
    rng = np.random.default_rng(0)
    words = [f"w{at}" for at in range(500)]
    for step in range(1, rows // (PROMPTS * K) + 1):
        lines = []
        for prompt in range(PROMPTS):
            for k in range(K):
                answer = " ".join(words[at] for at in rng.integers(0, 500, 90))
                row = {"input": f"question {prompt} of {step}", "output": answer, "gts": "4"}
                row |= {"score": float(rng.random() < 0.3), "step": step, "uid": f"u{prompt}_{k}_0"}
                lines.append(json.dumps(row))
        (folder / f"{step}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds of the fastest repetition, and what it returned."""
    best, result = float("inf"), None
    for _ in range(REPEATS):
        started = time.process_time()
        result = work()
        best = min(best, time.process_time() - started)
    return best, result


def main() -> None:
    """Print a line a stage."""
    from tod.findings import find, run_of
    from tod.formats import read

    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 102_400
    with tempfile.TemporaryDirectory() as name:
        write(Path(name), rows)
        reading_s, _ = seconds(lambda: read(name))
        coded_s, reading = seconds(lambda: read(name, digest=hash))
        table_s, _ = seconds(lambda: run_of(reading))
        detectors_s, _ = seconds(lambda: find(run_of(reading)))
    added = coded_s - reading_s + detectors_s
    print(f"{len(reading):,} rollouts: reading {reading_s:.3f} s")
    stages = {"codes": coded_s - reading_s, "table": table_s, "detectors": detectors_s - table_s}
    print(", ".join(f"{name} {spent:.3f} s" for name, spent in stages.items()))
    print(f"findings add {added / reading_s:.0%} to reading")


if __name__ == "__main__":
    main()
