"""What TRL's own trainer wrote: committed from a short run, and live when slow tests are asked for.

The fixture was made by `trl_run.py` with TRL 1.16: 3 steps, 2 prompts of 4, two rewards.
"""

import math
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from tod.diagnosis import diagnose
from tod.formats import read
from tolerance import of_weights

HERE = Path(__file__).parent


def check(root: Path) -> None:
    """Groups, utilities, tier and diagnostics against pandas."""
    files = sorted((root / "completions").glob("*.parquet"))
    table = pd.concat([pd.read_parquet(path) for path in files], ignore_index=True)
    table["group"] = table.index // 4
    assert (table.groupby("group")["prompt"].nunique() == 1).all()
    total = table["digits"] + table["short"]
    reading = read(root)
    assert reading.source.format == "trl"
    assert reading.source.tier == "D"
    assert reading.contexts.sizes.tolist() == [4] * (len(table) // 4)
    assert reading.utilities("reward").tolist() == total.tolist()
    assert reading.utilities("digits").tolist() == table["digits"].tolist()
    assert not any("do not follow" in note for note in reading.source.notes)
    for at, found in enumerate(diagnose(reading, eta=0.7).diagnostics.ess_rel):
        w = [math.exp(0.7 * u) for u in total[4 * at : 4 * at + 4]]
        assert found == pytest.approx(
            sum(w) ** 2 / sum(x * x for x in w) / 4, rel=of_weights("float64", 4, 4.0)
        )
    shown = reading.texts([0])[0]
    assert [text.completion for text in shown] == table["completion"][:4].tolist()
    assert {text.prompt for text in shown} == {table["prompt"][0]}


def test_files_of_a_real_run() -> None:
    check(HERE / "fixtures")


@pytest.mark.slow
def test_a_live_run(tmp_path: Path) -> None:
    script = HERE / "trl_run.py"
    subprocess.run([sys.executable, script, tmp_path], check=True, capture_output=True, timeout=600)
    check(tmp_path)


@pytest.mark.slow
def test_evaluations_of_a_live_run(tmp_path: Path) -> None:
    """TRL overwrites the training file of a step with its evaluation, the last step's too."""
    script = [sys.executable, HERE / "trl_run.py", tmp_path, "evaluate"]
    subprocess.run(script, check=True, capture_output=True, timeout=600)
    reading = read(tmp_path / "completions")
    assert reading.contexts.sizes.tolist() == [4] * 4
    assert reading.steps.tolist() == [1, 1, 3, 3]
    texts = reading.texts(range(4))
    assert not any(" + 1 = " in text.prompt for members in texts.values() for text in members)
