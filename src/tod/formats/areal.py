"""AReaL: ``{log}/rollout/{tail_version}/{task_id}.jsonl`` (``dump_to_file``): text and reward.

The step is ``tail_version``, the newest policy of all the prompt's samples. ``head_version`` is the
oldest over prompt and padding too, which AReaL's own workflows number −1 and 0: then it does not
say whether a sample spans policy versions.
"""

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from tod.formats.columns import Rows
from tod.formats.format import Format, by_keys, read_lines
from tod.formats.jsonl import Count, Whole, texts_of
from tod.formats.several_runs import run_of


class Sample(msgspec.Struct, gc=False):
    """The needed fields of a row."""

    task_id: Whole | str
    sample_idx: Whole
    reward: float | bool
    tail_version: Whole
    head_version: Whole | None = None
    seqlen: Count | None = None
    prompt_len: Count | None = None


def read(files: Sequence[Path], rows: Rows) -> None:
    """All files; a group belongs to the step at which its first member ended."""
    steps: dict[int | str, int] = {}
    heads: set[int] = set()

    def columns(items: list[Sample]) -> dict[str, Any]:
        step = [steps.setdefault(x.task_id, x.tail_version) for x in items]
        heads.update(
            x.head_version
            for x, at in zip(items, step, strict=True)
            if x.head_version is not None and x.head_version < x.tail_version and rows.wanted(at)
        )
        return {
            "step": step,
            "key": [x.task_id for x in items],
            "utility": {"reward": [x.reward for x in items]},
            "length": [max((x.seqlen or 0) - (x.prompt_len or 0), 0) or None for x in items],
            "identity": [x.sample_idx for x in items],
        }

    read_lines(files, rows, Sample, columns)
    if any(head > 0 for head in heads):
        rows.note("some samples span policy versions (head_version < tail_version)")
    if any(head <= 0 for head in heads):
        rows.note(
            "head_version is that of the prompt or of padding: whether samples span policy "
            "versions cannot be known"
        )


FORMAT = Format(
    name="areal",
    title="AReaL rollout dump",
    recognises=by_keys(
        "JSON lines with task_id, sample_idx, reward and tail_version (AReaL)",
        "task_id", "sample_idx", "reward", "tail_version",
    ),
    read=read,
    home=partial(run_of, inner=re.compile(r"rollout|\d+")),
    texts=texts_of("prompt", "completion"),
    required=("reward",),
    needs={
        "mu": "the TOD format written from the workflow: AReaL's dump holds no log-probs",
        "old": "the TOD format written from the trainer",
        "ref": "the TOD format written from the trainer",
    },
)  # fmt: skip
