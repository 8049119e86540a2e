"""prime-rl's traces as graphs, and how far behind the weights were that sampled them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tod.base import DataError
from tod.diagnosis import diagnose
from tod.diagnosis.plan import plan
from tod.formats import read


def node(ids: list[int], logprobs: list[float] | None = None, parent: int | None = None) -> Any:
    """A message; with log-probs it was sampled, after one token of the template."""
    if logprobs is None:
        made: dict[str, Any] = {"token_ids": ids, "mask": [False] * len(ids), "sampled": False}
    else:
        made = {"token_ids": [1, *ids], "mask": [False] + [True] * len(ids), "sampled": True}
        made["logprobs"] = logprobs
    return made if parent is None else {**made, "parent": parent}


def episode(name: str, nodes: list[Any], reward: float = 1.0, **policy: int) -> dict[str, Any]:
    work: dict[str, Any] = {"type": "train", "step": 5}
    if policy:
        work["policy"] = policy
    trace = {"id": name, "nodes": nodes, "rewards": {"r": {"score": reward, "weight": 1.0}}}
    return {
        "id": name,
        "group": {"id": name[0]},
        "run": {"type": "train", "work": work},
        "ok": True,
        "traces": [trace],
    }


FORK = [
    node([10, 11]),
    node([20, 21], [-0.5, -0.25], 0),
    node([30], None, 1),
    node([40], [-1.0], 2),
    node([31], None, 1),
    node([41, 42], [-2.0, -4.0], 4),
]
"""A turn, then two answers to different observations: leaves 3 and 5, node 1 in both."""


def export(ids: list[int], on: list[int], policy: list[float], step: int = 7) -> dict[str, Any]:
    values = np.zeros(len(ids))
    values[on] = policy
    mask = np.zeros(len(ids), dtype=bool)
    mask[on] = True
    row = {"step": step, "token_ids": ids, "position_ids": list(range(len(ids)))}
    row |= {"loss_mask": mask.tolist(), "trainer_logprobs": values.tolist()}
    return row | {"inference_logprobs": [0.0] * len(ids)}


FORK_EXPORTS = [
    export([10, 11, 1, 20, 21, 30, 1, 40], [3, 4, 7], [-0.6, -0.3, -1.1]),
    export([10, 11, 1, 20, 21, 31, 1, 41, 42], [7, 8], [-2.2, -4.4]),
]


def save(
    root: Path, episodes: list[Any], exports: list[Any] = (), step: int = 7, kind: str = "effective"
) -> Path:
    folder = root / f"rollouts/step_{step}/train/{kind}"
    folder.mkdir(parents=True)
    (folder / "traces.jsonl").write_text("".join(json.dumps(row) + "\n" for row in episodes))
    if exports:
        folder = root / f"token_exports/step_{step}"
        folder.mkdir(parents=True)
        (folder / "rank_0.jsonl").write_text("".join(json.dumps(row) + "\n" for row in exports))
        (folder / "STABLE").touch()
    return root


def test_a_fork_counts_what_was_sampled_once(tmp_path: Path) -> None:
    chain = [node([10, 11]), node([50], [-3.0], 0)]
    reading = read(save(tmp_path, [episode("a1", FORK, start=6, end=6), episode("a2", chain)]))
    assert reading.log_mu.tolist() == [-7.75, -3.0]
    assert reading.labels.length.tolist() == [5, 1]
    assert any("1 traces branch" in note for note in reading.source.notes)


def test_the_trainer_log_probs_of_a_fork_are_put_together(tmp_path: Path) -> None:
    """The shared turn is trained in the first branch only: its loss mask is off in the second."""
    both = [episode("a1", FORK), episode("a2", FORK, reward=0.0)]
    reading = read(save(tmp_path, both, FORK_EXPORTS))
    np.testing.assert_allclose(reading.log_anchor["policy"], -0.6 - 0.3 - 1.1 - 2.2 - 4.4)
    assert any("2 of 2 exported sequences" in note for note in reading.source.notes)
    found = diagnose(reading, eta=1.0)
    gaps = [-0.1, -0.05, -0.1, -0.2, -0.4]
    sums = reading.gaps["policy", "mu"][7]
    assert sums.tokens == 10
    assert sums.total == pytest.approx(2 * sum(gaps))
    assert found.summary.overlap.policy_proposal == pytest.approx(1.0)


def test_a_branch_that_was_not_exported_leaves_the_policy_unknown(tmp_path: Path) -> None:
    reading = read(save(tmp_path, [episode("a1", FORK), episode("a2", FORK)], FORK_EXPORTS[:1]))
    assert "policy" not in reading.recorded


def test_one_sequence_exported_at_two_steps_counts_by_its_own(tmp_path: Path) -> None:
    chain = [node([10, 11]), node([50], [-3.0], 0)]
    early = export([10, 11, 1, 50], [3], [-1.0], step=3)
    late = export([10, 11, 1, 50], [3], [-2.0], step=7)
    reading = read(save(tmp_path, [episode("a1", chain), episode("a2", chain)], [late, early]))
    assert reading.log_anchor["policy"].tolist() == [-2.0, -2.0]


def test_lag_is_the_batch_less_one_less_the_oldest_weights(tmp_path: Path) -> None:
    chain = [node([10, 11]), node([50], [-3.0], 0)]
    spans = [("a1", 6, 6), ("a2", 5, 6), ("b1", 2, 2), ("b2", 6, 7)]
    rows = [
        episode(name, chain, float(i % 2), start=a, end=b) for i, (name, a, b) in enumerate(spans)
    ]
    reading = read(save(tmp_path, rows))
    assert reading.source.steps == (7, 7)
    assert reading.lag.tolist() == [0, 1, 4, 0]
    assert any("2 rollouts were sampled across weight updates" in n for n in reading.source.notes)


def test_frozen_weights_have_no_lag(tmp_path: Path) -> None:
    chain = [node([10, 11]), node([50], [-3.0], 0)]
    reading = read(save(tmp_path, [episode("a1", chain, start=6, end=6), episode("a2", chain)]))
    assert reading.lag is None
    assert any("1 rollouts carry no policy version" in note for note in reading.source.notes)


def test_a_group_that_two_batches_share_is_said(tmp_path: Path) -> None:
    chain = [node([10, 11]), node([50], [-3.0], 0)]
    save(tmp_path, [episode("a1", chain), episode("a2", chain)], step=6)
    reading = read(save(tmp_path, [episode("a3", chain)], step=7))
    assert reading.contexts.sizes.tolist() == [2, 1]
    assert any("1 groups were trained on in several batches" in n for n in reading.source.notes)


def test_the_plan_knows_the_age_of_the_proposal(writers: Any, world: Any, tmp_path: Path) -> None:
    root = writers.write_prime(world, tmp_path)
    reading = read(root)
    step = reading.steps[reading.contexts.owner]
    assert reading.lag.tolist() == np.maximum(step - 1 - 1, 0).tolist()
    refresh = plan(reading, eta=1.0).refresh
    assert refresh is not None
    assert refresh["age_from"] == "lag"
    assert [row["age"] for row in refresh["by_age"]] == [0, 1]


@pytest.mark.parametrize("parent", [3, -1, 99])
def test_a_parent_that_does_not_come_first_is_rejected(tmp_path: Path, parent: int) -> None:
    nodes = [node([10]), node([50], [-3.0], 0), node([51], [-3.0], 0), node([52], [-1.0], parent)]
    with pytest.raises(DataError, match="does not come after its parent"):
        read(save(tmp_path, [episode("a1", nodes), episode("a2", nodes)]))


def test_a_comb_of_branches_is_not_walked(tmp_path: Path) -> None:
    """Ten thousand leaves below a chain of ten thousand: 10^8 steps if every branch were built."""
    chain = [node([1]), *({"parent": i, "token_ids": [2]} for i in range(10_000))]
    teeth = [{"parent": i, "token_ids": [3]} for i in range(10_000)]
    answer = node([50], [-3.0], 0)
    rows = [episode(f"a{i}", [*chain, *teeth, answer]) for i in range(2)]
    reading = read(save(tmp_path, rows, FORK_EXPORTS))
    assert reading.log_mu.tolist() == [-3.0, -3.0]
    assert "policy" not in reading.recorded
