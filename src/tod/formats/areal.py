"""AReaL: ``{log}/rollout/{tail_version}/{task_id}.jsonl`` (``dump_to_file``): text and reward.

The step is ``tail_version``, the newest policy of all the prompt's samples. ``head_version`` is the
oldest over prompt and padding too, which AReaL's own workflows number −1 and 0: then it does not
say whether a sample spans policy versions.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from tod.formats.format import Format, Probe
from tod.formats.jsonl import Count, Whole, decode_lines, texts
from tod.formats.rows import Rows
from tod.formats.several_runs import run_of
from tod.formats.token_rows import Sink


class Row(msgspec.Struct, gc=False):
    """The needed fields of a row."""

    task_id: Whole | str
    sample_idx: Whole
    reward: float | bool
    tail_version: Whole
    head_version: Whole | None = None
    seqlen: Count | None = None
    prompt_len: Count | None = None


class Text(msgspec.Struct, gc=False):
    """The text of a row."""

    prompt: str = ""
    completion: str = ""


def recognises(probe: Probe) -> str | None:
    """By its keys."""
    if probe.suffix != ".jsonl" or not probe.has("task_id", "sample_idx", "reward", "tail_version"):
        return None
    return "JSON lines with task_id, sample_idx, reward and tail_version (AReaL)"


def read(files: Sequence[Path], rows: Rows) -> None:
    """All files; a group belongs to the step at which its first member ended."""
    groups: dict[int | str, int] = {}
    for path in files:
        sink = Sink(path, rows)
        heads: set[int] = set()
        for number, item in decode_lines(path, Row, rows):
            step = groups.setdefault(item.task_id, item.tail_version)
            if not rows.wanted(step):
                continue
            if item.head_version is not None and item.head_version < item.tail_version:
                heads.add(item.head_version)
            code = rows.context(step, item.task_id)
            length = (item.seqlen or 0) - (item.prompt_len or 0)
            sink.put(
                number,
                code,
                {"reward": item.reward},
                length=length if length > 0 else None,
                identity=item.sample_idx,
            )
        sink.close()
        if any(head > 0 for head in heads):
            rows.note("some samples span policy versions (head_version < tail_version)")
        if any(head <= 0 for head in heads):
            rows.note(
                "head_version is that of the prompt or of padding: whether samples span policy "
                "versions cannot be known"
            )


def _run_of(path: Path) -> Path:
    """Above ``rollout/{tail_version}``."""
    return run_of(path, re.compile(r"rollout|\d+"))


def read_texts(path: Path, wanted: Sequence[int]) -> Iterator[tuple[int, str, str]]:
    """Prompt and completion."""
    return texts(path, wanted, Text, lambda item: (item.prompt, item.completion))


FORMAT = Format(
    name="areal",
    title="AReaL rollout dump",
    recognises=recognises,
    read=read,
    home=_run_of,
    texts=read_texts,
    required=("reward",),
    needs={
        "mu": "the TOD format written from the workflow: AReaL's dump holds no log-probs",
        "old": "the TOD format written from the trainer",
        "ref": "the TOD format written from the trainer",
    },
)
