"""Every command without the training libraries: it works, or names the extra in one line."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from every_command import COMMANDS
from tod.base.text import counted
from tod.cli.failures import missing, told
from tod.diagnosis import diagnose
from tod.formats import read

ROOT = Path(__file__).parents[2]
BLOCKED = ("torch", "transformers", "trl", "accelerate", "peft", "safetensors", "datasets")
BLOCKED += ("math_verify", "reasoning_gym", "ray", "verl", "vllm", "psutil")
BLOCKER = f"""
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {BLOCKED!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Blocker())
from tod.cli.main import main
"""
FOUND = 3
"""Exit code of a check that works and has something to say."""
MARK = "== help of "
HELPS = f"""
import json
for words in json.loads(sys.argv[1]):
    print({MARK!r} + " ".join(words), flush=True)
    sys.argv[1:] = words
    try:
        main()
    except SystemExit as end:
        assert end.code in (0, None), (words, end.code)
"""


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


def blocked(
    words: list[str], folder: Path, script: str = "main()"
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", BLOCKER + script, *words],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_works_or_names_the_extra(words: tuple[str, ...], folder: Path) -> None:
    line = example(COMMANDS[words])
    assert tuple(line[: len(words)]) == words
    done = blocked(line, folder)
    if done.returncode in (0, FOUND):
        assert done.stdout
        return
    assert done.returncode == 2, (line, done.stderr)
    assert re.fullmatch(r"tod: .*pip install '?tod-posttrain\[\w+\]'?\n", done.stderr), done.stderr


def test_every_help_needs_no_library(folder: Path) -> None:
    """One process asks for all of them: most of its time is importing."""
    every = [[*words, "--help"] for words in COMMANDS]
    done = blocked([json.dumps(every)], folder, HELPS)
    assert done.returncode == 0, done.stderr
    told = done.stdout.split(MARK)[1:]
    assert [text.partition("\n")[0] for text in told] == [" ".join(words) for words in every]
    for text in told:
        assert "Example: tod" in text, text


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
