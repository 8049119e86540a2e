"""YAML as people write it: what the plain loader would let pass."""

from pathlib import Path

import pytest

from tod.base import SpecError, read_yaml


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
