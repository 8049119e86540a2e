"""open-instruct: ``{rollouts_save_path}/{run}_rollouts_{shard:06d}.jsonl`` (``save_traces``).

Shards of ten thousand rows, appended; a resumed run appends its steps again. Written after
zero-deviation groups were filtered (the default), so all-pass and all-fail contexts are missing.
"""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from tod.formats.columns import Rows
from tod.formats.format import Format, by_keys, read_lines
from tod.formats.jsonl import Whole, texts_of
from tod.formats.row_by_row import FileRows


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
        "all-pass and all-fail contexts may be missing from these files"
    )
    read_lines(files, rows, Response, _put)


def _put(number: int, item: Response, out: FileRows) -> None:
    length = len(item.response_tokens)
    if not out.rows.wanted(item.step):
        return
    if item.logprobs is not None and len(item.logprobs) != length:
        shown = f"{len(item.logprobs)} for {length} tokens"
        out.reject(number, "logprobs", shown, "another length than response_tokens")
        return
    out.put(
        number,
        item.step,
        item.prompt_idx,
        {"reward": item.reward},
        tokens={"mu": item.logprobs},
        length=length,
        identity=item.sample_idx,
    )


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
