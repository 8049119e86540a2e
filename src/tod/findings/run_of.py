"""A training run from what was read: its rollouts, its logs, and checkpoints next to the files."""

import re
from collections.abc import Iterable
from pathlib import Path

from tod.findings.rollouts_of import rollouts_of
from tod.findings.run import TrainingRun
from tod.formats.reading import Reading

CHECKPOINT = re.compile(r"(?:global_step|checkpoint|step|iter|iteration)[_-]?(\d+)$")
"""Names of checkpoint directories: ``global_step_8`` of verl, ``checkpoint-8`` of TRL."""
UP = 3
"""Levels above the files that are searched for checkpoints."""
MOST = 4096
"""Entries of a directory that are looked at."""


def run_of(reading: Reading, texts: bool = True) -> TrainingRun:
    """The run behind a reading of rollouts.

    Args:
        reading: What a reader of rollouts returned.
        texts: Read texts again, to tell equal answers and prompts apart.
    """
    files = reading.files
    return TrainingRun(
        rollouts=rollouts_of(reading, texts),
        framework=reading.source.format,
        checkpoints=checkpoints_near(files),
        names=tuple(str(path) for path in files[:1]),
        notes=reading.source.notes,
    )


def checkpoints_near(files: Iterable[Path]) -> tuple[tuple[int, Path], ...]:
    """Checkpoint directories next to files or a few levels above them, by step.

    Only directories are looked at, and of a directory with very many entries only the first.
    """
    places: dict[Path, None] = {}
    for path in list(files)[:1]:
        places |= dict.fromkeys(path.resolve().parents[:UP])
    steps: dict[int, Path] = {}
    for place in places:
        for child in _children(place):
            match = CHECKPOINT.fullmatch(child.name)
            if match and child.is_dir() and _holds_weights(child):
                steps.setdefault(int(match[1]), child)
    return tuple(sorted(steps.items()))


def _children(place: Path) -> list[Path]:
    try:
        return [child for child, _ in zip(place.iterdir(), range(MOST), strict=False)]
    except OSError:
        return []


def _holds_weights(place: Path) -> bool:
    """Whether a directory looks like a checkpoint: folders of parts, or files of weights."""
    names = [child.name for child in _children(place)]
    endings = (".safetensors", ".pt", ".pth", ".bin", ".distcp", "trainer_state.json")
    return any(name.endswith(endings) or name in ("actor", "critic", "policy") for name in names)
