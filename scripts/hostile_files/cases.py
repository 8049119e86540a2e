"""One hostile file of a kind, made from a seed, read, and everything that came of it looked at."""

import gzip
import json
import os
import random
import signal
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from hostile_files import grammar, texts
from hostile_files.guarded import Guarded
from tod.base import SpecError, TodError, parse_yaml
from tod.diagnosis import diagnose, parse_target
from tod.formats import read
from tod.formats.untrusted import tensordicts, torch_files
from tod.formats.untrusted.pickles import load


def refused(error: TodError, named: str) -> str:
    """The outcome of an error of ours, which must say the file that it is about."""
    told = str(error)
    assert named in told, f"does not name {named!r}: {told[:300]}"
    return "refused"


def touched(value: Any, guarded: Guarded, room: int = 20_000) -> None:
    """Read every number of every array, all of which must lie in buffers of the file."""
    pending, seen = [value], set()
    while pending and room:
        room -= 1
        item = pending.pop()
        if isinstance(item, np.ndarray):
            assert guarded.owns(item), f"an array of shape {item.shape} outside of its buffers"
            assert not item.flags.writeable or item.base is None or item.flags.owndata, "writeable"
            item.tobytes()
        elif isinstance(item, dict | list | tuple | set | frozenset) and id(item) not in seen:
            seen.add(id(item))
            with suppress(TypeError):
                hash(item)
            pending.extend(item.values() if isinstance(item, dict) else item)


def pickle_case(rng: random.Random, folder: Path) -> str:
    """A pickle or tensor archive, through the loaders alone and through ``read``."""
    name, content = grammar.dump(rng)
    path = folder / name
    path.write_bytes(content)
    guarded = Guarded()
    entry = torch_files._Archive.entry

    def guarded_entry(archive: Any, entry_name: str) -> Any:
        raw = entry(archive, entry_name)
        return raw if entry_name.endswith("data.pkl") else guarded.copy(raw)

    torch_files._Archive.entry = guarded_entry  # type: ignore[method-assign]
    names = {**torch_files.NAMES, **tensordicts.NAMES}
    try:
        if name.endswith(".pt"):
            made = torch_files.load_torch(path, path, names)
        else:
            made = load(memoryview(content), names, path)
        touched(made, guarded)
        told = "answer"
    except TodError as error:
        told = refused(error, name)
    try:
        alone = {"group_size": "2"} if b"format_version" in content else None
        reading = read(path, max_rejected=1.0, mapping=alone)
        reading.texts([0], most=2)
        diagnose(reading, eta=1.0).to_dict()
        told = f"{told}, answer"
    except SpecError:  # of the group size, which a queue batch has no use for
        told = f"{told}, refused"
    except TodError as error:
        told = f"{told}, {refused(error, name)}"
    finally:
        torch_files._Archive.entry = entry  # type: ignore[method-assign]
    return told


def yaml_case(rng: random.Random, _: Path) -> str:
    """A YAML text, parsed and taken for a target."""
    text = texts.yaml_text(rng)
    try:
        data = parse_yaml(text, "hostile.yaml")
        repr(data)
    except TodError as error:
        return refused(error, "hostile.yaml")
    try:
        parse_target(data, "hostile.yaml")
    except TodError as error:
        return f"parsed, {refused(error, 'hostile.yaml')}"
    return "answer"


def keys_case(rng: random.Random, folder: Path) -> str:
    """A table with hostile names of columns."""
    path, roles = texts.table(rng, folder)
    try:
        reading = read(path, mapping=roles, max_rejected=1.0)
        reading.texts([0], most=1)
        diagnose(reading, eta=1.0).to_dict()
    except TodError as error:
        return refused(error, path.name) if not roles else refused(error, "")
    return "answer"


def names_case(rng: random.Random, folder: Path) -> str:
    """A good or broken file under a hostile name."""
    suffix = rng.choice(
        (".jsonl", ".jsonl", ".jsonl.gz", ".pt", ".pkl", ".parquet", ".sqlite", ".db", ".dp")
    )
    name = os.fsdecode(texts.file_name(rng, suffix))
    path = folder / name
    if rng.random() < 0.5:
        made, _ = texts.rows(rng)
        lines = "".join(json.dumps(row) + "\n" for row in made).encode()
        path.write_bytes(gzip.compress(lines) if suffix.endswith(".gz") else lines)
    else:
        path.write_bytes(grammar.dump(rng)[1])
    try:
        reading = read(folder if rng.random() < 0.5 else path, max_rejected=1.0)
        reading.texts([0], most=1)
    except TodError as error:
        str(error).encode("utf-8", "surrogateescape")
        return "refused"
    return "answer"


CASES: dict[str, Callable[[random.Random, Path], str]] = {
    "pickles": pickle_case,
    "yaml": yaml_case,
    "keys": keys_case,
    "names": names_case,
}


def planted(seed: int) -> str:
    """A crash, a hang and an error that is not ours: what the harness itself must see."""
    if seed == 1:
        os.kill(os.getpid(), signal.SIGSEGV)
    while seed == 3:
        pass
    return "answer" if seed != 4 else str(1 // 0)


def attempt(kind: str, seed: int, folder: Path) -> str:
    """The outcome of one case; whatever is not an answer or an error of ours is raised."""
    if kind == "planted":
        return planted(seed)
    rng = random.Random(f"{kind} {seed}")  # noqa: S311 - cases must come again
    for old in folder.iterdir():
        old.unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return CASES[kind](rng, folder)
