"""prime-rl: ``rollouts/step_N/train/{all,effective}/traces.jsonl`` and ``token_exports``.

One episode per line with its traces. A trace is a graph: every message once, and its branches are
found by walking to the root. A node adds its own tokens to the sequence of its parent; a path from
a root to a leaf is a branch, and each branch is trained as one sequence; a sampled node that
several branches share (a fork) is trained in the first of them only. What a trace sampled is all
its sampled nodes, each once; ``logprobs`` has one entry per True in the node's mask.

``effective`` is the batch that was trained on, ``all`` also what was dropped: where both are there,
``effective`` counts. Token exports hold the trainer's log-probs of packed sequences without any
name: they are matched by token ids. Batch N trains weights N − 1; the weights that began to sample
an episode are in its policy span.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from tod.base.text import counted
from tod.formats.columns import WITHIN, Rows
from tod.formats.format import FileProbe, Format
from tod.formats.jsonl import Whole, chosen_lines, decode_lines, plain_text
from tod.formats.row_by_row import FileRows
from tod.formats.several_runs import run_of

Trained = dict[bytes, dict[int, Any]]
"""Log-probs of the trainer on the trained tokens of a sequence, by digest of its ids and step."""


_CUT = ("max_turns", "max_input_tokens", "max_output_tokens", "max_total_tokens", "context_length")
"""What stopped a trace that was cut, as verifiers' ``Trace.is_truncated`` says."""
_MOST = 1 << 24
"""Tokens of all branches of one trace that are put together: beyond, no trace of a rollout."""


class Node(msgspec.Struct, gc=False):
    """One message of a trace."""

    sampled: bool = False
    parent: Whole | None = None
    token_ids: list[Whole] | None = None
    mask: list[bool] | None = None
    logprobs: list[float] | None = None
    reference_logprobs: list[float] | None = None
    advantages: list[float] | None = None

    @property
    def count(self) -> int:
        """How many of its tokens the policy sampled."""
        return sum(self.mask or ()) if self.sampled else 0


def leaves(nodes: Sequence[Node]) -> list[int]:
    """Places of the nodes that no other continues, one per branch.

    Where no node names a parent the trace is one chain.
    """
    inner = {node.parent for node in nodes}
    if inner == {None}:
        return [len(nodes) - 1]
    return [place for place in range(len(nodes)) if place not in inner]


def _paths(nodes: Sequence[Node]) -> list[list[int]]:
    """Places of the nodes of every branch, from root to leaf; none if they are too many to walk."""
    ends = leaves(nodes)
    if len(ends) == 1:
        return [list(range(len(nodes)))]
    size: list[int] = []
    for node in nodes:  # parents come first
        before = 0 if node.parent is None else size[node.parent]
        size.append(before + 1 + len(node.token_ids or ()))
    if sum(size[end] for end in ends) > _MOST:
        return []
    found = []
    for end in ends:
        path, at = [end], nodes[end].parent
        while at is not None:
            path.append(at)
            at = nodes[at].parent
        found.append(path[::-1])
    return found


def sampled_tokens(row: int, nodes: Sequence[Node], out: FileRows) -> dict[str, Any] | None:
    """Log-probs of all sampled nodes, in order; None when the row was rejected."""
    mu: list[float] = []
    ref: list[float] = []
    whole = True
    for place, node in enumerate(nodes):
        if node.parent is not None and not 0 <= node.parent < place:
            out.reject(row, "parent", node.parent, f"node {place} does not come after its parent")
            return None
        count = node.count
        if not count:
            continue
        if node.logprobs is None or len(node.logprobs) != count:
            shown = f"{len(node.logprobs or ())} for {count} tokens"
            out.reject(row, "logprobs", shown, "another length than the mask")
            return None
        mu += node.logprobs
        whole &= node.reference_logprobs is not None and len(node.reference_logprobs) == count
        ref += node.reference_logprobs or []
    tokens = {"mu": mu, "ref": ref if whole else []}
    return {name: values for name, values in tokens.items() if values}


def trained_log_probs(
    nodes: Sequence[Node], trained: Trained, step: int, matched: set[bytes]
) -> Any:
    """The trainer's log-probs of all sampled tokens, in order; None unless every branch was found.

    Of exports of one sequence at several steps the nearest to ``step`` counts.
    """
    known: dict[int, Any] = {}
    if not trained:
        return None
    counts = [node.count for node in nodes]
    for path in _paths(nodes):
        fresh = [place for place in path if counts[place] and place not in known]
        if not fresh:
            continue
        name = digest([t for place in path for t in nodes[place].token_ids or ()])
        by_step = trained.get(name)
        if by_step is None:
            return None
        matched.add(name)
        values = by_step[min(by_step, key=lambda other: abs(other - step))]
        ends = np.cumsum([counts[place] for place in fresh])
        if ends[-1] != len(values):
            return None
        known |= dict(zip(fresh, np.split(values, ends[:-1]), strict=True))
    return np.concatenate([known[place] for place in sorted(known)]) if known else None


def digest(ids: Any) -> bytes:
    """A short name of a sequence of token ids."""
    array = np.ascontiguousarray(ids, dtype=np.int64)
    return blake2b(array.tobytes(), digest_size=16).digest()


class Reward(msgspec.Struct, gc=False):
    """One reward with its weight in the sum."""

    score: float | bool
    weight: float = 1.0


class Agent(msgspec.Struct, gc=False):
    """Who made a trace: judges and frozen opponents are not trained."""

    trainable: bool = True


class ModelCall(msgspec.Struct, gc=False):
    """One call of the model: how it ended."""

    finish_reason: str | None = None
    error: Any = None


class Sampled(msgspec.Struct, gc=False):
    """One rollout; a reward that was not scored is null."""

    nodes: list[Node]
    id: str = ""
    ok: bool = True
    agent: Agent = msgspec.field(default_factory=Agent)
    rewards: dict[str, Reward | float | None] = {}
    stop_condition: str | None = None
    calls: list[ModelCall] = []


class Group(msgspec.Struct, gc=False):
    """Rollouts of one task instance."""

    id: str


class PolicyVersions(msgspec.Struct, gc=False):
    """Policy versions a rollout began and ended with."""

    start: Whole | None = None
    end: Whole | None = None


class Purpose(msgspec.Struct, gc=False):
    """Which step the rollout was made for."""

    step: Whole
    type: str = "train"
    policy: PolicyVersions | None = None


class RunPlace(msgspec.Struct, gc=False):
    """The run's place."""

    work: Purpose
    type: str = "train"


class Episode(msgspec.Struct, gc=False):
    """The needed fields of a line."""

    group: Group
    run: RunPlace
    traces: list[Sampled]
    id: str = ""
    ok: bool = True


class Export(msgspec.Struct, gc=False):
    """The needed fields of a packed sequence; what is not finite is null."""

    step: Whole
    token_ids: list[Whole]
    position_ids: list[Whole]
    loss_mask: list[bool]
    inference_logprobs: list[float | None]
    trainer_logprobs: list[float | None]


def recognises(probe: FileProbe) -> str | None:
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
    exports = [p for p in files if FileProbe(p).has("trainer_logprobs")]
    traces = _effective([p for p in files if p not in exports], rows)
    trained: Trained = {}
    if not traces:
        rows.grouping = "none"
        rows.needs["context"] = FORMAT.needs["utility"]
    for path in exports:
        if not (path.parent / "STABLE").exists() and path.parent.name.startswith("step_"):
            rows.note(f"{path.parent}: no STABLE file, so its export may be unfinished")
        _read_export(path, rows, trained, alone=not traces)
    seen = _Seen()
    for path in traces:
        _read_traces(path, rows, trained, seen)
    seen.explain(rows)
    if traces and exports:
        used = len(seen.matched)
        rows.note(f"{used} of {len(trained)} exported sequences found in the traces by token ids")


def _effective(files: Sequence[Path], rows: Rows) -> list[Path]:
    """Of ``all`` and ``effective`` of one step the latter; no evaluations."""
    kept = [path for path in files if "eval" not in (p.name for p in path.parents[:2])]
    if len(kept) < len(files):
        rows.note(f"{counted(len(files) - len(kept), 'file')} of evaluations left out")
    shipped = {path.parents[1] for path in kept if path.parent.name == "effective"}
    doubled = [p for p in kept if p.parent.name == "all" and p.parents[1] in shipped]
    if doubled:
        rows.note("`effective` (the batch that was trained on) is read, `all` is not")
        _count_failures(doubled, rows)
    return [path for path in kept if path not in doubled]


class Ended(msgspec.Struct, gc=False):
    """How an episode ended."""

    run: RunPlace
    ok: bool = True


def _count_failures(files: Sequence[Path], rows: Rows) -> None:
    """Count the episodes that failed, of files that are not read otherwise."""
    for path in files:
        batch = _batch(path)
        for _, item in decode_lines(path, Ended, Rows()):
            if not item.ok:
                rows.fail(item.run.work.step if batch is None else batch)


def _read_export(path: Path, rows: Rows, trained: Trained, *, alone: bool) -> None:
    out = FileRows(path, rows)
    for number, item in decode_lines(path, Export, rows):
        if not rows.wanted(item.step):
            continue
        columns = (item.token_ids, item.position_ids, item.loss_mask, item.inference_logprobs)
        if len({len(item.trainer_logprobs), *map(len, columns)}) != 1:
            out.reject(number, "trainer_logprobs", None, "another length than token_ids")
            continue
        ids, mask = np.array(item.token_ids, dtype=np.int64), np.array(item.loss_mask, dtype=bool)
        mu = np.array(item.inference_logprobs, dtype=np.float64)
        policy = np.array(item.trainer_logprobs, dtype=np.float64)
        starts = np.flatnonzero(np.array(item.position_ids) == 0).tolist() or [0]
        for place, (a, b) in enumerate(zip(starts, [*starts[1:], len(ids)], strict=True)):
            on = mask[a:b]
            if not on.any():
                continue
            if not alone:
                trained.setdefault(digest(ids[a:b]), {})[item.step] = policy[a:b][on]
                continue
            row = number * WITHIN + place
            out.put(
                row,
                item.step,
                (str(path), row),
                {},
                label=f"{item.step}/{path.stem}/{row}",
                tokens={"mu": mu[a:b][on], "policy": policy[a:b][on]},
                length=int(on.sum()),
            )
    out.close()


@dataclass
class _Seen:
    """What the traces were like, over all files."""

    matched: set[bytes] = field(default_factory=set)
    branching: int = 0
    spanning: int = 0
    frozen: int = 0
    steps: dict[str, set[int]] = field(default_factory=dict)

    def explain(self, rows: Rows) -> None:
        """Say it."""
        split = sum(len(steps) > 1 for steps in self.steps.values())
        told = {
            "traces branch (compaction, subagents): one rollout each, with all it sampled": (
                self.branching
            ),
            "rollouts were sampled across weight updates; lag counts from the oldest": (
                self.spanning
            ),
            "rollouts carry no policy version (frozen weights sampled them): lag is unknown": (
                self.frozen
            ),
            "groups were trained on in several batches: a group in each": split,
        }
        for what, count in told.items():
            if count:
                rows.note(f"{count} {what}")


def _read_traces(path: Path, rows: Rows, trained: Trained, seen: _Seen) -> None:
    out = FileRows(path, rows)
    batch = _batch(path)
    for number, item in decode_lines(path, Episode, rows):
        work = item.run.work
        step = work.step if batch is None else batch
        if "eval" in (item.run.type, work.type) or not rows.wanted(step):
            continue
        if not item.ok:
            rows.note("some episodes ended in an error (ok = false); they are left out")
            rows.fail(step)
            continue
        for place, trace in enumerate(item.traces[:WITHIN]):
            if not (trace.ok and trace.agent.trainable):
                rows.note("traces that failed or are of agents not trained (judges) are left out")
                if trace.agent.trainable:
                    rows.fail(step)
                continue
            _put(number * WITHIN + place, step, item, trace, out, trained, seen)
    out.close()


def _batch(path: Path) -> int | None:
    """The batch whose directory the file lies in: ``step_N/train/{all,effective}``."""
    name = path.absolute().parents[2].name if len(path.absolute().parents) > 2 else ""
    number = name.removeprefix("step_")
    known = name.startswith("step_") and number.isascii() and number.isdigit() and len(number) < 16
    return int(number) if known else None


def _put(
    row: int, step: int, item: Episode, trace: Sampled, out: FileRows, trained: Trained, seen: _Seen
) -> None:
    tokens = sampled_tokens(row, trace.nodes, out)
    utility = _utility(trace)
    if tokens is None:
        return
    if not utility:
        out.reject(row, "rewards", None, "missing")
        return
    policy = trained_log_probs(trace.nodes, trained, step, seen.matched)
    if policy is not None:
        tokens["policy"] = policy
    span = item.run.work.policy
    lag = None if span is None or span.start is None else max(step - 1 - span.start, 0)
    seen.branching += len(leaves(trace.nodes)) > 1
    seen.spanning += span is not None and (span.end or 0) > (span.start or 0)
    seen.frozen += lag is None
    seen.steps.setdefault(item.group.id, set()).add(step)
    length = len(tokens["mu"]) if "mu" in tokens else None
    identity = hash((item.id, trace.id)) if item.id or trace.id else row
    out.put(
        row,
        step,
        item.group.id,
        utility,
        tokens=tokens,
        length=length,
        lag=lag,
        identity=identity,
        logged=_logged(trace),
    )


def _logged(trace: Sampled) -> dict[str, float]:
    """Advantage of the rollout, whether it was cut, and its turns; a failed one has no row."""
    logged: dict[str, float] = {"turns": sum(node.sampled for node in trace.nodes), "error": 0.0}
    logged["truncated"] = trace.stop_condition in _CUT or (
        next((call.finish_reason for call in reversed(trace.calls) if call.error is None), "")
        == "length"
    )
    advantages = {a for node in trace.nodes if node.sampled for a in node.advantages or ()}
    if len(advantages) == 1:
        logged["advantage"] = advantages.pop()
    return logged


def _utility(trace: Sampled) -> dict[str, float]:
    """The weighted sum, and every reward by itself when there are several."""
    found: dict[str, float] = {}
    total = 0.0
    for name, reward in trace.rewards.items():
        if reward is None:
            continue
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
        places.setdefault(row // WITHIN, []).append(row % WITHIN)
    for number, item in chosen_lines(path, places, dict[str, Any]):
        for place in places[number]:
            nodes = item["traces"][place]["nodes"] if "traces" in item else []
            first = next((i for i, node in enumerate(nodes) if node.get("sampled")), len(nodes))
            shown = [plain_text(node.get("message")) for node in nodes]
            row = number * WITHIN + place
            yield row, "\n".join(shown[:first]), "\n".join(shown[first:])


FORMAT = Format(
    name="prime-rl",
    title="prime-rl traces and token exports",
    recognises=recognises,
    read=read,
    home=run_of,
    texts=read_texts,
    fields={
        "log_mu": "logprobs",
        "log_ref": "reference_logprobs",
        "log_policy": "trainer_logprobs",
    },
    needs={
        "utility": "traces.jsonl beside the token exports: monitors.file, on by default",
        "mu": "logprobs in the traces, on by default",
        "old": "trainer log-probs: enable_token_export=true",
        "policy": "trainer log-probs: enable_token_export=true",
        "ref": "reference_logprobs, which only distillation runs record",
    },
)
