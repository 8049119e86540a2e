"""Rollouts nested one prompt a line, in the layouts that scripts and data sets on the Hub have."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from tod.base import DataError, SpecError
from tod.cli.main import app
from tod.findings import find, run_of
from tod.findings.watching import Alerts, Watch
from tod.formats import Reading, read
from tod.formats.paths import ValuePath

STEPS, PROMPTS, K, BROKE = 25, 12, 4, 15
Rollouts = list[dict[str, Any]]


def world(seed: int = 3) -> list[tuple[int, str, Rollouts]]:
    """Step, prompt and rollouts of every prompt; from step 15 on every answer fails."""
    rng = np.random.default_rng(seed)
    return [
        (
            step,
            f"q{rng.integers(40)}",
            [
                {
                    "reward": float(rng.random() < 0.5) if step < BROKE else 0.0,
                    "text": f"answer {step} {prompt} {i} {rng.integers(9**9)}",
                    "tokens": [1] * int(rng.integers(20, 60)),
                    "advantage": float(rng.normal()),
                    "capped": bool(rng.random() < 0.1),
                }
                for i in range(K)
            ],
        )
        for step in range(STEPS)
        for prompt in range(PROMPTS)
    ]


def objects(step: int, prompt: str, rollouts: Rollouts) -> dict[str, Any]:
    """A list of objects, as training scripts write their own rollouts."""
    return {"step": step, "prompt": prompt, "rollouts": rollouts}


def side_by_side(step: int, prompt: str, rollouts: Rollouts) -> dict[str, Any]:
    """Lists side by side, as data sets of iterative preference learning have them."""
    return {
        "meta": {"step": step},
        "problem": prompt,
        "generations": [r["text"] for r in rollouts],
        "correctness": [bool(r["reward"]) for r in rollouts],
        "tokens": [len(r["tokens"]) for r in rollouts],
        "advantage": [r["advantage"] for r in rollouts],
        "capped": [r["capped"] for r in rollouts],
    }


def by_id(step: int, prompt: str, rollouts: Rollouts) -> dict[str, Any]:
    """Objects by id, with the reward a level deeper."""
    return {
        "step": step,
        "task": {"prompt": prompt},
        "samples": {
            f"r{i}": {**r, "reward": {"main": r["reward"]}} for i, r in enumerate(rollouts)
        },
    }


LAYOUTS: dict[str, tuple[Any, dict[str, str]]] = {
    "objects": (
        objects,
        {
            "reward": "rollouts[].reward",
            "step": "step",
            "text": "rollouts[].text",
            "tokens": "rollouts[].tokens",
            "advantage": "rollouts[].advantage",
            "truncated": "rollouts[].capped",
        },
    ),
    "side by side": (
        side_by_side,
        {
            "reward": "correctness[]",
            "step": "meta.step",
            "prompt": "problem",
            "text": "generations[]",
            "tokens": "tokens[]",
            "advantage": "advantage[]",
            "truncated": "capped[]",
        },
    ),
    "by id": (
        by_id,
        {
            "reward": "samples[].reward.main",
            "step": "step",
            "prompt": "task.prompt",
            "text": "samples[].text",
            "tokens": "samples[].tokens[]",
            "advantage": "samples[].advantage",
            "truncated": "samples[].capped",
        },
    ),
}


def write(path: Path, layout: Any, rows: list[tuple[int, str, Rollouts]]) -> Path:
    path.write_text("".join(json.dumps(layout(*row)) + "\n" for row in rows), encoding="utf-8")
    return path


def same(reading: Reading, rows: list[tuple[int, str, Rollouts]]) -> None:
    """Every figure and every text stands where the world has it."""
    rollouts = [r for _, _, several in rows for r in several]
    (name,) = reading.utility
    assert reading.utility[name].tolist() == [r["reward"] for r in rollouts]
    assert reading.contexts.sizes.tolist() == [len(several) for _, _, several in rows]
    assert reading.steps.tolist() == [step for step, _, _ in rows]
    assert reading.labels.length is not None
    assert reading.labels.length.tolist() == [len(r["tokens"]) for r in rollouts]
    assert reading.logged["advantage"].tolist() == [r["advantage"] for r in rollouts]
    assert reading.logged["truncated"].tolist() == [r["capped"] for r in rollouts]
    texts = reading.texts(range(len(rows)))
    assert [t.completion for at in texts for t in texts[at]] == [r["text"] for r in rollouts]
    assert [texts[at][0].prompt for at in texts] == [prompt for _, prompt, _ in rows]


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_is_read_and_its_fault_named(name: str, tmp_path: Path) -> None:
    layout, mapping = LAYOUTS[name]
    rows = world()
    reading = read(write(tmp_path / "r.jsonl", layout, rows), mapping=mapping)
    same(reading, rows)
    assert reading.source.grouping == "lines"
    found = find(run_of(reading))
    first = found.first
    assert first is not None and first.kind == "all_fail" and first.onset is not None  # noqa: PT018
    assert first.onset.step is not None and abs(first.onset.step - BROKE) <= 1  # noqa: PT018
    assert {"advantages", "truncation"}.isdisjoint(found.unknown)


def test_parquet_of_lists_is_read(tmp_path: Path) -> None:
    import polars as pl

    rows = world()
    lines = [side_by_side(*row) for row in rows]
    pl.DataFrame(lines).write_parquet(tmp_path / "r.parquet")
    same(read(tmp_path / "r.parquet", mapping=LAYOUTS["side by side"][1]), rows)


def test_prompts_inside_of_a_line_are_groups(tmp_path: Path) -> None:
    rows = world()
    lines = [
        {
            "step": step,
            "prompts": [
                {"prompt": prompt, "rollouts": several}
                for at, prompt, several in rows
                if at == step
            ],
        }
        for step in range(STEPS)
    ]
    path = tmp_path / "r.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    deep = "prompts[].rollouts[]."
    columns = {"reward": "reward", "text": "text", "tokens": "tokens", "advantage": "advantage",
               "truncated": "capped"}  # fmt: skip
    mapping = {role: deep + column for role, column in columns.items()}
    same(read(path, mapping=mapping | {"step": "step", "prompt": "prompts[].prompt"}), rows)


def test_a_prompt_of_every_rollout_makes_groups(tmp_path: Path) -> None:
    """Columns of a whole step in a line: equal prompts of the line are one group."""
    line = {"reward": [1, 0, 0, 1, 1, 0], "prompt": ["a", "b", "a", "b", "a", "c"]}
    path = tmp_path / "r.jsonl"
    path.write_text(json.dumps(line), encoding="utf-8")
    reading = read(path, mapping={"reward": "reward[]", "prompt": "prompt[]"})
    assert reading.contexts.sizes.tolist() == [3, 2, 1]
    assert reading.utility["reward"].tolist() == [1, 0, 1, 0, 1, 0]


def test_log_probs_of_tokens_are_summed(tmp_path: Path) -> None:
    line = {"r": [{"s": 1.0, "lp": [-0.5, -0.25]}, {"s": 0.0, "lp": [-1.0]}]}
    path = tmp_path / "r.jsonl"
    path.write_text(json.dumps(line), encoding="utf-8")
    reading = read(path, mapping={"reward": "r[].s", "log_mu_tokens": "r[].lp"})
    assert reading.log_mu is not None
    assert reading.log_mu.tolist() == [-0.75, -1.0]
    assert reading.labels.length is not None
    assert reading.labels.length.tolist() == [2, 1]


def test_what_is_no_use_is_named_by_its_line(tmp_path: Path) -> None:
    rows = [objects(*row) for row in world()]
    rows[2]["rollouts"][1]["reward"] = None
    rows[3]["rollouts"] = []
    rows[4]["rollouts"][0]["tokens"] = "many"
    path = tmp_path / "r.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    reading = read(path, mapping=LAYOUTS["objects"][1])
    assert reading.source.rejected == 3
    said = [str(item) for item in reading.source.rejections]
    assert "row 3: rollouts[1].reward = null: missing, or not a number" in said[0]
    assert "row 4: rollouts[].reward: no rollouts in it" in said[1]
    assert "row 5: rollouts[0].tokens" in said[2]


def test_lists_of_unequal_length_are_no_rollouts(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    lines = [{"x": [1.0, 0.0], "y": ["a", "b"]}] * 200 + [{"x": [1.0], "y": ["a", "b"]}]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    reading = read(path, mapping={"reward": "x[]", "text": "y[]"})
    assert len(reading) == 400
    assert "2 of y[] for 1 of x[]" in str(reading.source.rejections[0])


def test_the_way_out_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "r.jsonl", objects, world()[:5])
    with pytest.raises(DataError, match=r"add --map reward=rollouts\[\]\.reward,text=rollouts\[\]"):
        read(path)
    with pytest.raises(DataError, match=r"There: rollouts\[\]\.reward, rollouts\[\]\.text"):
        read(path, mapping={"reward": "rollout[].score"})
    with pytest.raises(SpecError, match="several rollouts"):
        read(path, mapping={"reward": "step", "text": "rollouts[].text", "prompt": "prompt"})
    with pytest.raises(SpecError, match="no one value a rollout"):
        read(path, mapping={"reward": "rollouts[].reward", "text": "rollouts[].tokens[].a[].b"})


def test_the_screen_and_a_log_beside_it(tmp_path: Path) -> None:
    """Nested rollouts and the trainer's state are joined on the step."""
    path = write(tmp_path / "r.jsonl", objects, world())
    history = [{"step": s, "kl": 0.01, "entropy": 1.0, "epoch": s / 9} for s in range(STEPS)]
    state = tmp_path / "trainer_state.json"
    state.write_text(json.dumps({"log_history": history, "global_step": STEPS}), encoding="utf-8")
    mapped = "reward=rollouts[].reward,step=step,text=rollouts[].text"
    told = CliRunner().invoke(app, ["diagnose", str(path), str(state), "--map", mapped])
    assert told.exit_code == 0, told.output
    assert told.output.startswith("Learning stopped at step 15")
    checked = " ".join(told.output.split())
    assert "KL to the reference, a gradient" not in checked  # the log has it: it was checked


def test_watch_reads_nested_rollouts_as_they_come(tmp_path: Path) -> None:
    rows, mapping = world(), LAYOUTS["objects"][1]
    watch, alerts = Watch([tmp_path], mapping=mapping), Alerts(2)
    told = []
    for step in range(STEPS):
        write(tmp_path / f"s{step}.jsonl", objects, [row for row in rows if row[0] == step])
        look = watch.look()
        assert look.fresh == 1
        told += [f.kind for f in alerts.update(look.findings, changed=look.changed) if f.fault]
    assert told[0] == "all_fail"
    whole = read(write(tmp_path / "all.jsonl", objects, rows), mapping=mapping)
    assert [f.kind for f in look.findings.all] == [f.kind for f in find(run_of(whole)).all]


def test_paths_of_values() -> None:
    path = ValuePath("a.b[].c[].d")
    line = {"a": {"b": [{"c": [{"d": 1}, {"d": 2}]}, {"c": {"x": {"d": 3}}}]}}
    places = list(path.places(line, 2))
    assert places == [(0, 0), (0, 1), (1, 0)]
    assert [path.value(line, place) for place in places] == [1, 2, 3]
    assert (path.top, path.last, path.depth) == ("a.b", "d", 2)
    assert ValuePath("x.y[]").value({"x.y": [7]}, (0,)) == 7
    assert ValuePath("[].x").value([{"x": 5}], (0,)) == 5
    assert path.value({"a": 3}, (0, 0)) is None
    assert ValuePath("t[][]").whole(1).text == "t[]"
