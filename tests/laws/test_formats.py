"""Every format of `FORMATS`: what its writer writes, its reader reads back.

A writer is a function of the `writers` fixture called ``write_`` and a word of the format's name,
so that a format without one is under no law and fails here. A reader has its file and, in the
tests, its writer: nothing else has to be edited.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tod.base import TodError
from tod.formats import FORMATS, read
from tolerance import rounding

NAMED = [name for name in FORMATS if name != "mapping"]
"""``mapping`` reads any table by a person's --map and writes nothing of its own."""
formats = pytest.mark.parametrize("name", NAMED)


def writer_of(name: str, writers: Any) -> Any:
    """The writer whose word is the longest one in the format's name."""
    words = [w.removeprefix("write_") for w in vars(writers) if w.startswith("write_")]
    fitting = [word for word in words if word.replace("_", "-") in name]
    assert fitting, f"format {name!r} has no writer: add `write_{name.replace('-', '_')}`"
    return getattr(writers, f"write_{max(fitting, key=len)}")


ROUNDED, SUMMED = 2 * rounding("float32", 1), 2 * rounding("float32", 12)
"""Files hold float32 at least; of a sum of some dozen log-probs, each kept so."""


def values_of(contexts: Any, values: Any) -> list[tuple[float, ...]]:
    """Values group by group, in an order that names nothing."""
    return sorted(tuple(sorted(group)) for group in contexts.split(np.asarray(values)))


@formats
def test_what_is_written_is_recognised_and_read_back(name, writers, world, tmp_path: Path):
    root = writer_of(name, writers)(world, tmp_path / "dump")
    reading = read(root)
    assert reading.source.format == name
    assert reading.source.rejected == 0
    assert reading.source.rows == len(world.rollouts) == reading.contexts.total
    groups = list(world.groups().values())
    main = next(iter(reading.utility))
    given = "advantage" if main == "advantage" else "reward"
    wanted = sorted(tuple(sorted(getattr(r, given) for r in g)) for g in groups)
    np.testing.assert_allclose(
        values_of(reading.contexts, reading.utilities(main)),
        wanted,
        rtol=ROUNDED,
    )
    for policy in reading.recorded:
        key = {"policy": "old"}.get(policy, policy)
        sums = sorted(tuple(sorted(sum(getattr(r, key)) for r in g)) for g in groups)
        np.testing.assert_allclose(
            values_of(reading.contexts, reading.log_prob(policy, "")),
            sums,
            rtol=SUMMED,
        )


@formats
def test_its_name_reads_it_as_detection_does(name, writers, world, tmp_path: Path):
    root = writer_of(name, writers)(world, tmp_path / "dump")
    named, detected = read(root, format=name), read(root)
    assert named.recorded == detected.recorded
    for utility in detected.utility:
        np.testing.assert_array_equal(named.utilities(utility), detected.utilities(utility))


@formats
def test_an_empty_folder_is_none_of_it(name, tmp_path: Path):
    with pytest.raises(TodError, match=str(tmp_path)):
        read(tmp_path, format=name)
