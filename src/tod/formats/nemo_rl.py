"""NeMo-RL: ``{log_dir}/exp_NNN/train_data_step{N}.jsonl``, on by default.

Every value is a list of length one (micro-batches of size one) but ``idx``. Token fields are
right-padded and aligned with ``token_ids``; ``token_loss_mask`` marks what the policy wrote. With
dynamic sampling ``rewards`` is the unfiltered vector, of another order: ``filtered_rewards`` is
the one that was trained on. No group is written: runs of equal prompts in the order of ``idx``.
"""

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec

from tod.base import DataError
from tod.formats.format import Format, Probe, group_size, newest_per_step
from tod.formats.jsonl import Whole, decode_lines, plain_text, texts
from tod.formats.rows import Rows
from tod.formats.token_rows import Sink, masked, runs

_KEYS = ("rewards", "token_ids", "token_loss_mask", "idx")


class Row(msgspec.Struct, gc=False):
    """The needed fields of a row."""

    idx: Whole
    token_ids: list[list[Whole]]
    token_loss_mask: list[list[float]]
    rewards: list[float | bool | None] = []
    filtered_rewards: list[float | bool | None] = []
    sample_loss_mask: list[float] = []
    generation_logprobs: list[list[float]] | None = None
    prev_logprobs: list[list[float]] | None = None


class Text(msgspec.Struct, gc=False):
    """The text of a row."""

    content: list[Any] = []


def recognises(probe: Probe) -> str | None:
    """By its keys; validation files lack the tokens."""
    if probe.suffix != ".jsonl" or not probe.has(*_KEYS):
        return None
    return "JSON lines with rewards, token_ids, token_loss_mask and idx (NeMo-RL train_data)"


def read(files: Sequence[Path], rows: Rows) -> None:
    """All training files; of a step that a resumed run wrote again the later file."""
    rows.grouping = "runs"
    for step, path in newest_per_step([p for p in files if "val_data" not in p.name], rows):
        _read_file(path, step, rows)


def _read_file(path: Path, step: int, rows: Rows) -> None:
    sink = Sink(path, rows)
    found: list[tuple[int, int, bytes, dict[str, Any]]] = []
    for number, item in decode_lines(path, Row, rows):
        kept = _row(number, step, item, sink)
        if kept is not None:
            found.append((item.idx, number, _prompt(item), kept))
    found.sort(key=lambda entry: entry[:2])
    groups = runs([prompt for _, _, prompt, _ in found], group_size(rows))
    for group, (idx, number, prompt, kept) in zip(groups, found, strict=True):
        label = f"{step}/{group}-{blake2b(prompt, digest_size=4).hexdigest()}"
        code = rows.context(step, group, label)
        sink.put(number, code, {"reward": kept.pop("reward")}, **kept, identity=idx)
    sink.close()


def _row(number: int, step: int, item: Row, sink: Sink) -> dict[str, Any] | None:
    rewards = item.filtered_rewards or item.rewards
    if len(rewards) != 1 or len(item.token_ids) != 1 or len(item.token_loss_mask) != 1:
        sink.reject(number, "rewards", rewards[:3], "not a list of length one")
        return None
    if item.filtered_rewards:
        sink.rows.note("dynamic sampling: filtered_rewards is what was trained on; rewards is not")
    if item.sample_loss_mask and item.sample_loss_mask[0] == 0:
        sink.rows.note("some samples are masked out of the loss; they are kept as candidates")
    mask = item.token_loss_mask[0]
    tokens: dict[str, Any] = {}
    for name, column in (("mu", item.generation_logprobs), ("old", item.prev_logprobs)):
        if column is None:
            continue
        values = masked(column[0] if column else [], mask)
        if values is None or len(mask) != len(item.token_ids[0]):
            shown = f"{len(column[0]) if column else 0} for {len(item.token_ids[0])} token_ids"
            field = sink.rows.field(f"log_{name}")
            sink.reject(number, field, shown, "another length than token_ids")
            return None
        tokens[name] = values
    sums = sink.sums(number, step, tokens)
    if sums is None:
        return None
    length = sum(1 for on in mask if on)
    return {"reward": rewards[0], "log": sums, "length": length}


def _prompt(item: Row) -> bytes:
    """The tokens before the first that the policy wrote."""
    mask = item.token_loss_mask[0]
    first = next((place for place, on in enumerate(mask) if on), len(mask))
    return str(item.token_ids[0][:first]).encode()


def read_texts(path: Path, wanted: Sequence[int]) -> Iterator[tuple[int, str, str]]:
    """Messages but the last, and the last."""
    return texts(path, wanted, Text, _split)


def _split(item: Text) -> tuple[str, str]:
    if not item.content or not isinstance(item.content[0], list):
        raise DataError("content is not a list of one list of messages.")
    messages = [plain_text(message) for message in item.content[0]]
    return "\n".join(messages[:-1]), messages[-1] if messages else ""


FORMAT = Format(
    name="nemo-rl",
    title="NeMo-RL train_data",
    recognises=recognises,
    read=read,
    texts=read_texts,
    required=("reward",),
    fields={
        "log_mu": "generation_logprobs",
        "log_old": "prev_logprobs",
        "utility.reward": "rewards",
    },
    settings=("group_size",),
    needs={
        "mu": "generation_logprobs, which every recent NeMo-RL writes: update it",
        "old": "prev_logprobs, which every recent NeMo-RL writes: update it",
        "ref": "reference log-probs, which NeMo-RL does not write: the TOD format",
        "lag": "nothing NeMo-RL writes: a synchronous run (async_grpo.enabled=false) has no lag",
    },
)
