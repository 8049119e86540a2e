"""The run as a whole: what it records, what each part of a recipe changes, what it refuses."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tod.base import DataError, ModelError, ResourceError, SpecError, UtilityError
from tod.diagnosis import diagnose
from tod.engine.collect import collect
from tod.engine.models import load_model
from tod.engine.running import Clock
from tod.engine.session import open_session
from tod.engine.settings import RunSettings
from tod.engine.train import Events, train
from tod.engine.update import update
from tod.formats import read
from tod.runs import RunDirectory
from tolerance import of_sequence, rounding

Make = Callable[..., RunSettings]
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")


def records(settings: RunSettings) -> list[dict]:
    return list(RunDirectory.open(settings.directory).steps.read())


def test_every_step_is_recorded_with_the_names_of_the_schema(small: Make) -> None:
    settings = small(evaluate={"held_out_prompts": 5, "samples_per_prompt": 3, "every": 2})
    train(settings)
    found = records(settings)
    assert [record["step"] for record in found] == [0, 1, 2, 3, 4]
    assert [record["held_out"] is not None for record in found] == [True, False, True, False, True]
    last = found[-1]
    for name in ("ess_rel", "tails", "contexts", "overlap", "coverage", "drift", "regime", "knobs"):
        assert last[name] is not None, name
    assert last["regime"]["verdict"] in {"transition", "operator_dominated", "undetermined"}
    assert last["knobs"] == {"tau": 0.15, "beta": 0.05, "eta": pytest.approx(5.0)}
    assert last["ledger"]["train_tokens"] == 2 * last["ledger"]["sample_tokens"]
    assert last["contexts"]["total"] == 6
    assert last["overlap"]["policy_proposal"] == pytest.approx(1.0, abs=of_sequence("float32") ** 2)
    assert (settings.directory / "model" / "model.safetensors").exists()


def test_rollouts_hold_what_was_drawn(small: Make) -> None:
    settings = small(train__steps=2)
    train(settings)
    table = RunDirectory.open(settings.directory).rollouts.scan().collect()
    assert table.height == 2 * 6 * 4
    assert set(table["utility.correct"].unique()) <= {0.0, 1.0}
    assert (table["log_mu"] <= 0).all()
    assert (table["log_mu"] - table["log_old"]).abs().max() <= of_sequence("float32")
    # at step 1 the policy still is the reference
    first = table.filter(table["step"] == 1)
    assert (first["log_ref"] - first["log_policy"]).abs().max() <= of_sequence("float32")


def test_rollouts_are_scored_again_exactly(small: Make) -> None:
    """Also where special tokens were drawn, which the text leaves out.

    A flat softmax draws them often. Two forwards in float64 add in other orders: at most 1e5
    operations in a row, sums a thousandth of their terms. log μ is stored as float32.
    """
    exact, stored = rounding("float64", 1e5, 1e3), rounding("float32", 1)
    changes = {"operator__proposal__temperature": 6.0, "train__dtype": "float64"}
    settings = small(train__steps=1, **changes)
    train(settings)
    table = RunDirectory.open(settings.directory).rollouts.scan().collect()
    model, tokenizer = load_model("tod://tiny", dtype="float64")
    lossy = 0
    for row in table.iter_rows(named=True):
        prompt, ids = row["prompt_ids"], row["token_ids"]
        assert prompt == tokenizer(row["prompt"])["input_ids"]
        assert tokenizer.decode(ids, skip_special_tokens=True) == row["completion"]
        lossy += tokenizer(row["completion"], add_special_tokens=False)["input_ids"] != ids[:-1]
        with torch.no_grad():
            logits = model(torch.tensor([[*prompt, *ids]])).logits[0, len(prompt) - 1 : -1]
        terms = (logits / 6.0).log_softmax(-1)[torch.arange(len(ids)), ids]
        assert row["log_policy"] == pytest.approx(float(terms.sum()), rel=exact)
        assert row["log_mu"] == pytest.approx(row["log_policy"], rel=stored)
    assert lossy > len(table) / 4  # the text alone would not have done


def test_token_ids_can_be_left_out(small: Make) -> None:
    settings = small(train__steps=1, record_token_ids=False)
    train(settings)
    columns = RunDirectory.open(settings.directory).rollouts.scan().collect_schema()
    assert not {"token_ids", "prompt_ids"} & set(columns)


def test_a_run_without_token_ids_goes_on(small: Make) -> None:
    """A directory of version 0.1: its recipe does not know the setting, its tables no ids."""
    settings = small(train__steps=2, record_token_ids=False)
    with pytest.raises(KeyboardInterrupt):
        train(settings, events=Events(record=lambda _: os.kill(os.getpid(), signal.SIGINT)))
    manifest = settings.directory / "manifest.json"
    data = json.loads(manifest.read_text())
    del data["recipe"]["record_token_ids"]
    manifest.write_text(json.dumps(data))
    train(settings.revised(record_token_ids=True), resume=True)
    table = RunDirectory.open(settings.directory).rollouts.scan().collect()
    for step, known in ((1, False), (2, True)):
        assert (table.filter(table["step"] == step)["token_ids"].is_not_null() == known).all()
    assert diagnose(read(settings.directory)).to_dict()["contexts"]["total"] == 12


def test_same_seed_same_run_and_another_seed_another(small: Make) -> None:
    a, b, c = small("a"), small("b"), small("c", train__seed=1)
    for settings in (a, b, c):
        train(settings)
    utility = [[record["utility"] for record in records(s)] for s in (a, b, c)]
    norms = [[r["optimiser"]["grad_norm"] for r in records(s) if r["step"]] for s in (a, b, c)]
    assert utility[0] == utility[1]
    assert norms[0] == norms[1]
    assert norms[0] != norms[2]


def credits_of(small: Make, tau: float) -> list[np.ndarray]:
    """Per-token credit of both updates of one batch, by direction."""
    changes = {"train__learning_rate": 0.02, "train__dtype": "float64"}
    settings = small(f"tau{tau}", target__tau=tau, **changes)
    session = open_session(settings)
    evidence = collect(session, 1)
    seen: list[np.ndarray] = []
    action = settings.operator.update

    class Watch:
        def credit(self, batch):  # type: ignore[no-untyped-def]
            credit = action.credit(batch)
            seen.append(np.asarray(credit.per_token))
            return credit

    update(session, evidence, settings.procedure.tilt, Watch(), 1)  # type: ignore[arg-type]
    return [values / np.abs(values).sum() for values in seen]


def test_tau_is_a_live_knob_from_the_second_update_on(small: Make) -> None:
    weak, strong = credits_of(small, 0.1), credits_of(small, 0.9)
    assert len(weak) == len(strong) == 2
    # β/(τ+β)·(log π_ref − log π) is 0 at the first update of step 1, where π = π_ref = π_old
    assert np.abs(weak[0] - strong[0]).max() < of_sequence("float64") / 0.2  # R is over τ + β
    assert np.abs(weak[1] - strong[1]).sum() > 0.02


def test_stale_proposal_is_measured(small: Make) -> None:
    settings = small(operator__proposal__refresh=3, train__steps=3, train__learning_rate=3e-3)
    train(settings)
    legs = [
        record["overlap"]["policy_proposal"]
        for record in records(settings)[1:] or records(settings)
    ]
    steps = [r["overlap"]["policy_proposal"] for r in records(settings) if r["step"] > 0]
    assert steps[0] == pytest.approx(1.0, abs=of_sequence("float32") ** 2)
    assert steps[2] < steps[1] < 1.0
    assert legs


def test_reference_as_proposal(small: Make) -> None:
    settings = small(operator__proposal__source="ref", train__steps=3, train__learning_rate=3e-3)
    train(settings)
    assert [r for r in records(settings) if r["step"] > 0][-1]["overlap"]["policy_proposal"] < 0.999


def test_truncated_support_shows_in_the_weights(small: Make) -> None:
    legs = []
    for k in (None, 2):
        settings = small(f"k{k}", operator__proposal__top_k=k, train__steps=1)
        train(settings)
        legs.append(records(settings)[-1]["overlap"]["policy_proposal"])
    assert legs[0] == pytest.approx(1.0, abs=of_sequence("float32") ** 2)
    assert legs[1] < 1.0 - of_sequence("float32") ** 2


def test_lora_trains_adapters_only(small: Make) -> None:
    settings = small(peft={"kind": "lora", "rank": 2}, train__steps=2)
    train(settings)
    assert records(settings)[-1]["optimiser"]["grad_norm"] > 0
    latest = RunDirectory.open(settings.directory).latest_checkpoint()
    assert latest is not None
    from safetensors import safe_open

    with safe_open(latest / "policy.safetensors", "np") as file:
        assert all("lora_" in name for name in file.keys())  # noqa: SIM118


def test_bfloat16_forward_keeps_float32_masters(small: Make) -> None:
    settings = small(train__dtype="bfloat16", train__steps=1)
    session = open_session(settings)
    assert {p.dtype for p in session.parameters} == {torch.float32}
    train(settings)
    assert records(settings)[-1]["optimiser"]["grad_norm"] > 0


def test_controller_acts_and_is_on_record(small: Make) -> None:
    arc = {"knob": "eta", "ess_target": 0.9, "window": 1, "min_informative": 1, "deadline": None}
    settings = small(
        arc=arc,
        target={"kind": "scalar_reward", "eta": 8.0, "utility": "correct"},
        operator__proposal__prompts=16,
        train__steps=4,
    )
    train(settings)
    decisions = list(RunDirectory.open(settings.directory).decisions.read())
    assert [d["step"] for d in decisions] == [1, 2, 3, 4]
    softened = [d for d in decisions if d["action"] == "soften"]
    assert softened
    assert softened[0]["after"]["eta"] < softened[0]["before"]["eta"]
    knobs = [r["knobs"]["eta"] for r in records(settings) if r["step"] > 0]
    at = decisions.index(softened[0])
    assert knobs[at + 1] == pytest.approx(softened[0]["after"]["eta"])


def test_controller_on_z_scores_is_refused(small: Make) -> None:
    with pytest.raises(SpecError, match="connected to nothing"):
        small(
            arc={"knob": "eta"},
            target={"kind": "scalar_reward", "eta": 5.0, "utility": "correct"},
            operator__action__advantage="group_zscore",
            operator__action__pull=None,
        )


def test_unknown_key_names_the_nearest(small: Make) -> None:
    with pytest.raises(SpecError, match="learning_rate"):
        small(train__learning_rat=1e-3)


def test_utility_of_the_target_must_exist(small: Make) -> None:
    with pytest.raises(SpecError, match="accuracy"):
        small(target__utility="accuracy")


def test_model_that_does_not_exist(small: Make) -> None:
    with pytest.raises(ModelError, match="no_such"):
        train(small(model="./no_such_model"))


def test_model_that_needs_a_network(small: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match="network"):
        train(small(model="some-org/some-model"))


def test_run_that_does_not_fit_is_refused_before_loading(small: Make) -> None:
    with pytest.raises(ResourceError, match="MiB"):
        train(small(operator__proposal__prompts=4_000_000, operator__proposal__size=64))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return [float('nan')] * len(completions)", "nan"),
        ("return [1.0]", "length|values|1"),
        ("raise ValueError('my judge is down')", "my judge is down"),
        ("return [float('inf')] * len(completions)", "inf"),
    ],
)
def test_utility_that_fails_names_prompt_and_keeps_the_run(
    small: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, message: str
) -> None:
    (tmp_path / "judge_module.py").write_text(
        "calls = 0\n"
        "def judge(prompts, completions, **columns):\n"
        "    global calls\n"
        "    calls += 1\n"
        "    if calls < 3:\n"
        "        return [float(len(c) % 2) for c in completions]\n"
        f"    {body}\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    import sys

    sys.modules.pop("judge_module", None)
    utility = {"name": "correct", "kind": "custom", "target": "judge_module:judge", "workers": 0}
    settings = small(utilities=[utility], train__steps=5)
    with pytest.raises(UtilityError, match=message) as caught:
        train(settings, allow_imports=True)
    assert "train/" in str(caught.value) or "prompt" in str(caught.value)
    assert RunDirectory.open(settings.directory).latest_checkpoint().name == "step-2"


def test_import_path_needs_the_persons_consent(small: Make) -> None:
    utility = {"name": "correct", "kind": "custom", "target": "os:getcwd"}
    with pytest.raises(SpecError, match="allow"):
        train(small(utilities=[utility]))


def test_own_prompts_from_jsonl_with_chat_messages(small: Make, tmp_path: Path) -> None:
    rows = [
        {"prompt": [{"role": "user", "content": f"{a}+{b}="}], "answer": str(a + b)}
        for a in range(1, 9)
        for b in range(1, 9)
    ]
    path = tmp_path / "sums.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    settings = small(
        task={"kind": "jsonl", "path": str(path)},
        utilities=[{"name": "correct", "kind": "exact_match"}],
        train__steps=1,
    )
    train(settings)
    assert records(settings)[-1]["contexts"]["total"] == 6


def test_empty_dataset(small: Make, tmp_path: Path) -> None:
    path = tmp_path / "none.jsonl"
    path.write_text("")
    with pytest.raises(DataError, match=r"none\.jsonl"):
        train(small(task={"kind": "jsonl", "path": str(path)}))


def test_prompt_longer_than_the_context(small: Make, tmp_path: Path) -> None:
    path = tmp_path / "long.jsonl"
    path.write_text("\n".join(json.dumps({"prompt": "1+" * 60, "answer": "1"}) for _ in range(9)))
    with pytest.raises(DataError, match=r"long.jsonl.*120|120.*tokens"):
        train(small(task={"kind": "jsonl", "path": str(path), "held_out": 0.0}))


def test_a_phase_ends_when_the_accelerator_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    Clock(torch.device("cpu")).mark("train")
    assert waited == []
    there = torch.device("cuda", 1)
    Clock(there).mark("train")
    assert waited == [there]
