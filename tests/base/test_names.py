"""Texts of a file that become names of files."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tod.base import FileName, Spec, SpecError


class Named(Spec):
    name: FileName


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("../../x", "separator"),
        ("a/b", "separator"),
        ("a\\b", "separator"),
        ("/etc/x", "separator"),
        ("..", "above"),
        (".", "above"),
        (" .. ", "above"),
        ("", "empty"),
        (" ", "empty"),
        ("a\x00b", "invisible"),
        ("a\x1b[2Jb", "invisible"),
        ("a\nb", "invisible"),
        ("a\u202eb", "invisible"),
        ("a\x9bb", "invisible"),
        ("\ud800", "invisible"),
        ("π" * 101, "longer"),
    ],
)
def test_refused_with_the_reason(name: str, why: str) -> None:
    with pytest.raises(SpecError, match=rf"^name: .*{why}.*Use a plain word"):
        Named.parse({"name": name})


@pytest.mark.parametrize("name", ["gspo-2", "run 3", "π_ref", "a.b", "..x", "x" * 200])
def test_plain_words_stay(name: str) -> None:
    assert Named.parse({"name": name}).name == name


@given(st.text())
def test_what_passes_is_one_component_inside_its_folder(name: str) -> None:
    from pathlib import Path

    try:
        Named.parse({"name": name})
    except SpecError as error:
        shown = str(error)
        assert all(letter.isprintable() for letter in shown)
    else:
        path = Path("runs") / name
        assert (path.parent, path.name) == (Path("runs"), name)
        path.name.encode()
