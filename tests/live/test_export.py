"""Writers of our format, and the hooks for OpenRLHF and verl on objects of the documented shape."""

import errno
import os
from dataclasses import dataclass, field
from types import SimpleNamespace

import faults
import numpy as np
import polars as pl
import pytest
import torch

from tod.base import DataError, RunError, SpecError
from tod.findings.logged_columns import logged_columns
from tod.formats import read
from tod.live import LiveBatch, OpenRLHFExporter, RolloutWriter, VerlExporter
from tod.live.openrlhf.experiences import batch_of
from tolerance import double, rounding


def ragged(rng, lengths):
    return [-rng.gamma(1.0, 1.0, n) for n in lengths]


LENGTHS = [3, 1, 4, 2, 5]


@pytest.fixture
def rows(rng):
    """Five candidates of two contexts, interleaved."""
    return {
        "group": ["a", "b", "a", "b", "a"],
        "prompt": ["2+2", "3+3", "2+2", "3+3", "2+2"],
        "completion": ["4", "6", "5", "7", "22"],
        "utility": {"score": [1.0, 0.0, 0.5, 1.0, 0.0]},
        "log": {"mu": ragged(rng, LENGTHS), "ref": ragged(rng, LENGTHS)},
        "token_ids": [np.arange(n) + 10 for n in LENGTHS],
    }


def test_round_trip_through_the_reader(tmp_path, rows):
    with RolloutWriter(tmp_path / "out") as writer:
        writer.rows(1, **rows)
        writer.rows(2, **rows)
    found = read(tmp_path / "out")
    assert found.source.steps == (1, 2)
    assert found.source.rejected == 0
    assert found.contexts.sizes.tolist() == [3, 2, 3, 2]
    order = [0, 2, 4, 1, 3]
    wanted = [rows["utility"]["score"][i] for i in order]
    assert np.asarray(found.utility["score"]).tolist() == wanted * 2
    sums = [rows["log"]["mu"][i].sum() for i in order]
    np.testing.assert_allclose(
        np.asarray(found.log_mu)[:5], sums, rtol=rounding("float32", 8)
    )  # tokens are float32
    assert [text.completion for text in found.texts([0])[0]] == ["4", "5", "22"]
    frame = pl.read_parquet(tmp_path / "out" / "part-000001-000001.parquet")
    assert frame["token_ids"].to_list()[1] == [10, 11, 12, 13]
    assert frame["length"].to_list() == [3, 4, 5, 1, 2]
    np.testing.assert_allclose(frame["log_mu"].to_numpy(), sums, rtol=double(8))


def test_pieces_of_a_step_become_one_part(tmp_path, rows):
    with RolloutWriter(tmp_path / "out") as writer:
        writer.rows(1, **rows)
        writer.rows(1, **rows)
    found = read(tmp_path / "out")
    assert found.contexts.sizes.tolist() == [3, 2, 3, 2]
    assert len(set(found.labels.context)) == 4


def test_a_step_is_never_written_over(tmp_path, rows):
    with RolloutWriter(tmp_path / "out", strict=True) as writer:
        writer.rows(1, **rows)
        writer.rows(2, **rows)
        with pytest.raises(DataError, match="step 1 comes after step 2"):
            writer.rows(1, **rows)
    with (
        RolloutWriter(tmp_path / "out", strict=True) as again,
        pytest.raises(DataError, match="resume_at"),
    ):
        again.rows(2, **rows)
    with RolloutWriter(tmp_path / "out", resume_at=1) as resumed:
        resumed.rows(2, **rows)
    assert read(tmp_path / "out").source.rows == 10


def test_what_is_unknown_is_null_not_zero(tmp_path, rows):
    rows["log"]["mu"][2] = np.array([-1.0, np.nan, -1.0, -2.0])
    rows["utility"]["format"] = [None, 1.0, 0.0, 1.0, 1.0]
    with RolloutWriter(tmp_path / "out") as writer:
        writer.rows(1, **rows)
    frame = pl.read_parquet(tmp_path / "out")
    assert frame["log_mu"].is_null().to_list() == [False, True, False, False, False]
    assert frame["log_mu_tokens"].is_null().to_list() == [False, True, False, False, False]
    assert frame["utility.format"].null_count() == 1


def test_candidates_leave_out_contexts_that_lack_what_is_needed(rows):
    rows["log"]["mu"][2] = np.array([-1.0, np.nan, -1.0, -2.0])
    batch = LiveBatch.of(**rows)
    whole, kept = batch.candidates()
    assert kept.tolist() == [0, 1]
    assert whole.log_mu is None
    assert set(whole.log_anchor) == {"ref"}
    some, kept = batch.candidates(frozenset({"mu"}))
    assert kept.tolist() == [1]
    np.testing.assert_allclose(
        some.log_mu, [rows["log"]["mu"][1].sum(), rows["log"]["mu"][3].sum()]
    )
    assert some.tokens.sequences.sizes.tolist() == [1, 2]
    assert some.labels.completion == ("6", "7")
    rows["utility"]["score"] = [np.nan] * 5
    with pytest.raises(DataError, match="none of 2 prompts"):
        LiveBatch.of(**rows).candidates(utilities=["score"])


def test_bad_rows_are_named(rows):
    short = {**rows, "log": {"mu": rows["log"]["mu"], "ref": [np.array([-1.0])] * 5}}
    with pytest.raises(DataError, match=r"row 0: 1 tokens in ref and 3 in mu"):
        LiveBatch.of(**short)
    with pytest.raises(DataError, match="prompt has 1 rows"):
        LiveBatch.of(**{**rows, "prompt": ["x"]})
    with pytest.raises(DataError, match="log-probs of 'critic'"):
        LiveBatch.of(**{**rows, "log": {"critic": rows["log"]["mu"]}})
    empty = {**rows, "log": {}, "token_ids": [[1], [], [1], [1], [1]]}
    with pytest.raises(DataError, match="row 1 has no token"):
        LiveBatch.of(**empty)


class Tokenizer:
    """Digits."""

    def batch_decode(self, rows, skip_special_tokens):
        return ["".join(str(int(i)) for i in row) for row in rows]


@dataclass
class Experience:
    """The fields of OpenRLHF's, by name and shape."""

    sequences: torch.Tensor
    action_mask: torch.Tensor
    action_log_probs: torch.Tensor | None = None
    base_action_log_probs: torch.Tensor | None = None
    rollout_log_probs: torch.Tensor | None = None
    rewards: torch.Tensor | None = None
    scores: torch.Tensor | None = None
    advantages: torch.Tensor | None = None
    truncated: torch.Tensor | None = None
    index: list | None = None
    prompts: list = field(default_factory=list)
    info: dict = field(default_factory=dict)


def experience(rng, prompts, index, dtype=torch.float32):
    """Rows ``p p r r r 0``: two prompt tokens, then responses of 3, 2, … tokens, right-padded."""
    n, length = len(prompts), 6
    sizes = [3 - i % 2 for i in range(n)]
    sequences = torch.tensor(rng.integers(1, 9, (n, length)))
    mask = torch.zeros(n, length, dtype=torch.bool)
    for i, size in enumerate(sizes):
        mask[i, 2 : 2 + size] = True

    def log_probs():
        return torch.tensor(-rng.gamma(1.0, 1.0, (n, length - 1)), dtype=dtype)

    return Experience(
        sequences=sequences,
        action_mask=mask[:, 1:],
        action_log_probs=log_probs(),
        base_action_log_probs=log_probs(),
        rollout_log_probs=log_probs(),
        rewards=torch.tensor(rng.random(n)),
        scores=torch.tensor(rng.integers(0, 2, n)).float(),
        index=index,
        prompts=list(prompts),
    )


def test_openrlhf_experiences(tmp_path, rng):
    parts = [
        experience(rng, ["q1", "q1"], [0, 1]),
        experience(rng, ["q2", "q2", "q1", "q1"], [2, 3, 4, 5]),
    ]
    exporter = OpenRLHFExporter(tmp_path / "out", Tokenizer(), samples_per_prompt=2)
    exporter.write(1, parts)
    exporter.close()
    found = read(tmp_path / "out")
    assert found.contexts.sizes.tolist() == [2, 2, 2]  # q1 twice: two contexts, by index
    assert found.source.tier == "A"
    first = parts[0]
    # by hand: position j of a log-prob belongs to token j + 1; the response starts at token 2
    np.testing.assert_allclose(
        np.asarray(found.log_mu)[:2],
        [first.rollout_log_probs[0, 1:4].sum(), first.rollout_log_probs[1, 1:3].sum()],
        rtol=rounding("float32", 8),
    )
    np.testing.assert_allclose(
        np.asarray(found.log_anchor["old"])[1],
        first.action_log_probs[1, 1:3].sum(),
        rtol=rounding("float32", 8),
    )
    np.testing.assert_allclose(
        np.asarray(found.log_anchor["ref"])[0],
        first.base_action_log_probs[0, 1:4].sum(),
        rtol=rounding("float32", 8),
    )
    assert set(found.utility) == {"reward", "score"}
    text = found.texts([0])[0][0].completion
    assert text == "".join(str(int(i)) for i in first.sequences[0, 2:5])


def test_openrlhf_keeps_a_mean_of_the_reference_where_the_kl_is_in_the_reward(rng):
    """Σ log π_ref = Σ log π_old − n·mean(log π_old − log π_ref), by hand on float64."""
    part = experience(rng, ["q1", "q1", "q2", "q2"], [0, 1, 2, 3], torch.float64)
    on = part.action_mask.double()
    base, part.base_action_log_probs = part.base_action_log_probs, None
    difference = ((part.action_log_probs - base) * on).sum(1) / on.sum(1)
    part.info = {"logprobs_diff": difference, "acc": torch.tensor([1.0, 0.0, 1.0, 1.0])}
    found = batch_of([part], 2, summed_reference=True, extras=True)
    np.testing.assert_allclose(found.sums()["ref"], (base * on).sum(1), rtol=double(8, 4))
    assert "ref" not in found.log
    assert found.utility["acc"].tolist() == [1.0, 0.0, 1.0, 1.0]
    columns = found.columns()
    assert "log_ref" in columns
    assert "log_ref_tokens" not in columns
    # without a reference the trainer writes zeros there: nothing of it is taken
    assert "ref" not in batch_of([part], 2).sums()
    known, _ = found.candidates(frozenset({"ref"}), ("reward",))
    np.testing.assert_array_equal(known.log_anchor["ref"], found.sums()["ref"])


def test_openrlhf_advantages_and_cut_answers_are_read_back(tmp_path, rng):
    """An advantage where all tokens share it; a KL in the reward makes one of every token."""
    part = experience(rng, ["q1", "q1"], [0, 1])
    part.advantages = torch.tensor([[2.0], [-2.0]]).expand(2, 5).clone()
    part.advantages[1, 2] = -1.0
    part.truncated = torch.tensor([False, True])
    exporter = OpenRLHFExporter(tmp_path / "out", samples_per_prompt=2)
    exporter.write(1, part)
    exporter.close()
    found = logged_columns(read(tmp_path / "out"))
    np.testing.assert_array_equal(found["advantage"], [2.0, np.nan])
    assert found["truncated"].tolist() == [False, True]


def test_openrlhf_without_index_groups_by_prompt(tmp_path, rng):
    part = experience(rng, ["q1", "q2", "q1", "q2"], None, torch.bfloat16)
    exporter = OpenRLHFExporter(tmp_path / "out")
    exporter.write(1, part)
    exporter.close()
    found = read(tmp_path / "out")
    assert found.contexts.sizes.tolist() == [2, 2]
    reward = np.asarray(found.utility["reward"])
    np.testing.assert_allclose(reward, part.rewards[[0, 2, 1, 3]])
    with pytest.raises(DataError, match="carry no index"):
        OpenRLHFExporter(tmp_path / "b", samples_per_prompt=2, strict=True).write(1, part)


def test_openrlhf_hook_writes_and_returns_what_was_made(tmp_path, rng):
    made = [experience(rng, ["q1", "q1"], [0, 1])]
    maker = SimpleNamespace(make_experience_batch=lambda samples: made)
    exporter = OpenRLHFExporter(tmp_path / "out", samples_per_prompt=2)
    exporter.attach(maker)
    assert maker.make_experience_batch(None) is made
    maker.make_experience_batch(None)
    assert read(tmp_path / "out").source.steps == (1, 2)
    with pytest.raises(SpecError, match="experience_maker"):
        exporter.attach(SimpleNamespace())


def test_openrlhf_incomplete_experiences_are_named(tmp_path, rng):
    exporter = OpenRLHFExporter(tmp_path / "out", strict=True)
    part = experience(rng, ["q1", "q1"], None)
    part.rewards = part.scores = None
    with pytest.raises(DataError, match="without rewards"):
        exporter.write(1, part)
    part = experience(rng, ["q1", "q1"], None)
    part.rollout_log_probs = part.rollout_log_probs[:, 1:]
    with pytest.raises(DataError, match="rollout_log_probs has shape"):
        exporter.write(1, part)


class TensorDict(dict):
    """Iterates over rows, not keys, as tensordict's does."""

    def __iter__(self):
        raise AssertionError("rows")


def proto(rng, uid=("x", "y", "x", "y")):
    """Left-padded prompts [B, 3], right-padded responses [B, 4], a tool token in row 0."""
    n = len(uid)
    prompt_of = {name: rng.integers(1, 9, 3) for name in sorted(set(uid))}
    response_mask = torch.tensor([[1, 0, 1, 1], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]])[:n]
    attention = torch.cat([torch.tensor([[0, 1, 1]] * n), torch.tensor([[1, 1, 1, 1]] * n)], dim=1)
    scores = torch.zeros(n, 4)
    scores[:, 1] = torch.tensor(rng.random(n))
    batch = TensorDict(
        prompts=torch.tensor(np.stack([prompt_of[name] for name in uid])),
        responses=torch.tensor(rng.integers(1, 9, (n, 4))),
        response_mask=response_mask,
        attention_mask=attention,
        old_log_probs=torch.tensor(-rng.gamma(1.0, 1.0, (n, 4))),
        ref_log_prob=torch.tensor(-rng.gamma(1.0, 1.0, (n, 4))),
        rollout_log_probs=torch.tensor(-rng.gamma(1.0, 1.0, (n, 4))),
        token_level_scores=scores,
    )
    return SimpleNamespace(batch=batch, non_tensor_batch={"uid": np.array(uid, dtype=object)})


def test_verl_batch(tmp_path, rng):
    data = proto(rng)
    extra = {"acc": [1, 0, 1, 1], "score": [9] * 4, "names": list("abcd"), "short": [1]}
    exporter = VerlExporter(tmp_path / "out", Tokenizer())
    exporter.write(7, data, extra)
    exporter.close()
    found = read(tmp_path / "out")
    assert found.source.steps == (7, 7)
    assert found.source.tier == "A"
    assert found.contexts.sizes.tolist() == [2, 2]
    assert set(found.utility) == {"score", "acc"}
    old = data.batch["old_log_probs"].numpy()
    mask = data.batch["response_mask"].numpy()
    np.testing.assert_allclose(
        np.asarray(found.log_anchor["old"]),
        (old * mask).sum(axis=1)[[0, 2, 1, 3]],
        rtol=rounding("float32", 8),
    )
    scores = data.batch["token_level_scores"].sum(1).numpy()[[0, 2, 1, 3]]
    np.testing.assert_allclose(np.asarray(found.utility["score"]), scores)
    prompt = found.texts([0])[0][0].prompt
    assert prompt == "".join(str(int(i)) for i in data.batch["prompts"][0, 1:])


def test_verl_hook_needs_the_dump_switched_on(tmp_path, rng):
    calls = []
    trainer = SimpleNamespace(
        _log_rollout_data=lambda *args: calls.append(args),
        global_steps=3,
        config=SimpleNamespace(trainer={"rollout_data_dir": None}),
    )
    exporter = VerlExporter(tmp_path / "out")
    with pytest.raises(SpecError, match="rollout_data_dir"):
        exporter.attach(trainer)
    trainer.config.trainer["rollout_data_dir"] = "dump"
    exporter.attach(trainer)
    data = proto(rng)
    trainer._log_rollout_data(data, {}, {}, "dump")
    assert calls == [(data, {}, {}, "dump")]
    assert read(tmp_path / "out").source.steps == (3, 3)


def test_verl_missing_keys_are_named(tmp_path, rng):
    exporter = VerlExporter(tmp_path / "out", strict=True)
    data = proto(rng)
    del data.batch["token_level_scores"]
    with pytest.raises(DataError, match="no token_level_scores"):
        exporter.write(1, data)
    data = proto(rng)
    data.non_tensor_batch = {}
    with pytest.raises(DataError, match="no uid"):
        exporter.write(1, data)


class V1Trainer:
    """As verl's trainers of ``use_v1`` are: keys of a queue where the batch was."""

    global_steps = 1
    config = SimpleNamespace(trainer={"rollout_data_dir": "dump", "use_v1": True})

    def _log_rollout_data(self, batch, timing_raw, rollout_data_dir):
        raise AssertionError("not reached")


def test_verl_trainers_that_keep_the_batch_in_a_queue_are_refused(tmp_path):
    trainer = V1Trainer()
    with pytest.raises(SpecError, match=r"V1Trainer.*plugin.*trainer_mode=tod_sync.*use_v1=false"):
        VerlExporter(tmp_path / "out").attach(trainer)
    assert "_log_rollout_data" not in vars(trainer)


class V0Trainer:
    """As verl's RayPPOTrainer is, up to its dump."""

    config = SimpleNamespace(trainer={"rollout_data_dir": "dump"})
    global_steps = 1

    def __init__(self):
        self.seen = []

    def _log_rollout_data(self, batch, reward_extra_infos_dict, timing_raw, rollout_data_dir):
        self.seen.append((batch, reward_extra_infos_dict, timing_raw, rollout_data_dir))
        self.global_steps += 1
        return len(self.seen)


class Weird:
    """Whatever is asked of it fails, its text too."""

    def __getattr__(self, name):
        raise RuntimeError(f"no {name}")

    def __repr__(self):
        raise ValueError("no text")


def hooked(kind, folder):
    """A trainer's method with our hook, and what calling it gives and wants."""
    if kind == "verl":
        trainer = V0Trainer()
        VerlExporter(folder, Tokenizer()).attach(trainer)
        return (
            lambda batch: trainer._log_rollout_data(
                batch, timing_raw={}, rollout_data_dir="d", reward_extra_infos_dict={"acc": [1] * 4}
            ),
            lambda n, batch: n == len(trainer.seen) and trainer.seen[-1][0] is batch,
            proto,
        )
    maker = SimpleNamespace(make_experience_batch=lambda batch: batch)
    OpenRLHFExporter(folder, Tokenizer()).attach(maker)
    return (
        maker.make_experience_batch,
        lambda found, batch: found is batch,
        lambda rng: [experience(rng, ["q1", "q1"], [0, 1])],
    )


@pytest.mark.parametrize("kind", ["verl", "openrlhf"])
@pytest.mark.parametrize("fault", [name for name in faults.KINDS if name != "interrupt"])
def test_no_fault_of_ours_reaches_the_trainer(tmp_path, rng, kind, fault):
    """Every function on the way, found by introspection, one at a time and at every call."""
    modules = (f"tod.live.{kind}", "tod.live.export", "tod.runs.table_parts", "tod.runs.atomic")
    modules += ("tod.runs.lock",)
    reached = 0
    for number, place in enumerate(faults.places(modules)):
        call, right, made = hooked(kind, tmp_path / str(number))
        with faults.planted(place, fault) as calls:
            for _ in range(2):
                batch = made(rng)
                assert right(call(batch), batch), place
        reached += bool(calls)
    assert reached > 20


@pytest.mark.parametrize("kind", ["verl", "openrlhf"])
def test_weird_objects_are_passed_on(tmp_path, rng, kind, caplog):
    call, right, made = hooked(kind, tmp_path / "out")
    for batch in (Weird(), None, [], [Weird()], iter([1]), 7):
        assert right(call(batch), batch)
    consumed = iter([1, 2])
    call(consumed)
    assert list(consumed) == [1, 2]
    good = made(rng)
    call(good)
    assert read(tmp_path / "out").source.rows >= 2  # and goes on when it can
    causes = [record.getMessage() for record in caplog.records]
    assert causes
    assert len(causes) == len(set(causes))


def test_interrupts_pass(tmp_path, rng):
    call, _, made = hooked("verl", tmp_path / "out")
    place = "tod.live.verl:VerlExporter.batch"
    with faults.planted(place, "interrupt"), pytest.raises(KeyboardInterrupt):
        call(made(rng))


def test_a_full_disk_loses_the_step_and_not_the_next(tmp_path, rows, monkeypatch, caplog):
    with RolloutWriter(tmp_path / "out") as writer:
        writer.rows(1, **rows)
        writer.flush()

        def full(*_):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "write", full)
        for step in (2, 3):
            writer.rows(step, **rows)
            writer.flush()
        monkeypatch.undo()
        writer.rows(4, **rows)
    frame = pl.read_parquet(tmp_path / "out")
    assert sorted(set(frame["step"])) == [1, 4]
    (said,) = [record.getMessage() for record in caplog.records]
    assert "writing rollouts failed" in said
    assert "No space left" in said


@pytest.mark.parametrize("made", [RolloutWriter, OpenRLHFExporter, VerlExporter])
def test_two_writers_in_one_directory_are_refused(tmp_path, made):
    first = made(tmp_path / "out")
    with pytest.raises(RunError, match=f"process {os.getpid()} "):
        made(tmp_path / "out")
    first.close()
    made(tmp_path / "out").close()


@pytest.mark.parametrize("made", [RolloutWriter, OpenRLHFExporter, VerlExporter])
def test_every_method_for_the_training_loop_is_guarded(made):
    """By introspection; what a person calls before training may raise."""
    before = {"attach", "batch"}  # batch makes one and writes nothing
    public = {name for name, value in vars(made).items() if callable(value) and name[0] != "_"}
    assert public > before or made is RolloutWriter
    for name in public - before:
        assert hasattr(getattr(made, name), "doing"), name
