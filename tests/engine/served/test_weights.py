"""Adapters on servers and on disk: whose they are, and what is removed."""

from pathlib import Path
from typing import Any

import pytest
from lying_server import Book, serving

from tod.base import ModelError
from tod.engine.lora import LoraSpec
from tod.engine.models import load_model
from tod.engine.served.sampler import ServedSampler
from tod.engine.served.weights import ServedWeights
from tod.serving.spec import ServedPolicy


@pytest.fixture(scope="module")
def model() -> Any:
    return load_model("tod://tiny", lora=LoraSpec(rank=2))[0]


@pytest.fixture
def book() -> Book:
    """One that reads no adapter: what it holds under a name is where that was read from."""
    return Book({"tiny": None}, read=lambda _, directory: directory)


OPEN: list[ServedSampler] = []


@pytest.fixture(autouse=True)
def _all_closed() -> Any:
    yield
    while OPEN:
        OPEN.pop().close()


def weights(url: str, within: Path, **how: Any) -> ServedWeights:
    spec = ServedPolicy(server=url, model="tiny", patience=0.2, timeout=5.0)
    OPEN.append(ServedSampler(spec, 21))
    return ServedWeights(OPEN[-1], within, **how)


def test_a_person_s_directory_stays_with_what_is_in_it(book, model, tmp_path):
    (tmp_path / "mine").write_text("a thesis")
    with serving(book) as url:
        held = weights(url, tmp_path)
        held.begin()
        for version in range(4):
            held.use(version, model)
        assert len(book.models) == 3
        held.close()
    assert [item.name for item in tmp_path.iterdir()] == ["mine"]
    assert list(book.models) == ["tiny"]


def test_two_runs_of_one_directory_have_their_own_adapters(book, model, tmp_path):
    with serving(book) as url:
        one, other = weights(url, tmp_path), weights(url, tmp_path)
        one.use(0, model)
        other.use(0, model)
        assert book.models[one.name(0)] != book.models[other.name(0)]
        one.close()
        assert list(book.models) == ["tiny", other.name(0)]
        assert (other.place / "v0").is_dir()


def test_what_a_killed_process_left_is_removed_by_the_next_one(book, model, tmp_path):
    how = {"notes": tmp_path / "notes"}
    with serving(book) as url:
        killed = weights(url, tmp_path / "adapters", **how)
        killed.begin()
        killed.use(3, model)
    away = weights(url, tmp_path / "adapters", **how)  # nothing answers: it stays noted
    away.begin()
    assert (tmp_path / "notes").read_text().split() == [killed.token, away.token]
    with serving(book) as url:
        again = weights(url, tmp_path / "adapters", ours=True, **how)
        again.begin()
        assert list(book.models) == ["tiny"]
        again.use(3, model)
        again.close()
    assert list(book.models) == ["tiny"]
    assert not list(tmp_path.iterdir())


def test_of_two_processes_that_load_a_version_the_second_is_content(book, model, tmp_path):
    plain = book.load

    def raced(body: dict[str, Any]) -> tuple[int, str]:
        """Between the look and the request another process loads the same."""
        plain(body)
        return plain(body)

    book.load = raced
    with serving(book) as url:
        held = weights(url, tmp_path)
        held.use(0, model)
        assert book.loads == [held.name(0)]
        book.load = lambda _: (400, "no room")
        with pytest.raises(ModelError, match="no room"):
            held.use(1, model)


@pytest.mark.parametrize("word", ["x/../../mine", "../mine", "\x00", "ABCDEF01", "0123456789", "é"])
def test_what_is_no_token_in_the_notes_removes_nothing(book, tmp_path, word):
    within, mine = tmp_path / "within", tmp_path / "mine"
    for folder in (mine, within / "tod-x", within / "tod-.."):
        folder.mkdir(parents=True)
    (mine / "thesis").write_text("written by hand")
    (tmp_path / "notes").write_bytes(word.encode() + b"\n\xff\xfe")
    with serving(book) as url:
        held = weights(url, within, notes=tmp_path / "notes")
        held.begin()
        assert (tmp_path / "notes").read_text().split() == [held.token]
    assert held.left == ()
    assert (mine / "thesis").read_text() == "written by hand"
