"""Every line of a long log is read: its steps in order, its figures at their own step."""

import json
from pathlib import Path

from tod.logs import read_log

STEPS = 20_000


def test_every_line_is_read(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with open(path, "w", encoding="utf-8") as file:
        for step in range(STEPS):
            file.write(json.dumps({"step": step, "kl": step / 7, "reward": 0.5}) + "\n")
    log = read_log(path)
    assert log.steps.tolist() == list(range(STEPS))
    assert log.values["kl"].tolist() == [step / 7 for step in range(STEPS)]
    assert (log.values["reward"] == 0.5).all()
