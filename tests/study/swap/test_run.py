"""A study on the embedded model: killed, gone on with, compared; and runs that are there."""

import json
import os
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from small_study import study

import warm
from tod.base import RunError, SpecError
from tod.engine.settings import RunSettings
from tod.engine.train import train
from tod.study.swap import excess
from tod.study.swap.arm_facts import arm_facts, check_study
from tod.study.swap.arms import outcome_path, repeats_of
from tod.study.swap.assemble import conditions_of
from tod.study.swap.checks import check_arms
from tod.study.swap.existing import RunsSpec, compare_runs
from tod.study.swap.outcomes import Outcome
from tod.study.swap.run import run_study
from tod.study.swap.spec import SwapSpec

SMALL = {
    "conditions": [{"name": "η 2", "set": {"eta": 2.0}}],
    "operators": {"centred": {}, "raw": {"operator.action.centred": False}},
    "seeds": [0, 1],
    "measure": {"prompts": 4, "size": 4, "models": ["base"], "positions": 40},
}
SCRIPT = """
import sys
from pathlib import Path
from tod.study.swap.run import run_study
from tod.study.swap.spec import SwapSpec
if __name__ == "__main__":
    run_study(SwapSpec.load(Path(sys.argv[1])), Path(sys.argv[2]), Path("."))
"""


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[SwapSpec, Path]:
    """A study that was killed after its first arm, and went on."""
    folder = tmp_path_factory.mktemp("swap")
    path, output = folder / "study.yaml", folder / "out"
    path.write_text(yaml.safe_dump(study(**SMALL)))
    (folder / "script.py").write_text(SCRIPT)
    process = warm.training().start(str(path), str(output), script=folder / "script.py")
    try:
        limit = time.monotonic() + 900
        while not list(output.glob("arms/*--0.npz")):
            assert Path(f"/proc/{process.pid}/cwd").exists(), process.wait()
            assert time.monotonic() < limit
            time.sleep(0.05)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    spec = SwapSpec.load(path)
    before = {path: path.stat().st_mtime_ns for path in output.rglob("arms/*--?.npz")}
    assert 1 <= len(before) < 5
    told: list[int] = []
    failed = run_study(spec, output, folder, progress=lambda state: told.append(state.done))
    assert not failed
    assert told == list(range(len(before), 6)), "four arms, and the first again"
    for path, written in before.items():
        assert path.stat().st_mtime_ns == written, "what was there is kept"
    return spec, output


def test_every_arm_leaves_what_is_compared(done: tuple[SwapSpec, Path]) -> None:
    spec, output = done
    (condition,) = conditions_of(spec, output)
    assert condition.operators == ("centred", "raw")
    assert condition.utility.shape == (2, 2, 8)
    assert np.diagonal(condition.distance.reshape(4, 4)).max() == 0.0
    assert condition.distance[0, 0, 1, 1] > 0.0
    assert np.isfinite(excess(condition)).all()
    assert condition.facts["eta"] == 2.0
    assert condition.diagnostics["policy_proposal"] is not None
    assert not (output / "unfinished").is_dir() or not list((output / "unfinished").iterdir())


def test_an_arm_repeats_bit_for_bit(done: tuple[SwapSpec, Path]) -> None:
    spec, output = done
    arm = next(spec.arms())
    first = Outcome.load(outcome_path(output, arm))
    again = Outcome.load(outcome_path(repeats_of(output), arm))
    assert np.array_equal(first.log_probs, again.log_probs)
    assert np.array_equal(first.held_out, again.held_out)
    assert np.array_equal(first.distributions, again.distributions)
    facts = arm_facts(spec, output, conditions_of(spec, output))
    assert [a.name for a in facts if a.repeated is not None] == [facts[0].name]
    assert not [flag for flag in check_arms(facts) if flag.kind == "differs_on_repeat"]


def test_a_repeat_that_differs_by_one_answer_is_named(
    done: tuple[SwapSpec, Path], tmp_path: Path
) -> None:
    spec, output = done
    copy = tmp_path / "study"
    shutil.copytree(output, copy)
    path = outcome_path(repeats_of(copy), next(spec.arms()))
    again = Outcome.load(path)
    held_out = again.held_out.copy()
    held_out[-1, 0] = 0.0 if held_out[-1, 0] else 1.0
    replace(again, held_out=held_out).save(path)
    flags = check_study(spec, copy, conditions_of(spec, copy))
    assert [flag.kind for flag in flags if flag.stops] == ["differs_on_repeat"]


def test_what_matches_is_run_alone(tmp_path: Path) -> None:
    """The rest is left for the next call."""
    data = study(**SMALL)
    data["tasks"]["sums"] = data["tasks"]["countdown"]
    spec = SwapSpec.parse(data)
    run_study(spec, tmp_path, tmp_path, only=["sums, *, raw"], limit=1)
    assert [path.name for path in tmp_path.glob("arms/*.npz")] == ["sums--eta_2--raw--0.npz"]
    with pytest.raises(SpecError, match="'countdown, η 2, centred'"):
        run_study(spec, tmp_path, tmp_path, only=["countdown"])


def test_outcomes_of_another_study_are_refused(done: tuple[SwapSpec, Path]) -> None:
    _, output = done
    other = SwapSpec.parse(study(**{**SMALL, "conditions": [{"name": "η 2", "set": {"eta": 3.0}}]}))
    with pytest.raises(RunError, match="another recipe"):
        run_study(other, output, output.parent)


def test_runs_that_are_there_are_compared(done: tuple[SwapSpec, Path], tmp_path: Path) -> None:
    """The same arms as runs of `tod run`: the same utilities as in the study."""
    spec, output = done
    (condition,) = conditions_of(spec, output)
    runs: dict[str, list[str]] = {}
    for arm in spec.arms():
        path = tmp_path / f"{arm.operator}-{arm.seed}"
        train(RunSettings.parse({**arm.recipe, "output": str(path)}))
        runs.setdefault(arm.operator, []).append(path.name)
    text = {"kind": "runs", "name": "there", "runs": runs, "measure": SMALL["measure"]}
    (tmp_path / "runs.yaml").write_text(yaml.safe_dump(text))
    there = compare_runs(RunsSpec.load(tmp_path / "runs.yaml"), tmp_path)
    assert np.array_equal(there.utility, condition.utility)
    assert there.operators == condition.operators
    mixed = {**text, "runs": {**runs, "raw": runs["raw"][::-1]}}
    with pytest.raises(SpecError, match="share a seed"):
        compare_runs(RunsSpec.parse(mixed), tmp_path)
    manifest = tmp_path / runs["raw"][0] / "manifest.json"
    data = json.loads(manifest.read_text())
    data["recipe"]["model"] = "tod://tiny-teacher"
    manifest.write_text(json.dumps(data))
    with pytest.raises(SpecError, match="`model`"):
        compare_runs(RunsSpec.parse(text), tmp_path)
