"""A name stands for one thing, and modules import in one direction."""

from pathlib import Path

from size import circles, class_places, imports_of, trees_of, twice

SOURCE = Path(__file__).parents[1] / "src" / "tod"
TREES = trees_of(SOURCE)


def test_no_class_name_has_two_meanings() -> None:
    assert twice(class_places(TREES, SOURCE)) == []


def test_no_import_circle_not_even_of_types() -> None:
    assert circles(imports_of(TREES, SOURCE)) == []


def test_a_circle_and_a_second_class_are_found(tmp_path: Path) -> None:
    top = tmp_path / "own"
    top.mkdir()
    (top / "__init__.py").write_text("")
    (top / "a.py").write_text("if 0:\n    from own.b import Thing\n\nclass Thing: ...\n")
    (top / "b.py").write_text("def late():\n    import own.a\n\nclass Thing: ...\n")
    trees = trees_of(top)
    assert circles(imports_of(trees, top)) == [["own.a", "own.b"]]
    assert twice(class_places(trees, top)) == ["  Thing: a.py, b.py"]
