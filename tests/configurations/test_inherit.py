"""Files that name others: what is read, what wins, and what is said of the rest."""

from pathlib import Path

import pytest

from tod.base import SpecError
from tod.configurations import locate
from tod.configurations.inherited import inherited

CONFIGS = Path(__file__).parent / "files"


def test_the_child_wins_and_sections_merge(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("x: {p: 1, q: 2, r: {s: 3}}\ny: 1\n")
    (tmp_path / "b.yaml").write_text("defaults: a.yaml\nx: {q: 5}\nz: 7\n")
    data = {"defaults": ["a.yaml", "b.yaml", "_self_"], "x": {"r": {"t": 4}, "p": "???"}}
    whole, notes = inherited(tmp_path / "c.yaml", data)
    assert whole == {"x": {"p": 1, "q": 5, "r": {"s": 3, "t": 4}}, "y": 1, "z": 7}
    assert notes == ("defaults read: a.yaml, b.yaml, a.yaml",)


def test_a_section_can_replace(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("x: {p: 1, q: 2}\n")
    whole, _ = inherited(
        tmp_path / "c.yaml", {"defaults": "a.yaml", "x": {"_override_": True, "q": 9}}
    )
    assert whole == {"x": {"q": 9}}


def test_parents_are_found_from_their_own_folder(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "root.yaml").write_text("x: 1\n")
    (tmp_path / "base" / "mid.yaml").write_text("defaults: root.yaml\ny: 2\n")
    whole, _ = inherited(tmp_path / "c.yaml", {"defaults": "base/mid.yaml"})
    assert whole == {"x": 1, "y": 2}


def test_a_circle_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("defaults: b.yaml\ngrpo: {}\npolicy: {}\n")
    (tmp_path / "b.yaml").write_text("defaults: a.yaml\n")
    with pytest.raises(SpecError, match="in a circle"):
        locate(tmp_path / "a.yaml")


def test_a_parent_must_be_a_mapping(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("defaults: b.yaml\ngrpo: {}\npolicy: {}\n")
    (tmp_path / "b.yaml").write_text("- 1\n")
    with pytest.raises(SpecError, match="no mapping"):
        locate(tmp_path / "a.yaml")


def test_a_parent_that_is_not_there_is_said() -> None:
    notes = locate(CONFIGS / "nemo_grpo.yaml").notes
    assert any("not found: grpo_math_1B.yaml" in note for note in notes)


def test_a_child_alone_does_not_name_its_framework(tmp_path: Path) -> None:
    """The section that decides the method stands in the parent."""
    (tmp_path / "base.yaml").write_text((CONFIGS / "nemo_base.yaml").read_text())
    (tmp_path / "c.yaml").write_text("defaults: base.yaml\nlogger: {wandb_enabled: true}\n")
    assert locate(tmp_path / "c.yaml").framework == "nemo_rl"


def test_the_command_wins_over_its_file(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "grpo.yaml").write_text("beta: 0.5\nnum_generations: 4\n")
    (tmp_path / "jobs").mkdir()
    script = tmp_path / "jobs" / "run.sh"
    script.write_text("trl grpo --config conf/grpo.yaml --beta 0.25\n")
    found = locate(script)
    assert found.procedure is not None
    assert found.procedure.tilt.sharpness == 4.0
    assert found.operator is not None
    assert found.operator.proposal.size == 4
    assert "settings read from conf/grpo.yaml" in found.notes


@pytest.mark.parametrize("name", ["none.yaml", "$CONFIG"])
@pytest.mark.parametrize("command", ["trl dpo", "uv run run_grpo.py"])
def test_a_file_that_cannot_be_found_may_hold_any_setting(
    tmp_path: Path, name: str, command: str
) -> None:
    script = tmp_path / "run.sh"
    script.write_text(f"{command} --config {name}\n")
    found = locate(script)
    assert (found.status, found.undetermined) == ("unknown", (f"**--config {name}",))
    assert "may hold any setting" in found.notes[0]
