"""slime: rollout and train dumps (``--dump-details``, or ``--save-debug-*-data``).

Torch files of plain data and numbers of numpy, read without either. The rollout file has groups,
rewards and the sampler's log-probs; the train file the old and reference log-probs, joined by
``rollout_position``. Siblings of one ``rollout_id`` (subagents, histories before and after they
were compacted) are segments of one answer. Files of evaluations (``eval_N``) are left out.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tod.base import DataError
from tod.base.text import counted
from tod.formats.columns import Rows, shorten
from tod.formats.files import COMPRESSED, whole_file
from tod.formats.format import (
    FileProbe,
    Format,
    group_size,
    newest_per_step,
    step_in_name,
)
from tod.formats.jsonl import plain_text
from tod.formats.row_by_row import FileRows, as_float, turns_of
from tod.formats.untrusted.numpy_values import NAMES
from tod.formats.untrusted.torch_files import is_torch_file, load_torch

_TRAIN = {"mu": "rollout_log_probs", "old": "log_probs", "ref": "ref_log_probs"}
_TRAIN_KEY = b"\x0e\x00\x00\x00format_version"
"""The key as the pickle writes it: a torch zip has an entry called ``.format_version`` too."""
_FAILED = ("failed", "aborted")
_NUMBERS = frozenset({int, float, bool})
_MAIN = ("score", "reward", "total", "acc", "accuracy")


def recognises(probe: FileProbe) -> str | None:
    """By the first keys of its pickle."""
    if probe.suffix != ".pt" or not is_torch_file(probe.head):
        return None
    if b"rollout_id" not in probe.head or b"samples" not in probe.head:
        return None
    kind = "train" if _TRAIN_KEY in probe.head else "rollout"
    return f"a torch file of rollout_id and samples (slime {kind} data)"


def read(files: Sequence[Path], rows: Rows) -> None:
    """Rollout files joined with the train files of the same rollout id."""
    kept = [path for path in files if not path.name.startswith("eval_")]
    if len(kept) < len(files):
        rows.note(f"{counted(len(files) - len(kept), 'file')} of evaluations (eval_*) left out")
    train_files = [path for path in kept if _is_train(path)]
    train = dict(newest_per_step(train_files, rows, _step_of))
    rollouts = dict(newest_per_step([p for p in kept if p not in train_files], rows, _step_of))
    for step in sorted(set(rollouts) | set(train)):
        trained = _trained(train[step], rows) if step in train else {}
        if step in rollouts:
            _read_rollout(rollouts[step], step, rows, trained)
        else:
            _read_train_alone(train[step], step, rows, trained)


def _step_of(path: Path) -> int | None:
    """The rollout id: in the name, or else in the file."""
    named = step_in_name(path)
    if named is not None:
        return named
    said = _load(path).get("rollout_id")
    return said if type(said) is int and 0 <= said < 1 << 53 else None


def _is_train(path: Path) -> bool:
    return _TRAIN_KEY in FileProbe(path).head


def _load(path: Path) -> dict[str, Any]:
    compressed = path.suffix.lower() in COMPRESSED
    data = load_torch(whole_file(path) if compressed else path, path, NAMES)
    if not isinstance(data, dict) or not isinstance(data.get("samples"), list):
        raise DataError(f"{path}: no list `samples` in it: it is no slime dump. Leave it out.")
    return data


def _trained(path: Path, rows: Rows) -> dict[int, dict[str, Any]]:
    """Samples of a train file by their position in the rollout file."""
    data = _load(path)
    found: dict[int, dict[str, Any]] = {}
    for place, sample in enumerate(data["samples"]):
        position = sample.get("rollout_position") if isinstance(sample, dict) else None
        if isinstance(position, int) and position >= 0:
            raw = data.get("raw_reward")
            raw = raw if isinstance(raw, list) and position < len(raw) else None
            found[position] = {**sample, "raw_reward": raw and raw[position]}
        else:
            rows.reject(path, place, "rollout_position", position, "not a position")
    return found


def _read_rollout(path: Path, step: int, rows: Rows, trained: dict[int, dict[str, Any]]) -> None:
    out = FileRows(path, rows)
    samples = _load(path)["samples"]
    newest = max((v for sample in samples for v in _versions(sample)), default=None)
    spared = _spared(step, samples, trained, rows)
    for place, sample in enumerate(samples):
        if not isinstance(sample, dict):
            out.reject(place, "samples", sample, "not a sample")
            continue
        if spared and _group(sample) in spared:
            continue
        version = _version(sample)
        lag = None if newest is None or version is None else newest - version
        _put(place, step, sample, trained.get(place, {}), out, lag)
    out.close()


def _group(sample: Any) -> int | str | None:
    group = sample.get("group_index") if isinstance(sample, dict) else None
    return group if isinstance(group, int | str) else None


def _spared(step: int, samples: list[Any], trained: dict[int, Any], rows: Rows) -> set[Any]:
    """Groups to leave out: slime trains on whole batches, so a step's last rollouts may be spared.

    Their log-probs under the old policy and the reference were never taken. Where that is every
    group, none is left out, and those log-probs are unknown.
    """
    if not trained or len(trained) >= len(samples):
        return set()
    count = len(samples) - len(trained)
    found = {_group(s) for place, s in enumerate(samples) if place not in trained}
    whole = {_group(s) for s in samples} - found
    how = (
        f"{len(found)} groups with such are left out" if whole else "no group was trained on whole"
    )
    rows.note(f"step {step}: {count} rollouts were not trained on; {how}")
    return found if whole else set()


def _put(place: int, step: int, sample: Any, other: Any, out: FileRows, lag: int | None) -> None:
    group, length = sample.get("group_index"), sample.get("response_length")
    utility = _utility(sample.get("reward"), out.rows)
    if utility is None and sample.get("reward") is None and sample.get("status") in _FAILED:
        out.rows.fail(step)
        return
    if not isinstance(group, int | str) or utility is None:
        name = "reward" if isinstance(group, int | str) else "group_index"
        out.reject(place, name, sample.get(name), "missing, or not a number")
        return
    mask = other.get("loss_masks", sample.get("loss_mask"))
    tokens: dict[str, Any] = {"mu": sample.get("rollout_log_probs")}
    tokens |= {name: other[key] for name, key in _TRAIN.items() if other.get(key) is not None}
    tokens["teacher"] = other.get("teacher_log_probs", sample.get("teacher_log_probs"))
    kept = _of_policy(place, tokens, mask, length, out)
    if kept is not None:
        length = length if isinstance(length, int) else None
        label = f"{step}/{shorten(group, 20)}"
        rollout = sample.get("rollout_id")
        out.put(
            place,
            step,
            group,
            utility,
            label=label,
            tokens=kept,
            length=length,
            lag=lag,
            logged=_logged(sample, other, mask),
            segment=hash(("rollout", rollout)) if type(rollout) is int else None,
            segment_place=place,
        )


def _logged(sample: Any, other: Any, mask: Any) -> dict[str, float]:
    """Advantage of the answer, whether it was cut or failed, and the policy's turns."""
    logged: dict[str, float] = {}
    advantages = _numbers(other.get("advantages"))
    if advantages is not None and advantages.size and not np.ptp(advantages):
        logged["advantage"] = float(advantages[0])
    status = sample.get("status")
    if isinstance(status, str):
        logged |= {"truncated": status == "truncated", "error": status in _FAILED}
    on = None if mask is None else _numbers(mask)
    if on is not None:
        logged["turns"] = turns_of(on)
    return logged


def _of_policy(
    place: int, tokens: Any, mask: Any, length: Any, out: FileRows
) -> dict[str, Any] | None:
    """Log-probs of the tokens that the mask admits, by policy; None when the row was refused."""
    on = None if mask is None else _numbers(mask)
    if mask is not None and on is None:
        out.reject(place, "loss_mask", mask, "not a list of one number per token")
        return None
    kept: dict[str, Any] = {}
    for name, given in tokens.items():
        if given is None:
            continue
        values, field = _numbers(given), out.rows.field(f"log_{name}")
        if values is None:
            out.reject(place, field, given, "not a list of one number per token")
            return None
        if not values.size:
            continue
        wrong = isinstance(length, int) and len(values) != length
        if wrong or (on is not None and len(values) != len(on)):
            shown = f"{len(values)} for a response of {length}"
            out.reject(place, field, shown, "another length than the response")
            return None
        kept[name] = values[on != 0] if on is not None and on.any() else values
    return kept


def _numbers(values: Any) -> Any:
    """One number per token, [T]; None where that is not what is held."""
    listed = isinstance(values, list) and _NUMBERS.issuperset(map(type, values))
    if not listed and not (isinstance(values, np.ndarray) and values.ndim == 1):
        return None
    try:
        return np.asarray(values, dtype=np.float64)
    except OverflowError:  # a whole number beyond the largest double
        return None


def _utility(reward: Any, rows: Rows) -> dict[str, float] | None:
    """A number, or the numbers of a dictionary with the main one first."""
    single = as_float(reward)
    if single is not None:
        return {"reward": single}
    if not isinstance(reward, dict):
        return None
    numbers = {str(k): v for k, given in reward.items() if (v := as_float(given)) is not None}
    wanted = rows.mapping.get("utility", "")
    main = next((name for name in (wanted, *_MAIN) if name in numbers), None)
    if main is None:
        return None
    rows.note(f"rewards are dictionaries: {main!r} is the reward, unless --map utility=NAME")
    return {main: numbers[main], **numbers}


def _versions(sample: Any) -> list[int]:
    """The policy versions that wrote the sample; none where one of them is no number."""
    versions = sample.get("weight_versions") if isinstance(sample, dict) else None
    if not isinstance(versions, list):
        return []
    known = [int(v) for v in versions if str(v).isascii() and str(v).isdigit() and len(str(v)) < 9]
    return known if len(known) == len(versions) else []


def _version(sample: Any) -> int | None:
    """The oldest of them."""
    return min(_versions(sample), default=None)


def _read_train_alone(path: Path, step: int, rows: Rows, trained: dict[int, Any]) -> None:
    size = group_size(rows)
    if size is None:
        raise DataError(
            f"{path}: a train dump without the rollout dump of the same id has no groups. Add the "
            "rollout_data directory, or give the number of samples per prompt with --map "
            "group_size=N."
        )
    out = FileRows(path, rows)
    for position, other in sorted(trained.items()):
        sample = {"group_index": position // size, "reward": other["raw_reward"]}
        sample["response_length"] = other.get("response_lengths")
        _put(position, step, sample, other, out, None)
    out.close()


def read_texts(path: Path, wanted: Sequence[int]) -> Iterator[tuple[int, str, str]]:
    """Prompt and response."""
    samples = _load(path)["samples"]
    for place in wanted:
        sample = samples[place] if isinstance(samples[place], dict) else {}
        yield place, plain_text(sample.get("prompt")), plain_text(sample.get("response"))


FORMAT = Format(
    name="slime",
    title="slime rollout and train dumps",
    recognises=recognises,
    read=read,
    texts=read_texts,
    settings=("group_size",),
    fields={f"log_{name}": key for name, key in _TRAIN.items()}
    | {"log_teacher": "teacher_log_probs"},
    needs={
        "mu": "rollout_log_probs: run with --use-rollout-logprobs or --use-tis",
        "old": "the train dump beside the rollout dump: --save-debug-train-data or --dump-details",
        "ref": "the train dump of a run with a reference model (--ref-load)",
    },
)
