"""Which run --resume means where nobody repeats the overrides."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tod.base import RunError
from tod.engine.meant import meant
from tod.engine.settings import RunSettings

Make = Callable[..., RunSettings]
FOLDER = Path("runs")


def made(name: str, settings: RunSettings, done: int) -> Path:
    """A run as the disk shows it after ``done`` steps."""
    path = FOLDER / name
    path.mkdir(parents=True)
    manifest = {"schema": "tod.run/1", "name": settings.name, "created": f"2026-03-0{done}"}
    manifest["recipe"] = settings.plain()  # type: ignore[assignment]
    (path / "manifest.json").write_text(json.dumps(manifest))
    steps = [json.dumps({"step": n, "utility": {}}) for n in range(1, done + 1)]
    (path / "steps.jsonl").write_text("".join(line + "\n" for line in steps))
    return path


def test_the_one_run_that_is_not_done_is_meant(
    small: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    plain = small(train__steps=4)
    assert meant(plain, (), FOLDER) is None, "no run at all: a new one begins"
    begun = made("small-seed7", small(train__steps=4, train__seed=7), 2)
    made("small-seed8", small(train__steps=4, train__seed=8), 4)
    assert meant(plain, (), FOLDER) == begun
    seven = small(train__steps=4, train__seed=7, train__learning_rate=0.5)
    assert meant(seven, ("train.seed=7", "train.learning_rate=0.5"), FOLDER) is None, (
        "what was said is not what that run has: a new one begins"
    )
    assert meant(small(train__steps=4, train__seed=7), ("train.seed=7",), FOLDER) == begun
    damaged = made("small-seed9", small(train__steps=4, train__seed=9), 3)
    (damaged / "steps.jsonl").write_text('{"step": "x"}\n')
    assert meant(plain, (), FOLDER) == begun, "what cannot be read is not meant"


def test_several_that_may_be_meant_are_named(
    small: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    plain = small(train__steps=4)
    made("small-seed7", small(train__steps=4, train__seed=7), 4)
    with pytest.raises(RunError, match=r"there are, done:\n  runs/small-seed7: 4 of 4 steps"):
        meant(plain, (), FOLDER)
    for seed in range(8, 15):
        made(f"small-seed{seed}", small(train__steps=4, train__seed=seed), 1)
    with pytest.raises(RunError) as refused:
        meant(plain, (), FOLDER)
    told = str(refused.value).splitlines()
    assert "not done" in told[0]
    assert "train.seed=" in told[1]
    assert told[-2] == "  and 3 runs more"
    assert told[-1].startswith("Name the one to go on with: tod run runs/small-seed")
