"""`--config FILE` with the rollouts of every format: the file's law stands, or what it lacks."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from formats import writers
from tod.cli.configured import ReadConfiguration, configured, expected_by, located
from tod.configurations.told import Told
from tod.findings import find, run_of
from tod.formats import read
from tod.formats.registry import FORMATS

FILES = Path(__file__).parents[1] / "configurations/files"
CONFIGS = {
    "trl": "trl_grpo.py",
    "verl": "verl_grpo.sh",
    "nemo_rl": "nemo_grpo.yaml",
    "openrlhf": "openrlhf_grpo.sh",
    "tod": "own_two_anchor.yaml",
}


def as_columns(world: writers.World, root: Path) -> Path:
    """What a mapping of columns reads."""
    rows = [
        {"question": f"{r.step} {r.group}", "points": r.reward, "at": r.step}
        for r in world.rollouts
    ]
    return writers.lines(root / "mine.jsonl", rows)


WRITERS: dict[str, Callable[[writers.World, Path], Any]] = {
    "tod": writers.write_tod,
    "areal": writers.write_areal,
    "ms-swift": writers.write_swift,
    "nemo-rl": writers.write_nemo,
    "open-instruct": writers.write_open_instruct,
    "prime-rl": writers.write_prime,
    "skyrl": writers.write_skyrl,
    "slime": writers.write_slime,
    "tinker": writers.write_tinker,
    "trl": writers.write_trl,
    "verl": writers.write_verl,
    "mapping": as_columns,
}
MAPPED = {"context": "question", "utility": "points", "step": "at"}


def test_every_format_is_written() -> None:
    assert set(WRITERS) == set(FORMATS)


@cache
def file(name: str) -> ReadConfiguration:
    found = configured(FILES / CONFIGS[name], Told())
    assert found is not None
    return found


@pytest.fixture(scope="module", params=sorted(WRITERS))
def reading(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    root = tmp_path_factory.mktemp("dump")
    WRITERS[request.param](writers.make_world(steps=2, groups=6, k=4), root)
    named = request.param != "mapping"
    mapping = {} if named else MAPPED
    found = read([str(root)], request.param if named else "auto", mapping=mapping, digest=hash)
    return request.param, found


@pytest.mark.parametrize("name", CONFIGS)
def test_the_files_law_and_settings_inform_what_is_read(reading: Any, name: str) -> None:
    of, rows = reading
    config = file(name)
    point = config.point
    assert point is not None
    seen, target, source, remarks = located(config, rows)
    text = "\n".join(remarks)
    assert f"located: {point.framework} {point.method}" in text
    for idle in point.without_effect:
        assert idle.setting in text
    for change in point.silent_changes:
        assert change.setting in text
    if point.procedure is None or not rows.utility:
        assert target is None or source
    else:
        assert target is not None, (of, remarks)
        assert {tilt.eta for tilt in target.target.tilts} == {
            tilt.eta for tilt in point.procedure.tilt.tilts
        }
    run = run_of(seen, expected=expected_by(config))
    found = find(run, only=("configured", "advantages", "groups"))
    wanted = expected_by(config).get("samples_per_prompt")
    if run.rollouts is not None and run.rollouts.grouped and wanted not in (None, 2, 4):
        assert "configured_samples" in [f.kind for f in found.all], (of, wanted)


def test_several_rewards_are_one_total_or_none(tmp_path: Path) -> None:
    """TRL adds them; with weights, or of another framework's file, the total is not known."""
    reward = np.random.default_rng(0).integers(0, 2, (40, 2)).astype(float)
    rows = [
        {"step": 1, "prompt": str(i // 4), "completion": str(i), "a_reward": a, "b_reward": b}
        for i, (a, b) in enumerate(reward.tolist())
    ]
    mine = writers.lines(tmp_path / "mine.jsonl", rows)
    roles = {"utility.a": "a_reward", "utility.b": "b_reward", "context": "prompt"}
    seen = read([str(mine)], "mapping", mapping=roles, digest=hash)
    path = tmp_path / "grpo.yaml"
    path.write_text("beta: 0.1\nscale_rewards: none\nnum_generations: 4\n")
    plain = configured(path, Told())
    assert plain is not None
    summed, target, _, remarks = located(plain, seen)
    (tilt,) = target.target.tilts
    assert tilt.eta == 10.0
    np.testing.assert_array_equal(summed.utility[tilt.utility], reward.sum(1))
    assert any("plain sum" in remark for remark in remarks)
    weighed = configured(path, Told(settings={"reward_weights": "[1.0, 0.5]"}))
    assert weighed is not None
    same, target, _, remarks = located(weighed, seen)
    assert (same is seen, target) == (True, None)
    assert remarks[0].startswith("the file's target is of one reward")
