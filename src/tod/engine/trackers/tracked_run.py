"""A run as trackers know it: its name, an identity that a resumed run has too, its recipe."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tod.runs import Manifest

PROJECT = "tod"
"""The project, or experiment, of a run whose environment names none."""


@dataclass(frozen=True)
class TrackedRun:
    """A run as trackers know it.

    Attributes:
        directory: Its directory.
        id: Sixteen hexadecimal digits, the same when it goes on, and another when it is replaced.
        recipe: Resolved.
    """

    directory: Path
    id: str
    recipe: Mapping[str, Any]

    @classmethod
    def of(cls, directory: Path, manifest: Manifest) -> Self:
        """The run in a directory, told from others by its folder's name and when it was made."""
        words = [directory.parent.name, directory.name, manifest.name, manifest.created]
        digest = hashlib.blake2b(json.dumps(words).encode(), digest_size=8).hexdigest()
        return cls(directory, digest, manifest.recipe)

    @property
    def name(self) -> str:
        """What people call it."""
        return self.directory.name

    @property
    def config(self) -> dict[str, bool | int | float | str]:
        """The recipe as one level of plain values by dotted path; lists as JSON, no value as null.

        >>> run = TrackedRun(Path("r"), "0", {"train": {"steps": 3, "betas": [0.9, 0.99]}})
        >>> run.config
        {'train.steps': 3, 'train.betas': '[0.9, 0.99]'}
        """
        return dict(_leaves(self.recipe))


def _leaves(place: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in place.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{before}{name}.")
        elif isinstance(value, bool | int | float | str):
            yield f"{before}{name}", value
        else:
            yield f"{before}{name}", json.dumps(value, ensure_ascii=False)
