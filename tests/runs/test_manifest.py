"""The run's identity card."""

import json

import pytest

from tod.base import RunError
from tod.runs import SCHEMA, Manifest, differences


@pytest.fixture
def path(tmp_path):
    manifest = Manifest.of("demo", {"name": "demo", "train": {"steps": 3}}, {"train": 0})
    manifest.write(tmp_path / "manifest.json")
    return tmp_path / "manifest.json"


def rewrite(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_round_trip(path):
    again = Manifest.read(path)
    assert again.schema == SCHEMA
    assert again.recipe["train"] == {"steps": 3}
    assert again.versions["python"]
    assert again.created.endswith("+00:00")
    assert next(iter(json.loads(path.read_text()))) == "schema"


def test_unknown_keys_of_a_later_writer_are_ignored(path):
    rewrite(path, colour="blue")
    assert Manifest.read(path).name == "demo"


def test_newer_schema_is_refused(path):
    rewrite(path, schema="tod.run/2")
    with pytest.raises(RunError, match=r"tod\.run/2.*newer version"):
        Manifest.read(path)


@pytest.mark.parametrize("schema", [None, "other/1", "tod.run", "tod.run/x"])
def test_other_kinds_are_refused(path, schema):
    rewrite(path, schema=schema)
    with pytest.raises(RunError, match="not a run of this tool"):
        Manifest.read(path)


def test_torn_manifest_is_named(path):
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(RunError, match="cannot be read"):
        Manifest.read(path)


def test_not_text(path):
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RunError, match="cannot be read"):
        Manifest.read(path)


def test_incomplete_manifest(path):
    path.write_text(json.dumps({"schema": SCHEMA}))
    with pytest.raises(RunError, match="lacks name, recipe"):
        Manifest.read(path)


def test_a_list_is_no_manifest(path):
    path.write_text("[]")
    with pytest.raises(RunError, match="a list, not a manifest"):
        Manifest.read(path)


def test_differences_are_dotted_paths():
    first = {"a": 1, "b": {"c": 2, "d": [1]}, "e": None}
    second = {"a": 1, "b": {"c": 3, "d": [1]}, "f": 0}
    assert list(differences(first, second)) == [("b.c", 2, 3), ("f", None, 0)]
    assert list(differences(first, first)) == []
