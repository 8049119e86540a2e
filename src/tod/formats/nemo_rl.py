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
        out = FileRows(path, rows)
        whole = [(n, x) for n, x in decode_lines(path, Micro, rows) if _whole(n, x, out)]
        whole.sort(key=lambda entry: (entry[1].idx, entry[0]))
        groups = runs([_prompt(item) for _, item in whole], group_size(rows))
        for group, (number, item) in zip(groups, whole, strict=True):
            _put(number, step, group, item, out)
        out.close()


def _whole(number: int, item: Micro, out: FileRows) -> bool:
    """Whether a row holds one sequence with a reward."""
    rewards = item.filtered_rewards or item.rewards
    if len(rewards) == len(item.token_ids) == len(item.token_loss_mask) == 1:
        return True
    out.reject(number, "rewards", rewards[:3], "not a list of length one")
    return False


def _put(number: int, step: int, group: int, item: Micro, out: FileRows) -> None:
    if item.filtered_rewards:
        out.rows.note("dynamic sampling: filtered_rewards is what was trained on; rewards is not")
    if item.sample_loss_mask and item.sample_loss_mask[0] == 0:
        out.rows.note("some samples are masked out of the loss; they are kept as candidates")
    mask = item.token_loss_mask[0]
    tokens: dict[str, Any] = {}
    for name, column in (("mu", item.generation_logprobs), ("old", item.prev_logprobs)):
        if column is None:
            continue
        tokens[name] = masked(column[0] if column else [], mask)
        if tokens[name] is None or len(mask) != len(item.token_ids[0]):
            shown = f"{len(column[0]) if column else 0} for {len(item.token_ids[0])} token_ids"
            field = out.rows.field(f"log_{name}")
            out.reject(number, field, shown, "another length than token_ids")
            return
    out.put(
        number,
        step,
        group,
        {"reward": (item.filtered_rewards or item.rewards)[0]},
        label=f"{step}/{group}-{blake2b(_prompt(item), digest_size=4).hexdigest()}",
        tokens=tokens,
        length=sum(1 for on in mask if on),
        identity=item.idx,
    )


def _prompt(item: Micro) -> bytes:
    """The tokens before the first that the policy wrote."""
    mask = item.token_loss_mask[0]
    first = next((place for place, on in enumerate(mask) if on), len(mask))
    return str(item.token_ids[0][:first]).encode()


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
