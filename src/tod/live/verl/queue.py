"""A batch as verl's V1 trainers keep it in TransferQueue, as candidates.

One row is one output of one rollout; its key is ``{uid}_{rollout}_{output}``. A field is a jagged
tensor, a row of its own length for every key:

=====================  ==========================================================================
``prompts``            ids of the prompt
``responses``          ids of the answer, tools' tokens included
``loss_mask``          1 where the policy chose the token; unlike ``response_mask`` it keeps what
                       a rollout correction rejects
``rollout_log_probs``  log μ as the sampler reports it (``rollout.calculate_log_probs``)
``old_log_probs``      log π_old, ``ref_log_prob`` log π_ref, by the training engine
``rm_scores``          rewards by token; their sum is the reward
``extra_fields``       ``reward_extra_info``: numbers that a reward function returns with it
=====================  ==========================================================================
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tod.base import DataError
from tod.live.aim import REWARD
from tod.live.export import LiveBatch, as_numpy

FIELDS = (
    "responses",
    "loss_mask",
    "rollout_log_probs",
    "old_log_probs",
    "ref_log_prob",
    "rm_scores",
)
"""What is asked of the queue for every candidate; what it does not hold it leaves out."""
EXTRAS = "extra_fields"
"""Asked for where extras are wanted: plain objects, as dear as two fields of numbers."""
_POLICIES = {"mu": "rollout_log_probs", "old": "old_log_probs", "ref": "ref_log_prob"}

Get = Callable[[list[str], list[str]], Any]
"""Rows of the queue by their keys, and fields of them."""


@dataclass(frozen=True)
class CandidateRows:
    """Which rows of a batch are candidates.

    Attributes:
        keys: Their keys, in the batch's order.
        uids: The prompt of each.
        heads: The first key of every prompt.
        several: Whether a rollout has several outputs.
    """

    keys: list[str]
    uids: list[str]
    heads: list[str]
    several: bool


def asked(keys: Sequence[str], tags: Sequence[Mapping[str, Any]]) -> CandidateRows:
    """The last output of every rollout; rows that verl adds to fill its processes are none.

    Raises:
        DataError: A key is of another form, or all rows are padding.
    """
    last: dict[tuple[str, str], tuple[int, str]] = {}
    several = False
    for key, tag in zip(keys, tags, strict=True):
        if tag.get("is_padding", False):
            continue
        parts = key.rsplit("_", 2)
        if len(parts) != 3 or not parts[2].isdigit():
            raise DataError(
                f"a row's key is {key!r}, and verl 0.9 writes uid_rollout_output: another release? "
                "The plugin is for verl 0.9."
            )
        rollout, output = (parts[0], parts[1]), int(parts[2])
        several = several or output > 0
        if rollout not in last or last[rollout][0] < output:
            last[rollout] = (output, key)
    if not last:
        raise DataError("the batch holds no rollout: all of its rows are padding.")
    uids = [uid for uid, _ in last]
    chosen = [key for _, key in last.values()]
    heads = dict(zip(reversed(uids), reversed(chosen), strict=True))
    return CandidateRows(chosen, uids, [heads[uid] for uid in dict.fromkeys(uids)], several)


def fetched(get: Get, rows: CandidateRows, extras: bool = False) -> dict[str, Any]:
    """What the queue holds of the candidates; a prompt is asked for once, not for every answer.

    Args:
        get: Asks the queue.
        rows: The candidates.
        extras: Whether the reward function's other numbers are asked for.
    """
    data = get(rows.keys, [*FIELDS, EXTRAS] if extras else list(FIELDS))
    found = {name: data[name] for name in data.keys()}  # noqa: SIM118 - a TensorDict's rows
    if "loss_mask" not in found:
        found["loss_mask"] = get(rows.keys, ["response_mask"])["response_mask"]
    found["prompts"] = get(rows.heads, ["prompts"])["prompts"]
    return found


def batch_of(data: Mapping[str, Any], rows: CandidateRows, tokenizer: Any) -> LiveBatch:
    """The candidates of a batch; rows of one ``uid`` are one context.

    Of a rollout of several outputs the last is the candidate, as in verl's own advantages; then no
    log-prob is known, for those of its last output are not those of the rollout.

    Args:
        data: What the queue returned, see `fetched`.
        rows: The candidates.
        tokenizer: Spells prompts; None names them by their ids. Completions are left empty.

    Raises:
        DataError: A field is missing, or has another number of tokens than the answers.
    """
    ids = _rows(data, "responses")
    own = [np.asarray(row).astype(bool) for row in _rows(data, "loss_mask")]
    _check("responses", ids, own)
    tokens = [row[keep] for row, keep in zip(ids, own, strict=True)]
    heads = dict.fromkeys(rows.uids)
    prompts = dict(zip(heads, _spelled(_rows(data, "prompts"), tokenizer), strict=True))
    scores = [float(row.sum()) for row in _rows(data, "rm_scores")]
    return LiveBatch.of(
        group=rows.uids,
        prompt=[prompts[uid] for uid in rows.uids],
        completion=[""] * len(tokens),
        utility={REWARD: np.array(scores), **_extras(data)},
        log={} if rows.several else _log_probs(data, own),
        token_ids=tokens,
    )


def _rows(data: Mapping[str, Any], name: str) -> list[Any]:
    """A field as one array a row.

    Raises:
        DataError: The queue does not hold it.
    """
    if name not in data:
        raise DataError(f"the queue holds no {name} for this batch (it has {sorted(data)}).")
    field = data[name]
    if getattr(field, "is_nested", False):
        values, offsets = as_numpy(field.values()), as_numpy(field.offsets())
        return np.split(values, offsets[1:-1])
    return list(as_numpy(field))


def _check(name: str, values: list[Any], mask: list[Any]) -> None:
    """Every row has as many tokens as the mask.

    Raises:
        DataError: A row has not.
    """
    for x, keep in zip(values, mask, strict=True):
        if len(x) != len(keep):
            raise DataError(
                f"{name} has {len(x)} tokens where the mask of the answer has {len(keep)}: they "
                "are aligned token by token."
            )


def _log_probs(data: Mapping[str, Any], mask: list[Any]) -> dict[str, Any]:
    """Token log-probs of the policy's own tokens, by policy; what is not there is absent."""
    found = {}
    for policy, name in _POLICIES.items():
        if name in data:
            values = _rows(data, name)
            _check(name, values, mask)
            found[policy] = [x[keep] for x, keep in zip(values, mask, strict=True)]
    return found


def _extras(data: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers that a reward function returned with the reward, NaN where it gave none."""
    infos = [_info(fields) for fields in data.get(EXTRAS, ())]
    found = {}
    for name in dict.fromkeys(name for info in infos for name in info):
        values = [_number(info.get(name)) for info in infos]
        if name not in (REWARD, "score") and any(value is not None for value in values):
            found[name] = np.array([np.nan if x is None else x for x in values])
    return found


def _info(fields: Any) -> Mapping[str, Any]:
    fields = getattr(fields, "data", fields)
    info = fields.get("reward_extra_info") if isinstance(fields, Mapping) else None
    return info if isinstance(info, Mapping) else {}


def _number(value: Any) -> float | None:
    if isinstance(value, bool | np.bool_ | int | float | np.number):
        return float(value)
    return None


def _spelled(prompts: list[Any], tokenizer: Any) -> list[str]:
    if tokenizer is None:
        return [" ".join(map(str, row)) for row in prompts]
    return _texts([row.tolist() for row in prompts], tokenizer)


def _texts(rows: list[list[int]], tokenizer: Any) -> list[str]:
    return [str(text) for text in tokenizer.batch_decode(rows, skip_special_tokens=True)]
