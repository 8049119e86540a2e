"""YAML as people write it: what the plain loader would let pass."""

import re
from pathlib import Path

import pytest

import tod
from tod.base import SpecError, parse_yaml, read_yaml


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", "'a' stands twice"),
        ("x: {y: 1, y: 2}\n", "'y' stands twice"),
        ("a: !!python/object/apply:os.getcwd []\n", "not valid YAML"),
        ("a: [1,\n", "line"),
    ],
)
def test_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(SpecError, match=message):
        read_yaml(path)


def test_a_directory_is_named_as_one(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="is a directory"):
        read_yaml(tmp_path)


def test_merge_keys_still_work(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("base: &b {x: 1}\nmine: {<<: *b, z: 2}\n")
    assert read_yaml(path)["mine"] == {"x": 1, "z": 2}


BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 60))
HOSTILE = {
    "aliases that stand for 2^60 items": (BOMB, "aliases written out"),
    "merge keys that do": (BOMB.replace("[", "{<<: [").replace("]", "]}"), "written out|expected"),
    "an alias inside of itself": ("&a [*a]", "holds it"),
    "lists nested 600 deep": ("[" * 600 + "]" * 600, "deeper than 64"),
    "mappings nested 600 deep": ("\n".join(" " * i + "a:" for i in range(600)), "deeper than 64"),
    "a number of 5000 digits": ("x: " + "9" * 5000, "5000 characters"),
    "a month 13": ("x: 2001-13-45", "does not fit its tag"),
    "a tag on a value that it does not fit": ("x: !!bool maybe", "does not fit its tag"),
    "an empty whole number": ("x: !!int ''", "does not fit its tag"),
    "200 000 items": ("[" + "1," * 200_000 + "]", "more than 100000 items"),
    "two megabytes": ("#" * (2 << 20), "longer than 1 MiB"),
    "bytes that are no text": ("x: \udcff", "cannot be read as UTF-8"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_is_refused_with_its_file(tmp_path: Path, name: str) -> None:
    text, why = HOSTILE[name]
    path = tmp_path / "hostile.yaml"
    path.write_text(text, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(SpecError, match=why) as caught:
        read_yaml(path)
    assert str(path) in str(caught.value)


def test_the_same_bounds_hold_for_text_of_an_option() -> None:
    with pytest.raises(SpecError, match="--target: not valid YAML: nested deeper"):
        parse_yaml("{a: " * 100, "--target")


def test_one_place_parses_yaml() -> None:
    """Every other one would have to repeat the bounds."""
    pattern = re.compile(r"\byaml\.\w*load\w*\(|\bSafeLoader\b|\bfrom yaml\b")
    root = Path(tod.__file__).parent
    files = {p.relative_to(root).as_posix() for p in root.rglob("*.py")}
    using = {name for name in files if pattern.search((root / name).read_text())}
    assert using == {"base/yaml_data.py"}


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


@pytest.mark.parametrize(
    ("at_most", "beyond"),
    [
        (nested(64), nested(65)),
        (f"[{'1,' * 99_999}]", f"[{'1,' * 100_000}]"),  # the list counts as one of them
        ("a: &a [1, 1]\nb: [*a, *a]", f"a: &a [{'1,' * 49_998}]\nb: [*a]"),
        (f"x: {'1' * 400}", f"x: {'1' * 401}"),
        (f"x: 0.{'1' * 398}", f"x: 0.{'1' * 399}"),
        ("#" * (1 << 20), "#" * ((1 << 20) + 1)),
        ("1: a\n1: b", "x: a\nx: b"),
    ],
    ids=["depth", "items", "aliases", "digits", "decimals", "bytes", "keys"],
)
def test_bounds_from_both_sides(at_most: str, beyond: str) -> None:
    parse_yaml(at_most, "text")
    with pytest.raises(SpecError, match="text: "):
        parse_yaml(beyond, "text")


def test_a_deep_neighbour_does_not_make_another_deep() -> None:
    assert parse_yaml(f"a: {nested(60)}\nb: {nested(60)}", "text")["b"] != []


def test_a_file_is_cut_no_shorter_than_the_bound(tmp_path: Path) -> None:
    path = tmp_path / "long.yaml"
    path.write_text("#" * ((1 << 20) - 5) + "\nx: 1")
    assert read_yaml(path) == {"x": 1}
