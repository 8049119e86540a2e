"""verl: one JSON line per rollout, one file per global step (``trainer.rollout_data_dir``).

Cached batches of its rollout queue (``{dump_dir}/…/{step}/{inner}/tq_batch.pt``,
``skip.rollout_tq``) are what the trainer takes from its queue, saved at sampling time: token ids,
the sampler's log-probs where ``calculate_log_probs`` is on, token rewards unless a reward model
scores later, and in the tags the weight versions that wrote every trajectory. Their keys are those
of the JSONL's ``uid``.

V1 rows carry ``uid`` = ``{uid}_{session}_{output}``: a group is what stays without the last two
parts, and the outputs of a session, of which the last is scored, are segments of one answer. V0
rows carry no group at all: candidates of one step with the same input text are one.
Other writers put the trainer's own ``uid`` into the rows, one for all candidates of a prompt: that
is the group. Where it is another one on every row it names the row, and input texts tell groups.
Text is decoded without special tokens, so no log-prob can be recomputed from it exactly.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from operator import attrgetter
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from tod.base import DataError
from tod.formats.columns import Rows
from tod.formats.files import COMPRESSED, base_suffix, whole_file
from tod.formats.format import FileProbe, Format, newest_per_step, read_lines, step_in_name
from tod.formats.jsonl import (
    ColumnLines,
    Lines,
    Whole,
    decode_blocks,
    first_object,
    first_rows,
    plain_text,
    texts_of,
)
from tod.formats.row_by_row import FileRows, Refusal, as_float, masked, turns_of
from tod.formats.several_runs import newest_of_all, run_of
from tod.formats.text_codes import WithTexts
from tod.formats.untrusted.tensordicts import NAMES, column, plain
from tod.formats.untrusted.torch_files import load_torch

_PLAIN = frozenset({"input", "output", "gts", "score", "step", "uid", "request_id"})
Number = float | bool
_SEVERAL = 64
"""Rows of a file whose ``uid`` is looked at to tell who wrote it."""
_IN_PARTS = re.compile(r".+_\d+_\d+", re.DOTALL)


class V1(msgspec.Struct, gc=False):
    """The needed fields of a V1 row."""

    score: Number
    step: Whole
    uid: str


class V1Texts(V1, gc=False):
    """The same with its texts."""

    input: Any = None
    output: Any = None


class Named(msgspec.Struct, gc=False):
    """What tells whether ``uid`` names a row or its group."""

    step: Whole
    uid: str | int
    output: msgspec.Raw = msgspec.Raw()


def recognises(probe: FileProbe) -> str | None:
    """By its keys, or as a cached batch of the rollout queue."""
    if probe.suffix in (".pt", ".dp"):
        return _recognised(probe.path.name, probe.head)
    if probe.suffix != ".jsonl" or not probe.has("input", "output", "score", "step"):
        return None
    if probe.has("uid"):
        return "JSON lines with input, output, score, step and uid (verl)"
    return "JSON lines with input, output, score and step, without uid (verl V0)"


def read(files: Sequence[Path], rows: Rows) -> None:
    """All files; a step that two files claim counts once."""
    rows.extras["one_reward"] = True  # a session's last output is scored, for all of them
    batches = [path for path in files if base_suffix(path) in (".pt", ".dp")]
    texts_of = [path for path in files if path not in batches]
    cached = _read_batches(batches, texts_of, rows)
    named = [path for path in texts_of if step_in_name(path) is not None]
    others = [path for path in texts_of if step_in_name(path) is None]
    steps = newest_per_step(named, rows)
    doubled = [path for step, path in steps if step in cached]
    if doubled:
        rows.note(f"{len(doubled)} steps are read from tq_batch.pt, not from their JSONL")
    for path in [*others, *(path for step, path in steps if step not in cached)]:
        first = first_object(path)
        if first is None:
            rows.note(f"{path}: no JSON object in it: left out")
            continue
        rows.names |= first.keys()
        if "uid" in first and _in_parts(path):
            read_lines([path], rows, _V1, _v1, _bad_uid, _V1_TEXTS)
        else:
            rows.text_valued += [n for n, v in first.items() if n not in _PLAIN and _is_text(v)]
            by = "uid" if "uid" in first and _names_groups(path, rows) else "input"
            _read_whole(path, rows, _extras(first), by)


def _in_parts(path: Path) -> bool:
    """Whether several rows' ``uid`` are of V1: one of them at least, and no two outputs share one.

    A single row does not tell: it may be the one that is damaged.
    """
    some = first_rows(path, Named, _SEVERAL)
    of_v1 = {str(x.uid) for x in some if _IN_PARTS.fullmatch(str(x.uid))}
    rows = {(x.step, str(x.uid), bytes(x.output)) for x in some if str(x.uid) in of_v1}
    return bool(of_v1) and len(rows) == len({(step, uid) for step, uid, _ in rows})


def _names_groups(path: Path, rows: Rows) -> bool:
    """Whether rows of a step share a ``uid``: then it names their group."""
    unseen = Rows()
    count = Counter(
        (x.step, x.uid) for _, items in decode_blocks(path, Named, unseen) for x in items
    )
    if max(count.values(), default=0) > 1:
        rows.note(
            "uid has no session and output behind it: rows of a step with one uid are a group"
        )
        return True
    rows.note("uid is another one on every row: it names the row and not its group")
    return False


def _read_batches(batches: Sequence[Path], lines: Sequence[Path], rows: Rows) -> set[int]:
    """Cached batches, with the scores of the JSONL of their step; the steps that were read."""
    files = {step_in_name(path): path for path in lines}
    found: set[int] = set()
    steps = {path: _step_of(path) for path in batches}
    known = [(step, path) for path, step in steps.items() if step is not None]
    newest = [path for _, path in newest_of_all(known, rows, _above_steps)]
    for path in [*newest, *(path for path, step in steps.items() if step is None)]:
        beside = files.get(_step_of(path))
        step = _read_batch(path, rows, _scores(beside) if beside else {})
        found |= set() if step is None else {step}
    return found


def _scores(path: Path) -> dict[str, float]:
    """The score of every uid of a V1 file."""
    unseen = Rows()
    return {
        item.uid: float(item.score)
        for _, items in decode_blocks(path, V1, unseen)
        for item in items
    }


def _v1(items: list[V1]) -> dict[str, Any]:
    uids = [x.uid for x in items]
    names = [uid.rsplit("_", 2) for uid in uids]
    columns: dict[str, Any] = {
        "step": [x.step for x in items],
        "key": [(name[0] or None) if len(name) == 3 else None for name in names],
        "utility": {"score": [x.score for x in items]},
        "identity": [*map(hash, uids)],
    }
    if any(name[-1] != "0" for name in names):
        pairs = [_segment(uid) for uid in uids]
        columns["segment"], columns["segment_place"] = map(list, zip(*pairs, strict=True))
    return columns


_V1 = Lines(V1)
_V1_TEXTS = WithTexts(Lines(V1Texts), attrgetter("input"), attrgetter("output"))


def _segment(uid: str) -> tuple[int | None, int | None]:
    """What the later outputs of a session share with its first, whose number is 0; its number."""
    session, _, output = uid.rpartition("_")
    if not (output.isascii() and output.isdigit() and len(output) < 10):
        return None, None
    return hash(f"{session}_0"), int(output)


def _bad_uid(item: V1) -> Refusal:
    return "uid", item.uid, "not of the form uid_session_output"


def _is_text(raw: Any) -> bool:
    return bytes(raw).startswith(b'"')


def _extras(first: dict[str, Any]) -> list[str]:
    """Reward extras of V0: the other keys that hold a number."""
    numeric = (b"t", b"f", b"-", *(str(digit).encode() for digit in range(10)))
    return [
        name for name, raw in first.items() if name not in _PLAIN and bytes(raw).startswith(numeric)
    ]


def _read_whole(path: Path, rows: Rows, extras: list[str], by: str) -> None:
    """Rows with all their rewards, in groups by ``uid`` or by ``input``."""
    if by == "input":
        rows.note("rows carry no group: rollouts of a step with the same input text are one group")
        rows.grouping = "prompts"
    kind: Any = msgspec.Raw if by == "input" else str | int
    fields: list[Any] = [("step", Whole, True), (by, kind, True)]
    fields += [("score", Number, True), *((name, Number | None, False) for name in extras)]
    lines = ColumnLines(fields)
    values = {name: attrgetter(f"c{place}") for place, name in enumerate(("score", *extras), 2)}

    def columns(items: list[Any]) -> dict[str, Any]:
        named: dict[str, Any] = {"key": [str(x.c1) or None for x in items]}
        if by == "input":
            texts = [bytes(x.c1) for x in items]
            named["key"] = [*map(hash, texts)]
            named["label"] = lambda at: blake2b(texts[at], digest_size=8).hexdigest()
        utility = {name: [*map(get, items)] for name, get in values.items()}
        return {"step": [x.c0 for x in items], "utility": utility, **named}

    texts = _with_texts(fields, by == "input")
    read_lines([path], rows, lines, columns, _no_uid if by == "uid" else None, texts)


def _with_texts(fields: list[Any], by_input: bool) -> WithTexts:
    """The same columns and the texts; the input is one of them where groups are told by it."""
    place = len(fields)
    completion = attrgetter(f"c{place}")
    if by_input:
        lines = ColumnLines([*fields, ("output", Any, False)])
        return WithTexts(lines, lambda row: bytes(row.c1), completion)
    lines = ColumnLines([*fields, ("output", Any, False), ("input", Any, False)])
    return WithTexts(lines, attrgetter(f"c{place + 1}"), completion)


def _no_uid(item: Any) -> Refusal:
    return "uid", item.c1, "empty: it names no group"


Scores = Mapping[str, float]
LEGACY = (
    "{path}: the rollout cache of verl's old trainer (a pickled DataProto), made at sampling time: "
    "it is not read. Set trainer.use_v1=true with skip.rollout_tq.enable=true for tq_batch.pt, "
    "trainer.rollout_data_dir for JSON lines, or use the TOD exporter for verl."
)


def _recognised(name: str, head: bytes) -> str | None:
    """By its name, or by what its pickle names first."""
    if name.startswith("gen_batch.dp"):
        return "a pickled DataProto (verl rollout cache)"
    if name.startswith("tq_batch.pt") or b"tensordict._reductions" in head:
        return "a saved queue batch (verl rollout cache)"
    return None


def _step_of(path: Path) -> int | None:
    """The step that its directories say: ``{step}/{inner}/tq_batch.pt``, or ``{step}/tq_batch.pt``.

    Older writers have no inner directory, so a number whose parent is no number is the step.
    """
    parent, above = path.absolute().parent.name, path.absolute().parent.parent.name
    name = above if above.isdigit() and parent.isdigit() else parent
    return int(name) if name.isascii() and name.isdigit() and len(name) < 16 else None


def _above_steps(path: Path) -> Path:
    """The directory above those of its steps."""
    folder = path.absolute().parent
    while folder.name.isdigit():
        folder = folder.parent
    return folder


def _read_batch(path: Path, rows: Rows, scores: Scores) -> int | None:
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
    out = FileRows(path, rows)
    for place, key in enumerate(keys):
        item = {name: values[place] for name, values in fields.items() if values is not None}
        extra = item.pop("extra_fields", None)
        wrong = [n for n, v in item.items() if not isinstance(v, np.ndarray) or v.ndim != 1]
        if wrong:
            out.reject(place, wrong[0], None, "not a tensor with one number per token")
            continue
        _put(place, step, key, tags[place], item, extra, scores, out)
    out.close()
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
    said, folder = data.get("global_steps"), _step_of(path)
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
    out: FileRows,
) -> None:
    tag = tag if isinstance(tag, dict) else {}
    if tag.get("is_padding"):
        out.rows.note("padding trajectories are left out")
        return
    group = key.rsplit("_", 2)[0]
    if key.count("_") < 2 or not group:
        out.reject(place, "keys", key, "not of the form uid_session_output")
        return
    reward = item.get("rm_scores")
    score = scores.get(key) if reward is None else float(reward.sum())
    if score is None:
        out.reject(place, "rm_scores", None, "no reward, here or in a JSONL of the same step")
        return
    oldest = tag.get("min_global_steps")
    lag = max(step - 1 - oldest, 0) if type(oldest) is int else None
    mu, mask = item.get("rollout_log_probs"), item.get("response_mask")
    segment, number = _segment(key)
    length = None if mask is None else int(np.count_nonzero(mask))
    tokens: dict[str, Any] = {}
    if mu is not None:
        tokens["mu"] = masked(mu, np.ones(len(mu)) if mask is None else mask)
        if tokens["mu"] is None:
            why = "another length than response_mask"
            out.reject(place, "rollout_log_probs", len(mu), why)
            return
    if lag:
        out.rows.note("some rollouts were sampled by older weights than the step trains on (lag)")
    out.put(
        place,
        step,
        group,
        {"score": score, **_reported(extra)},
        tokens=tokens,
        length=length,
        lag=lag,
        identity=hash(key),
        logged={} if mask is None else {"turns": turns_of(mask)},
        segment=segment,
        segment_place=number,
    )


def _reported(fields: Any) -> dict[str, float]:
    """Numbers that the reward function reported beside the score."""
    found = fields.get("reward_extra_info") if isinstance(fields, dict) else None
    known = found.items() if isinstance(found, dict) else ()
    numbers = {str(k): as_float(v) for k, v in known if k != "score"}
    return {name: value for name, value in numbers.items() if value is not None}


def _prompts(path: Path, wanted: Sequence[int]) -> Iterator[tuple[int, str, str]]:
    """The messages of the prompt; the completion is kept as tokens only."""
    data = load_torch(whole_file(path) if path.suffix in COMPRESSED else path, path, NAMES)
    prompts = column(data["tensordict"].get("raw_prompt"), len(data["keys"]))
    for place in wanted:
        yield place, "" if prompts is None else plain_text(plain(prompts[place])), ""


def read_texts(path: Path, wanted: Sequence[int]) -> Iterator[tuple[int, str, str]]:
    """Input and output."""
    if base_suffix(path) == ".pt":
        return _prompts(path, wanted)
    return _texts(path, wanted)


_texts = texts_of("input", "output")


FORMAT = Format(
    name="verl",
    title="verl rollout dump",
    recognises=recognises,
    read=read,
    texts=read_texts,
    home=run_of,
    required=("score",),
    fields={"log_mu": "rollout_log_probs"},
    needs={
        "mu": "log-probs, which verl's JSONL never holds: the TOD hook for verl, or "
        "skip.rollout_tq with actor_rollout_ref.rollout.calculate_log_probs=true",
        "old": "the TOD hook for verl",
        "ref": "the TOD hook for verl, with a reference policy loaded",
        "policy": "the TOD hook for verl",
    },
)
