"""Checks before launch: planted faults are named, sound files are ready, the base is taken off."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from located_settings import read
from tod.base import SpecError
from tod.cli.main import app
from tod.configurations import locate
from tod.configurations.check import check
from tod.configurations.translate import translate
from tod.show.terminal.check_screen import check_markdown, check_text
from tolerance import double

SOUND = {
    "beta": 0.2,
    "scale_rewards": "none",
    "num_generations": 8,
    "per_device_train_batch_size": 8,
    "num_iterations": 2,
}


def located(**changes: Any) -> Any:
    return read("trl", "GRPOConfig", {**SOUND, **changes})


def test_a_sound_file_is_ready() -> None:
    made = check(located())
    assert made.worst is None
    assert check_text(made).startswith("Ready: nothing to look at")


@pytest.mark.parametrize(
    ("changes", "level", "word"),
    [
        ({"num_generations": 1}, "stop", "nothing to compare"),
        ({"num_iterations": 1, "epsilon": 0.1}, "look", "one update a batch"),
        ({"loss_type": "sapo", "epsilon": 0.1}, "look", "loss_type is sapo"),
        ({"num_generation": 8}, "look", "did you mean num_generations"),
        ({"sync_ref_model": False, "ref_model_sync_steps": 10}, "look", "sync_ref_model is False"),
        ({"scale_rewards": "group"}, "note", "divided by σ_c"),
        ({"beta": 1e-4}, "note", "any more aims at the same"),
    ],
)
def test_a_planted_fault_is_named_at_its_level(
    changes: dict[str, Any], level: str, word: str
) -> None:
    made = check(located(**changes))
    before = set(check(located()).remarks)
    new = [remark for remark in made.remarks if remark not in before]
    assert [remark.level for remark in new if word in remark.said] == [level]
    assert made.worst == (None if level == "note" else level)


def test_more_sharpness_aims_at_the_same_where_it_is_said() -> None:
    """Of a prompt solved once in eight: the target's passes at that sharpness, by hand."""
    from tod.configurations.check import ALL, RARE

    enough = np.log(ALL / (1 - ALL) * (1 - RARE) / RARE)
    passes = RARE * np.exp(enough) / (1 - RARE + RARE * np.exp(enough))
    assert passes == pytest.approx(ALL, rel=double(16))


def test_what_the_base_has_too_is_a_note() -> None:
    base = located(loss_type="sapo", epsilon=0.1)
    assert check(base).worst == "look"
    made = check(located(loss_type="sapo", epsilon=0.1, temperature=0.9), base)
    assert made.against is not None
    assert made.worst == "look", "another target: the law of logits/0.9"
    assert not any("epsilon" in r.setting for r in made.remarks if r.level == "look")
    assert check(base, base).worst is None


def pilot(size: int, informative: int, verdict: str = "swap_stable") -> dict[str, Any]:
    return {
        "contexts": {
            "total": 10,
            "zero_information": 10 - informative,
            "candidates_per_context": {"median": size},
        },
        "findings": {"findings": [{"severity": "critical", "headline": "All answers are one."}]},
        "regime": {"verdict": verdict, "reasons": [{"why": "ESS is 0.1"}]},
    }


def test_what_a_pilot_says_is_of_its_own_k() -> None:
    made = check(located(), pilot=pilot(4, 2, "operator_dominated"))
    said = [remark.said for remark in made.remarks if remark.level == "look"]
    assert any("4 rollouts a prompt" in text for text in said)
    assert any("80% of the prompts" in text for text in said)
    assert "All answers are one." in said
    assert "operator-dominated: ESS is 0.1" in said
    fine = check(located(), pilot={**pilot(8, 9), "findings": {"findings": []}})
    assert fine.worst is None


def test_the_screen_and_the_markdown_hold_the_remarks() -> None:
    made = check(located(num_generations=1, epsilon=0.1, num_iterations=1, top_p=0.9, min_p=0.1))
    lines = check_text(made).splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    text = check_markdown(made, "train.yaml")
    for remark in made.remarks:
        assert remark.said.replace("|", "\\|") in text


def test_the_command_exits_by_the_worst_remark(tmp_path: Path) -> None:
    run = CliRunner()
    codes = []
    for place, changes in enumerate(
        ({}, {"loss_type": "sapo", "epsilon": 0.1}, {"num_generations": 1})
    ):
        path = tmp_path / f"{place}.yaml"
        path.write_text(yaml.safe_dump({**SOUND, **changes}))
        made = run.invoke(app, ["check", str(path), "--json", str(tmp_path / f"{place}.json")])
        codes.append(made.exit_code)
        data = json.loads((tmp_path / f"{place}.json").read_text())
        assert (data["schema"], data["located"]["schema"]) == ("tod.check/1", "tod.locate/1")
    assert codes == [0, 3, 4]


def test_a_dump_is_read_at_the_files_target(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [
        {"step": step, "input": f"prompt {p}", "output": f"answer {step} {p} {k}", "score": score}
        for step in (1, 2)
        for p in range(20)
        for k, score in enumerate((rng.random(8) < 0.5).astype(float))
    ]
    (tmp_path / "1.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(SOUND))
    out = tmp_path / "out.json"
    args = ["check", str(tmp_path / "c.yaml"), "--pilot", str(tmp_path / "1.jsonl")]
    made = CliRunner().invoke(app, [*args, "--json", str(out)])
    assert made.exit_code in (0, 3), made.output
    document = json.loads(out.read_text())["pilot"]
    assert document["schema"] == "tod.diagnosis/1"
    assert document["target"]["tilts"][0]["eta"] == pytest.approx(5.0)


def test_nothing_is_said_of_a_k_that_was_not_read(tmp_path: Path) -> None:
    """The default of verl is one rollout a prompt; a word that was not read may say another."""
    script = tmp_path / "run.sh"
    words = "algorithm.adv_estimator=grpo actor_rollout_ref.rollout.n={}"
    script.write_text(f"python3 -m verl.trainer.main_ppo {words.format('$K')}\n")
    assert check(locate(script)).worst != "stop"
    made = check(locate(script), pilot=pilot(4, 9))
    assert not any("rollouts a prompt" in remark.said for remark in made.remarks)
    with pytest.raises(SpecError, match=r"proposal\.size"):
        translate(locate(script), "trl")
    script.write_text(f"python3 -m verl.trainer.main_ppo {words.format(1)}\n")
    assert check(locate(script)).worst == "stop"
