"""verl's rollout cache: ``{dump_dir}/…/{step}/{inner}/tq_batch.pt`` (``skip.rollout_tq``).

What the trainer takes from its queue, saved at sampling time: token ids, the sampler's log-probs
where ``calculate_log_probs`` is on, token rewards unless a reward model scores later, and in the
tags the weight versions that wrote every trajectory. Keys are those of the JSONL's ``uid``.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tod.base import DataError
from tod.formats.files import COMPRESSED, whole_file
from tod.formats.jsonl import plain_text
from tod.formats.rows import Rows
from tod.formats.token_rows import Sink, as_float, masked
from tod.formats.untrusted.tensordicts import NAMES, column, plain
from tod.formats.untrusted.torch_files import load_torch

Scores = Mapping[str, float]
LEGACY = (
    "{path}: the rollout cache of verl's old trainer (a pickled DataProto), made at sampling time: "
    "it is not read. Set trainer.use_v1=true with skip.rollout_tq.enable=true for tq_batch.pt, "
    "trainer.rollout_data_dir for JSON lines, or use the TOD exporter for verl."
)


def recognises(name: str, head: bytes) -> str | None:
    """By its name, or by what its pickle names first."""
    if name.startswith("gen_batch.dp"):
        return "a pickled DataProto (verl rollout cache)"
    if name.startswith("tq_batch.pt") or b"tensordict._reductions" in head:
        return "a saved queue batch (verl rollout cache)"
    return None


def step_of(path: Path) -> int | None:
    """The step that its directories say: ``{step}/{inner}/tq_batch.pt``, or ``{step}/tq_batch.pt``.

    Older writers have no inner directory, so a number whose parent is no number is the step.
    """
    parent, above = path.absolute().parent.name, path.absolute().parent.parent.name
    name = above if above.isdigit() and parent.isdigit() else parent
    return int(name) if name.isascii() and name.isdigit() and len(name) < 16 else None


def run_of(path: Path) -> Path:
    """The directory above those of its steps."""
    folder = path.absolute().parent
    while folder.name.isdigit():
        folder = folder.parent
    return folder


def read_batch(path: Path, rows: Rows, scores: Scores) -> int | None:
    """One file; its step, or None when that was not asked for.

    Args:
        path: The file.
        rows: What it fills.
        scores: Rewards by key from the JSONL of the same step, for files without rewards.

    Raises:
        DataError: It is no such batch, or holds neither rewards nor keys that have one.
    """
    if path.name.startswith("gen_batch.dp"):
        raise DataError(LEGACY.format(path=path))
    step, keys, tags, fields = _parts(path)
    rows.text_roles = ("prompt",)
    if not rows.wanted(step):
        return None
    if fields.get("rm_scores") is None and not any(key in scores for key in keys):
        rows.note(
            f"{path.parent}: no rm_scores (a reward model scores after this dump) and no JSONL of "
            "the same step to take them from: set trainer.rollout_data_dir too"
        )
    sink = Sink(path, rows)
    for place, key in enumerate(keys):
        item = {name: values[place] for name, values in fields.items() if values is not None}
        extra = item.pop("extra_fields", None)
        wrong = [n for n, v in item.items() if not isinstance(v, np.ndarray) or v.ndim != 1]
        if wrong:
            sink.reject(place, wrong[0], None, "not a tensor with one number per token")
            continue
        _put(place, step, key, tags[place], item, extra, scores, sink)
    if any(sink.columns["lag"]):
        rows.note("some rollouts were sampled by older weights than the step trains on (lag)")
    sink.close()
    return step


_FIELDS = ("responses", "response_mask", "rollout_log_probs", "rm_scores", "extra_fields")


def _parts(path: Path) -> tuple[int, list[str], list[Any], dict[str, Any]]:
    data = load_torch(whole_file(path) if path.suffix in COMPRESSED else path, path, NAMES)
    keys = data.get("keys") if isinstance(data, dict) else None
    held = data.get("tensordict") if isinstance(data, dict) else None
    if not isinstance(keys, list) or not isinstance(held, dict):
        raise DataError(f"{path}: no keys and tensordict in it: it is no verl queue batch.")
    if not all(isinstance(key, str) for key in keys):
        raise DataError(f"{path}: keys that are no text: it is no verl queue batch.")
    tags = data.get("tags")
    tags = tags if isinstance(tags, list) and len(tags) == len(keys) else [{}] * len(keys)
    said, folder = data.get("global_steps"), step_of(path)
    step = said if type(said) is int and abs(said) < 1 << 53 else folder
    if step is None:
        raise DataError(f"{path}: neither the file nor its directories say its step.")
    return step, keys, tags, {name: column(held.get(name), len(keys)) for name in _FIELDS}


def _put(
    place: int,
    step: int,
    key: str,
    tag: Any,
    item: dict[str, Any],
    extra: Any,
    scores: Scores,
    sink: Sink,
) -> None:
    tag = tag if isinstance(tag, dict) else {}
    if tag.get("is_padding"):
        sink.rows.note("padding trajectories are left out")
        return
    group = key.rsplit("_", 2)[0]
    if key.count("_") < 2 or not group:
        sink.reject(place, "keys", key, "not of the form uid_session_output")
        return
    reward = item.get("rm_scores")
    score = scores.get(key) if reward is None else float(reward.sum())
    if score is None:
        sink.reject(place, "rm_scores", None, "no reward, here or in a JSONL of the same step")
        return
    oldest = tag.get("min_global_steps")
    lag = max(step - 1 - oldest, 0) if type(oldest) is int else None
    mu, mask = item.get("rollout_log_probs"), item.get("response_mask")
    length = None if mask is None else int(np.count_nonzero(mask))
    tokens: dict[str, Any] = {}
    if mu is not None:
        tokens["mu"] = masked(mu, np.ones(len(mu)) if mask is None else mask)
        if tokens["mu"] is None:
            why = "another length than response_mask"
            sink.reject(place, "rollout_log_probs", len(mu), why)
            return
    sums = sink.sums(place, step, tokens, lag=lag)
    if sums is not None:
        utility = {"score": score, **_extras(extra)}
        code = sink.rows.context(step, group)
        sink.put(place, code, utility, sums, length=length, lag=lag, identity=hash(key))


def _extras(fields: Any) -> dict[str, float]:
    """Numbers that the reward function reported beside the score."""
    found = fields.get("reward_extra_info") if isinstance(fields, dict) else None
    known = found.items() if isinstance(found, dict) else ()
    numbers = {str(k): as_float(v) for k, v in known if k != "score"}
    return {name: value for name, value in numbers.items() if value is not None}


def read_texts(path: Path, wanted: Sequence[int]) -> Iterator[tuple[int, str, str]]:
    """The messages of the prompt; the completion is kept as tokens only."""
    data = load_torch(whole_file(path) if path.suffix in COMPRESSED else path, path, NAMES)
    prompts = column(data["tensordict"].get("raw_prompt"), len(data["keys"]))
    for place in wanted:
        yield place, "" if prompts is None else plain_text(plain(prompts[place])), ""
