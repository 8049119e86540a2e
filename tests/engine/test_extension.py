"""A run made longer is the run of that length from the start, bit for bit, or is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_resume import same_run

from tod.base import RunError
from tod.engine.distributed import World
from tod.engine.place import placed, resumable
from tod.engine.settings import RunSettings
from tod.engine.train import train
from tod.runs import RunDirectory
from tod.runs.names import new_name, runs_of, stem_of

Make = Callable[..., RunSettings]
CONSTANT = {
    "train__schedule": "constant",
    "train__checkpoint_every": 5,
    "operator__proposal__prompts": 2,
    "operator__proposal__max_new_tokens": 6,
}


def test_a_longer_run_is_the_run_of_that_length(small: Make) -> None:
    """13 steps read their pool at their end, 23 steps do not read it there but at 20."""
    train(small("whole", train__steps=23, **CONSTANT))
    train(small("grown", train__steps=13, **CONSTANT))
    grown = small("grown", train__steps=23, **CONSTANT)
    ends = list(RunDirectory.open(grown.directory).steps.read())
    assert ends[-1]["pool"]["last"] == 13, "else nothing is read again"
    train(grown, resume=True)
    same_run(small("whole").directory, grown.directory)
    whole, longer = (RunDirectory.open(small(n).directory).manifest for n in ("whole", "grown"))
    assert {**whole.recipe, "output": None} == {**longer.recipe, "output": None}


def test_a_run_is_made_longer_under_the_schedule_that_it_was_begun_with(small: Make) -> None:
    cosine = CONSTANT | {"train__schedule": "cosine", "train__schedule_steps": 4}
    train(small("whole", train__steps=4, **cosine))
    train(small("grown", train__steps=2, **cosine))
    train(small("grown", train__steps=4, **cosine), resume=True)
    same_run(small("whole").directory, small("grown").directory)


@pytest.mark.parametrize(
    ("changes", "longer", "why"),
    [
        ({"train__schedule": "cosine"}, {}, "its cosine schedule is laid over 2 steps"),
        ({"train__schedule": "linear"}, {}, "its linear schedule is laid over 2 steps"),
        ({"train__warmup": 0.5}, {}, "its warm-up is laid over 2 steps"),
        (
            {"arc": {"knob": "anchors"}, "operator__action__pull": {"kind": "residual"}},
            {},
            "the controller plans over 2 steps",
        ),
        ({}, {"train__steps": 1}, "has done 2 steps and 1 were asked"),
        ({}, {"train__seed": 3}, "was started with another recipe (train.seed: 0 there, 3 asked)"),
    ],
    ids=["cosine", "linear", "warm-up", "deadline", "shorter", "seed"],
)
def test_a_run_that_would_be_another_is_refused(
    small: Make, changes: dict[str, Any], longer: dict[str, Any], why: str
) -> None:
    changes = {**CONSTANT, **changes}
    train(small(train__steps=2, **changes))
    before = {p: p.read_bytes() for p in small().directory.rglob("*") if p.is_file()}
    with pytest.raises(RunError) as refused:
        train(small(**{"train__steps": 9, **changes, **longer}), resume=True)
    assert why in str(refused.value)
    if "laid over" in why:
        assert f"model={small().directory} train.steps=7" in str(refused.value)
        assert "begun with train.schedule_steps=9 or train.schedule=constant" in str(refused.value)
    assert before == {p: p.read_bytes() for p in small().directory.rglob("*") if p.is_file()}


def test_a_run_begun_before_a_setting_was_added_goes_on(small: Make) -> None:
    """Its manifest lacks the setting; the recipe that it has means what it meant."""
    controlled = CONSTANT | {
        "arc": {"knob": "anchors", "ess_target": 0.5},
        "operator__action__pull": {"kind": "residual"},
    }
    settings = small(train__steps=2, **controlled)
    train(settings)
    path = settings.directory / "manifest.json"
    manifest = json.loads(path.read_text())
    old = {name: manifest["recipe"]["arc"][name] for name in ("knob", "ess_target", "gain")}
    manifest["recipe"] |= {"arc": old, "probe": None}
    path.write_text(json.dumps(manifest))
    train(settings, resume=True)
    manifest["recipe"]["arc"]["ess_target"] = 0.6
    path.write_text(json.dumps(manifest))
    with pytest.raises(RunError, match=r"arc\.ess_target: 0\.6 there, 0\.5 asked"):
        train(settings, resume=True)


@pytest.mark.parametrize(
    ("overrides", "stem"),
    [
        ([], "gspo"),
        (["train.steps=20", "target.eta=4.5"], "gspo-steps20-eta4.5"),
        (["operator.proposal.source=ref", "output=x", "name=y"], "gspo-source.ref"),
        (["evaluate=null", "arc={knob: eta}"], "gspo-evaluate.null-arc.knob_eta"),
        (["model=../../etc/x y"], "gspo-model.etc_x_y"),
        ([f"train.steps={'1' * 99}"], f"gspo-steps{'1' * 19}"),
        (
            [f"a.b{n}=true" for n in range(9)],
            "gspo-b0.true-b1.true-b2.true-b3.true-b4.true-b5.true-b6.true+2",
        ),
    ],
)
def test_a_name_tells_the_recipe_and_what_was_overridden(overrides: list[str], stem: str) -> None:
    assert stem_of("gspo", overrides) == stem
    assert "/" not in stem


def test_names_do_not_collide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With ids of one sign of two there are two places; each is taken once."""
    monkeypatch.setattr("tod.runs.names._SIGNS", "ab")
    monkeypatch.setattr("tod.runs.names._ID", 1)
    for _ in range(2):
        new_name(tmp_path, "gspo").mkdir()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["gspo-a", "gspo-b"]


def made(path: Path, settings: RunSettings, created: str, done: int) -> Path:
    """A run as the disk shows it after ``done`` steps."""
    path.mkdir(parents=True)
    manifest = {"schema": "tod.run/1", "name": settings.name, "created": created}
    manifest["recipe"] = settings.plain()  # type: ignore[assignment]
    (path / "manifest.json").write_text(json.dumps(manifest))
    steps = [json.dumps({"step": n, "utility": {}}) for n in range(1, done + 1)]
    (path / "steps.jsonl").write_text("".join(line + "\n" for line in steps))
    return path


def test_resuming_finds_the_run_of_the_same_settings(
    small: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path("runs")
    four, nine = small(train__steps=4), small(train__steps=9)
    assert resumable(four, folder) is None
    done = made(folder / "small-new", four, "2026-03-02", 4)
    begun = made(folder / "small-old", four, "2026-03-01", 2)
    made(folder / "small-seed", small(train__steps=4, train__seed=7), "2026-03-03", 1)
    made(folder / "small", small().model_copy(update={"name": "other"}), "2026-03-04", 1)
    (folder / "not a run").mkdir()
    assert resumable(four, folder) == begun, "what is not done before what is newer"
    assert resumable(nine, folder) == done, "both may become longer: the newest"
    made(folder / "small-nine", nine, "2026-01-01", 3)
    assert resumable(nine, folder) == folder / "small-nine", "the same length first"
    assert next(path.name for path, _ in runs_of(folder, "small")) == "small-seed"


def test_a_run_without_an_output_gets_a_place_of_its_own(
    small: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    world = World.join()
    said = small()
    assert placed(said, world) is said
    free = said.model_copy(update={"output": None})
    first, second = (placed(free, world, overrides=["train.steps=4"]) for _ in range(2))
    assert str(first.output).startswith("runs/small-steps4-")
    assert first.output != second.output
    assert not Path("runs").exists(), "a name makes nothing"
    with pytest.raises(RunError, match="nothing is replaced without an `output`"):
        placed(free, world, overwrite=True)
    with pytest.warns(UserWarning, match="holds no run of small with these settings"):
        assert str(placed(free, world, resume=True).output).startswith("runs/small-")
    there = made(Path("runs/small"), said, "2026-03-01", 2)  # as versions before named them
    assert placed(free, world, resume=True).output == there
