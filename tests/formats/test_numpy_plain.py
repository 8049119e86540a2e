"""numpy's numbers in a pickle become plain ones, and nothing else of numpy gets in."""

import pickle
from typing import Any

import numpy as np
import pytest

from tod.base import DataError
from tod.formats.untrusted.numpy_values import NAMES
from tod.formats.untrusted.pickles import Opaque, load


def loaded(value: Any, protocol: int) -> Any:
    return load(memoryview(pickle.dumps(value, protocol)), NAMES, "file")


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("kind", [*"bhilBHILefd", "?"])
def test_numbers_of_every_type(protocol: int, kind: str) -> None:
    value = np.array([100.5]).astype(kind)[0]
    found = loaded({"a": value, "again": value, "zero": np.float64(0)}, protocol)
    assert found == {"a": value.item(), "again": value.item(), "zero": 0.0}
    assert type(found["a"]) is type(value.item())


@pytest.mark.parametrize("protocol", [2, 4])
def test_arrays_are_passed_over(protocol: int) -> None:
    found = loaded({"a": np.arange(3), "b": 1}, protocol)
    assert isinstance(found["a"], Opaque)
    assert found["b"] == 1


@pytest.mark.parametrize(
    "value",
    [
        np.datetime64("2020-01-01"),
        np.str_("text"),
        np.complex128(1j),
        np.float64,
        np.longdouble(1.0),
    ],
    ids=["date", "text", "complex", "class", "long"],
)
def test_other_types_are_refused(value: Any) -> None:
    with pytest.raises(DataError):
        loaded(value, 2)


def test_bytes_in_another_encoding_are_refused() -> None:
    made = b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00rot13\x86R."
    with pytest.raises(DataError, match="rot13"):
        load(memoryview(made), NAMES, "file")


def test_a_number_of_objects_is_refused() -> None:
    made = (
        b"cnumpy._core.multiarray\nscalar\n(cnumpy\ndtype\n(X\x02\x00\x00\x00O8tRC\x08aaaaaaaatR."
    )
    with pytest.raises(DataError, match="O8"):
        load(memoryview(made), NAMES, "file")
