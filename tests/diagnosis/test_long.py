"""Rollouts of thousands of tokens: staleness and engine mismatch told apart at any length."""

import io
import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import polars as pl
import pytest

from tod.diagnosis import Diagnosis, diagnose
from tod.formats import read
from tod.show.screen import Screen
from tod.show.terminal import diagnosis_screen
from tolerance import chance, of_weights

SCHEMA = json.loads((Path(__file__).parents[2] / "docs/schema/diagnosis-1.schema.json").read_text())
CONTEXTS, K = 40, 16


def world(root: Path, engine: float, travel: float, tokens: tuple[int, int] = (1000, 4000)) -> Path:
    """Skewed lengths; per-token gaps of deviation ``engine`` and ``travel``, KLs s²/2 each."""
    rng = np.random.default_rng(7)
    n = CONTEXTS * K
    low, high = tokens
    lengths = (low + (high - low) * rng.beta(1.2, 3.0, n)).astype(int)
    columns: dict[str, list[list[float]]] = {name: [] for name in ("mu", "old", "policy")}
    for size in lengths:
        mu = -0.6 - rng.gamma(1.0, 0.4, size)
        old = mu + engine * rng.normal(size=size) - engine**2 / 2
        policy = old + travel * rng.normal(size=size) - travel**2 / 2
        for name, values in (("mu", mu), ("old", old), ("policy", policy)):
            columns[name].append(np.minimum(values, 0.0).astype(np.float32).tolist())
    frame: dict[str, Any] = {"step": [1] * n, "context": [f"c{i // K}" for i in range(n)]}
    frame["utility.reward"] = rng.random(n)
    for name, lists in columns.items():
        frame[f"log_{name}"] = [float(np.sum(one)) for one in lists]
        frame[f"log_{name}_tokens"] = lists
    schema = {f"log_{name}_tokens": pl.List(pl.Float32) for name in columns}
    pl.DataFrame(frame, schema_overrides=schema).write_parquet(root / "long.parquet")
    return root / "long.parquet"


CASES = {"engine": (0.1, 0.0), "stale": (0.0, 0.1), "both": (0.08, 0.06)}


@pytest.fixture(scope="module")
def diagnoses(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Diagnosis]:
    found = {}
    for name, gaps in CASES.items():
        path = world(tmp_path_factory.mktemp(name), *gaps)
        found[name] = diagnose(read(path), eta=0.25)
    return found


def shown(found: Diagnosis, monkeypatch: pytest.MonkeyPatch) -> str:
    out = io.StringIO()
    monkeypatch.setattr(diagnosis_screen, "Screen", lambda: Screen(file=out, width=80))
    diagnosis_screen.show(found, [])
    assert max(map(len, out.getvalue().splitlines())) <= 80
    return " ".join(out.getvalue().split())


def test_true_legs_alone_cannot_tell_the_cases_apart(diagnoses: dict[str, Diagnosis]) -> None:
    """The premise: the policy's leg is on its floor of 1/K in all three."""
    legs = [found.summary.overlap.policy_proposal for found in diagnoses.values()]
    assert max(legs) < 0.2
    assert {found.regime.verdict for found in diagnoses.values()} == {"operator_dominated"}


@pytest.mark.parametrize("name", CASES)
def test_the_split_is_the_planted_one(diagnoses: dict[str, Diagnosis], name: str) -> None:
    engine, travel = CASES[name]
    data = diagnoses[name].to_dict()
    jsonschema.validate(data, SCHEMA)
    found = data["long_sequences"]
    share = engine**2 / (engine**2 + travel**2)
    tokens = int(diagnoses[name].reading.labels.length.sum())
    # of two variances, each of whose squares have the standard deviation √2
    near = share * (1 - share) * 2 * chance(2**0.5, len(diagnoses[name].reading.labels.length))
    assert found["mismatch_share"] == pytest.approx(share, abs=near)
    assert found["staleness_share"] == pytest.approx(1 - share, abs=near)
    for block, scale in (("mismatch", engine), ("staleness", travel)):
        assert data[block]["k2"] == pytest.approx(
            scale**2 / 2, abs=scale**2 / 2 * chance(2**0.5, tokens) + scale**3
        )
        assert data[block]["k3"] == pytest.approx(
            scale**2 / 2, abs=scale**2 / 2 * chance(2**0.5, tokens) + scale**3
        )
        length = np.mean(diagnoses[name].reading.labels.length)
        per_sequence = scale**2 / 2 * length
        assert data[block]["kl_sequence"] == pytest.approx(
            per_sequence, abs=scale * chance(1, tokens) * length
        )
        if scale == 0:
            assert data[block]["ess_rel"] == pytest.approx(1.0)


@pytest.mark.parametrize("name", CASES)
def test_surrogates_stand_beside_the_true_leg(diagnoses: dict[str, Diagnosis], name: str) -> None:
    """Against the definition, context by context; the true leg is never replaced."""
    found, reading = diagnoses[name], diagnoses[name].reading
    gaps = {
        "policy_proposal": reading.log_anchor["policy"] - reading.log_mu,
        "mismatch": reading.log_anchor["old"] - reading.log_mu,
        "staleness": reading.log_anchor["policy"] - reading.log_anchor["old"],
    }
    length = reading.labels.length
    divisors = {"length_mean": length, "length_root": np.sqrt(length)}
    items = found.to_dict()["long_sequences"]["surrogates"]
    assert {(i["leg"], i["name"]) for i in items} == {(g, d) for g in gaps for d in divisors}
    for item in items:
        w = np.exp((gaps[item["leg"]] / divisors[item["name"]]).reshape(CONTEXTS, K))
        ess = np.sort(w.sum(1) ** 2 / (w**2).sum(1) / K)
        assert item["median"] == pytest.approx(
            ess[CONTEXTS // 2 - 1], rel=of_weights("float64", K, 10)
        )
        assert item["median"] > 0.9
    true = {item["leg"]: item["true"] for item in items}
    assert true["policy_proposal"] == pytest.approx(found.summary.overlap.policy_proposal)
    assert found.to_dict()["overlap"]["policy_proposal"] < 0.2


def test_remedies_differ(diagnoses: dict[str, Diagnosis]) -> None:
    def remedy(name: str) -> str:
        reasons = diagnoses[name].regime.reasons
        return next(r.remedy for r in reasons if "policy/proposal" in r.why)

    assert "mend the sampling engine" in remedy("engine")
    assert "refresh mu" in remedy("stale")
    assert "64%" in remedy("both")  # 0.08²/(0.08² + 0.06²)


def test_trend_in_k_falls_to_its_floor(diagnoses: dict[str, Diagnosis]) -> None:
    points = [p for p in diagnoses["engine"].k_trend if p["leg"] == "policy_proposal"]
    assert [p["k"] for p in points] == [2, 4, 8, 16]
    medians = [p["median"] for p in points]
    assert medians == sorted(medians, reverse=True)
    assert all(m < 2.5 / p["k"] for m, p in zip(medians, points, strict=True))
    dense = [p["median"] for p in diagnoses["engine"].k_trend if p["leg"] == "target_proposal"]
    assert min(dense) > 0.95  # eta 0.25 on utilities in [0, 1]: the trend is flat


@pytest.mark.parametrize("name", CASES)
def test_terminal_says_it(
    diagnoses: dict[str, Diagnosis], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = shown(diagnoses[name], monkeypatch)
    wanted = {
        "engine": "0 % staleness, 100 %",
        "stale": "100 % staleness, 0 %",
        "both": "staleness,",
    }
    assert wanted[name] in text
    assert "length_root" in text
    assert "never q*/μ" in text
    assert "π/μ by K" in text
    assert "per sequence" in text


def test_short_sequences_are_not_lectured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = diagnose(read(world(tmp_path, 0.1, 0.0, tokens=(8, 30))), eta=0.25)
    assert "length_root" not in shown(found, monkeypatch)
    assert found.to_dict()["long_sequences"] is not None


def test_no_lengths_no_record(writers: Any, tmp_path: Path) -> None:
    found = diagnose(read(writers.write_verl(writers.make_world(), tmp_path)))
    assert found.to_dict()["long_sequences"] is None
