"""Two processes have the gradients and the records of one, in the recipes that need most."""

from collections.abc import Callable, Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import warm
from tod.runs import RunDirectory, comparable
from tolerance import of_gradient, stated

SCRIPT = Path(__file__).parent / "world_cases.py"
SPEC = spec_from_file_location("world_cases", SCRIPT)
assert SPEC is not None
assert SPEC.loader is not None
CASES = module_from_spec(SPEC)
SPEC.loader.exec_module(CASES)

QUICK = ("replay", "whole_step", "search")
SLOW = tuple(name for name in CASES.CASES if name not in QUICK)
LATER = CASES.LEARNING_RATE * of_gradient("float64") / 1e-8
"""Adam divides by |g| + 1e-8: rounding of a gradient that is 0 moves a parameter by so much."""
PADDED = ("flops", "score_flops", "train_flops")
"""Operations carried out: which rows are padded together depends on the share of a process."""
APART = stated(0.05, "one padded position of the some twenty that a completion has")
Run = Callable[[str, tuple[str, ...]], tuple[Path, Path]]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Folders of one process and of two, by precision and cases; each pair is run once."""
    seen: dict[tuple[str, tuple[str, ...]], tuple[Path, Path]] = {}

    def run(dtype: str, names: tuple[str, ...]) -> tuple[Path, Path]:
        if (dtype, names) not in seen:
            folders = [tmp_path_factory.mktemp(f"{dtype}-{size}") for size in (1, 2)]
            for size, folder in enumerate(folders, 1):
                words = [str(folder), dtype, *names]
                ends = warm.training().run_together(size, *words, script=SCRIPT)
                assert [done.returncode for done in ends] == [0] * size, ends[0].stderr[-3000:]
            seen[dtype, names] = (folders[0], folders[1])
        return seen[dtype, names]

    return run


def relative(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def check_gradients(one: Path, two: Path, name: str, dtype: str) -> None:
    alone, shared = np.load(one / f"{name}.npz"), np.load(two / f"{name}.npz")
    assert (int(alone["size"]), int(shared["size"])) == (1, 2)
    kinds = {"gradient", "critic"} & set(alone.files)
    assert ("critic" in kinds) == (name == "critic")
    if dtype == "float32" and not np.array_equal(alone["ids"], shared["ids"]):
        pytest.skip("a uniform lies within rounding of a boundary between two tokens")
    for kind in kinds:
        assert relative(shared[kind][0], alone[kind][0]) <= of_gradient(dtype)
    if dtype == "float64":
        # Adam passes rounding on, so later steps are looked at in double precision only
        assert np.array_equal(alone["ids"], shared["ids"])
        for kind in kinds:
            for step in range(1, CASES.STEPS):
                assert relative(shared[kind][step], alone[kind][step]) <= step * LATER


def different(one: Any, two: Any, path: str = "") -> Iterator[str]:
    """Where two records differ by more than rounding; operations by more than padding."""
    if isinstance(one, dict) and isinstance(two, dict):
        for key in {*one, *two} - {"world_size"}:
            yield from different(one.get(key), two.get(key), f"{path}.{key}")
    elif isinstance(one, list) and isinstance(two, list) and len(one) == len(two):
        for place, (a, b) in enumerate(zip(one, two, strict=True)):
            yield from different(a, b, f"{path}[{place}]")
    elif isinstance(one, float) and isinstance(two, float):
        near = CASES.STEPS * LATER
        if not np.isclose(one, two, rtol=APART if path.endswith(PADDED) else near, atol=near):
            yield f"{path}: {one} and {two}"
    elif one != two:
        yield f"{path}: {one!r} and {two!r}"


def check_records(one: Path, two: Path, name: str) -> None:
    records = [
        [comparable(dict(r)) for r in RunDirectory.open(folder / name).steps.read()]
        for folder in (one, two)
    ]
    assert len(records[0]) >= CASES.STEPS or name == "search"
    assert list(different(*records)) == []
    tables = [
        RunDirectory.open(folder / name).rollouts.scan().collect().sort("step", "context")
        for folder in (one, two)
    ]
    assert tables[0]["completion"].to_list() == tables[1]["completion"].to_list()
    for folder, size in ((one, 1), (two, 2)):
        seen = list(RunDirectory.open(folder / name).steps.read())
        assert [r["world_size"] for r in seen] == [size] * len(seen), "from the first record on"


def test_two_processes_are_one(both: Run) -> None:
    """In one test: two of them, on two workers, would start the processes twice."""
    one, two = both("float64", QUICK)
    for name in QUICK:
        if name != "search":
            check_gradients(one, two, name, "float64")
        check_records(one, two, name)


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_two_processes_are_one_in_every_other_case(both: Run, name: str) -> None:
    one, two = both("float64", SLOW)
    check_gradients(one, two, name, "float64")
    check_records(one, two, name)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in CASES.CASES if name != "search"])
def test_two_processes_have_the_gradient_of_one_in_single_precision(both: Run, name: str) -> None:
    names = tuple(name for name in CASES.CASES if name != "search")
    check_gradients(*both("float32", names), name, "float32")
