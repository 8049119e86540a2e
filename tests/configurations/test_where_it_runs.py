"""A script that goes to another folder: the program and the pins are looked for there."""

from pathlib import Path

from tod.configurations import locate

SCRIPT = """#!/bin/bash
ROOT="$( cd "$( dirname "${BASH_SOURCE[0]}" )/.." && pwd )"
cd ${ROOT}/training
torchrun --nproc-per-node 8 src/own/train_grpo.py --num_generations 8 --beta 0.04
"""
PROGRAM = """from trl import GRPOConfig
args = GRPOConfig(epsilon=0.3)
"""


def written(folder: Path, script: str = SCRIPT) -> Path:
    for name, text in {
        "jobs/run.sh": script,
        "training/setup.py": 'install_requires = ["trl==0.17.0"]\n',
        "training/src/own/train_grpo.py": PROGRAM,
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder / "jobs/run.sh"


def test_the_pin_and_the_program_of_the_folder_it_goes_to(tmp_path: Path) -> None:
    point = locate(written(tmp_path))
    assert point.version == "0.17.0"
    assert point.procedure is not None
    assert point.procedure.operator.proposal.temperature == 0.9
    assert point.procedure.operator.action.trust_region.low == 0.3
    assert not any("is not here" in note for note in point.notes)


def test_a_folder_that_is_not_known_leaves_the_newest_assumed(tmp_path: Path) -> None:
    point = locate(written(tmp_path, SCRIPT.replace("${ROOT}/training", "$ELSEWHERE")))
    assert point.version != "0.17.0"
    assert point.version_from.startswith("assumed")
    assert any(row.startswith("temperature 0.9 up to 0.17.0") for row in point.other_releases)
