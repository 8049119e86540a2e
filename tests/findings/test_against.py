"""A run beside its twin: healthy twins stay in the band, a planted difference is dated."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from typer.testing import CliRunner

from findings.test_planted_files import drawn
from findings.test_watching import failing, verl
from tod.cli.main import app
from tod.findings import Series
from tod.findings.against import against, departed, matched
from tod.findings.planted.metrics import autoregressive
from tod.findings.rollout_series import series_of
from tolerance import chance

ROOT = Path(__file__).parents[2]
WANDER = 0.1 * 6**0.5
"""Spread of a difference of two steps of noise 0.1 whose lag-one correlation is 0.5."""
SCHEMA = json.loads((ROOT / "docs/schema/diagnosis-1.schema.json").read_text())


def noisy(rng: np.random.Generator, size: int, name: str = "x", curve: Any = 0.0) -> Series:
    return Series(name, np.arange(1, size + 1), curve + autoregressive(rng, size, 0.1))


@pytest.mark.parametrize("size", [12, 30, 100, 300])
def test_twins_of_other_noise_stay_in_the_band(size: int) -> None:
    """Correlated noise around one curve: at most 2 of 150 pairs, where 0.3 % were counted."""
    rng = np.random.default_rng(size)
    curve = np.linspace(0, 1, size)
    left = [
        departed(noisy(rng, size, curve=curve), noisy(rng, size, curve=curve)) is not None
        for _ in range(150)
    ]
    assert sum(left) <= 2


@pytest.mark.parametrize("size", [20, 60])
def test_twins_of_other_draws_stay_in_the_band(size: int) -> None:
    for seed in range(8):
        one, other = (series_of(drawn(2 * seed + i, size).rollouts()) for i in range(2))
        assert against(one, other).departures == ()


@pytest.mark.parametrize("at", [30, 70])
def test_a_jump_is_dated_and_told_first(at: int) -> None:
    """Twins but for a jump of the first figure, and a slower one of the second 15 steps later."""
    for seed in range(10):
        rng = np.random.default_rng(seed)
        names = ("late", "first", "calm")
        twin = {name: noisy(rng, 120, name) for name in names}
        run = {name: noisy(rng, 120, name) for name in names}
        for name, step, size in (("first", at, -1.0), ("late", at + 15, 0.8)):
            values = run[name].values + size * (run[name].steps >= step)
            run[name] = Series(name, run[name].steps, values)
        said = against(run, twin)
        assert [d.series for d in said.departures] == ["first", "late"]
        first = said.departures[0]
        assert first.onset.step is not None
        assert abs(first.onset.step - at) <= 1
        assert first.value - first.twin == pytest.approx(-1.0, abs=chance(WANDER, 12))
        assert said.within == ("calm",)


def test_a_difference_that_does_not_matter_is_within_however_sure() -> None:
    """A twentieth of the twin's range, without noise: below the tenth that matters."""
    steps, curve = np.arange(50), np.linspace(0, 1, 50)
    twin = Series("x", steps, curve)
    assert departed(Series("x", steps, curve + 0.05), twin) is None
    departure = departed(Series("x", steps, curve + 0.2), twin)
    assert departure is not None
    assert (departure.onset.step, departure.onset.low, departure.onset.high) == (None, 0, 4)
    assert departure.sigmas is None


def test_another_setting_is_seen_at_once() -> None:
    steps = np.arange(20)
    twin, ours = (Series("learning_rate", steps, np.full(20, x)) for x in (1e-6, 1e-5))
    departure = departed(ours, twin)
    assert departure is not None
    assert (departure.value, departure.twin) == (1e-5, 1e-6)


def test_one_spike_is_no_departure() -> None:
    rng = np.random.default_rng(3)
    twin, ours = noisy(rng, 60), noisy(rng, 60)
    ours.values[30] += 50.0
    assert departed(ours, twin) is None


def test_steps_are_matched() -> None:
    every = Series("x", np.arange(0, 40), np.arange(40.0))
    fifth = Series("x", np.arange(0, 60, 5), np.arange(0, 60, 5.0))
    pair = matched(every, fifth)
    assert pair is not None
    assert pair[0].steps.tolist() == pair[1].steps.tolist() == list(range(0, 40, 5))
    assert departed(*pair) is None
    assert matched(every, Series("x", np.arange(33, 60), np.zeros(27))) is None
    assert against({"x": every}, {"x": every.from_step(33)}).unmatched == ("x",)


def test_other_units_are_not_compared() -> None:
    steps = np.arange(20)
    tokens = Series("length", steps, np.full(20, 10.0), unit="tokens")
    characters = Series("length", steps, np.full(20, 44.0), unit="characters")
    said = against({"length": tokens}, {"length": characters})
    assert (said.departures, said.within, said.unmatched) == ((), (), ())


def test_the_command_says_it_on_the_screen_in_json_and_in_markdown(tmp_path: Path) -> None:
    new = verl(tmp_path / "new", failing(0, 24, at=12))
    old = verl(tmp_path / "old", failing(1, 24, at=99))
    words = ["diagnose", str(new), "--against", str(old)]
    screen = CliRunner().invoke(app, words, env={"COLUMNS": "80"}).output
    flat = " ".join(screen.split())
    assert "left its band at step 13" in flat
    assert "all_fail at step 13" in flat
    assert len(screen.splitlines()) <= 24
    data = json.loads(CliRunner().invoke(app, [*words, "--json", "-"]).output)
    jsonschema.validate(data, SCHEMA)
    said = data["against"]
    assert said["twin_fault"] is None
    reward = next(d for d in said["departures"] if d["series"] == "reward")
    assert reward["onset"]["low"] <= 13 <= reward["onset"]["high"]
    assert reward["value"] == 0.0
    assert "left its band" in CliRunner().invoke(app, [*words, "--markdown", "-"]).output
    turned = CliRunner().invoke(app, ["diagnose", str(old), "--against", str(new)]).output
    assert "has a fault itself: Learning stopped at step 13" in " ".join(turned.split())


def test_two_logs_are_compared(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name, size in (("new", 1.0), ("old", 0.0)):
        kl = 0.1 + 0.01 * rng.normal(size=60) + size * (np.arange(60) >= 40)
        rows = [{"step": i, "reward": 0.5 + 0.01 * rng.normal(), "kl": x} for i, x in enumerate(kl)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = [str(tmp_path / "new.jsonl"), "--against", str(tmp_path / "old.jsonl")]
    done = CliRunner().invoke(app, ["diagnose", *words, "--json", "-"])
    said = json.loads(done.output)["against"]
    assert [(d["series"], d["onset"]["step"]) for d in said["departures"]] == [("kl", 40)]
    assert said["within"] == ["reward"]
