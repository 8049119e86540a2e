"""What a trust region takes of recorded tokens, against plain loops over the same numbers."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import polars as pl
import pytest

from tod.base import SpecError
from tod.cli.options import gate_of
from tod.diagnosis import diagnose
from tod.formats import Gate, read
from tod.operators import Clip, DualClip, Mask, SoftGate
from tod.show.words import measures
from tolerance import double, rounding

SCHEMA = json.loads((Path(__file__).parents[2] / "docs/schema/diagnosis-1.schema.json").read_text())


def rows(rng: np.random.Generator, *, steps: int = 2, contexts: int = 9, k: int = 5) -> list[Any]:
    """Ragged answers, a policy that has moved, one blind context, ties, rows of a context apart."""
    found = []
    for step in range(1, steps + 1):
        for c in range(contexts):
            for i in range(k):
                old = -rng.gamma(1.0, 0.5, size=int(rng.integers(1, 40)))
                policy = np.minimum(old + 0.2 * rng.normal(size=old.size) * (1 + step), 0.0)
                found.append(
                    {"step": step, "context": f"c{c}", "candidate": i, "prompt": "p"}
                    | {"utility.r": 0.5 if c == 0 else float(rng.choice([0, 0.3, 1]))}
                    | {"completion": "a", "log_mu": float(old.sum())}
                    | {"log_old_tokens": old.tolist(), "log_policy_tokens": policy.tolist()}
                )
    rng.shuffle(found)  # type: ignore[arg-type]
    return found


def write(path: Path, found: list[Any], kind: str) -> Path:
    if kind == "parquet":
        pl.DataFrame(found).write_parquet(path / "rollouts.parquet")
    else:
        text = "".join(json.dumps(row) + "\n" for row in found)
        (path / "rollouts.jsonl").write_text(text)
    return path


def advantages(found: list[Any]) -> list[float]:
    """Utility less the mean of its context at its step; 0 where all are equal."""
    groups: dict[Any, list[float]] = {}
    for row in found:
        groups.setdefault((row["step"], row["context"]), []).append(row["utility.r"])
    out = []
    for row in found:
        group = groups[row["step"], row["context"]]
        same = max(group) == min(group)
        out.append(0.0 if same else row["utility.r"] - math.fsum(group) / len(group))
    return out


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_clip_counts_the_tokens_it_acts_on(
    tmp_path: Path, rng: np.random.Generator, kind: str
) -> None:
    found = rows(rng)
    reading = read(write(tmp_path, found, kind), gate=Gate(Clip(low=0.2, high=0.28)))
    data = diagnose(reading, eta=1.0).to_dict()
    jsonschema.validate(data, SCHEMA)
    low = high = outside = tokens = active = 0
    by_step: dict[int, list[float]] = {1: [0, 0], 2: [0, 0]}
    for row, a in zip(found, advantages(found), strict=True):
        for x, y in zip(row["log_policy_tokens"], row["log_old_tokens"], strict=True):
            r = math.exp(x - y)
            up, down = r > 1.28 and a > 0, r < 0.8 and a < 0
            tokens, active = tokens + 1, active + (a != 0)
            low, high, outside = low + down, high + up, outside + (r > 1.28 or r < 0.8)
            by_step[row["step"]][0] += abs(a) * (up or down)
            by_step[row["step"]][1] += abs(a)
    gate = data["gate"]
    assert 0.05 < (low + high) / tokens < 0.95
    assert (gate["of"], gate["level"], gate["tokens"]) == (["policy", "old"], "token", tokens)
    assert gate["negative"] == pytest.approx(low / tokens, rel=double(2000))
    assert gate["positive"] == pytest.approx(high / tokens, rel=double(2000))
    weights = np.sum(list(by_step.values()), axis=0)
    assert gate["activation"] == pytest.approx(weights[0] / weights[1], rel=double(2000))
    assert gate["active"] == pytest.approx((low + high) / active, rel=double(2000))
    assert gate["either"] == pytest.approx(outside / tokens, rel=double(2000))
    shares = [taken / of for taken, of in by_step.values()]
    assert data["activation"] == pytest.approx(sum(shares) / 2, rel=double(2000))
    assert "activation" not in [item["what"] for item in data["cannot"]]
    assert next(name for name, _ in measures(data)) == "activation"


def sech2(x: float) -> float:
    return 1 / math.cosh(x) ** 2


@pytest.mark.parametrize(
    ("region", "keep"),
    [
        (SoftGate(), lambda r, a: sech2((1.0 if a > 0 else 1.05) * (r - 1) / 2)),
        (Mask(low=0.7, high=1.5), lambda r, _: float(0.7 <= r <= 1.5)),
        (DualClip(cap=1.4), lambda r, a: float(r <= 1.2 if a > 0 else a == 0 or 0.8 <= r <= 1.4)),
    ],
)
def test_other_gates_by_sign(
    tmp_path: Path, rng: np.random.Generator, region: Any, keep: Any
) -> None:
    found = rows(rng)
    reading = read(write(tmp_path, found, "parquet"), gate=Gate(region))
    gate = diagnose(reading, eta=1.0).to_dict()["gate"]
    lost, worst, size = [], [], []
    for row, a in zip(found, advantages(found), strict=True):
        for x, y in zip(row["log_policy_tokens"], row["log_old_tokens"], strict=True):
            r = math.exp(x - y)
            lost.append(1 - keep(r, a))
            size.append(abs(a))
            worst.append(max(1 - keep(r, 1.0), 1 - keep(r, -1.0)))
    near = rounding("float32", 1)  # a candidate keeps its sums in single precision
    assert gate["activation"] == pytest.approx(np.average(lost, weights=size), rel=near)
    assert gate["either"] == pytest.approx(np.mean(worst), rel=near)


@pytest.mark.parametrize("sums_only", [False, True])
def test_a_sequence_gate_weighs_whole_answers(
    tmp_path: Path, rng: np.random.Generator, sums_only: bool
) -> None:
    """GSPO clips the geometric mean: token lists and their sums with lengths say the same."""
    found = rows(rng)
    gate = Gate(Clip(low=0.05, high=0.05), level="sequence_mean")
    gated = tokens = 0.0
    for row, a in zip(found, advantages(found), strict=True):
        n = len(row["log_old_tokens"])
        s = math.exp((math.fsum(row["log_policy_tokens"]) - math.fsum(row["log_old_tokens"])) / n)
        gated += abs(a) * n * ((s > 1.05 and a > 0) or (s < 0.95 and a < 0))
        tokens += abs(a) * n
    if sums_only:
        found = [
            {k: v for k, v in row.items() if not k.endswith("_tokens")}
            | {"log_old": sum(row["log_old_tokens"]), "log_policy": sum(row["log_policy_tokens"])}
            | {"length": len(row["log_old_tokens"])}
            for row in found
        ]
    data = diagnose(read(write(tmp_path, found, "jsonl"), gate=gate), eta=1.0).to_dict()
    assert 0.1 < gated / tokens < 0.9
    assert data["gate"]["activation"] == pytest.approx(gated / tokens, rel=double(2000))


def test_what_is_missing_is_named(tmp_path: Path, rng: np.random.Generator) -> None:
    found = rows(rng)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "c").mkdir()

    def lack(path: Path, gate: Gate | None) -> Any:
        data = diagnose(read(path, gate=gate), eta=1.0).to_dict()
        assert data["gate"] is None
        return next(item for item in data["cannot"] if item["what"] == "activation")

    whole = write(tmp_path / "a", found, "jsonl")
    assert "--clip" in lack(whole, None)["needs"]
    no_policy = [{k: v for k, v in r.items() if k != "log_policy_tokens"} for r in found]
    lost = lack(write(tmp_path / "b", no_policy, "jsonl"), Gate(Clip()))
    assert "the policy's log-probs" in lost["why"]
    sums = [
        {k: v for k, v in r.items() if not k.endswith("_tokens")}
        | {"log_old": -1.0, "log_policy": -1.1, "length": 3}
        for r in found
    ]
    assert "every token" in lack(write(tmp_path / "c", sums, "jsonl"), Gate(Clip()))["why"]


def test_without_a_utility_only_the_worse_sign_is_known(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    path = write(tmp_path, rows(rng), "parquet")
    reading = replace(read(path, gate=Gate(Clip())), utility={})
    data = diagnose(reading).to_dict()
    assert data["gate"]["activation"] is None
    assert 0 < data["gate"]["either"] < 1
    assert "sign" in dict(measures(data))["activation"]


def test_flags_name_a_gate(tmp_path: Path) -> None:
    named = gate_of("0.2,0.28", None, None)
    assert named is not None
    assert (named.trust_region, named.level) == (Clip(low=0.2, high=0.28), "token")
    gspo = gate_of(None, "gspo", None)
    assert gspo is not None
    assert gspo.level == "sequence_mean"
    (tmp_path / "op.yaml").write_text(
        "operator: {action: {kind: policy_gradient, trust_region: {kind: soft_gate}}}"
    )
    ours = gate_of(None, str(tmp_path / "op.yaml"), None)
    assert ours is not None
    assert ours.trust_region == SoftGate()
    assert gate_of(None, None, None) is None
    for clip, operator in (("x", None), ("0.1,0.2,0.3", None), ("-1", None), ("0.2", "gspo"),
                           (None, "dpo"), (None, "reinforce_nothing")):  # fmt: skip
        with pytest.raises(SpecError):
            gate_of(clip, operator, None)
