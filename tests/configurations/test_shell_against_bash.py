"""Every word of a launch script that is claimed to be known is the one that bash delivers."""

import itertools
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from bash_oracle import arguments
from shell_scripts import PROGRAM, TAG, outside, scripts
from tod.configurations.framework import ANY, Computed
from tod.configurations.shell.options import value_of
from tod.configurations.shell.reading import ScriptReader


def tagged(script: str) -> str:
    """The script with a number of its own behind every command."""
    count = itertools.count(1)
    return re.sub(TAG, lambda _: f"tag={next(count)}", script)


def delivered(words: list[str]) -> dict[str, object] | None:
    """The settings that a program received; None if it trains nothing."""
    module = PROGRAM.split()[1]
    if module not in words:
        return None
    given = (word.partition("=") for word in words[words.index(module) + 1 :])
    return {name.lstrip("+~"): value_of(value) for name, equal, value in given if equal}


def holds(script: str, folder: Path, env: Mapping[str, str]) -> int:
    """Check every claim on a script against bash; how many commands there were."""
    reader = ScriptReader("a script")
    claimed = {}
    for one in reader.commands(script):
        # commands of one line are told as one, whose tag is each of theirs; a text with a line
        # break, given to another shell, may cut a command before its tag
        for tag in re.findall(r"\d+", str(one.given.values.get("tag", ""))):
            claimed[int(tag)] = one.given.values
    assumed = {piece for piece in reader.marks.pieces if isinstance(piece, str)}
    env = {name: value for name, value in env.items() if name not in assumed}
    runs = [real for words in arguments(script, folder, env) if (real := delivered(words))]
    for real in (real for real in runs if "tag" in real):
        mine = claimed[real["tag"]]
        for name, value in mine.items():
            if not isinstance(value, Computed):
                assert (name, repr(real.get(name, "absent"))) == (name, repr(value)), (script, env)
        if not any(name.startswith(ANY) for name in mine):
            assert {name for name in real if name} <= set(mine), (script, env)
    return len(runs)


@settings(max_examples=120, deadline=None, suppress_health_check=[*HealthCheck], derandomize=True)
@given(script=scripts, env=outside)
def test_what_is_claimed_is_delivered(
    tmp_path_factory: pytest.TempPathFactory, script: str, env: dict[str, str]
) -> None:
    """Whatever is set outside, but for what the reader says that it takes to be unset."""
    folder, text = tmp_path_factory.mktemp("run"), tagged(script)
    for one in ({}, {"VERDICT": "1"}, env):
        holds(text, folder, one)


KNOWN = {
    "an array": "ARGS=(a=1 'b=x y')\nARGS+=(c=3)\npython3 P \"${ARGS[@]}\" TAG",
    "a text split into words": 'ARGS="a=1\n  b=2"\nARGS+=" c=3"\npython3 P $ARGS TAG',
    "a quoted text is one word": 'X="1 2"\npython3 P a="$X" TAG',
    "defaults": ": ${X:=4}\npython3 P a=${Y:-5} b=$X TAG",
    "arithmetic": "N=8\nM=$((N * 64 / 4))\n((M++))\npython3 P n=$N b=$M c=$(( M > 3 ? 1 : 2 )) TAG",
    "continuation and comments": "python3 P \\\n  a=1 \\\n  b=2 TAG # c=3",
    "a here-document": "export K=3\nbash <<'EOF'\npython3 P a=$K TAG\nEOF",
    "a remote shell": "ssh host \"python3 P a='x y' b=2 TAG\"",
    "a shell in a job": "srun -n2 bash -c 'python3 P a=1 TAG'",
    "a branch on a known value": 'M=big\ncase "$M" in big) K=1;; *) K=2;; esac\npython3 P a=$K TAG',
    "a function": 'run() { local n=$1; shift; python3 P n=$n "$@" TAG; }\nrun 8 a=1',
    "the text of a command": 'CMD="python3 P a=1"\n$CMD TAG',
    "cut and replaced": "F=a/b.json\npython3 P a=${F##*/} b=${F%.json} c=${F/b/x} TAG",
    "lines read": "read -r -d '' C <<EOF\na=1 \\\\\n  b=2\nEOF\npython3 P $C TAG",
    "evaluated": "C='python3 P a=1 TAG'\neval \"$C\"",
}


@pytest.mark.parametrize("script", KNOWN.values(), ids=KNOWN)
def test_known_to_the_last_word(tmp_path: Path, script: str) -> None:
    text = tagged(script.replace(" P ", f" {PROGRAM} "))
    (one,) = ScriptReader("a script").commands(text)
    assert not [name for name, value in one.given.values.items() if isinstance(value, Computed)]
    assert holds(text, tmp_path, {}) == 1


def commands(script: str) -> list[dict[str, object]]:
    reader = ScriptReader("a script")
    read = reader.commands(tagged(script.replace(" P ", f" {PROGRAM} ")))
    return [dict(one.given.values) for one in read]


@pytest.mark.parametrize(
    ("script", "name"),
    [
        ("python3 P a=$X TAG", "a"),
        ("if maybe; then X=1; else X=2; fi\npython3 P a=$X TAG", "a"),
        ("X=$(date)\npython3 P a=$X TAG", "a"),
        ("X=1\nwhile maybe; do X=2; done\npython3 P a=$X TAG", "a"),
        ("for X in 1 2; do python3 P a=$X TAG; done", "a"),
        ("X=1\nread X\npython3 P a=$X TAG", "a"),
        ("X=1\nsource other.sh\npython3 P a=$X TAG", "a"),
        ("python3 P a=1 $EXTRA TAG", "a"),
    ],
)
def test_a_value_that_is_not_decided_is_open(script: str, name: str) -> None:
    (given_,) = commands(script)
    assert isinstance(given_[name], Computed)


def test_alternatives_are_listed_and_later_settings_are_certain() -> None:
    (one,) = commands("if maybe; then X=1; else X=2; fi\npython3 P a=$X TAG")
    assert str(one["a"]) == "1 or 2"
    (other,) = commands('python3 P a=1 "${EXTRA[@]}" b=2 TAG')
    assert (other["b"], isinstance(other["a"], Computed)) == (2, True)
    assert f"{ANY}${{EXTRA[@]}} (line 1)" in other
