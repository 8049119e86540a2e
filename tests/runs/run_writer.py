"""A stand-in for an engine: writes a run, resumes by itself, and is killed by the tests."""

import sys
from pathlib import Path

from tod.runs import Manifest, RunDirectory

RECIPE = {"name": "demo", "train": {"steps": 40}, "target": {"kind": "tilt", "eta": 2.0}}


def columns_of_contexts():
    names = ("k", "ess", "ess_rel", "max_weight")
    return {"context": ["a"], "class": ["informative"]} | {name: [1] for name in names}


def write(path, steps):
    """A run that resumes by itself; its records are a function of the step alone."""
    if path.exists():
        run = RunDirectory.open(path)
        last = run.latest_checkpoint()
        start = 0 if last is None else int((last / "step").read_text())
        run.resume_at(start, keep=2)
    else:
        run, start = RunDirectory.create(path, Manifest.of("demo", RECIPE, {})), 0
    for step in range(start + 1, steps + 1):
        run.write_contexts(step, columns_of_contexts())
        run.decide({"step": step, "action": "hold"})
        run.record({"step": step, "utility": {"u": step / 7}, "text": "x" * (step % 5)})
        if step % 3 == 0:
            with run.checkpoint(step, keep=2) as folder:
                (folder / "step").write_text(str(step))
    run.sync()


if __name__ == "__main__":
    write(Path(sys.argv[1]), 40)
