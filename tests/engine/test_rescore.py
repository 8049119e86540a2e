"""The probe in a run: what it reads, what it costs, and that a resumed run reads the same."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from test_resume import same_run

from tod.base import SpecError
from tod.diagnostics import read_probe
from tod.engine import rescore
from tod.engine.checkpoint import load
from tod.engine.data.load import load_task
from tod.engine.forecast import forecast
from tod.engine.models import load_model
from tod.engine.session import open_session
from tod.engine.settings import RunSettings
from tod.engine.train import Events, train
from tod.runs import RunDirectory, StepRecord
from tolerance import double, of_sequence

Make = Callable[..., RunSettings]
PROBE = {"prompts": 5, "size": 6, "every": 2}
TILT = {"kind": "tilt", "anchor": {"ref": 1.0}, "tilts": [{"utility": "correct", "eta": 2.0}]}
QUICK = {"operator__proposal__max_new_tokens": 8, "train__schedule": "constant"}


def records(settings: RunSettings) -> list[dict[str, Any]]:
    return list(RunDirectory.open(settings.directory).steps.read())


def by_hand(model: Any, rollouts: Any) -> np.ndarray:
    """Log π of every completion by a plain forward a candidate."""
    rows, found = rollouts.sequences.split(rollouts.ids), []
    for place, row in enumerate(rows):
        prompt = rollouts.prompts[int(rollouts.contexts.owner[place])].tolist()
        with torch.no_grad():
            z = model(torch.tensor([[*prompt, *row]])).logits.double().log_softmax(-1)
        ahead = z[0, len(prompt) - 1 : -1]
        found.append(float(ahead[torch.arange(len(row)), torch.tensor(row)].sum()))
    return np.array(found)


def test_a_dry_run_counts_the_probe(small: Make) -> None:
    """Its candidates, its operations, and the memory that scoring all of it at once takes."""

    def told(**probe: Any) -> Any:
        settings = small(train__steps=5, probe=PROBE | probe if probe else None, **QUICK)
        return forecast(settings, load_task(settings.task, 0))

    without, twice, more = told(), told(every=2), told(every=1)
    assert twice.completion_tokens - without.completion_tokens == 5 * 6 * 8
    once = (more.flops - twice.flops) / 3  # five readings, not two
    assert twice.flops - without.flops == pytest.approx(3 * once, rel=double(8))
    assert twice.notes == ("probe: 30 candidates drawn once, scored 2 times",)
    large = told(prompts=5000, size=50)
    assert large.memory.total > 10 * without.memory.total
    shared = told(every=None, share=0.5)
    assert shared.flops == pytest.approx(1.5 * without.flops, rel=double(8))
    assert "not even once" in told(every=None, share=1e-9).notes[0]
    settings = small(train__steps=5, probe=PROBE, **QUICK)
    train(settings)
    spent = sum(record["ledger"]["probe_flops"] for record in records(settings))
    assert 0 < spent <= twice.flops - without.flops


def test_a_reading_is_of_candidates_of_the_start_under_the_policy_of_the_step(small: Make) -> None:
    """Draws and log b are the start's, log π the checkpoint's; utilities are read off the texts."""
    settings = small(train__steps=3, probe=PROBE, target__utility="correct", **QUICK)
    train(settings)
    first, second, third = records(settings)
    assert first["probe"] is None
    assert third["probe"] is None
    session = open_session(settings)
    kept = RunDirectory.open(settings.directory).path / "checkpoints"
    # before step 2 is after step 1; two checkpoints are kept, so train to step 1 once more
    again = small("one", train__steps=1, probe=PROBE, **QUICK)
    train(again)
    latest = RunDirectory.open(again.directory).latest_checkpoint()
    assert latest is not None
    load(session, latest)
    probe = session.probe
    assert kept.exists()
    assert probe.rollouts.contexts.sizes.tolist() == [6] * 5
    start, _ = load_model("tod://tiny")
    log_b, log_pi = by_hand(start, probe.rollouts), by_hand(session.policy, probe.rollouts)
    near = of_sequence("float32")
    np.testing.assert_allclose(probe.log_reference, log_b, rtol=0, atol=near)
    wanted = read_probe(probe.value, log_b, log_pi, probe.rollouts.contexts)
    found = second["probe"]
    assert found["contexts"] == wanted.contexts
    assert found["candidates"] == 30
    assert found["kl"] == pytest.approx(wanted.kl, abs=2 * near)
    if wanted.delta is not None:
        spread = math.sqrt(wanted.delta) + 1
        assert found["delta"] == pytest.approx(wanted.delta, abs=2 * spread * near * 6)


def test_the_first_reading_is_of_the_reference_itself(small: Make) -> None:
    """π = b: nothing is lost and nothing is damaged, to the rounding of two forwards."""
    settings = small(train__steps=1, probe={**PROBE, "every": 1}, **QUICK)
    train(settings)
    found = records(settings)[0]["probe"]
    near = of_sequence("float32")
    assert abs(found["kl"]) <= near
    assert found["delta"] is None or found["delta"] <= (2 * near) ** 2


def test_what_it_costs_stands_in_the_ledger_and_stays_within_its_share(small: Make) -> None:
    share = 0.4
    changes = {"train__steps": 8, "probe": {"prompts": 2, "size": 4, "share": share}, **QUICK}
    settings = small(**changes, train__checkpoint_every=100)
    train(settings)
    steps = records(settings)
    run = probe = 0.0
    read = []
    for step in steps:
        ledger = step["ledger"]
        probe += ledger["probe_flops"]
        assert probe <= share * run or ledger["probe_flops"] == 0 or step["step"] == 1
        parts = ledger["sample_flops"] + ledger["score_flops"] + ledger["train_flops"]
        assert ledger["flops"] == pytest.approx(parts + ledger["probe_flops"], rel=double(4))
        run += parts
        if step["probe"] is not None:
            read.append(step["step"])
    assert steps[0]["ledger"]["probe_flops"] > 0, "the draw"
    assert len(read) >= 2
    plain = small("plain", **{**changes, "probe": None, "train__steps": 2})
    train(plain)
    for ours, theirs in zip(steps, records(plain), strict=False):
        assert theirs["ledger"]["probe_flops"] is None
        assert ours["utility"] == theirs["utility"], "a probe changes nothing that is trained"
        assert ours["ess_rel"] == theirs["ess_rel"]


class Stopped(Exception):
    """Raised inside a run, as if it had been killed there."""


def test_a_resumed_run_reads_the_same_probe_at_the_same_steps(small: Make) -> None:
    """Stopped after step 3 of 6, whose checkpoint is of step 2: the same readings, bit for bit."""
    probe = {"prompts": 2, "size": 4, "share": 0.5}
    changes = {"train__steps": 6, "probe": probe, "train__checkpoint_every": 2, **QUICK}
    whole, broken = small("whole", **changes), small("broken", **changes)
    train(whole)
    assert sum(s["probe"] is not None for s in records(whole)) >= 2

    def stop(record: StepRecord) -> None:
        if record.step == 3:
            raise Stopped

    with pytest.raises(Stopped):
        train(broken, events=Events(record=stop))
    train(broken, resume=True)
    same_run(whole.directory, broken.directory)


def test_a_packed_probe_is_the_probe(small: Make) -> None:
    settings = small(probe=PROBE, **QUICK)
    session = open_session(settings)
    made = rescore.draw_probe(session)
    made.run = 17.0
    again = rescore.unpack(rescore.pack(made))
    assert (again.spent, again.run) == (made.spent, 17.0)
    assert np.array_equal(again.log_reference, made.log_reference)
    assert np.array_equal(again.value, made.value)
    for ours, theirs in zip(made.rollouts.prompts, again.rollouts.prompts, strict=True):
        assert np.array_equal(ours, theirs)
    assert np.array_equal(made.rollouts.ids, again.rollouts.ids)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        (
            {
                "target": {**TILT, "support": ["correct"]},
                "operator__action": {"kind": "weighted_regression"},
            },
            "excludes completions",
        ),
        ({"target": {"kind": "tilt", "anchor": {"ref": 1.0}}}, "tilts by no utility"),
        ({"target": {**TILT, "anchor": {"teacher": 1.0}}}, "anchored at a teacher"),
        ({"probe": {"size": 1}}, "probe.size"),
    ],
)
def test_a_probe_that_could_read_nothing_is_refused(
    small: Make, changes: dict[str, Any], why: str
) -> None:
    with pytest.raises(SpecError) as refused:
        small(**{"probe": PROBE, "anchors": {"teacher": "tod://tiny"}, **changes})
    assert why in str(refused.value)
