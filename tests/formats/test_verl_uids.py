"""What verl's ``uid`` names: a row of V1, a group, or a row of another writer."""

import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest

from tod.formats import read

PROMPTS, K = 6, 4


def written(path: Path, uid: Callable[[int, int], str | int | None]) -> list[set[int]]:
    """A file in any order of its rows; the line numbers of every prompt's rows.

    The prompts 0 and 1 have one input text: nothing but their ids tells them apart.
    """
    order = np.random.default_rng(0).permutation(PROMPTS * K)
    groups: dict[int, set[int]] = defaultdict(set)
    lines = []
    for number, at in enumerate(order.tolist(), 1):
        prompt, place = divmod(at, K)
        groups[prompt].add(number)
        row = {"input": f"q{max(prompt, 1)}", "output": f"a{place}", "gts": "4", "step": 3}
        named = uid(prompt, place)
        row |= {"score": float(place % 2), "acc": place / 4}
        lines.append(json.dumps(row | ({} if named is None else {"uid": named})))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return [groups[prompt] for prompt in range(PROMPTS)]


def read_groups(path: Path) -> list[set[int]]:
    reading = read(path)
    return [set(map(int, rows)) for rows in reading.contexts.split(reading.row)]


@pytest.mark.parametrize(
    "uid",
    [
        lambda prompt, _: str(UUID(int=prompt)),
        lambda prompt, _: f"math_0_{prompt}",  # looks like V1, but rows share it
        lambda prompt, _: 100 + prompt,
        lambda prompt, place: f"{UUID(int=prompt)}_0_{place}",
        lambda prompt, place: f"train_2_{prompt}_0_{place}",
    ],
    ids=["uuid", "id of the data", "number", "V1", "V1 of an id with numbers"],
)
def test_groups_are_those_of_the_ids(tmp_path: Path, uid: Callable[[int, int], str | int]) -> None:
    groups = written(tmp_path / "3.jsonl", uid)
    found = read_groups(tmp_path / "3.jsonl")
    assert sorted(map(sorted, found)) == sorted(map(sorted, groups))
    assert read(tmp_path / "3.jsonl").source.grouping == "ids"


def test_an_id_of_every_row_leaves_the_group_to_the_text(tmp_path: Path) -> None:
    groups = written(tmp_path / "3.jsonl", lambda prompt, place: str(UUID(int=9 * prompt + place)))
    same = [groups[0] | groups[1], *groups[2:]]
    assert sorted(map(sorted, read_groups(tmp_path / "3.jsonl"))) == sorted(map(sorted, same))
    source = read(tmp_path / "3.jsonl").source
    assert source.grouping == "prompts"
    assert any("another one on every row" in note for note in source.notes)


def test_one_damaged_id_first_does_not_tell_the_writer(tmp_path: Path) -> None:
    def uid(prompt: int, place: int) -> str:
        return f"g{prompt}_0_{place}"

    groups = written(tmp_path / "3.jsonl", uid)
    lines = (tmp_path / "3.jsonl").read_text().splitlines()
    lines[0] = json.dumps(json.loads(lines[0]) | {"uid": "damaged"})
    (tmp_path / "3.jsonl").write_text("\n".join(lines) + "\n")
    reading = read(tmp_path / "3.jsonl", max_rejected=1.0)
    assert [(r.row, r.value) for r in reading.source.rejections] == [(1, "'damaged'")]
    found = [set(map(int, rows)) for rows in reading.contexts.split(reading.row)]
    assert sorted(map(sorted, found)) == sorted(sorted(group - {1}) for group in groups)


def test_rewards_besides_the_score_are_read_with_plain_ids(tmp_path: Path) -> None:
    written(tmp_path / "3.jsonl", lambda prompt, _: str(UUID(int=prompt)))
    assert set(read(tmp_path / "3.jsonl").utility) == {"score", "acc"}


def test_an_empty_id_is_named(tmp_path: Path) -> None:
    written(tmp_path / "3.jsonl", lambda prompt, _: str(UUID(int=prompt)) if prompt else "")
    reading = read(tmp_path / "3.jsonl", max_rejected=1.0)
    assert {(r.name, r.why) for r in reading.source.rejections} == {
        ("uid", "empty: it names no group")
    }
    assert len(reading.source.rejections) == K
