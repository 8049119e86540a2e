"""tinker-cookbook: rollout summaries and the capture store, through its own types and stores."""

import importlib
from importlib.metadata import version
from pathlib import Path
from typing import Any

from given import Rollout, by_step, groups

RUN = "run"


def write(given: list[Rollout], out: Path) -> str:
    """``run/``: summaries of training and evaluation, and the capture store of the training."""
    logging = importlib.import_module("tinker_cookbook.rl.rollout_logging")
    storage = importlib.import_module("tinker_cookbook.stores.storage").LocalStorage(out / RUN)
    stores = importlib.import_module("tinker_cookbook.stores.training_store")
    for step, rows in by_step(given):
        for split, base in (("train", "train"), ("eval/gsm8k", "eval_gsm8k")):
            records = logging.serialize_rollout_summaries(
                split=split,
                iteration=step,
                trajectory_groups_P=[_group(members) for members in groups(rows)],
                taglist_P=[["gsm8k"]] * 3,
                sampling_client_steps_P=[step, step, step - 1],
            )
            stores.TrainingRunStore(storage).write_rollouts(step, records, base_name=base)
    _capture(given, out)
    return f"tinker-cookbook {version('tinker-cookbook')}"


def _turns(r: Rollout) -> list[tuple[int, int]]:
    """First and last token of every sampled turn."""
    starts = [i for i in range(len(r.ids)) if r.on[i] and (i == 0 or not r.on[i - 1])]
    stops = [
        i + 1 for i in range(len(r.ids)) if r.on[i] and (i + 1 == len(r.ids) or not r.on[i + 1])
    ]
    return list(zip(starts, stops, strict=True))


def _group(members: list[Rollout]) -> Any:
    types = importlib.import_module("tinker_cookbook.rl.types")
    tokens = importlib.import_module("tinker_cookbook.completers").TokensWithLogprobs
    tinker = importlib.import_module("tinker")
    trajectories = []
    for r in members:
        turns = _turns(r)
        steps = [
            types.Transition(
                ob=tinker.ModelInput.from_ints(r.prompt + r.ids[:start]),
                ac=tokens(r.ids[start:stop], r.mu[start:stop]),
                reward=r.reward / 2 if stop == len(r.ids) else 0.0,
                episode_done=stop == len(r.ids),
                metrics={"correct": r.reward},
            )
            for start, stop in turns
        ]
        trajectories.append(types.Trajectory(steps, tinker.ModelInput.from_ints([])))
    return types.TrajectoryGroup(trajectories, [r.reward / 2 for r in members], [{}] * len(members))


def _capture(given: list[Rollout], out: Path) -> None:
    """A first attempt that died after three trajectories, then the whole run."""
    client = importlib.import_module("tinker_cookbook.capture.store.client")
    db = importlib.import_module("tinker_cookbook.capture.store.db").CaptureDB(
        out / RUN / "capture.sqlite"
    )
    number = 0
    for attempt, rollouts in ((0, given[:3]), (1, given)):
        for r in rollouts:
            for start, stop in _turns(r):
                number += 1
                record = _record(r, attempt, number, start, stop)
                db.ingest_wire(client.wire_rows_from_sample_record(record))
    db.close()


def _record(r: Rollout, attempt: int, number: int, start: int, stop: int) -> dict[str, Any]:
    """What the instrumented client records of one sampled turn."""
    names = ("run_id", "run_attempt", "split", "iteration", "group_idx", "traj_idx", "purpose")
    values = ("r", attempt, "train", r.step, r.group, r.place, "rollout")
    sample = {"tokens": r.ids[start:stop], "logprobs": r.mu[start:stop], "stop_reason": "stop"}
    return {
        "kind": "sample",
        "scope": dict(zip(names, values, strict=True)),
        "sampling_session_id": "s",
        "seq_id": number,
        "created_at": 1.0 * number,
        "model_path": f"tinker://r/{r.step}",
        "prompt_tokens": r.prompt + r.ids[:start],
        "samples": [sample],
    }
