"""What makes a value other than it is written, each against bash; scripts that cost too much."""

from pathlib import Path

import pytest

from bash_oracle import arguments
from shell_scripts import PROGRAM
from tod.base import SpecError
from tod.configurations import locate
from tod.configurations.framework import Computed
from tod.configurations.nearby import Near
from tod.configurations.shell.options import value_of
from tod.configurations.shell.reading import ScriptReader

RUN = f"python3 {PROGRAM}"
REAL = {"PATH": "/usr/bin:/bin"}
TRICKS = {
    "a folder gone to": "cd d; . ./x.sh\npython3 P a=$N",
    "a folder pushed": "pushd d > /dev/null; . ./x.sh; popd > /dev/null\npython3 P a=$N",
    "readonly": "readonly N=4\nN=5\npython3 P a=$N",
    "declared readonly": "declare -r N=4\nN=5\npython3 P a=$N",
    "readonly later": "N=4\nreadonly N\nN=5\npython3 P a=$N",
    "a clock": "SECONDS=5\nsleep 1.1\npython3 P a=$SECONDS",
    "a menu": "select N in 4 5; do break; done <<< 2\npython3 P a=$N",
    "no braces": "set +B\npython3 P a={4,5}",
    "braces switched off": "set +o braceexpand\npython3 P a={4,5}",
}


def claimed(folder: Path, script: str) -> object:
    """What is said of ``a`` in a script of that folder; None: nothing."""
    path = folder / "script.sh"
    path.write_text(script, encoding="utf-8")
    (one,) = ScriptReader(str(path), Near(path)).commands(script)
    value = one.given.values.get("a")
    return None if isinstance(value, Computed) else value


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "repository" / ".git").mkdir(parents=True)
    (tmp_path / "repository" / "d").mkdir()
    (tmp_path / "repository" / "x.sh").write_text("N=7\n", encoding="utf-8")
    (tmp_path / "repository" / "d" / "x.sh").write_text("N=9\n", encoding="utf-8")
    (tmp_path / "outside.sh").write_text("N=13\n", encoding="utf-8")
    return tmp_path / "repository"


@pytest.mark.parametrize("script", TRICKS.values(), ids=TRICKS)
def test_a_value_that_is_not_what_stands_there_is_not_claimed(here: Path, script: str) -> None:
    script = script.replace(" P ", f" {PROGRAM} ")
    (words,) = arguments(script, here, REAL)
    real = next(word[2:] for word in words if word.startswith("a="))
    assert claimed(here, script) in (None, value_of(real))


def test_a_file_in_the_folder_that_is_known_is_read(here: Path) -> None:
    beside = f"cd $(dirname $0)/d\n. ./x.sh\n{RUN} a=$N"
    assert claimed(here, beside) == 9
    assert claimed(here, f". ./x.sh\n{RUN} a=$N") == 7
    assert claimed(here, f"(cd d; . ./x.sh)\n. ./x.sh\n{RUN} a=$N") == 7


@pytest.mark.parametrize("name", ["{}/outside.sh", "../outside.sh"])
def test_a_file_outside_the_repository_is_not_sourced(here: Path, name: str) -> None:
    assert claimed(here, f". {name.format(here.parent)}\n{RUN} a=$N") is None
    inside = f". {here}/x.sh\n{RUN} a=$N"
    assert claimed(here, inside) == 7


@pytest.mark.parametrize(
    "script",
    [
        "".join(f"A{i}=1\n" for i in range(9000)),
        f"set -- {' '.join('x' * 16_000)}\n{'shift;' * 2000}",
    ],
    ids=["names", "arguments"],
)
def test_a_script_that_holds_too_much_is_refused(tmp_path: Path, script: str) -> None:
    path = tmp_path / "a.sh"
    path.write_text(f"{script}\n{RUN} algorithm.adv_estimator=grpo\n", encoding="utf-8")
    with pytest.raises(SpecError, match="not followed"):
        locate(path)


def test_data_of_a_megabyte_is_no_configuration(tmp_path: Path) -> None:
    for name, text in (("a.toml", "k = 1\n"), ("a.json", "[1],\n"), ("a.yaml", "k: 1\n")):
        (tmp_path / name).write_text(text * (1 << 18), encoding="utf-8")
        with pytest.raises(SpecError, match="longer than 1 MiB"):
            locate(tmp_path / name)
