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
import numpy as np

from tod.base import DataError
from tod.formats.columns import Rows
from tod.formats.format import Format, by_keys, group_size, newest_per_step
from tod.formats.jsonl import Whole, chosen_lines, decode_lines, plain_text
from tod.formats.row_by_row import FileRows, masked, runs


class Micro(msgspec.Struct, gc=False):
    """The needed fields of a row."""

    idx: Whole
    token_ids: list[list[Whole]]
    token_loss_mask: list[list[float]]
    rewards: list[float | bool | None] = []
    filtered_rewards: list[float | bool | None] = []
    sample_loss_mask: list[float] = []
    generation_logprobs: list[list[float]] | None = None
    prev_logprobs: list[list[float]] | None = None


def read(files: Sequence[Path], rows: Rows) -> None:
    """All training files; of a step that a resumed run wrote again the later file."""
    rows.grouping = "runs"
    for step, path in newest_per_step([p for p in files if "val_data" not in p.name], rows):
        _read_file(path, step, rows)


def _read_file(path: Path, step: int, rows: Rows) -> None:
    """One step; its groups are known at the end, so rows stand for themselves until then."""
    out = FileRows(path, rows)
    order: list[tuple[int, int, bytes]] = []
    for number, item in decode_lines(path, Micro, rows):
        rewards = item.filtered_rewards or item.rewards
        if not len(rewards) == len(item.token_ids) == len(item.token_loss_mask) == 1:
            out.reject(number, "rewards", rewards[:3], "not a list of length one")
            continue
        on = np.array(item.token_loss_mask[0]) != 0
        _put(number, step, len(order), item, on, out)
        prompt = item.token_ids[0][: int(on.argmax()) if on.any() else len(on)]
        name = blake2b(str(prompt).encode(), digest_size=16).digest()
        order.append((item.idx, len(order), name))
    out.close()
    order.sort()
    groups = runs([name for _, _, name in order], group_size(rows))
    code = np.zeros(len(order), dtype=np.int64)
    for group, (_, at, name) in zip(groups, order, strict=True):
        code[at] = rows.context(step, group, f"{step}/{group}-{name[:4].hex()}")
    out.regroup(code)


def _put(number: int, step: int, code: int, item: Micro, on: Any, out: FileRows) -> None:
    if item.filtered_rewards:
        out.rows.note("dynamic sampling: filtered_rewards is what was trained on; rewards is not")
    if item.sample_loss_mask and item.sample_loss_mask[0] == 0:
        out.rows.note("some samples are masked out of the loss; they are kept as candidates")
    tokens: dict[str, Any] = {}
    for name, column in (("mu", item.generation_logprobs), ("old", item.prev_logprobs)):
        if column is None:
            continue
        tokens[name] = masked(column[0] if column else [], on)
        if tokens[name] is None or len(on) != len(item.token_ids[0]):
            shown = f"{len(column[0]) if column else 0} for {len(item.token_ids[0])} token_ids"
            field = out.rows.field(f"log_{name}")
            out.reject(number, field, shown, "another length than token_ids")
            return
    utility = {"reward": (item.filtered_rewards or item.rewards)[0]}
    length = int(np.count_nonzero(on))
    out.put(number, step, None, utility, tokens=tokens, length=length, identity=item.idx, code=code)


class _Content(msgspec.Struct, gc=False):
    """The text of a row."""

    content: list[Any] = []


def read_texts(path: Path, wanted: Sequence[int]) -> Iterator[tuple[int, str, str]]:
    """Messages but the last, and the last."""
    for number, item in chosen_lines(path, wanted, _Content):
        if not item.content or not isinstance(item.content[0], list):
            raise DataError("content is not a list of one list of messages.")
        messages = [plain_text(message) for message in item.content[0]]
        yield number, "\n".join(messages[:-1]), messages[-1] if messages else ""


FORMAT = Format(
    name="nemo-rl",
    title="NeMo-RL train_data",
    recognises=by_keys(
        "JSON lines with rewards, token_ids, token_loss_mask and idx (NeMo-RL train_data)",
        "rewards",
        "token_ids",
        "token_loss_mask",
        "idx",
    ),
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
