"""Every command without the training libraries: it works, or names the extra in one line."""

import json
import re
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

import warm
from every_command import COMMANDS
from tod.base import SpecError
from tod.base.text import counted
from tod.cli.failures import LONGEST, missing, told
from tod.diagnosis import diagnose
from tod.formats import read

ROOT = Path(__file__).parents[2]
BLOCKED = ("torch", "transformers", "trl", "accelerate", "peft", "safetensors", "datasets")
BLOCKED += ("math_verify", "reasoning_gym", "ray", "verl", "vllm", "psutil")
FOUND = 3
"""Exit code of a check that works and has something to say."""


@pytest.fixture(scope="module")
def light() -> warm.Server:
    """Processes that find none of these packages."""
    return warm.Server(warm.LIGHT, BLOCKED)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory in which the examples of every help text mean something."""
    sys.path.insert(0, str(ROOT / "tests" / "show"))
    from synthetic_run import make_run

    here = tmp_path_factory.mktemp("light")
    for name in ("quickstart", "mine"):
        make_run(here / "runs" / name, steps=3, arc=True)
    for name in ("outputs/completions", "pilot"):
        shutil.copytree(ROOT / "tests/formats/fixtures/completions", here / name)
    for name in ("configs", "docs", "studies"):
        (here / name).symlink_to(ROOT / name)
    text = (ROOT / "configs/grpo.yaml").read_text().replace("correct", "reward")
    (here / "grpo.yaml").write_text(text)
    diagnosed = diagnose(read(here / "pilot")).to_dict()
    (here / "diagnosis.json").write_text(json.dumps(diagnosed))
    script = "from trl import GRPOConfig\nargs = GRPOConfig(beta=0.04)\n"
    (here / "train_grpo.py").write_text(script)
    return here


def example(command: Any) -> list[str]:
    """The words of the example that a command's help gives."""
    found = re.search(r"Example: tod (.*)", command.help)
    assert found is not None, "the help of a command gives an example"
    return shlex.split(found[1].partition(" > ")[0].strip())


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_works_or_names_the_extra(
    words: tuple[str, ...], folder: Path, light: warm.Server
) -> None:
    line = example(COMMANDS[words])
    assert tuple(line[: len(words)]) == words
    done = light.run(*line, cwd=folder)
    if done.returncode in (0, FOUND):
        assert done.stdout
        return
    assert done.returncode == 2, (line, done.stderr)
    assert re.fullmatch(r"tod: .*pip install '?tod-posttrain\[\w+\]'?\n", done.stderr), done.stderr


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_help_needs_no_library(
    words: tuple[str, ...], folder: Path, light: warm.Server
) -> None:
    done = light.run(*words, "--help", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "Example: tod" in done.stdout


def test_what_is_blocked_is_not_there(light: warm.Server, folder: Path) -> None:
    """One process of its own: the others are forked from one that imports nothing else."""
    probe = f"import sys; print([name for name in {BLOCKED!r} if name in sys.modules])"
    assert light.run(code=probe, cwd=folder).stdout == "[]\n"
    assert "No module named 'torch'" in light.run(code="import torch", cwd=folder).stderr


def test_what_is_missing_is_named_with_its_extra() -> None:
    assert missing("torch.nn") == (
        "this needs torch, which is not installed: pip install 'tod-posttrain[train]'"
    )
    assert missing("math_verify").endswith("[data]'")
    assert missing("vllm").endswith("pip install vllm")


def test_an_error_of_a_library_keeps_its_words_and_its_name() -> None:
    import polars as pl

    with pytest.raises(pl.exceptions.PolarsError) as failed:
        pl.DataFrame({"a": [1]}).select("b")
    message, code = told(failed.value)
    assert code == 2
    assert message.startswith("polars failed (ColumnNotFoundError: ")
    with pytest.raises(ValueError, match=r"format code|Cannot specify") as fault:
        counted("no number", "file")  # type: ignore[arg-type]
    assert told(fault.value)[1] == 1


def test_a_message_is_of_bounded_length_whatever_was_given() -> None:
    long, lines = SpecError(f"{'x' * 10**6}: no such recipe."), SpecError("row: bad\n" * 10**5)
    assert told(long)[0] == f"{'x' * 200}…{'x' * 199}: no such recipe."
    assert len(told(lines)[0]) <= LONGEST + 1
    assert told(SpecError("a plain message."))[0] == "a plain message."
