"""The score of the configurations' reader, on planted claims and on files read by hand."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from configuration_score import FALSE, RIGHT, UNKNOWN, claims, read_located, score, table, verdicts
from configuration_truth.facts import NAMES
from configuration_truth.repositories import held_back
from tod.configurations import locate

TRUE = {"method": "policy_gradient", "beta": 0.04, "K": 8, "clip_low": 0.2}


def of(truths: list[dict[str, Any]], claimed: dict[str, Any]) -> dict[str, str]:
    return {name: verdict for name, verdict, _ in verdicts(truths, claimed)}


def test_right_unknown_and_false() -> None:
    claimed = {"method": "policy_gradient", "beta": 0.040000000001, "K": 16}
    expected = {"method": RIGHT, "beta": RIGHT, "K": FALSE, "clip_low": UNKNOWN}
    assert of([TRUE], claimed) == expected


def test_a_fact_that_only_the_caller_knows_is_not_to_be_claimed() -> None:
    assert of([{"K": "?"}], {"K": 8}) == {"K": FALSE}
    assert of([{"K": "?"}], {}) == {"K": UNKNOWN}


def test_a_claim_has_to_hold_of_every_command() -> None:
    both = [{"K": 8, "beta": 0.1}, {"K": 8, "beta": 0.2}]
    assert of(both, {"K": 8, "beta": 0.1}) == {"K": RIGHT, "beta": FALSE}


def test_a_program_outside_is_rightly_refused() -> None:
    outside = [{"method": "outside"}]
    assert [v for _, v, _ in verdicts(outside, {}, refused=True)] == [RIGHT]
    assert of(outside, {"method": "policy_gradient"}) == {"method": FALSE}


@pytest.mark.parametrize(
    ("claim", "truth", "verdict"),
    [(True, True, RIGHT), (1, True, FALSE), (0.0, 0, RIGHT), ("a", "b", FALSE), (0.2, 0.21, FALSE)],
)
def test_values_are_compared_as_they_are(claim: Any, truth: Any, verdict: str) -> None:
    assert of([{"x": truth}], {"x": claim}) == {"x": verdict}


def rows(tmp_path: Path, facts: list[dict[str, Any] | None]) -> list[dict[str, Any]]:
    path = tmp_path / "o+r" / "run.sh"
    path.parent.mkdir()
    path.write_text("python x\n")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    first = {"repository": "o/r", "path": "run.sh", "sha256": digest}
    return [{**first, "facts": one, "line": at + 1} for at, one in enumerate(facts)]


def test_files_are_counted_by_repository(tmp_path: Path) -> None:
    scoring = score(rows(tmp_path, [TRUE]), tmp_path, lambda _: ({"beta": 1.0, "K": 8}, 0, False))
    one = scoring.scores["o/r"]
    assert (one.files, one.false_files, one.refused) == (1, 1, 0)
    assert one.verdicts == {RIGHT: 1, FALSE: 1, UNKNOWN: 2}
    assert scoring.false == ["o/r/run.sh: beta: 1.0, is 0.04"]
    assert "| o/r | 1 | 0 | 1 | 1 (25.0%) | 2 (50.0%) | 1 (25.0%) |" in table(scoring)


def test_the_line_that_a_reader_means_chooses_the_command(tmp_path: Path) -> None:
    made = rows(tmp_path, [{"K": 8}, {"K": 16}])
    assert score(made, tmp_path, lambda _: ({"K": 16}, 0, False)).false
    assert not score(made, tmp_path, lambda _: ({"K": 16}, 2, False)).false


def test_what_has_no_truth_or_is_another_file_is_left_out(tmp_path: Path) -> None:
    made = rows(tmp_path, [TRUE, None])
    assert not score(made, tmp_path, lambda _: ({}, 0, False)).scores
    other = [{**made[0], "sha256": "0"}]
    scoring = score(other, tmp_path, lambda _: ({}, 0, False))
    assert (scoring.changed, dict(scoring.scores)) == (1, {})


def test_claims_of_a_verl_command(tmp_path: Path) -> None:
    path = tmp_path / "run.sh"
    path.write_text(
        "python3 -m verl.trainer.main_ppo algorithm.adv_estimator=rloo data.train_batch_size=512 "
        "actor_rollout_ref.actor.ppo_mini_batch_size=128 actor_rollout_ref.rollout.n=4 "
        "actor_rollout_ref.actor.use_kl_loss=True actor_rollout_ref.actor.kl_loss_coef=0.02 "
        "actor_rollout_ref.actor.kl_loss_type=k2 algorithm.filter_groups.enable=True "
        "actor_rollout_ref.actor.clip_ratio_high=0.3 actor_rollout_ref.actor.clip_ratio_c=5 "
        "actor_rollout_ref.rollout.temperature=0.7 actor_rollout_ref.actor.entropy_coeff=0.01 "
        "actor_rollout_ref.actor.loss_agg_mode=seq-mean-token-sum\n"
    )
    claimed = claims(locate(path))
    assert claimed == {
        "method": "policy_gradient",
        "estimator": "rloo",
        "loss": "vanilla",
        "pull_place": "loss",
        "pull_kind": "k2",
        "beta": pytest.approx(0.02),
        "advantage": "leave_one_out",
        "whitened": False,
        "level": "token",
        "region": "dual_clip",
        "clip_low": 0.2,
        "clip_high": 0.3,
        "dual_c": 5.0,
        "aggregation": "sequence_mean_token_sum",
        "correction": "none",
        "K": 4,
        "temperature": 0.7,
        "top_p": 1.0,
        "top_k": 0,
        "updates": 4,
        "entropy": 0.01,
        "filter": True,
        "bypass": False,
    }


def test_what_the_reader_does_not_know_is_no_claim(tmp_path: Path) -> None:
    path = tmp_path / "run.sh"
    path.write_text(
        "python3 -m verl.trainer.main_ppo algorithm.adv_estimator=grpo "
        "actor_rollout_ref.actor.use_kl_loss=$KL actor_rollout_ref.rollout.n=$N\n"
    )
    claimed = claims(locate(path))
    assert not {"pull_place", "beta", "K", "updates"} & set(claimed)
    assert claimed["advantage"] == "group_zscore"


def test_a_refused_file_claims_nothing(tmp_path: Path) -> None:
    path = tmp_path / "run.sh"
    path.write_text("echo hello\n")
    assert read_located(path) == ({}, 0, True)


DATA = Path(__file__).parents[2] / "studies" / "configurations"


def committed(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DATA / name).read_text(encoding="utf-8").splitlines()]


def test_committed_facts_hold_no_text_and_are_many() -> None:
    made = committed("facts.jsonl")
    known = {"repository", "commit", "path", "sha256", "command", "commands", "framework"}
    known |= {"line", "program", "facts", "why"}
    assert all(set(row) <= known for row in made)
    assert all(set(row["facts"] or ()) <= set(NAMES) for row in made)
    told = {(row["repository"], row["path"]) for row in made if row["facts"] is not None}
    assert len(told) >= 400
    assert len({repository for repository, _ in told}) >= 12


def test_what_is_held_back_is_apart() -> None:
    assert not any(held_back(row["repository"]) for row in committed("facts.jsonl"))
    apart = committed("held_back.jsonl")
    assert all(held_back(row["repository"]) for row in apart)
    told = {row["sha256"] for row in committed("facts.jsonl")}
    assert not told & {row["sha256"] for row in apart}
