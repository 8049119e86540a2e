"""prime-rl: ``rollouts/step_N/train/{all,effective}/traces.jsonl`` and ``token_exports``.

One episode per line with its traces; a trace is a chain of nodes, and ``logprobs`` has one entry
per True in the node's mask. ``effective`` is the batch that was trained on, ``all`` also what was
dropped: where both are there, ``effective`` counts. Token exports hold the trainer's log-probs of
packed sequences without any name: they are matched by their token ids.
"""

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from tod.integrations.readers._format import Format, Probe
from tod.integrations.readers._json import chosen_lines, decode_lines, plain_text
from tod.integrations.readers._rows import Rows
from tod.integrations.readers._sink import Sink

_PER_LINE = 1 << 16


class Node(msgspec.Struct, gc=False):
    """One message of a trace."""

    sampled: bool = False
    token_ids: list[int] | None = None
    mask: list[bool] | None = None
    logprobs: list[float] | None = None
    reference_logprobs: list[float] | None = None


class Reward(msgspec.Struct, gc=False):
    """One reward with its weight in the sum."""

    score: float | bool
    weight: float = 1.0


class Trace(msgspec.Struct, gc=False):
    """One rollout."""

    nodes: list[Node]
    id: str = ""
    rewards: dict[str, Reward | float] = {}


class Group(msgspec.Struct, gc=False):
    """Rollouts of one task instance."""

    id: str


class Policy(msgspec.Struct, gc=False):
    """Policy versions a rollout began and ended with."""

    start: int | None = None
    end: int | None = None


class Work(msgspec.Struct, gc=False):
    """Which step the rollout was made for."""

    step: int
    type: str = "train"
    policy: Policy | None = None


class Run(msgspec.Struct, gc=False):
    """The run's place."""

    work: Work
    type: str = "train"


class Episode(msgspec.Struct, gc=False):
    """The needed fields of a line."""

    group: Group
    run: Run
    traces: list[Trace]
    id: str = ""
    ok: bool = True


class Export(msgspec.Struct, gc=False):
    """The needed fields of a packed sequence."""

    step: int
    token_ids: list[int]
    position_ids: list[int]
    loss_mask: list[bool]
    inference_logprobs: list[float]
    trainer_logprobs: list[float]


def recognises(probe: Probe) -> str | None:
    """By its keys."""
    if probe.suffix != ".jsonl":
        return None
    if probe.has("group", "run", "traces"):
        return "JSON lines of episodes with group, run and traces (prime-rl)"
    if probe.has("token_ids", "inference_logprobs", "trainer_logprobs"):
        return "JSON lines of packed sequences with trainer_logprobs (prime-rl token export)"
    return None


def read(files: Sequence[Path], rows: Rows) -> None:
    """Traces, with the trainer's log-probs where exports hold them."""
    exports = [p for p in files if Probe(p).has("trainer_logprobs")]
    traces = _effective([p for p in files if p not in exports], rows)
    trained: dict[bytes, Any] = {}
    for path in exports:
        if not (path.parent / "STABLE").exists() and path.parent.name.startswith("step_"):
            rows.note(f"{path.parent}: no STABLE file, so its export may be unfinished")
        _read_export(path, rows, trained, alone=not traces)
    used = 0
    for path in traces:
        used += _read_traces(path, rows, trained)
    if traces and exports:
        rows.note(f"{used} of {len(trained)} exported sequences found in the traces by token ids")


def _effective(files: Sequence[Path], rows: Rows) -> list[Path]:
    """Of ``all`` and ``effective`` of one step the latter; no evaluations."""
    kept = [path for path in files if "eval" not in (p.name for p in path.parents[:2])]
    if len(kept) < len(files):
        rows.note(f"{len(files) - len(kept)} files of evaluations left out")
    shipped = {path.parents[1] for path in kept if path.parent.name == "effective"}
    doubled = [p for p in kept if p.parent.name == "all" and p.parents[1] in shipped]
    if doubled:
        rows.note("`effective` (the batch that was trained on) is read, `all` is not")
    return [path for path in kept if path not in doubled]


def _read_export(path: Path, rows: Rows, trained: dict[bytes, Any], *, alone: bool) -> None:
    sink = Sink(path, rows)
    for number, item in decode_lines(path, Export, rows):
        if not rows.wanted(item.step):
            continue
        columns = (item.token_ids, item.position_ids, item.loss_mask, item.inference_logprobs)
        if len({len(item.trainer_logprobs), *map(len, columns)}) != 1:
            sink.reject(number, "trainer_logprobs", None, "another length than token_ids")
            continue
        ids, mask = np.array(item.token_ids, dtype=np.int64), np.array(item.loss_mask, dtype=bool)
        mu, policy = np.array(item.inference_logprobs), np.array(item.trainer_logprobs)
        starts = np.flatnonzero(np.array(item.position_ids) == 0).tolist() or [0]
        for place, (a, b) in enumerate(zip(starts, [*starts[1:], len(ids)], strict=True)):
            on = mask[a:b]
            if not on.any():
                continue
            if not alone:
                trained[_digest(ids[a:b])] = policy[a:b][on]
                continue
            tokens = {"mu": mu[a:b][on], "policy": policy[a:b][on]}
            sums = sink.sums(number, item.step, tokens)
            if sums is not None:
                row = number * _PER_LINE + place
                code = rows.context(item.step, (str(path), row), f"{item.step}/{path.stem}/{row}")
                sink.put(row, code, {}, sums, length=int(on.sum()))
    sink.close()


def _digest(ids: Any) -> bytes:
    return blake2b(np.ascontiguousarray(ids, dtype=np.int64).tobytes(), digest_size=16).digest()


def _read_traces(path: Path, rows: Rows, trained: dict[bytes, Any]) -> int:
    sink = Sink(path, rows)
    used = 0
    for number, item in decode_lines(path, Episode, rows):
        work = item.run.work
        if "eval" in (item.run.type, work.type) or not rows.wanted(work.step):
            continue
        if not item.ok:
            rows.note("some episodes ended in an error (ok = false); they are left out")
            continue
        for place, trace in enumerate(item.traces[:_PER_LINE]):
            used += _put(number * _PER_LINE + place, item, trace, sink, trained)
    sink.close()
    return used


def _put(row: int, item: Episode, trace: Trace, sink: Sink, trained: dict[bytes, Any]) -> bool:
    step = item.run.work.step
    tokens = _tokens(row, trace, sink)
    utility = _utility(trace)
    if tokens is None:
        return False
    if not utility:
        sink.reject(row, "rewards", None, "missing")
        return False
    ids = np.array([t for node in trace.nodes for t in node.token_ids or ()], dtype=np.int64)
    policy = trained.get(_digest(ids)) if trained else None
    if policy is not None:
        tokens["policy"] = policy
    sums = sink.sums(row, step, tokens)
    if sums is not None:
        code = sink.rows.context(step, item.group.id)
        length = len(tokens["mu"]) if "mu" in tokens else None
        identity = hash((item.id, trace.id)) if item.id or trace.id else row
        sink.put(row, code, utility, sums, length=length, identity=identity)
    return policy is not None


def _tokens(row: int, trace: Trace, sink: Sink) -> dict[str, Any] | None:
    """Log-probs of all sampled nodes, in order; None when a node's do not fit its mask."""
    mu: list[float] = []
    ref: list[float] = []
    whole = True
    for node in trace.nodes:
        count = sum(node.mask or ())
        if not node.sampled or not count:
            continue
        if node.logprobs is None or len(node.logprobs) != count:
            shown = f"{len(node.logprobs or ())} for {count} tokens"
            sink.reject(row, "logprobs", shown, "another length than the mask")
            return None
        mu += node.logprobs
        whole &= node.reference_logprobs is not None and len(node.reference_logprobs) == count
        ref += node.reference_logprobs or []
    tokens = {"mu": mu, "ref": ref if whole else []}
    return {name: values for name, values in tokens.items() if values}


def _utility(trace: Trace) -> dict[str, float]:
    """The weighted sum, and every reward by itself when there are several."""
    found: dict[str, float] = {}
    total = 0.0
    for name, reward in trace.rewards.items():
        score, weight = (
            (float(reward.score), reward.weight) if isinstance(reward, Reward) else (reward, 1.0)
        )
        found[name] = score
        total += weight * score
    return {} if not found else {"reward": total, **(found if len(found) > 1 else {})}


def read_texts(path: Path, wanted: Sequence[int]) -> Iterator[tuple[int, str, str]]:
    """Messages up to the first sampled one, and the rest."""
    places: dict[int, list[int]] = {}
    for row in wanted:
        places.setdefault(row // _PER_LINE, []).append(row % _PER_LINE)
    for number, item in chosen_lines(path, places, dict[str, Any]):
        for place in places[number]:
            nodes = item["traces"][place]["nodes"] if "traces" in item else []
            first = next((i for i, node in enumerate(nodes) if node.get("sampled")), len(nodes))
            shown = [plain_text(node.get("message")) for node in nodes]
            row = number * _PER_LINE + place
            yield row, "\n".join(shown[:first]), "\n".join(shown[first:])


FORMAT = Format(
    name="prime-rl",
    title="prime-rl traces and token exports",
    recognises=recognises,
    read=read,
    texts=read_texts,
    needs={
        "utility": "traces.jsonl beside the token exports: monitors.file, on by default",
        "mu": "logprobs in the traces, on by default",
        "old": "trainer log-probs: enable_token_export=true",
        "policy": "trainer log-probs: enable_token_export=true",
        "ref": "reference_logprobs, which only distillation runs record",
    },
)
