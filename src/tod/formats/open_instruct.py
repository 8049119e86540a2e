"""open-instruct: ``{rollouts_save_path}/{run}_rollouts_{shard:06d}.jsonl`` (``save_traces``).

Shards of ten thousand rows, appended; a resumed run appends its steps again. Written after
zero-deviation groups were filtered (the default), so all-pass and all-fail contexts are missing.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from tod.formats.format import Format, Probe
from tod.formats.jsonl import Whole, decode_lines, texts
from tod.formats.rows import Rows
from tod.formats.token_rows import Sink


class Row(msgspec.Struct, gc=False):
    """The needed fields of a row."""

    step: Whole
    sample_idx: Whole
    prompt_idx: Whole
    reward: float | bool
    response_tokens: list[Whole]
    logprobs: list[float] | None = None


class Text(msgspec.Struct, gc=False):
    """What there is of text: token ids."""

    prompt_tokens: list[Whole] = []
    response_tokens: list[Whole] = []


def recognises(probe: Probe) -> str | None:
    """By its keys."""
    if probe.suffix != ".jsonl" or not probe.has("prompt_idx", "response_tokens", "reward", "step"):
        return None
    return "JSON lines with step, prompt_idx, response_tokens and reward (open-instruct)"


def read(files: Sequence[Path], rows: Rows) -> None:
    """All shards in order."""
    rows.note(
        "open-instruct drops groups without deviation by default (filter_zero_std_samples): "
        "all-pass and all-fail contexts may be missing from these files"
    )
    for path in files:
        sink = Sink(path, rows)
        for number, item in decode_lines(path, Row, rows):
            if rows.wanted(item.step):
                _put(number, item, sink)
        sink.close()


def _put(number: int, item: Row, sink: Sink) -> None:
    log: dict[str, float] | None = {}
    if item.logprobs is not None:
        if len(item.logprobs) != len(item.response_tokens):
            shown = f"{len(item.logprobs)} for {len(item.response_tokens)} tokens"
            sink.reject(number, "logprobs", shown, "another length than response_tokens")
            return
        log = sink.sums(number, item.step, {"mu": item.logprobs})
    if log is None:
        return
    code = sink.rows.context(item.step, item.prompt_idx)
    length = len(item.response_tokens)
    sink.put(number, code, {"reward": item.reward}, log, length=length, identity=item.sample_idx)


def _run_of(path: Path) -> Path:
    """Shards of several runs may lie in one directory: ``{run}_rollouts_{shard}.jsonl``."""
    return path.absolute().parent / path.name.rpartition("_rollouts_")[0]


def read_texts(path: Path, wanted: Sequence[int]) -> Iterator[tuple[int, str, str]]:
    """Token ids: the format keeps no text."""
    return texts(
        path,
        wanted,
        Text,
        lambda item: (f"token ids {item.prompt_tokens}", f"token ids {item.response_tokens}"),
    )


FORMAT = Format(
    name="open-instruct",
    title="open-instruct traces",
    recognises=recognises,
    read=read,
    home=_run_of,
    texts=read_texts,
    required=("reward",),
    fields={"log_mu": "logprobs"},
    needs={
        "mu": "logprobs, which recent versions save with save_traces: update open-instruct",
        "old": "the training forward's log-probs, which are not saved",
        "ref": "reference log-probs, which are not saved",
    },
)
