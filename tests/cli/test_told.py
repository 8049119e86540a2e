"""What a person says of a configuration file: one definition of the options, in every command."""

import inspect
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from every_command import COMMANDS
from tod.base import SpecError
from tod.cli import options
from tod.cli.configured import configured
from tod.cli.main import app
from tod.configurations.told import Told

OPTIONS = {
    "framework": options.Framework,
    "method": options.Method,
    "settings": options.Set,
    "version": options.Version,
}


def callback(command: Any) -> Any:
    return inspect.unwrap(command.callback)


READING = {
    words: command
    for words, command in COMMANDS.items()
    if {"config", "file", "a"} & {p.name for p in command.params}
    and words not in {("run",), ("train",)}
}


def test_the_commands_that_read_a_configuration_are_looked_at() -> None:
    named = {" ".join(words) for words in READING}
    wanted = {"atlas locate", "atlas compare", "atlas translate", "check", "diagnose", "plan"}
    assert wanted | {"watch"} <= named


@pytest.mark.parametrize("words", READING, ids=" ".join)
def test_every_command_that_reads_a_configuration_has_the_same_options(
    words: tuple[str, ...],
) -> None:
    hints = inspect.signature(callback(READING[words]), eval_str=True).parameters
    for name, shared in OPTIONS.items():
        assert name in hints, f"{' '.join(words)} has no option of {name}"
        assert hints[name].annotation == shared, (words, name)
    spelled = {opt for param in READING[words].params for opt in param.opts}
    assert {"--framework", "--method", "--set", "--version"} <= spelled


def test_each_of_two_is_told_what_is_said_of_it(tmp_path: Path) -> None:
    a, b = tmp_path / "a.yaml", tmp_path / "b.yaml"
    for path in (a, b):
        path.write_text("beta: 0.1\n")
    said = Told("trl", "a:grpo,b:rloo", {"beta": "0.2", "b:beta": "0.3"}, "0.24")
    left, right = said.of_two(str(a), str(b))
    assert left == Told("trl", "grpo", {"beta": "0.2"}, "0.24")
    assert right == Told("trl", "rloo", {"beta": "0.3"}, "0.24")
    assert left.locate(a).method == "GRPOConfig"
    assert right.locate(b).method == "RLOOConfig"
    assert right.side(str(b)).name == "b.yaml: trl RLOOConfig"
    named, of_file = Told(method="grpo").of_two("grpo", str(b))
    assert (named, of_file) == (Told(), Told(method="grpo"))


def test_what_is_said_of_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no file"):
        Told(method="grpo").of_two("grpo", "rloo")[0].side("grpo")
    with pytest.raises(SpecError, match="of --config FILE"):
        configured(None, Told(method="grpo"))
    assert configured(None, Told()) is None
    path = tmp_path / "a.yaml"
    path.write_text("beta: 0.1\nnum_generations: 8\n")
    with pytest.raises(SpecError, match="of what"):
        Told(settings={"b:": "1"}).of_two(str(path), str(path))
    made = CliRunner().invoke(app, ["check", str(path), "--method", "grpo", "--set", "b:beta=1"])
    assert "name it with --against" in " ".join(f"{made.output} {made.exception}".split())
    assert made.exit_code != 0


def test_a_file_that_needs_a_method_is_read_with_it(tmp_path: Path) -> None:
    path = tmp_path / "args.yaml"
    path.write_text("beta: 0.1\n")
    with pytest.raises(SpecError, match="--method"):
        configured(path)
    found = configured(path, Told(method="grpo", settings={"num_generations": "16"}))
    assert found is not None
    assert found.point is not None
    assert found.point.operator is not None
    assert found.point.operator.proposal.size == 16
