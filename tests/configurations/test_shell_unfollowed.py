"""A value that a script changes in a way that is not followed is open, or the one that arrives."""

from itertools import product
from pathlib import Path

import pytest

from bash_oracle import arguments
from shell_scripts import PROGRAM
from tod.base import SpecError
from tod.configurations.framework import Computed
from tod.configurations.locate import locate
from tod.configurations.nearby import text_near
from tod.configurations.shell.braces import spread
from tod.configurations.shell.reading import ScriptReader

OPEN = {
    "a file's lines exported": "X=1\nexport $(cat e | xargs)",
    "a file's lines exported, by <": "X=1\nexport $(<e)",
    "lines exported": 'X=1\nwhile read -r l; do export "$l"; done < e',
    "names read": 'X=1\nwhile IFS== read -r k v; do printf -v "$k" "%s" "$v"; done < e',
    "evaluated exports": 'X=1\neval "export $(cat e)"',
    "a reference": "X=1\ndeclare -n r=X\nr=5",
    "a reference to an argument": "X=1\nput() { local -n r=$1; r=$2; }\nput X 5",
    "a trap": "trap 'X=5' DEBUG\nX=1",
    "an alias": "X=1\nshopt -s expand_aliases\nalias go='X=5'\ngo",
    "too deep": "X=1\nn=0\nf() { n=$((n+1)); if [ $n -lt 20 ]; then f; else X=5; fi; }\nf",
    "the last of a pipeline": "X=1\nshopt -s lastpipe\necho 5 | read X",
    "a name read": "X=1\nv=$(date)\nread -r $v <<< 5",
    "whole numbers": "declare -i X\nX=2+3",
    "what a builtin prints": "X=$(ulimit -n)",
    "conditions joined": "X=1\nif [ a = b -o a = a ]; then X=5; fi",
    "any case": "X=1\nshopt -s nocasematch\nif [[ ABC == abc ]]; then X=5; fi",
    "a pattern in a variable": 'X=1\nP="a*"\nif [[ abc == $P ]]; then X=5; fi',
    "items of no known number": "A=($(date))\nX=${A[1]:-1}",
    "arguments of no known number": "f() { X=${2:-1}; }\nf $(date)",
    "what a file that is away may set": "source away.sh\nX=${X:-1}",
    "a pattern that takes too long": f"X=1\ncase {'a' * 99} in {'*a' * 20}b) ;; *) X=5;; esac",
}


@pytest.mark.parametrize("script", OPEN.values(), ids=OPEN)
def test_open(script: str) -> None:
    (one,) = ScriptReader("a script").commands(f"{script}\npython3 {PROGRAM} a=$X")
    assert isinstance(one.given.values["a"], Computed)


ARRIVES = {
    "quoted": 'X=1\nexport "X=5"',
    "a name put together": 'X=1\nn=X\ndeclare "$n=5"',
    "a name before a text": 'X=1\nn=X\nexport "$n"=5',
    "global in a function": "X=1\nf() { declare -g X=5; }\nf",
    "own only from where it is declared": "X=1\nf() { X=5; local X=3; }\nf",
    "by command": "X=1\ncommand export X=5",
    "by builtin": "X=1\nbuiltin eval X=5",
    "a timed function": "X=1\nf() { X=5; }\ntime f",
    "a name of a command": "X=1\nE=export\n$E X=5",
    "taken away, quoted": 'X=1\nunset "X"\nX=${X:-5}',
    "a function taken away": "X=5\nf() { X=1; }\nunset -f f\nf",
    "a variable of a call": "X=1\nf() { Y=$X; }\nX=5 f\nX=$Y",
    "another shell": "X=5\nX=1 &\nwait",
    "a list in another shell": "X=5\n: && X=1 &\nwait",
    "falls through": "X=1\ncase a in a) X=1 ;& b) X=5;; esac",
    "tests on": "X=1\ncase a in a) X=1 ;;& *) X=5;; esac",
    "two loops left": "for i in 5 6; do for j in 1 2; do X=$i; break 2; done; done",
    "two loops gone on": "for i in 5; do for j in 1; do X=$i; continue 2; done; X=7; done",
    "arguments without a sign": "set 5 6\nX=$1",
    "arguments behind an option": "set -e 5\nX=${1:-1}",
    "too few to shift": "f() { shift 2; X=$1; }\nf 5",
    "behind a file": "X=1",
    "turned": "X=1\nif [[ ! a == c ]]; then X=5; fi",
    "an empty test": "X=1\nY=\nif [ -n $Y ]; then X=5; fi",
    "a quoted bar": 'X=1\ncase "a|b" in "a|b") X=5;; esac',
    "by its number": "X=$'\\u0035'",
    "backticks": "Y=5\nX=`echo \\$Y`",
    "old arithmetic": "X=$[2+3]",
}


@pytest.mark.parametrize("script", ARRIVES.values(), ids=ARRIVES)
def test_what_arrives(tmp_path: Path, script: str) -> None:
    behind = "> log a=5" if script == "X=1" else "a=$X"
    text = f"{script}\npython3 {PROGRAM} a=$X {behind}"
    (one,) = ScriptReader("a script").commands(text)
    assert str(one.given.values["a"]) == "5"
    (words,) = arguments(text, tmp_path)
    assert words[-1] == "a=5"


@pytest.mark.parametrize(
    "how", ["X=5", "env X=5", "X=1 env X=5", "env -i X=5", "sbatch --export=ALL,X=5 --wrap"]
)
def test_variables_of_one_command(how: str) -> None:
    inner = f"python3 {PROGRAM} a=${{X:-1}}"
    shell = "" if "wrap" in how else "bash -c"
    (one,) = ScriptReader("a script").commands(f"{how} {shell} '{inner}'")
    assert one.given.values["a"] == 5


@pytest.mark.parametrize("how", ["xargs", "xargs -I{}", "parallel"])
def test_what_adds_words(how: str) -> None:
    (one,) = ScriptReader("a script").commands(f"echo b | {how} python3 {PROGRAM} a=1")
    assert isinstance(one.given.values["a"], Computed)


@pytest.mark.parametrize(
    "text", ["(" * 3000 + "X=1" + ")" * 3000, "A=aa\n" + "A=$A$A\n" * 40], ids=["deep", "growing"]
)
def test_hostile_scripts_are_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "x.sh"
    file.write_text(f"{text}\npython3 {PROGRAM} algorithm.adv_estimator=grpo")
    with pytest.raises(SpecError, match=r"nested|grows"):
        locate(file)


def test_files_of_the_system_are_not_read(tmp_path: Path) -> None:
    file = tmp_path / "x.sh"
    assert text_near(file, "/proc/self/environ") is None


def test_characters_of_marks_are_none() -> None:
    text = f"X='\ue0009\ue001'\npython3 {PROGRAM} a=$X b='\ue00277\ue003'"
    (one,) = ScriptReader("a script").commands(text)
    assert one.given.values["a"] == "\ufffd9\ufffd"


def test_a_file_that_the_script_writes_is_not_the_one_here(tmp_path: Path) -> None:
    file = tmp_path / "x.sh"
    (tmp_path / "c.yaml").write_text("beta: 0.25\n")
    file.write_text("echo 'beta: 1' > c.yaml\ntrl grpo --config c.yaml --output_dir x\n")
    found = locate(file)
    assert found.procedure is None
    assert any("c.yaml" in note for note in (*found.notes, *map(str, found.unknown)))


def test_too_long_to_follow() -> None:
    script = "f() { " + "f; " * 9 + "}\nf\n" + f"python3 {PROGRAM} a=1"
    with pytest.raises(SpecError, match="more than"):
        ScriptReader("a script").commands(script)


def test_what_doubles_is_refused_or_left_whole(tmp_path: Path) -> None:
    """Forty doublings are 10¹² items or words: a limit is reached long before."""
    script = tmp_path / "a.sh"
    script.write_text(
        "A=(x)\n" + 'A=("${A[@]}" "${A[@]}")\n' * 40 + "python train_grpo.py --num_generations 8\n"
    )
    with pytest.raises(SpecError, match="A grows beyond 16384 items"):
        locate(script)
    word = "{a,b}" * 40
    assert spread(f"x{word}")[0].startswith("x")
    assert len(spread(word)) <= 1000
    assert spread("{a,b}" * 3) == ["".join(letters) for letters in product("ab", repeat=3)]
