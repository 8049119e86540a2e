"""What a script makes of its own path, and what small programs print, against the real ones."""

import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bash_oracle import arguments
from shell_scripts import PROGRAM
from tod.configurations.framework import Computed
from tod.configurations.nearby import Near
from tod.configurations.shell.options import value_of
from tod.configurations.shell.printing import PRINTING, printed
from tod.configurations.shell.reading import ScriptReader

REAL = {"PATH": "/usr/bin:/bin"}
BESIDE = """
HERE=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" &> /dev/null && pwd)
NAME=${NAME:-$(basename "$0" .x)}
told() { OF=${BASH_SOURCE[0]}; BY=${BASH_SOURCE[1]:-nobody}; }
"""
KNOWN = {
    "its name": 'python3 P a="$(basename $0)" b="$(basename "$0" ipt)"',
    "its folder": 'D=$( cd -- "$(dirname -- "$0")" &> /dev/null && pwd )\npython3 P a=$D',
    "a folder above": "cd $(dirname ${BASH_SOURCE[0]})/..\npython3 P a=$PWD b=$(pwd)",
    "a folder of it": 'D=$(realpath "$(dirname "$0")/inner/..")\npython3 P a=$D/x.yaml',
    "cut": "python3 P a=${0##*/} b=${0%/*}",
    "a folder inside a subshell": "cd $(dirname $0)\n(cd inner)\npython3 P a=$(pwd)",
    "substituted": (
        "D=$(cd $(dirname $0) && pwd)\nC=$(echo $D/inner/k.sh | sed 's#/inner/#/outer/#')\n"
        "python3 P a=$C b=$(echo big-7b-long | sed -E 's/-(long|short)$//')"
    ),
    "a file that it reads": 'source "$(dirname "$0")/beside.env"\npython3 P a=$HERE b=$NAME',
    "a function of that file": "source $(dirname $0)/beside.env\ntold\npython3 P a=$OF b=$BY",
    "back in its own": "source $(dirname $0)/beside.env\npython3 P a=${BASH_SOURCE[0]}",
    "a script that it starts": 'export K=3\nbash "$(dirname "$0")/child" 5',
    "what goes to a file": 'X=$(cd $(dirname $0) > /dev/null; echo 4)\npython3 P a="$X"',
}


def around(folder: Path) -> None:
    (folder / "inner").mkdir(exist_ok=True)
    (folder / "beside.env").write_text(BESIDE, encoding="utf-8")
    child = f'python3 {PROGRAM} a=$(basename "$0") k=$K b=$1\n'
    (folder / "child").write_text(child, encoding="utf-8")


def read(folder: Path, script: str, started: bool = True) -> list[dict[str, object]]:
    file = folder / "script"
    file.write_text(script, encoding="utf-8")
    reader = ScriptReader(str(file), Near(file, started))
    return [dict(one.given.values) for one in reader.commands(script)]


@pytest.mark.parametrize("script", KNOWN.values(), ids=KNOWN)
def test_a_script_that_asks_where_it_lies(tmp_path: Path, script: str) -> None:
    around(tmp_path)
    text = script.replace(" P ", f" {PROGRAM} ") + "\n"
    (claimed,) = read(tmp_path, text)
    (words,) = arguments(text, tmp_path, REAL)
    real = dict(word.split("=", 1) for word in words if "=" in word)
    assert claimed == {name: value_of(value) for name, value in real.items()}


@pytest.mark.parametrize(
    ("word", "started"),
    [
        ("$(basename $0)", False),  # a scheduler starts a copy of another name
        ("$(cd nowhere-at-all && pwd)", True),
        ("$(pwd)", True),
        ("$(echo abc | sed 's/\\(a\\)/\\1\\1/')", True),
        ("$(dirname $(date))", True),
        ("$(maybe && cd inner; pwd)", True),
    ],
)
def test_what_is_not_known_of_a_path_stays_open(tmp_path: Path, word: str, started: bool) -> None:
    around(tmp_path)
    (given_,) = read(tmp_path, f"python3 {PROGRAM} a={word}\n", started)
    assert isinstance(given_["a"], Computed)


def test_a_script_of_a_scheduler_does_not_know_its_name(tmp_path: Path) -> None:
    around(tmp_path)
    (tmp_path / "child.sh").write_text(f"python3 {PROGRAM} a=$(basename $0)\n", encoding="utf-8")
    (given_,) = read(tmp_path, "sbatch $(dirname $0)/child.sh\n")
    assert isinstance(given_["a"], Computed)


PATHS = st.text("ab./ -", min_size=1, max_size=8)
SED = st.tuples(st.text("ab.^$-(|)*+?\\/", max_size=5), st.text("ab&/\\", max_size=3))
ASKED = st.one_of(
    st.tuples(st.just("basename"), st.lists(PATHS, min_size=1, max_size=2)),
    st.tuples(st.just("dirname"), PATHS.map(lambda path: [path])),
    st.tuples(
        st.just("sed"),
        st.tuples(
            st.sampled_from([[], ["-E"], ["-e"]]), SED, st.sampled_from("/#"), st.sampled_from("g ")
        ).map(lambda of: [*of[0], of[2].join(["s", *of[1], of[3].strip()])]),
    ),
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(asked=ASKED, text=st.text("ab.-(|)^$/\n", max_size=10))
def test_what_a_program_is_said_to_print_it_prints(asked: tuple[str, list[str]], text: str) -> None:
    name, words = asked
    text = text.strip("\n")
    claimed = printed(name, tuple(words), None, text)
    if claimed is None:
        return
    real = subprocess.run(
        [name, *words], input=f"{text}\n", capture_output=True, text=True, check=False
    )
    assert (real.returncode, real.stdout.rstrip("\n")) == (0, claimed.rstrip("\n"))


def test_every_program_that_prints_can_say_that_it_does_not_know() -> None:
    assert {name: printed(name, ("--zero", "x"), None, None) for name in PRINTING} == dict.fromkeys(
        PRINTING
    )
