"""open-instruct: ``{rollouts_save_path}/{run}_rollouts_{shard:06d}.jsonl`` (``save_traces``).

Shards of ten thousand rows, appended; a resumed run appends its steps again. Written after
zero-deviation groups were filtered (the default), so all-pass and all-fail contexts are missing.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from tod.formats.columns import Rows
from tod.formats.format import Format, by_keys, read_lines
from tod.formats.jsonl import Whole, texts_of
from tod.formats.row_by_row import Refusal


class Response(msgspec.Struct, gc=False):
    """The needed fields of a row."""

    step: Whole
    sample_idx: Whole
    prompt_idx: Whole
    reward: float | bool
    response_tokens: list[Whole]
    logprobs: list[float] | None = None


def read(files: Sequence[Path], rows: Rows) -> None:
    """All shards in order."""
    rows.note(
        "open-instruct drops groups without deviation by default (filter_zero_std_samples): "
        "all-pass and all-fail groups may be missing from these files"
    )
    read_lines(files, rows, Response, _columns, _refusal)


def _columns(items: list[Response]) -> dict[str, Any]:
    return {
        "step": [x.step for x in items],
        "key": [None if _uneven(x) else x.prompt_idx for x in items],
        "utility": {"reward": [x.reward for x in items]},
        "tokens": {"mu": [x.logprobs for x in items]},
        "length": [len(x.response_tokens) for x in items],
        "identity": [x.sample_idx for x in items],
    }


def _uneven(item: Response) -> bool:
    return item.logprobs is not None and len(item.logprobs) != len(item.response_tokens)


def _refusal(item: Response) -> Refusal:
    shown = f"{len(item.logprobs or ())} for {len(item.response_tokens)} tokens"
    return "logprobs", shown, "another length than response_tokens"


def _run_of(path: Path) -> Path:
    """Shards of several runs may lie in one directory: ``{run}_rollouts_{shard}.jsonl``."""
    return path.absolute().parent / path.name.rpartition("_rollouts_")[0]


FORMAT = Format(
    name="open-instruct",
    title="open-instruct traces",
    recognises=by_keys(
        "JSON lines with step, prompt_idx, response_tokens and reward (open-instruct)",
        "prompt_idx", "response_tokens", "reward", "step",
    ),
    read=read,
    home=_run_of,
    texts=texts_of("prompt_tokens", "response_tokens", lambda ids: f"token ids {ids or []}"),
    required=("reward",),
    fields={"log_mu": "logprobs"},
    needs={
        "mu": "logprobs, which recent versions save with save_traces: update open-instruct",
        "old": "the training forward's log-probs, which are not saved",
        "ref": "reference log-probs, which are not saved",
    },
)  # fmt: skip
