"""SkyRL: ``{export_path}/dumped_data/global_step_{N}_training_input.pkl``, and evaluations.

A pickle of a ``TrainingInputBatch``, read by a machine that admits exactly the three names it
needs. Rows are left-padded: only masked entries are read. Groups come from
``policy_prompt_boundaries``; the last ``pad_size`` rows are copies that fill the batch. Rows whose
prompt goes on from the row before are steps of one trajectory, segments of one answer. SkyRL takes
the rewards out before the dump: they come from a file beside it (``--map rewards=FILE``), or from
the returns of a critic at gamma = lambda = 1, or the advantage stands in for them.

Evaluations (``dumped_evals/global_step_{N}_evals/{source}.jsonl``) hold text and scores, a number
or one per token; their groups are runs of equal prompts. They are read where no training input is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from tod.base import DataError
from tod.base.text import counted
from tod.formats.columns import Rows, shorten
from tod.formats.files import base_suffix, whole_file
from tod.formats.format import FileProbe, Format, group_size, newest_per_step, step_in_name
from tod.formats.jsonl import decode_lines, texts_of
from tod.formats.rewards import RewardFile, explains, reward_file
from tod.formats.row_by_row import FileRows, runs, turns_of
from tod.formats.untrusted.pickles import Names, Opaque, load
from tod.formats.untrusted.torch_files import load_torch, shape_of

_MODULE = "skyrl.backends.skyrl_train.training_batch"
_KINDS = frozenset(
    {"int64", "int32", "int16", "int8", "uint8", "bool", "float64", "float32", "float16"}
)
_EVALUATION = ("input_prompt", "output_response", "score", "env_class")
_LOGS = {"mu": "rollout_logprobs", "old": "action_log_probs", "ref": "base_action_log_probs"}


def _state(_: Any, state: Any) -> Any:
    return state


NAMES: Names = {
    f"{_MODULE}.TrainingInputBatch": Opaque,
    f"{_MODULE}._rebuild_tensor_batch": _state,
    "torch.device": Opaque,
}


def recognises(probe: FileProbe) -> str | None:
    """By the class it names."""
    if probe.suffix == ".jsonl" and probe.has(*_EVALUATION):
        return "JSON lines with input_prompt, output_response, score and env_class (SkyRL evals)"
    if probe.suffix == ".pkl" and (
        b"TrainingInputBatch" in probe.head or "training_input" in probe.path.name
    ):
        return "a pickled TrainingInputBatch (SkyRL)"
    return None


def read(files: Sequence[Path], rows: Rows) -> None:
    """Training inputs, one per step; evaluations where there is none."""
    lines = [path for path in files if base_suffix(path) == ".jsonl"]
    files = [path for path in files if path not in lines]
    if not files:
        _read_evaluations(lines, rows)
        return
    if lines:
        rows.note(f"{counted(len(lines), 'file')} of evaluations (dumped_evals) left out")
    plain = [path for path in files if "training_input" not in path.name]
    named = [path for path in files if "training_input" in path.name]
    if len(plain) > 1:
        raise DataError(
            f"{plain[0]} and {counted(len(plain) - 1, 'other file')}: no global_step_N in their "
            "names, so their steps are unknown. Rename them, or read one at a time."
        )
    steps = newest_per_step(named, rows) + [(0, path) for path in plain]
    given = reward_file(rows, len(steps))
    for step, path in steps:
        _read_file(path, step, rows, given)
    if given is not None and given.leftover():
        rows.note(f"{given.path}: {given.leftover()} rows are of no row of these dumps")


@dataclass(frozen=True)
class _Dump:
    """The arrays of one batch, [rows, tokens], and the group of every row."""

    mask: Any
    spare: Any
    logs: Mapping[str, Any]
    owner: Any
    advantages: Any
    returns: Any
    values: Any
    segment: Any


def _read_file(path: Path, step: int, rows: Rows, given: RewardFile | None) -> None:
    state = load(whole_file(path), NAMES, path)
    if not isinstance(state, dict) or not isinstance(state.get("batch_dict"), dict):
        raise DataError(f"{path}: a pickle without batch_dict: it is no SkyRL training input.")
    metadata = state.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    batch = state["batch_dict"]
    mask = _array(path, batch, "loss_mask")
    spare = _array(path, batch, "response_mask")
    mask = spare if mask is None else mask
    if mask is None or mask.ndim != 2:
        raise DataError(f"{path}: no loss_mask of two axes: which tokens are the policy's?")
    logs = {name: _array(path, batch, key) for name, key in _LOGS.items()}
    logs = {name: values for name, values in logs.items() if values is not None}
    for name, values in logs.items():
        if values.shape != mask.shape:
            raise DataError(
                f"{path}: {_LOGS[name]} has shape {values.shape}, loss_mask {mask.shape}: the dump "
                "is not of one batch. Leave the file out."
            )
    count = max(len(mask) - _whole(metadata.get("pad_size")), 0)
    owner = _owners(path, metadata.get("policy_prompt_boundaries"), len(mask))
    like = {key: _array(path, batch, key) for key in ("advantages", "returns", "values")}
    same = {key: v if v is not None and v.shape == mask.shape else None for key, v in like.items()}
    segment = _segments(path, batch, mask if spare is None else spare, owner, count)
    dump = _Dump(mask[:count] != 0, spare, logs, owner, **same, segment=segment)
    _put_all(path, step, rows, dump, given)


def _put_all(path: Path, step: int, rows: Rows, dump: _Dump, given: RewardFile | None) -> None:
    out, worth = FileRows(path, rows), Worth(dump, given, rows)
    kept: list[tuple[int, Any, dict[str, float]]] = []
    for row in range(len(dump.mask)):
        on = dump.mask[row]
        if not on.any() and dump.spare is not None and dump.spare.shape[1] == dump.mask.shape[1]:
            on = dump.spare[row] != 0
        utility = worth.utility(step, row, on) if on.any() and dump.owner[row] >= 0 else None
        if not on.any():
            out.reject(row, "loss_mask", 0, "no token of the policy")
        elif dump.owner[row] < 0:
            out.reject(row, "policy_prompt_boundaries", None, "the row is in no group")
        elif utility is None:
            why = f"{path.name} row {row} has none in the file of rewards"
            out.reject(row, "rewards", None, why)
        else:
            kept.append((row, on, utility))
    owner = dump.owner[[row for row, _, _ in kept]]
    names = worth.explained([utility for _, _, utility in kept], owner, path)
    for (row, on, utility), group in zip(kept, owner.tolist(), strict=True):
        out.put(
            row,
            step,
            group,
            {name: utility[name] for name in names if name in utility},
            label=f"{step}/{group}",
            tokens={name: values[row][on] for name, values in dump.logs.items()},
            length=int(on.sum()),
            logged=worth.logged(row, on),
            segment=None if dump.segment is None else int(dump.segment[row]),
            segment_place=row,
        )
    out.close()


def _segments(path: Path, batch: Any, mask: Any, owner: Any, count: int) -> Any:
    """The trajectory of every row, where some have several rows; None where none has.

    A step of a trajectory (``step_wise_trajectories``) goes on from all tokens of the row before:
    its prompt begins with them. Which rows are a last step is taken out before the dump.
    """
    tokens, there = (_array(path, batch, key) for key in ("sequences", "attention_mask"))
    if tokens is None or there is None or tokens.shape != there.shape or tokens.ndim != 2:
        return None
    before = tokens.shape[1] - mask.shape[1]
    trajectory = np.arange(len(owner))
    whole = np.zeros(0)
    for row in range(count):
        held = there[row] != 0
        own = np.flatnonzero(mask[row])
        start = before + int(own[0]) if len(own) else tokens.shape[1]
        prompt = tokens[row, :start][held[:start]]
        same = row > 0 and owner[row] == owner[row - 1] and 0 < len(whole) <= len(prompt)
        if same and np.array_equal(prompt[: len(whole)], whole):
            trajectory[row] = trajectory[row - 1]
        whole = tokens[row][held]
    return trajectory if len(np.unique(trajectory[:count])) < count else None


@dataclass
class Worth:
    """The utilities of the rows of one dump, and what is to be said of them.

    Attributes:
        dump: Arrays ``advantages``, ``returns`` and ``values``, [rows, tokens] or None.
        given: Rewards from a file beside the dump, or None.
        rows: Where notes go.
        varied: Whether some row's advantages differ from token to token.
        curved: Whether some row's returns do.
    """

    dump: Any
    given: RewardFile | None
    rows: Rows
    varied: bool = False
    curved: bool = False

    def utility(self, step: int, row: int, on: Any) -> dict[str, float] | None:
        """All that may be a utility of a row; None where a file beside lacks it."""
        found: dict[str, float] = {}
        if self.given is not None:
            known = self.given.of(step, row)
            if known is None:
                return None
            found |= known
        if self.dump.values is not None and self.dump.returns is not None:
            returns = self.dump.returns[row][on]
            self.curved |= _varies(returns)
            found.setdefault("return", float(returns[0]))
        if self.dump.advantages is not None:
            own = self.dump.advantages[row][on]
            self.varied |= _varies(own)
            found["advantage"] = float(own[-1])
        return found

    def logged(self, row: int, on: Any) -> dict[str, float]:
        """The advantage of a row where it is one number, and the policy's turns."""
        told: dict[str, float] = {"turns": turns_of(on)}
        if self.dump.advantages is not None and not self.varied:
            told["advantage"] = float(self.dump.advantages[row][on][-1])
        return told

    def explained(self, found: Sequence[dict[str, float]], owner: Any, path: Path) -> list[str]:
        """Names of the utilities that mean something, with a note on what they are.

        Args:
            found: All that may be a utility, of every row.
            owner: Group of every row.
            path: The dump, for notes.
        """
        names = list(dict.fromkeys(name for item in found for name in item))
        given = [name for name in names if name not in ("advantage", "return")]
        if self.given is not None:
            self._check(found, given, owner, path)
            return given
        if "return" in names and not self.curved:
            self.rows.note(
                "SkyRL drops the rewards before this dump; the critic's returns are one number per "
                "answer (gamma = lambda = 1), so they are the rewards, KL penalties included"
            )
            return ["return"]
        if "advantage" in names and not self.varied:
            self.rows.extras["stand_in"] = True
            self.rows.note(
                "SkyRL drops the rewards before this dump; `advantage` stands in for them. Within "
                "a group it is the reward shifted and scaled, so eta is per unit of advantage: "
                "tier B at most. --map rewards=FILE brings the rewards themselves"
            )
            return ["advantage"]
        if "advantage" in names:
            self.rows.note(
                "advantages differ from token to token (a critic): they cannot stand for rewards"
            )
        return []

    def _check(
        self, found: Sequence[dict[str, float]], given: list[str], owner: Any, path: Path
    ) -> None:
        """Whether the rewards are in the order of the rows, as far as advantages can tell."""
        reward, advantage = (
            np.array([item.get(name, np.nan) for item in found])
            for name in (given[0] if given else "", "advantage")
        )
        if np.isnan(advantage).all() or self.varied:
            self.rows.note("the order of the rewards cannot be checked: no advantages per answer")
        elif not explains(reward, advantage, np.asarray(owner)):
            self.rows.note(
                f"{path.name}: its advantages do not follow the rewards given: another order of "
                "rows, another file, or advantages that are not the centred reward"
            )


def _varies(values: Any) -> bool:
    return bool(np.ptp(values) > 1e-6 * max(1.0, float(np.abs(values).max())))


def _whole(value: Any) -> int:
    return max(int(value), 0) if isinstance(value, int) else 0


def _owners(path: Path, boundaries: Any, count: int) -> Any:
    """The group of every row, −1 for none."""
    owner = np.full(count, -1)
    if not isinstance(boundaries, list | tuple):
        raise DataError(
            f"{path}: no policy_prompt_boundaries in its metadata, so its rows have no groups. "
            "Dump with a SkyRL that writes them."
        )
    before = 0
    for group, pair in enumerate(boundaries):
        try:
            first, last = (int(value) for value in pair)
        except (TypeError, ValueError, OverflowError):
            shown = shorten(pair)
            raise DataError(f"{path}: prompt boundary {group} is {shown}, not a pair.") from None
        if not before <= first <= last:
            raise DataError(
                f"{path}: prompt boundary {group} is {shorten(pair)}, and the one before ends at "
                f"{before}: groups that overlap. Leave the file out."
            )
        owner[first:last] = group
        before = last
    return owner


def _array(path: Path, batch: Any, key: str) -> Any:
    """A tensor of the dump as an array; None where it is absent."""
    value = batch.get(key)
    if value is None:
        return None
    try:
        if value["format"] == "torch":
            return np.asarray(load_torch(value["data"], f"{path}:{key}"), dtype=np.float64)
        kind = value["dtype"]
        if type(kind) is not str or kind not in _KINDS:
            raise ValueError(f"type {shorten(kind)}")
        flat = np.frombuffer(value["data"], dtype=np.dtype(kind))
        return flat.reshape(shape_of(value["shape"])).astype(np.float64)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: {key} is not a tensor of a dump ({error}).") from None


class Evaluated(msgspec.Struct, gc=False):
    """The needed fields of a row of an evaluation."""

    input_prompt: str
    score: float | bool | list[float]


def _read_evaluations(files: Sequence[Path], rows: Rows) -> None:
    """One file per step and source; samples of a prompt follow each other."""
    rows.grouping = "runs"
    rows.texts = texts_of("input_prompt", "output_response")
    rows.fields["utility.score"] = "score"
    rows.note("evaluations: sampled with the settings of evaluation, never trained on")
    rows.needs |= {
        "mu": "log-probs, which evaluations lack: trainer.dump_data_batch=true for dumped_data",
        "utility": "score, which every evaluation has",
    }
    size = group_size(rows)
    for path in files:
        step = step_in_name(path.absolute().parent) or 0
        if not rows.wanted(step):
            continue
        kept = list(decode_lines(path, Evaluated, rows))
        out = FileRows(path, rows)
        groups = runs([item.input_prompt for _, item in kept], size)
        for group, (number, item) in zip(groups, kept, strict=True):
            score = float(sum(item.score)) if isinstance(item.score, list) else item.score
            label = f"{step}/{path.stem}/{group}"
            out.put(number, step, (path.name, group), {"score": score}, label=label)
        out.close()


FORMAT = Format(
    name="skyrl",
    title="SkyRL training input",
    recognises=recognises,
    read=read,
    settings=("rewards", "group_size"),
    fields={f"log_{name}": key for name, key in _LOGS.items()},
    needs={
        "utility": "rewards, which SkyRL drops before the dump: --map rewards=FILE, with step, row "
        "and the reward of every row",
        "mu": "generator.sampling_params.logprobs set, so that rollout_logprobs is kept",
        "old": "action_log_probs, which every SkyRL training input holds",
        "ref": "a reference model (use_kl_loss or use_kl_in_reward)",
        "lag": "nothing SkyRL writes: its synchronous trainer has no lag",
        "text": "text, where SkyRL's training input holds token ids only",
    },
)
