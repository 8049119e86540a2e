"""Every training row of the two tables, run for real: it trains, and says only what it knows."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from tod.base import SpecError
from tod.engine.settings import RunSettings
from tod.engine.train import train
from tod.runs import RunDirectory, comparable
from tolerance import double, of_sequence, of_weights

Make = Callable[..., RunSettings]
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

TEACHER = {"teacher": "tod://tiny-teacher"}
DRAWN = {"prompts": 6, "size": 4, "max_new_tokens": 20}
CHOICES = {"source": "pairs", "utility": "correct", **DRAWN}
LIKED = {"kind": "preference", "utility": "correct", "beta": 0.1}
TAUGHT = {"kind": "teacher", "eta": 1.0}
MU = {"kind": "verifier", "eta": 5.0, "utility": "correct", "anchor": {"mu": 1.0}}
PULLED = {"kind": "k1", "place": "reward"}
ALL = {"kind": "weighted_regression", "weights": "uniform", "aggregation": "token_mean"}
NONE = {"kind": "auxiliary"}
STRICT = {"kind": "multi_objective", "etas": {"correct": 5.0}, "constraints": ["correct"]}
CHOOSY = {"kind": "verifier", "utility": "correct", "selectivity": 0.9}
FIXED = {"kind": "finite_candidates", "eta": 5.0, "utility": "correct", "semantics": "fixed"}
POOL = {"source": "pool", "path": "a.jsonl", "semantics": "sampled"}
SCORED = {"kind": "policy_gradient", "advantage": "group_zscore", "pull": {"kind": "k3"}}


def gradient(**changes: Any) -> dict[str, Any]:
    return {"kind": "policy_gradient", "aggregation": "token_mean", **changes}


def liked(loss: str, **changes: Any) -> dict[str, Any]:
    proposal = changes.pop("proposal", CHOICES)
    action = {"kind": "preference", "loss": {"kind": loss, **changes}}
    return {"target": LIKED, "operator__proposal": proposal, "operator__action": action}


def regressed(target: Any = None, **changes: Any) -> dict[str, Any]:
    return {
        "target": target or MU,
        "operator__action": {"kind": "weighted_regression", **changes},
    }


def distilled(**term: Any) -> dict[str, Any]:
    return {
        "anchors": TEACHER,
        "target": TAUGHT,
        "operator__action": NONE,
        "operator__auxiliary": {"distillation": term},
    }


ROWS: dict[str, dict[str, Any]] = {
    "sft": {
        "target": {"kind": "data"},
        "operator__proposal": {"source": "dataset", "prompts": 6, "max_new_tokens": 20},
        "operator__action": ALL,
    },
    "dft": {
        "target": {"kind": "data"},
        "operator__proposal": {"source": "dataset", "prompts": 6, "max_new_tokens": 20},
        "operator__action": {**ALL, "by_probability": True},
    },
    "rwr": regressed(weights="target"),
    "awr": regressed(weights="exponentiated"),
    "reps": regressed(weights="kl_budget"),
    "best_of": regressed(weights={"kind": "best", "count": 2}),
    "self_training": {
        **regressed(weights="accepted"),
        "operator__proposal": {**DRAWN, "refresh": 2},
    },
    **{
        name: liked(name)
        for name in ("dpo", "cdpo", "robust_dpo", "ipo", "hinge", "simpo", "orpo", "exo", "nca")
    },
    "kto": liked("kto", proposal=DRAWN),
    "pair_exact": {
        "target": {"kind": "verifier", "eta": 5.0, "utility": "correct"},
        "operator__proposal": {**DRAWN, "size": 2},
        "operator__action": {"kind": "listwise"},
    },
    "listwise_reverse": {
        "target": {"kind": "verifier", "eta": 5.0, "utility": "correct"},
        "operator__action": {"kind": "listwise", "divergence": "reverse"},
    },
    "ppo": {
        "operator__action": gradient(
            trust_region="dual_clip", advantage={"kind": "gae", "whiten": {}}, pull=PULLED
        ),
        "operator__auxiliary": {"critic": {}},
    },
    "ppo_head": {
        "operator__action": gradient(advantage="gae", pull=PULLED),
        "operator__auxiliary": {"critic": {"kind": "head"}},
    },
    "reinforce_pp": {
        "operator__action": gradient(advantage={"kind": "return_to_go", "whiten": {}}, pull=PULLED)
    },
    "gmpo": {
        "operator__action": gradient(
            level="sequence_mean_of_clipped", trust_region={"kind": "clip", "low": 0.4, "high": 0.4}
        )
    },
    "fspo": {
        "operator__action": gradient(
            level="sequence_sum",
            trust_region="root_length_clip",
            aggregation="sequence_mean_token_sum",
        )
    },
    "vargrad": {
        "operator__action": gradient(
            level="sequence_sum",
            trust_region="unbounded",
            advantage="leave_one_out",
            aggregation="sequence_mean_token_sum",
            pull={"kind": "residual", "at": "current"},
        )
    },
    "tis": {"operator__action": gradient(correction={"kind": "token_truncation"})},
    "entropy": {
        "operator__action": gradient(),
        "operator__auxiliary": {"entropy": {"weight": 0.01}},
    },
    "dynamic": {"operator__proposal": {**DRAWN, "dynamic": {"max_rounds": 3}}},
    "overlong": {
        "utilities": [
            {"name": "correct", "kind": "countdown"},
            {"name": "length", "kind": "overlong", "longest": 20, "buffer": 12},
        ],
        "target": {
            "kind": "multi_objective",
            "etas": {"correct": 5.0, "length": 2.0},
            "anchor": {"old": 1.0},
        },
    },
    "opd_sampled": {
        "anchors": TEACHER,
        "target": TAUGHT,
        "operator__action": gradient(
            trust_region="unbounded",
            advantage={"kind": "return_to_go", "discount": 0.0},
            pull={"kind": "residual", "at": "current"},
        ),
    },
    "opd_reverse": distilled(divergence="reverse_kl"),
    "opd_forward": distilled(divergence="forward_kl", top_k=4),
    "gkd": distilled(divergence="jsd", beta=0.3),
    "gkd_turns": {
        **distilled(divergence="jsd"),
        "operator__proposal": {**DRAWN, "source": "alternating"},
    },
    "teacher_samples": {
        "anchors": TEACHER,
        "target": {"kind": "data"},
        "operator__proposal": {**DRAWN, "source": "teacher"},
        "operator__action": ALL,
    },
    "mixture": {
        "operator__proposal": {**DRAWN, "source": "mixture", "shares": {"old": 0.5, "ref": 0.5}}
    },
    "replay": {"operator__proposal": {**DRAWN, "source": "replay"}},
    "stale": {"operator__proposal": {**DRAWN, "refresh": [1, 3]}},
    "two_lens_sft": {
        "target": {
            "kind": "scalar_reward",
            "eta": 1.0,
            "utility": "correct",
            "anchor": {"mu": 1.0},
        },
        "operator__proposal": {"source": "dataset", "prompts": 6, "max_new_tokens": 20},
        "operator__action": ALL,
    },
}


def last(settings: RunSettings) -> dict[str, Any]:
    return list(RunDirectory.open(settings.directory).steps.read())[-1]


@pytest.mark.parametrize("row", ROWS)
def test_row_trains(small: Make, row: str) -> None:
    settings = small(**{"train__steps": 2, **ROWS[row]})
    train(settings)
    record = last(settings)
    assert record["optimiser"]["grad_norm"] > 0
    assert 0 <= record["utility"]["correct"] <= 1
    given = settings.operator.proposal.source == "dataset"
    on_policy = settings.operator.proposal.samplers == ("old",)
    assert (record["ledger"]["sample_tokens"] == 0) == given
    assert record["regime"]["verdict"]
    if given:
        assert record["overlap"]["policy_proposal"] is None
        assert record["drift"]["ref"] is None
        assert record["drift"]["old"] is None
    elif on_policy and settings.operator.proposal.source in ("old", "pairs"):
        overlap = record["overlap"]["policy_proposal"]
        if settings.operator.proposal.refresh == 1:
            assert overlap == pytest.approx(1.0, abs=of_sequence("float32") ** 2)
        assert 0 < overlap <= 1 + of_sequence("float32") ** 2


@pytest.mark.parametrize(
    "row", ["ppo", "replay", "dynamic", "dpo", "mixture", "gkd_turns", "stale"]
)
def test_resumed_is_uninterrupted(small: Make, row: str) -> None:
    changes = {"train__steps": 4, "train__updates_per_batch": 1, **ROWS[row]}
    whole, broken = small("whole", **changes), small("broken", **changes)
    train(whole)
    assert interrupted_at(broken, 2)
    train(broken, resume=True)
    one, two = RunDirectory.open(whole.directory), RunDirectory.open(broken.directory)
    assert [comparable(r) for r in one.steps.read()] == [comparable(r) for r in two.steps.read()]
    first, second = one.latest_checkpoint(), two.latest_checkpoint()
    assert first is not None
    assert second is not None
    for file in sorted(path.name for path in first.glob("*.safetensors")):
        a, b = load_file(first / file), load_file(second / file)
        assert a.keys() == b.keys()
        for name in a:
            assert np.array_equal(a[name], b[name]), (file, name)


def interrupted_at(settings: RunSettings, step: int) -> bool:
    """Train until the record of ``step + 1`` would be told, as someone who presses Ctrl-C."""
    from tod.engine.train import Events

    def stop(record: Any) -> None:
        if record.step == step + 1:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        train(settings, events=Events(record=stop))
    latest = RunDirectory.open(settings.directory).latest_checkpoint()
    return latest is not None and latest.name == f"step-{step}"


def test_a_budget_is_spent_and_its_sharpness_recorded(small: Make) -> None:
    """REPS: KL of the weights of the step's candidates from uniform, by the recorded η and U."""
    utilities = [{"name": "correct", "kind": "countdown", "partial": 0.3}]
    weights = {"kind": "kl_budget", "budget": 0.15}
    changes = {**regressed(weights=weights), "utilities": utilities, "train__steps": 3}
    settings = small(**changes, train__max_tokens_per_micro_batch=200)
    train(settings)
    table = RunDirectory.open(settings.directory).rollouts.scan().collect()
    for record in RunDirectory.open(settings.directory).steps.read():
        rows = table.filter(table["step"] == record["step"])
        eta = record["knobs"]["eta"]
        assert eta != 5.0
        u = eta * rows["utility.correct"].to_numpy().reshape(-1, 4)
        log_w = rows["log_w"].to_numpy().reshape(-1, 4)
        np.testing.assert_allclose(log_w - log_w[:, :1], u - u[:, :1], rtol=0, atol=double(4, 60))
        w = np.exp(u) / np.exp(u).sum(1, keepdims=True)
        assert (w * np.log(4 * w)).sum(1).mean() == pytest.approx(
            0.15, rel=of_weights("float64", 4, 20.0)
        )
        assert not re.search(r"\beta\b", str(record["regime"]["reasons"]))


def test_contexts_that_need_no_selectivity_are_counted(small: Make) -> None:
    """With b = μ: those with 1, 2 or 3 passes of 4 and a share of passes above s."""
    settings = small(**regressed({**CHOOSY, "selectivity": 0.3, "anchor": {"mu": 1.0}}))
    train(settings)
    table = RunDirectory.open(settings.directory).rollouts.scan().collect()
    seen = 0
    for record in RunDirectory.open(settings.directory).steps.read():
        rows = table.filter(table["step"] == record["step"])
        passes = rows["utility.correct"].to_numpy().reshape(-1, 4).sum(axis=1)
        assert record["optimiser"]["surpassed"] == np.isin(passes, [2, 3]).mean()
        seen += np.isin(passes, [2, 3]).sum()
    assert seen > 0
    train(other := small("other", train__steps=1))
    assert "surpassed" not in last(other)["optimiser"]


def test_drift_from_mu_follows_the_schedule(small: Make) -> None:
    """π is π_old exactly at the steps before which the policy was copied into μ."""
    settings = small(
        operator__proposal={**DRAWN, "refresh": [1, 3, 2]}, train__steps=8, train__dtype="float64"
    )
    train(settings)
    records = list(RunDirectory.open(settings.directory).steps.read())
    near = of_sequence("float32")
    fresh = [r for r in records if r["overlap"]["policy_proposal"] > 1 - near**2]
    assert [record["step"] for record in fresh] == [1, 2, 5, 7]
    assert all(abs(record["drift"]["old"]) <= near for record in fresh)


def test_choices_of_a_data_set(small: Make, tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    rows = [
        {"prompt": f"{a} {b}={a + b}:", "chosen": f"{a}+{b}", "rejected": f"{a}*{b}"}
        for a in range(1, 9)
        for b in range(1, 9)
    ]
    path.write_text("\n".join(json.dumps(row) for row in rows))
    settings = small(
        task={"kind": "jsonl", "path": str(path)},
        utilities=[{"name": "length", "kind": "overlong", "longest": 20, "buffer": 20}],
        target={"kind": "preference", "utility": "preferred", "beta": 0.1},
        operator__proposal={"source": "pairs", "prompts": 6, "max_new_tokens": 20},
        operator__action={"kind": "preference"},
        train__steps=12,
        train__updates_per_batch=1,
    )
    train(settings)
    record = last(settings)
    assert record["utility"]["preferred"] == 0.5
    assert record["overlap"]["target_proposal"] is None
    assert record["overlap"]["policy_proposal"] is None
    table = RunDirectory.open(settings.directory).rollouts.scan().collect()
    gap = (table["log_policy"] - table["log_ref"]).to_numpy().reshape(-1, 6, 2)
    margin = (gap[:, :, 0] - gap[:, :, 1]).mean(axis=1)
    assert margin[-3:].mean() > margin[0] + 1.0


def test_pool_of_a_run_trains_off_line(small: Make) -> None:
    first = small("first", train__steps=2)
    train(first)
    table = RunDirectory.open(first.directory).rollouts.scan().collect()
    path = first.directory / "pool.parquet"
    table.write_parquet(path)
    pool = {
        "source": "pool",
        "path": str(path),
        "semantics": "sampled",
        "prompts": 6,
        "max_new_tokens": 20,
    }
    second = small(
        "second",
        target=MU,
        operator__proposal=pool,
        train__steps=2,
        operator__action={"kind": "weighted_regression"},
    )
    train(second)
    again = RunDirectory.open(second.directory).rollouts.scan().collect()
    pairs = {(row["prompt"], row["completion"]): row for row in table.iter_rows(named=True)}
    for row in again.iter_rows(named=True):
        original = pairs[row["prompt"], row["completion"]]
        assert row["utility.correct"] == original["utility.correct"]
        assert row["log_mu"] == pytest.approx(original["log_mu"])
    assert 0 < last(second)["overlap"]["policy_proposal"] <= 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"operator__action": gradient(advantage="gae")}, "critic"),
        ({"operator__auxiliary": {"critic": {}}}, "nothing reads"),
        ({"operator__action": NONE}, "no auxiliary term"),
        ({"target": TAUGHT, "operator__action": gradient()}, "anchors.teacher"),
        ({"operator__auxiliary": {"distillation": {}}}, "anchors.teacher"),
        ({"operator__proposal": {"source": "datset"}}, "unknown source"),
        ({"operator__proposal": {"source": "dataset"}}, "no log μ"),
        (
            {"target": MU, "operator__proposal": {**DRAWN, "source": "alternating"}},
            "no log μ",
        ),
        ({"target": FIXED, "operator__proposal": POOL}, "fixed rollouts .* 'pool' are sampled"),
        ({"target": FIXED, "operator__action": {"kind": "listwise"}}, "'old' are sampled"),
        (distilled() | {"arc": {"knob": "eta"}}, "connected to nothing"),
        ({"operator__proposal": CHOICES}, "choices"),
        ({**liked("dpo", proposal={**CHOICES, "utility": "nice"})}, "nice"),
        ({"target": STRICT, "operator__action": gradient()}, r"operator: support .* weighted_regr"),
        ({"target": CHOOSY, "operator__action": SCORED}, "weighs the pull by 1/η"),
        ({**liked("dpo"), "target": CHOOSY}, "one β"),
        (regressed(TAUGHT, weights="kl_budget") | {"anchors": TEACHER}, "declares none"),
        (regressed(weights="kl_budget") | {"arc": {"knob": "eta"}}, "would turn nothing"),
        (
            {
                "target": STRICT,
                "operator__action": {"kind": "weighted_regression"},
                "operators__bold": {"action": gradient()},
            },
            r"operators\.bold: support",
        ),
        ({"operator__proposal": {"source": "replay", "prompts": 4, "fresh": 5}}, "fresh"),
        (
            {
                "operator__proposal": {
                    "source": "mixture",
                    "size": 2,
                    "shares": {"old": 0.9, "ref": 0.1},
                }
            },
            "size",
        ),
    ],
)
def test_what_cannot_mean_anything_is_refused(small: Make, changes: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        small(**changes)
