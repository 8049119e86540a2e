"""The command that starts OpenRLHF's program watched, as far as no OpenRLHF is needed."""

import subprocess
import sys

import pytest

from tod.base import SpecError
from tod.live.openrlhf import releases
from tod.live.openrlhf.__main__ import main, settings_of, split
from tod.live.openrlhf.recorder import command_of


def test_options_of_ours_are_taken_out_in_their_order():
    own, theirs = split(["--a", "1", "--tod.output", "d", "--tod.extras", "--b", "--tod.target={}"])
    assert own == ["--tod.output", "d", "--tod.extras", "--tod.target={}"]
    assert theirs == ["--a", "1", "--b"]


def test_settings_are_those_of_the_options():
    found = settings_of(["--tod.output", "d", "--tod.no_findings", '--tod.target={"anchor": {}}'])
    assert (found.output, found.findings, found.target) == ("d", False, {"anchor": {}})
    assert settings_of([]).findings


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--tod.outputs", "d"], "--tod.outputs is no option of tod"),
        (["--tod.output"], "expected one argument"),
        (["--tod.target", "{"], "--tod.target: no JSON"),
    ],
)
def test_an_option_that_is_none_is_named(words, said):
    with pytest.raises(SpecError, match=said):
        settings_of(words)


def test_another_release_is_refused_with_a_way_out(monkeypatch):
    monkeypatch.setattr(releases, "version", lambda _: "0.12.0")
    with pytest.raises(SpecError, match=r"for OpenRLHF 0\.11 and this is 0\.12\.0.*train_ppo_ray"):
        main(["--rollout.temperature", "1"])


def test_without_openrlhf_one_line_says_so_and_help_teaches():
    """Another release is another test; here none is installed."""
    words = [sys.executable, "-m", "tod.live.openrlhf"]
    done = subprocess.run([*words, "--a", "1"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == (
        "tod: openrlhf is not installed in this environment: install tod where it is.\n"
    )
    helped = subprocess.run([*words, "--help"], capture_output=True, text=True, check=True)
    for option in ("--tod.output", "--tod.target", "openrlhf.cli.train_ppo_ray --help"):
        assert option in " ".join(helped.stdout.split())


def test_a_command_with_spaces_and_quotes_is_read_word_by_word():
    words = ["--data.input_template", "a 'b' $c {}", "--algo.kl.init_coef", "0.5"]
    assert command_of(words).values["algo.kl.init_coef"] == 0.5
