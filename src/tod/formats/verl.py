"""verl: one JSON line per rollout, one file per global step (``trainer.rollout_data_dir``).

Cached batches of its rollout queue (``tq_batch.pt``) are read beside them, see ``verl_batch``.

V1 rows carry ``uid`` = ``{uid}_{session}_{output}``: a group is what stays without the last two
parts. V0 rows carry no group at all: candidates of one step with the same input text are one.
Text is decoded without special tokens, so no log-prob can be recomputed from it exactly.
"""

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec

from tod.formats import verl_batch
from tod.formats.files import base_suffix
from tod.formats.format import Format, Probe, newest_per_step, step_in_name
from tod.formats.jsonl import ColumnLines, Whole, decode_blocks, first_object, texts
from tod.formats.rows import Rows
from tod.formats.several_runs import newest_of_all, run_of

_PLAIN = frozenset({"input", "output", "gts", "score", "step", "uid", "request_id"})
Number = float | bool


class V1(msgspec.Struct, gc=False):
    """The needed fields of a V1 row."""

    score: Number
    step: Whole
    uid: str


class Text(msgspec.Struct, gc=False):
    """The text of a row."""

    input: str = ""
    output: str = ""


def recognises(probe: Probe) -> str | None:
    """By its keys, or as a cached batch of the rollout queue."""
    if probe.suffix in (".pt", ".dp"):
        return verl_batch.recognises(probe.path.name, probe.head)
    if probe.suffix != ".jsonl" or not probe.has("input", "output", "score", "step"):
        return None
    if probe.has("uid"):
        return "JSON lines with input, output, score, step and uid (verl V1)"
    return "JSON lines with input, output, score and step, without uid (verl V0)"


def read(files: Sequence[Path], rows: Rows) -> None:
    """All files; a step that two files claim counts once."""
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
        elif "uid" in first:
            _read_v1(path, rows)
        else:
            rows.text_valued += [n for n, v in first.items() if n not in _PLAIN and _is_text(v)]
            _read_v0(path, rows, _extras(first))


def _read_batches(batches: Sequence[Path], lines: Sequence[Path], rows: Rows) -> set[int]:
    """Cached batches, with the scores of the JSONL of their step; the steps that were read."""
    files = {step_in_name(path): path for path in lines}
    found: set[int] = set()
    steps = {path: verl_batch.step_of(path) for path in batches}
    known = [(step, path) for path, step in steps.items() if step is not None]
    newest = [path for _, path in newest_of_all(known, rows, verl_batch.run_of)]
    for path in [*newest, *(path for path, step in steps.items() if step is None)]:
        beside = files.get(verl_batch.step_of(path))
        step = verl_batch.read_batch(path, rows, _scores(beside) if beside else {})
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


def _read_v1(path: Path, rows: Rows) -> None:
    file, contexts, labels = rows.start(path), rows.contexts, rows.labels
    every = rows.steps == (None, None)
    for numbers, items in decode_blocks(path, V1, rows):
        code: list[int] = []
        bad: set[int] = set()
        for place, item in enumerate(items):
            key = (item.step, item.uid.rsplit("_", 2)[0])
            found = contexts.get(key)
            if found is None:
                if item.uid.count("_") < 2 or not key[1]:
                    why = "not of the form uid_session_output"
                    rows.reject(path, numbers[place], "uid", item.uid, why)
                    bad.add(place)
                    continue
                found = contexts[key] = len(labels)
                labels.append(key[1])
                rows.context_steps.append(key[0])
            code.append(found)
        if bad:
            keep = [i for i in range(len(items)) if i not in bad]
            numbers, items = [numbers[i] for i in keep], [items[i] for i in keep]
        if not every:
            keep = [i for i, item in enumerate(items) if rows.wanted(item.step)]
            code = [code[i] for i in keep]
            numbers, items = [numbers[i] for i in keep], [items[i] for i in keep]
        score = [item.score for item in items]
        identity = [hash(item.uid) for item in items]
        rows.add(file, code, numbers, {"score": score}, identity=identity)


def _is_text(raw: Any) -> bool:
    return bytes(raw).startswith(b'"')


def _extras(first: dict[str, Any]) -> list[str]:
    """Reward extras of V0: the other keys that hold a number."""
    numeric = (b"t", b"f", b"-", *(str(digit).encode() for digit in range(10)))
    return [
        name for name, raw in first.items() if name not in _PLAIN and bytes(raw).startswith(numeric)
    ]


def _read_v0(path: Path, rows: Rows, extras: list[str]) -> None:
    rows.note("V0 rows carry no group: candidates of a step with the same input text are one group")
    rows.grouping = "prompts"
    fields: list[Any] = [("step", Whole, True), ("input", msgspec.Raw, True)]
    fields += [("score", Number, True), *((name, Number | None, False) for name in extras)]
    lines = ColumnLines(fields)
    file, contexts = rows.start(path), rows.contexts
    for numbers, items in decode_blocks(path, lines, rows):
        keep = [i for i, item in enumerate(items) if rows.wanted(item.c0)]
        if len(keep) < len(items):
            numbers, items = [numbers[i] for i in keep], [items[i] for i in keep]
        code: list[int] = []
        for item in items:
            text = bytes(item.c1)
            key = (item.c0, hash(text))
            found = contexts.get(key)
            if found is None:
                found = rows.context(*key, blake2b(text, digest_size=8).hexdigest())
            code.append(found)
        values = {name: f"c{place}" for place, name in enumerate(("score", *extras), start=2)}
        utility = {name: [getattr(item, c) for item in items] for name, c in values.items()}
        rows.add(file, code, numbers, utility)


def read_texts(path: Path, wanted: Sequence[int]) -> Iterator[tuple[int, str, str]]:
    """Input and output."""
    if base_suffix(path) == ".pt":
        return verl_batch.read_texts(path, wanted)
    return texts(path, wanted, Text, lambda item: (item.input, item.output))


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
