"""A long log is read in about a second."""

import json
import time
from pathlib import Path

from tod.logs import read_log

STEPS = 100_000
LINES_A_SECOND = 40_000
"""Of the processor's time, so that other work beside it does not count: 140 000 when written."""


def test_a_hundred_thousand_lines(tmp_path: Path) -> None:
    names = ["reward", "kl", "entropy", "grad_norm", "loss", "lr", "clip_fraction", "length"]
    row = {"step": 0, **{name: 0.123456789 + i for i, name in enumerate(names)}}
    row |= {f"timing/{i}": 1.5 + i for i in range(12)}
    text = json.dumps(row)[len('{"step": 0') :]
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(f'{{"step": {step}{text}\n' for step in range(STEPS)))
    start = time.process_time()
    log = read_log(path)
    seconds = time.process_time() - start
    assert log.steps.tolist() == list(range(STEPS))
    assert (log.values["kl"] == row["kl"]).all()
    assert STEPS / seconds > LINES_A_SECOND, f"{seconds:.2f} s"
