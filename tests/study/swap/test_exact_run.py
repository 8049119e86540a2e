"""Studies: what a spec means, resumption, processes, and files that are not its own."""

from pathlib import Path

import numpy as np
import pytest

from tod.base import DataError, RunError, SpecError
from tod.study.swap.exact_run import load_exact, main, run_exact, tasks
from tod.study.swap.exact_spec import ExactSpec, read_exact

STUDIES = Path(__file__).parents[3] / "studies"


@pytest.fixture(scope="module")
def short(tiny):
    """Three steps, two operators, two settings."""
    names = ("centred", "token_clip")
    return tiny.revised(
        steps=3,
        operators={name: tiny.operators[name] for name in names},
        contrast=(),
        mu={name: tiny.mu[name] for name in ("base", "on-policy")},
        controls={"negative": "centred", "ladder": "centred"},
    )


def test_the_study_is_that_of_the_protocol():
    spec = read_exact(STUDIES / "exact.yaml")
    assert len(spec.settings) == 35
    assert len(spec.operators) == 8
    assert (spec.seeds, spec.size, spec.steps, spec.rate) == (4, 16, 250, 0.03)
    assert spec.contrast == ("weighted_mle",)
    quick = read_exact(STUDIES / "quick.yaml")
    assert len(quick.settings) == 8
    assert quick.operators == spec.operators
    assert set(quick.mu) == {"base", "tilt 1", "hole 0.3", "on-policy"}


def test_every_world_is_in_one_task_of_every_setting(short):
    every = tasks(short, range(20), block=8)
    assert [len(task.worlds) for task in every if task.control] == [8, 8, 4]
    named = [(task.setting.name, w) for task in every if not task.control for w in task.worlds]
    assert len(named) == len(set(named)) == 2 * 20
    assert len({task.file for task in every}) == len(every)


def test_the_negative_control_is_run_where_it_is_asked(short):
    spec = short.revised(eta=(1.0, 2.0), controls={"negative": "centred", "negative_eta": (2.0,)})
    names = {task.setting.eta: [arm.name for arm in task.arms(spec)] for task in tasks(spec, [0])}
    assert names == {
        1.0: ["centred", "token_clip"],
        2.0: ["centred", "token_clip", "centred again"],
    }
    controls = [c.name for c in run_exact(spec, worlds=[0]) if c.facts["control"]]
    assert controls == ["η 2, base", "η 2, on-policy"]


def test_a_second_call_does_what_is_missing(short, tmp_path):
    heard = []
    run_exact(short, output=tmp_path, told=lambda *news: heard.append(news))
    assert [done for done, _, _ in heard] == [1, 2, 3]
    (tmp_path / heard[0][2]).unlink()
    before = [c.distance for c in load_exact(tmp_path)]
    again = []
    conditions = run_exact(short, output=tmp_path, told=lambda *news: again.append(news))
    assert [name for _, _, name in again] == [heard[0][2]]
    assert len(before) < len(conditions) == 2 * (2 + 1 + 2)


def test_equal_runs_are_equal_alone_or_in_processes(short, tmp_path):
    one = run_exact(short, output=tmp_path / "one")
    two = run_exact(short, output=tmp_path / "two", processes=2)
    assert [(c.name, c.cluster, c.operators) for c in one] == [
        (c.name, c.cluster, c.operators) for c in two
    ]
    for a, b in zip(load_exact(tmp_path / "one"), load_exact(tmp_path / "two"), strict=True):
        np.testing.assert_array_equal(a.distance, b.distance)
        assert a.diagnostics == b.diagnostics


def test_a_world_is_the_same_in_any_block(short):
    alone = run_exact(short, worlds=[1])
    both = [c for c in run_exact(short) if c.cluster == "world 1"]
    for a, b in zip(alone, both, strict=True):
        np.testing.assert_allclose(a.distance, b.distance)


def test_a_folder_of_another_study_is_refused(short, tmp_path):
    run_exact(short, worlds=[0], output=tmp_path)
    run_exact(short, worlds=[1], output=tmp_path)  # other worlds are the same study
    with pytest.raises(RunError, match="another study"):
        run_exact(short.revised(rate=0.2), worlds=[0], output=tmp_path)


def test_a_broken_result_is_no_result(short, tmp_path):
    run_exact(short, worlds=[0], output=tmp_path)
    next(tmp_path.glob("*/*.npz")).write_bytes(b"half")
    with pytest.raises(DataError, match="Remove it"):
        run_exact(short, worlds=[0], output=tmp_path)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"contrast": ("sft",)}, "sft"),
        ({"controls": {"negative": "sft"}}, "sft"),
        ({"controls": {"ladder": "centred", "ladder_mu": "teacher"}}, "teacher"),
        ({"operators": {"vote": {"action": {"kind": "majority_vote"}}}}, "test time"),
    ],
)
def test_what_cannot_be_run_is_refused(short, changes, word):
    with pytest.raises(SpecError, match=word):
        ExactSpec.parse({**dict(short), "contrast": (), "controls": {}, **changes})


def test_the_command(short, tmp_path, capsys):
    path = tmp_path / "spec.yaml"
    path.write_text(short.model_dump_json(), encoding="utf-8")  # JSON is YAML
    options = ["--output", str(tmp_path / "out"), "--worlds", "1-2", "--processes", "1"]
    assert main([str(path), *options]) == 0
    assert "10 conditions" in capsys.readouterr().out
    assert {c.cluster for c in load_exact(tmp_path / "out")} == {"world 1", "world 2"}
