"""Multi-turn rollouts: several segments of one answer, turns, failures, cut answers."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tod.findings import find, run_of
from tod.findings.findings import series_of
from tod.findings.pieces import from_arrays, join, read_piece, signature, to_arrays
from tod.findings.rollouts_of import rollouts_of
from tod.formats import Reading, read

TURNS = {"turns": 3}


def close(values: Any, wanted: list[float]) -> bool:
    """Equal to the rounding of single precision, in which files hold them."""
    precision = float(np.finfo(np.float32).eps)
    return bool(np.allclose(values, wanted, rtol=4 * precision, atol=0.0))


# verl: "{uid}_{session}_{index}", of which only the last index takes part in GRPO


def verl_lines(path: Path, order: list[tuple[int, int, int]]) -> Path:
    """One line an output; only the last of a session is scored by itself, the others copy it."""
    rows = [
        {
            "input": f"q{prompt}",
            "output": f"{prompt}.{session}.{output}",
            "gts": None,
            "score": float(session % 2),
            "step": 1,
            "uid": f"u{prompt}_{session}_{output}",
        }
        for prompt, session, output in order
    ]
    path.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (path / "1.jsonl").write_text(lines, encoding="utf-8")
    return path / "1.jsonl"


def test_verls_outputs_of_a_session_are_one_answer(tmp_path: Path) -> None:
    """Session 0 has 12 outputs, in the order of their names as text, so that 10 is before 2."""
    order = [(p, s, o) for p in range(5) for s in range(4) for o in range(12 if s == 0 else 1)]
    order.sort(key=lambda x: f"u{x[0]}_{x[1]}_{x[2]}")
    reading = read(verl_lines(tmp_path, order))
    assert reading.contexts.sizes.tolist() == [4] * 5
    assert reading.utility["score"].tolist() == [0.0, 1.0, 0.0, 1.0] * 5
    assert [t.completion for t in reading.texts([0])[0]] == ["0.0.11", "0.1.0", "0.2.0", "0.3.0"]
    assert "5 answers in several segments" in " ".join(reading.source.notes)
    assert reading.source.rejected == 0


def test_a_step_written_twice_is_no_more_segments(tmp_path: Path) -> None:
    order = [(p, s, o) for p in range(5) for s in range(4) for o in range(2)]
    reading = read(verl_lines(tmp_path, [*order, *order]))
    assert reading.contexts.sizes.tolist() == [4] * 5


def test_outputs_with_rewards_of_their_own_are_answers(tmp_path: Path) -> None:
    """Other writers count a prompt's answers where verl counts the outputs of a session."""
    path = verl_lines(tmp_path, [(p, 0, o) for p in range(5) for o in range(4)])
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert read(path).contexts.sizes.tolist() == [4] * 5  # one session a prompt: no group else
    for row in lines:
        row["score"] = float(row["output"].endswith("1"))
    more = [row | {"uid": row["uid"].replace("_0_", "_1_")} for row in lines]
    path.write_text("".join(json.dumps(row) + "\n" for row in lines + more), encoding="utf-8")
    assert read(path).contexts.sizes.tolist() == [8] * 5


def test_one_output_a_session_says_nothing_of_segments(tmp_path: Path) -> None:
    order = [(p, s, 0) for p in range(5) for s in range(4)]
    reading = read(verl_lines(tmp_path, order))
    assert reading.contexts.sizes.tolist() == [4] * 5
    assert not [note for note in reading.source.notes if "segment" in note]


# slime: siblings of one rollout_id; Sample.status


@pytest.fixture
def slime(tmp_path: Path) -> Any:
    torch = pytest.importorskip("torch")

    def write(samples: list[dict[str, Any]], step: int = 3) -> Path:
        path = tmp_path / "rollout_data" / f"{step}.pt"
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save({"rollout_id": step, "samples": samples}, path)
        return path

    return write


def sample(group: int, rollout: int | None, **changes: Any) -> dict[str, Any]:
    """As slime's ``Sample.to_dict``: three turns of the policy, a tool's tokens between."""
    return {
        "group_index": group,
        "index": 0,
        "rollout_id": rollout,
        "prompt": f"q{group}",
        "response": "a",
        "response_length": 6,
        "reward": 1.0,
        "loss_mask": [1, 0, 1, 1, 0, 1],
        "rollout_log_probs": [-0.5, 0.0, -0.25, -0.125, 0.0, -1.0],
        "weight_versions": ["3"],
        "status": "completed",
    } | changes


def test_slimes_siblings_are_one_answer(slime: Any) -> None:
    samples = [
        sample(g, None if g == 0 else 10 * g + i, reward=float(i))
        for g in range(3)
        for i in range(3)
    ]
    samples += [sample(1, 12, reward=2.0, response="last"), sample(2, 20, reward=5.0)]
    reading = read(slime(samples))
    assert reading.contexts.sizes.tolist() == [3, 3, 3]
    assert reading.utility["reward"].tolist() == [0, 1, 2, 0, 1, 2, 1, 2, 5]
    assert reading.log_mu is not None
    own = -1.875
    assert reading.log_mu.tolist() == [own] * 5 + [2 * own, own, own, 2 * own]
    assert reading.labels.length is not None
    assert reading.labels.length.tolist() == [6] * 5 + [12, 6, 6, 12]
    assert reading.logged["turns"].tolist() == [3] * 5 + [6, 3, 3, 6]
    assert reading.texts([1])[1][-1].completion == "last"


def test_slimes_status_is_what_findings_read(slime: Any) -> None:
    """Aborted ones without a reward are counted as failed and refuse nothing."""
    for step in range(20):
        broken = step >= 10
        samples = [sample(g, None, reward=float(i % 2)) for g in range(8) for i in range(4)]
        samples[0]["status"] = "truncated"
        if broken:
            for item in samples[::4]:
                item |= {"status": "aborted", "reward": None}
            samples[1] |= {"status": "failed"}
        path = slime(samples, step)
    reading = read(path.parent)
    assert reading.source.rejected == 0
    assert reading.failed == dict.fromkeys(range(10, 20), 8)
    run = run_of(reading)
    assert run.rollouts is not None and run.rollouts.truncated is not None  # noqa: PT018
    errors = series_of(run.rollouts)["environment_errors"]
    assert errors.values.tolist() == [0.0] * 10 + [9 / 32] * 10
    found = {f.kind: f for f in find(run).all}
    assert found["environment_errors"].severity == "warning"
    assert found["environment_errors"].onset is not None
    assert found["environment_errors"].onset.step == 10


def test_advantages_of_slime_come_from_the_train_dump(
    writers: Any, world: Any, tmp_path: Path
) -> None:
    reading = read(writers.write_slime(world, tmp_path))
    wanted = [r.advantage for several in world.groups().values() for r in several]
    assert close(reading.logged["advantage"], wanted)
    assert reading.logged["turns"].tolist() == [1.0] * len(wanted)
    assert reading.logged["error"].tolist() == [0.0] * len(wanted)


# prime-rl


def episode(step: int, group: int, place: int, **changes: Any) -> dict[str, Any]:
    """An episode of two turns with a tool between."""
    user = {"message": {"role": "user", "content": f"q{group}"}, "token_ids": [1], "mask": [False]}
    turn = {"sampled": True, "token_ids": [5, 6], "mask": [True, True], "logprobs": [-0.5, -0.5]}
    said = {"message": {"role": "assistant", "content": f"a{step}{group}{place}"}, **turn}
    tool = {
        "parent": 1,
        "message": {"role": "tool", "content": "4"},
        "token_ids": [7],
        "mask": [False],
    }
    nodes = [user, {"parent": 0, **said, "advantages": [0.5, 0.5]}, tool,
             {"parent": 2, **said, "advantages": [0.5, 0.5]}]  # fmt: skip
    trace = {"id": f"t{step}{group}{place}", "nodes": nodes, "ok": True,
             "rewards": {"correct": {"score": float(place % 2), "weight": 1.0}}}  # fmt: skip
    return {
        "id": f"e{step}{group}{place}",
        "group": {"id": f"g{step}{group}"},
        "run": {
            "type": "train",
            "work": {"type": "train", "step": step, "policy": {"start": step - 1}},
        },
        "ok": True,
        "traces": [trace | changes.pop("trace", {})],
    } | changes


def prime(root: Path, steps: range, broken: int, subset: str = "all") -> Path:
    for step in steps:
        rows = [episode(step, g, i) for g in range(8) for i in range(4)]
        if subset == "all" and step >= broken:
            for row in rows[::4]:
                row |= {"ok": False, "traces": []}
        for row in rows[1::8]:
            if row["traces"]:
                row["traces"][0]["stop_condition"] = "max_turns"
        for row in rows[2::8]:
            row["traces"][0]["calls"] = [{"finish_reason": "length"}, {"error": {"type": "x"}}]
        path = root / "rollouts" / f"step_{step}" / "train" / subset / "traces.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return root


def of_prime(reading: Reading) -> None:
    run = run_of(reading)
    found = find(run)
    kinds = {f.kind: f for f in found.all}
    finding = kinds["environment_errors"]
    assert finding.onset is not None and finding.onset.step == 12  # noqa: PT018
    assert run.rollouts is not None and run.rollouts.turns is not None  # noqa: PT018
    assert set(run.rollouts.turns.tolist()) == {2.0}
    assert found.run.series["turns"].values.tolist() == [2.0] * 20


def test_prime_rls_failures_turns_and_cuts(tmp_path: Path) -> None:
    reading = read(prime(tmp_path, range(20), 12))
    of_prime(reading)
    first = reading.logged["truncated"][:32]
    assert first.tolist() == [float(at % 8 in (1, 2)) for at in range(32)]
    assert set(reading.logged["advantage"].tolist()) == {0.5}
    assert reading.failed == dict.fromkeys(range(12, 20), 8)


def test_failures_are_counted_of_what_was_not_trained_on(tmp_path: Path) -> None:
    """The shipped batch is read; that a fourth of all had failed stands in the other file alone."""
    prime(tmp_path, range(20), 12)
    reading = read(prime(tmp_path, range(20), 12, "effective"))
    assert len(reading) == 20 * 32
    of_prime(reading)


def test_failures_stay_with_pieces(tmp_path: Path) -> None:
    """What `tod watch` keeps on disk of a file holds them."""
    root = prime(tmp_path, range(20), 12)
    files = sorted(root.rglob("traces.jsonl"))
    pieces = [read_piece([(path, signature(path))], "auto", {}) for path in files]
    text, arrays = to_arrays(pieces)
    table = join(from_arrays(text, arrays))
    whole = rollouts_of(read(root))
    assert table is not None and whole is not None  # noqa: PT018
    assert table.failed == whole.failed == dict.fromkeys(range(12, 20), 8)
    assert series_of(table).keys() == series_of(whole).keys()


# SkyRL: step_wise_trajectories, whose last steps are not marked in the dump


def test_skyrls_steps_of_a_trajectory_are_one_answer(writers: Any, tmp_path: Path) -> None:
    pickle = pytest.importorskip("pickle")
    pytest.importorskip("torch")
    module = writers.skyrl_module()
    prompt = [9, 8, 7]
    first, second, single = [1, 2], [3], [4, 5]
    # a trajectory of two steps (a tool answers 6), then one of a single step; one prompt
    sequences = [prompt + first, prompt + first + [6] + second, prompt + single, [*prompt, 1, 1]]
    responses = [first, second, single, [1, 1]]
    width, longest = 2, max(map(len, sequences))
    state = {
        "batch_dict": {
            "sequences": padded(writers, sequences, longest),
            "attention_mask": padded(writers, [[1] * len(s) for s in sequences], longest),
            "response_mask": padded(writers, [[1] * len(r) for r in responses], width),
            "loss_mask": padded(writers, [[1] * len(r) for r in responses], width),
            "rollout_logprobs": padded(writers, [[-0.5] * len(r) for r in responses], width, float),
            "advantages": padded(
                writers,
                [[a] * len(r) for a, r in zip((1, 1, -1, 0), responses, strict=True)],
                width,
                float,
            ),
            "values": None,
        },
        "batch_size": 4,
        "device": None,
        "metadata": {"policy_prompt_boundaries": [(0, 4)], "pad_size": 0},
    }
    path = tmp_path / "dumped_data" / "global_step_1_training_input.pkl"
    path.parent.mkdir()
    path.write_bytes(pickle.dumps(module.TrainingInputBatch(state)))
    reading = read(path)
    assert reading.contexts.sizes.tolist() == [3]
    assert reading.utility["advantage"].tolist() == [1, -1, 0]
    assert reading.log_mu is not None
    assert reading.log_mu.tolist() == [-1.5, -1.0, -1.0]
    assert reading.logged["turns"].tolist() == [2, 1, 1]


def padded(writers: Any, rows: list[Any], width: int, kind: Any = int) -> Any:
    held = [[0] * (width - len(row)) + list(row) for row in rows]
    return writers._numpy_tensor(np.array(held, np.float32 if kind is float else np.int64))
