"""Lag, groups, returning prompts and failures: exact planted rows, and healthy twins."""

from dataclasses import replace

import numpy as np
import pytest

import tod
from findings.healthy_series import curves
from tod.base import Groups, Unknown
from tod.findings import RolloutTable, Series, TrainingRun, find, rollouts_of
from tod.findings.detectors.environment import EnvironmentDetector
from tod.findings.detectors.evaluation_rows import EvaluationRowsDetector
from tod.findings.detectors.groups import GroupsDetector
from tod.findings.detectors.staleness import StalenessDetector
from tod.findings.planted.world import PlantedWorld


def drawn(steps=20, prompts=16, k=8, seed=0, repeated=False):
    world = PlantedWorld(
        np.arange(1, steps + 1),
        prompts,
        k,
        np.random.default_rng(seed),
        repeated,
        skill=np.linspace(-1, 1, steps),
    )
    return world.draw().rollouts()


def run(rollouts, **others):
    return TrainingRun(rollouts=rollouts, **others)


# lag


def lagged(lag):
    rows = drawn(len(lag))
    return run(replace(rows, lag=np.repeat(np.asarray(lag, int), rows.rows_of_step.sizes)))


def test_a_lag_that_grows_is_dated():
    (finding,) = StalenessDetector().look(lagged([1] * 12 + [6] * 12))
    assert (finding.severity, finding.onset.step) == ("warning", 13)


def test_a_steady_pipeline_is_silent_and_a_very_old_one_is_not():
    for lag in (0, 1, 4):
        assert StalenessDetector().look(lagged([lag] * 20)) == ()
    (finding,) = StalenessDetector().look(lagged([16] * 20))
    assert finding.onset.step is None


def test_a_logged_lag_that_wanders_is_silent():
    for _, _, curve in curves():
        series = Series("staleness", np.arange(1, len(curve) + 1), 3 * np.abs(curve))
        assert StalenessDetector().look(TrainingRun({"staleness": series})) == ()


def test_a_count_of_stale_rollouts_is_no_lag():
    series = Series(
        "staleness", np.arange(1, 21), np.arange(20.0), unit="stale trajectories so far"
    )
    assert isinstance(StalenessDetector().look(TrainingRun({"staleness": series})), Unknown)


def test_more_lag_than_the_configuration_allows_is_said():
    rows = lagged([1, 1, 1, 2, 1, 1])
    assert StalenessDetector().look(rows) == ()
    (finding,) = StalenessDetector().look(replace(rows, expected={"max_lag": 1}))
    assert "allows 1" in finding.evidence[1][1]


def test_an_unknown_version_is_said():
    unknown = StalenessDetector().look(run(drawn()))
    assert isinstance(unknown, Unknown)
    assert "version" in unknown.why


# groups


def alone(rows):
    """Every rollout under an id of its own."""
    step = np.repeat(rows.step, rows.groups.sizes)
    return replace(rows, groups=Groups.equal(rows.groups.total, 1), step=step, prompt=rows.input)


def test_ids_that_tell_every_rollout_apart_are_named():
    (finding,) = GroupsDetector().look(run(alone(drawn())))
    assert (finding.kind, finding.severity) == ("broken_groups", "warning")
    assert "stands 8 times in a step" in finding.headline
    assert [c.kind for c in finding.causes] == ["ids_by_rollout", "drawn_again"]
    (finding,) = GroupsDetector().look(run(alone(drawn()), expected={"samples_per_prompt": 8}))
    assert [(c.kind, c.certainty) for c in finding.causes] == [("ids_by_rollout", "fact")]


def test_singletons_without_an_advantage_are_critical():
    rows = alone(drawn())
    (finding,) = GroupsDetector().look(run(replace(rows, advantage=np.zeros(len(rows.reward)))))
    assert finding.severity == "critical"
    (finding,) = GroupsDetector().look(run(replace(rows, advantage=np.ones(len(rows.reward)))))
    assert "the trainer had its groups" in finding.causes[0].text


def test_groups_that_mix_prompts_are_named():
    rows = drawn()
    mixed = rows.input.copy()
    for start in range(80 * 8, len(mixed), 64):  # from step 6 on one group in eight
        mixed[start] = mixed[start - 1]
    (finding,) = GroupsDetector().look(run(replace(rows, input=mixed)))
    assert (finding.kind, finding.severity, finding.onset.step) == ("mixed_groups", "critical", 6)


@pytest.mark.parametrize("repeated", [False, True])
def test_healthy_groups_are_silent(repeated):
    for seed in range(20):
        assert GroupsDetector().look(run(drawn(seed=seed, repeated=repeated))) == ()
    assert GroupsDetector().look(run(drawn(k=1))) == ()


def test_whole_groups_that_repeat_are_a_note():
    rows = drawn()
    twice = np.repeat(np.arange(20 * 8), 16)
    (finding,) = GroupsDetector().look(run(replace(rows, input=twice)))
    assert (finding.kind, finding.severity) == ("repeated_prompts", "note")


def test_a_file_of_verl_with_an_id_a_row(tmp_path):
    rows = [
        f'{{"input": "Task {p}", "output": "o{i}", "gts": "1", "score": {float(i % 2)}, '
        f'"step": 1, "uid": "{p * 4 + i:06x}_0_0"}}'
        for p in range(12)
        for i in range(4)
    ]
    (tmp_path / "1.jsonl").write_text("\n".join(rows))
    found = find(run(rollouts_of(tod.read(tmp_path / "1.jsonl"))))
    assert found.first.kind == "broken_groups"
    assert "stands 4 times in a step" in found.first.headline


# prompts that return


def test_marked_evaluation_rows_are_named():
    rows = drawn()
    mark = np.zeros(len(rows.reward), bool)
    mark[rows.step_of_row % 5 == 0] = True
    found = EvaluationRowsDetector().look(run(replace(rows, evaluation=mark)))
    assert [(f.kind, f.severity, f.onset.step) for f in found] == [
        ("evaluation_rows", "warning", 5)
    ]


def test_a_set_that_returns_at_an_interval_is_a_note():
    rows = drawn(steps=40)
    prompt = rows.prompt.copy()
    for step in range(10, 41, 10):
        prompt[rows.step == step] = 10**6 + np.arange(16)
    found = EvaluationRowsDetector().look(run(replace(rows, prompt=prompt)))
    assert [(f.kind, f.severity, f.onset.step) for f in found] == [("evaluation_rows", "note", 10)]
    assert "every 10 steps" in found[0].headline


def test_epochs_are_no_evaluation():
    for seed in range(20):
        found = EvaluationRowsDetector().look(run(drawn(steps=40, seed=seed, repeated=True)))
        assert all(f.kind == "never_solved" and not f.fault for f in found)


def test_prompts_that_are_never_solved_are_counted():
    rows = drawn(steps=40, repeated=True)
    hopeless = rows.prompt < 26  # of 64
    reward = np.where(rows.groups.spread(hopeless), 0.0, rows.reward)
    (finding,) = EvaluationRowsDetector().look(run(replace(rows, reward=reward)))
    assert (finding.kind, finding.severity) == ("never_solved", "warning")
    assert finding.numbers["prompts"] >= 26
    # ten visits of eight answers: 5 % of prompts with this pass rate would fail all 80
    assert (1 - finding.numbers["rate"]) ** 80 == pytest.approx(0.05)


# failures


def test_failures_of_the_environment_are_dated():
    rows = drawn(steps=30)
    failed = np.random.default_rng(1).random(len(rows.reward)) < 0.3
    failed &= rows.step_of_row > 18
    (finding,) = EnvironmentDetector().look(run(replace(rows, error=failed)))
    assert (finding.kind, finding.severity) == ("environment_errors", "warning")
    assert abs(finding.onset.step - 19) <= 1


def test_empty_answers_are_named():
    rows = drawn(steps=30)
    length = np.where((rows.step_of_row > 18) & (np.arange(len(rows.reward)) % 4 > 0), 0, 50)
    found = find(run(replace(rows, length=length)), only=["environment"])
    assert [(f.kind, f.severity, f.onset.step) for f in found.all] == [
        ("empty_answers", "critical", 19)
    ]


def test_a_few_failures_are_silent():
    for seed in range(50):
        rows = drawn(seed=seed)
        failed = np.random.default_rng(seed).random(len(rows.reward)) < 0.05
        assert EnvironmentDetector().look(run(replace(rows, error=failed))) == ()


def test_what_is_missing_is_said():
    bare = RolloutTable(Groups.equal(4, 2), np.ones(4, int), np.zeros(8))
    for detector in (
        StalenessDetector(),
        GroupsDetector(),
        EvaluationRowsDetector(),
        EnvironmentDetector(),
    ):
        assert isinstance(detector.look(TrainingRun()), Unknown)
        assert isinstance(detector.look(run(bare)), Unknown)


def test_what_files_say_of_rollouts_is_a_series_of_the_run():
    rows = drawn(steps=4)
    lag, failed = rows.step_of_row % 3, rows.step_of_row == 2
    series = find(run(replace(rows, lag=lag, error=failed))).run.series
    assert series["staleness"].values.tolist() == [1, 2, 0, 1]
    assert series["environment_errors"].values.tolist() == [0, 1, 0, 0]


def test_one_prompt_a_step_has_no_error_of_its_mean_and_is_looked_at():
    rows = drawn(steps=30, prompts=1)
    found = find(run(replace(rows, lag=np.where(rows.step_of_row > 15, 6, 1))))
    assert "staleness" in [f.kind for f in found.faults]


def test_codes_of_texts_go_by_first_appearance():
    from tod.findings.rollouts_of import coded, text_digest

    texts = ["b", "a", "", "b", "c", "a"]
    codes = coded(np.array([hash(x) for x in texts]), hash(""))
    assert codes.tolist() == [0, 1, 2, 0, 3, 1]
    assert coded(np.array([text_digest(x) for x in texts]), text_digest("")).tolist() == [
        *codes.tolist()
    ]
    assert coded(np.zeros(3, np.int64), 0) is None


def test_a_digest_is_that_of_every_process():
    from tod.findings.rollouts_of import text_digest

    # `printf abc | b2sum -l 64` of the GNU core utilities
    expected = int.from_bytes(bytes.fromhex("d8bb14d833d59559"), "little", signed=True)
    assert text_digest("abc") == expected
    assert text_digest("\ud800") not in (0, text_digest("a"))
