"""Measures beside the verdict against their definitions, written out context by context."""

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import polars as pl
import pytest
from arviz_stats.base import array_stats
from scipy import stats

from tod.base import SpecError
from tod.diagnosis import Shown, diagnose
from tod.formats import read
from tod.show.words import measures
from tod.targets import Target
from tolerance import chance, double, of_weights

SCHEMA = json.loads((Path(__file__).parents[2] / "docs/schema/diagnosis-1.schema.json").read_text())


def middle(values: Any) -> float:
    """The median as an order statistic."""
    return float(np.quantile(values, 0.5, method="inverted_cdf"))


def dump(path: Path, rng: np.random.Generator, contexts: int = 30, k: int = 12) -> dict[str, Any]:
    """Skewed utilities, a far reference, answers and texts that repeat; two blind contexts."""
    n = contexts * k
    r = rng.gamma(0.5, 1.0, size=n)
    r[: 2 * k] = 1.0
    columns = {
        "step": np.ones(n, dtype=int),
        "context": [f"c{i // k}" for i in range(n)],
        "candidate": np.arange(n) % k,
        "prompt": [f"p{i // k}" for i in range(n)],
        "completion": [f"the {'big ' * int(i % 3)}answer is {int(i % 5)}" for i in range(n)],
        "answer": [str(i % 5) for i in range(n)],
        "utility.r": r,
        "utility.s": (rng.random(n) < 0.2).astype(float),
        "log_mu": -20 - rng.gamma(4.0, 2.0, size=n),
    }
    columns["log_ref"] = columns["log_mu"] + rng.normal(size=n)
    pl.DataFrame(columns).write_parquet(path)
    return columns


def target(eta: float = 2.0) -> Target:
    tilts = [{"utility": "r", "eta": eta}, {"utility": "s", "eta": 1.0}]
    return Target.parse({"anchor": {"mu": 0.5, "ref": 0.5}, "tilts": tilts})


def test_the_weights_block_is_its_definitions(tmp_path: Path, rng: np.random.Generator) -> None:
    seen = dump(tmp_path / "rollouts.parquet", rng)
    found = diagnose(read(tmp_path), target()).measures["weights"]
    omega = 0.5 * (seen["log_ref"] - seen["log_mu"]) + 2 * seen["utility.r"] + seen["utility.s"]
    tilt = (2 * seen["utility.r"] + seen["utility.s"]).reshape(-1, 12)
    rows = [w for w, u in zip(omega.reshape(-1, 12), tilt, strict=True) if np.ptp(u) > 0]
    wanted: dict[str, list[float]] = {}
    for row in rows:
        raw = np.exp(row.astype(np.longdouble))
        w = raw / raw.sum()
        entropy = -float((w * np.log(w)).sum())
        hill = {
            "0": 12.0,
            "0.5": float(np.sqrt(w).sum() ** 2),
            "1": math.exp(entropy),
            "2": 1 / float((w**2).sum()),
            "inf": 1 / float(w.max()),
        }
        for name, value in hill.items():
            wanted.setdefault(f"ess_rel_alpha.{name}", []).append(value / 12)
            wanted.setdefault(f"renyi.{name}", []).append(-math.log(value / 12))
        wanted.setdefault("kl_target_proposal", []).append(math.log(12) - entropy)
        wanted.setdefault("kl_proposal_target", []).append(-float(np.log(12 * w).mean()))
        wanted.setdefault("chi2", []).append(12 * float((w**2).sum()) - 1)
        wanted.setdefault("log_z", []).append(float(np.log(raw.mean())))
    assert found["contexts"] == len(rows)
    for name, values in wanted.items():
        if name == "renyi.0":
            continue
        block, _, key = name.partition(".")
        value = found[block][key] if key else found[block]
        assert value == pytest.approx(middle(values), rel=of_weights("float64", 12, 40)), name


def test_the_share_below_is_a_count_with_a_beta_interval(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    dump(tmp_path / "rollouts.parquet", rng)
    whole = diagnose(read(tmp_path), target(), shown=Shown(below=0.25))
    found, seen = whole.measures["below"], whole.diagnostics
    count = sum(e < 0.25 for e, kept in zip(seen.ess_rel, seen.informative, strict=True) if kept)
    n = int(seen.informative.sum())
    assert 0 < count < n
    assert (found["count"], found["contexts"], found["share"]) == (count, n, count / n)
    exact = stats.beta(1 + count, 1 + n - count).ppf([0.05, 0.95])
    assert found["share_ci90"] == pytest.approx(
        exact.tolist(), abs=double(64, 4 * n * np.log(n)) / 0.05
    )


def test_bootstrap_intervals_are_those_of_resampled_contexts(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    dump(tmp_path / "rollouts.parquet", rng, contexts=90)
    whole = diagnose(read(tmp_path), target(), shown=Shown(bootstrap=2000))
    found = whole.measures["bootstrap"]
    values = whole.diagnostics.ess_rel[whole.diagnostics.informative]
    resampled = values[rng.integers(len(values), size=(4000, len(values)))]
    spread = float(values.std() / math.sqrt(len(values)))
    exact = np.quantile(resampled.mean(axis=1), [0.05, 0.95])
    # a 5 % quantile of draws: √(0.05·0.95)/φ(−1.645) standard deviations, of 2000 and of 4000
    near = spread * chance(0.218 / 0.103, 2000) * math.sqrt(1.5)
    assert found["mean_ci90"] == pytest.approx(exact.tolist(), abs=near)
    for name, p in (("median_ci90", 0.5), ("q10_ci90", 0.1)):
        drawn = np.quantile(resampled, p, axis=1, method="inverted_cdf")
        ends = np.quantile(drawn, [0.05, 0.95], method="inverted_cdf")
        ranks = np.searchsorted(np.sort(values), [found[name], ends])
        assert np.abs(ranks[0] - ranks[1]).max() <= 1, name
    assert diagnose(read(tmp_path), target()).measures["bootstrap"] is None
    for wrong in ({"bootstrap": 1}, {"below": 0.0}, {"below": 1.5}):
        with pytest.raises(SpecError):
            Shown(**wrong)


def test_every_tilt_alone_reads_its_own_contexts(tmp_path: Path, rng: np.random.Generator) -> None:
    seen = dump(tmp_path / "rollouts.parquet", rng)
    found = diagnose(read(tmp_path), target()).measures["per_utility"]
    gap = 0.5 * (seen["log_ref"] - seen["log_mu"])
    for item, name, eta in zip(found, ("r", "s"), (2.0, 1.0), strict=True):
        u = seen[f"utility.{name}"].reshape(-1, 12)
        kept = np.ptp(u, axis=1) > 0
        w = np.exp(gap.reshape(-1, 12) + eta * u)[kept]
        exact = w.sum(axis=1) ** 2 / (w**2).sum(axis=1) / 12
        assert (item["utility"], item["eta"], item["contexts"]) == (name, eta, int(kept.sum()))
        assert item["median"] == pytest.approx(middle(exact), rel=of_weights("float64", 12, 40))
    assert diagnose(read(tmp_path), eta=1.0).measures["per_utility"] == []


def test_pareto_columns_are_arvizs(tmp_path: Path, rng: np.random.Generator) -> None:
    k = 60
    dump(tmp_path / "rollouts.parquet", rng, contexts=6, k=k)
    whole = diagnose(read(tmp_path), target(0.7))
    rows = whole.rows()
    assert whole.weights is not None
    for at, log_w in enumerate(whole.weights.log_w.reshape(-1, k)):
        if not whole.diagnostics.informative[at]:
            assert np.isnan(rows["pareto_k"][at])
            continue
        smooth, khat = array_stats.psislw(-log_w)
        near = double(60, 8 * 12 * 100)  # exceedances of twelve weights that cancel to a hundredth
        weight = np.exp(smooth)
        assert rows["pareto_k"][at] == pytest.approx(float(khat), abs=near)
        exact = float(weight.sum() ** 2 / (weight**2).sum()) / k
        assert rows["ess_rel_smoothed"][at] == pytest.approx(exact, rel=10 * near)
    whole.write_contexts(tmp_path / "rows.out")
    table = pl.read_parquet(tmp_path / "rows.out")
    assert table["pareto_k"].null_count() == int((~whole.diagnostics.informative).sum())


def test_texts_are_read_only_when_asked_for(tmp_path: Path, rng: np.random.Generator) -> None:
    seen = dump(tmp_path / "rollouts.parquet", rng, contexts=20)
    plain = diagnose(read(tmp_path), target()).measures["diversity"]
    assert plain["texts"] is None
    share = [len(set(seen["answer"][i : i + 12])) / 12 for i in range(0, 240, 12)]
    assert plain["unique_answers"] == pytest.approx(np.mean(share))
    found = diagnose(read(tmp_path), target(), shown=Shown(texts=True)).measures["diversity"]
    texts = [seen["completion"][i : i + 12] for i in range(0, 240, 12)]
    for n, name in ((1, "distinct_1"), (2, "distinct_2")):
        ratio = []
        for group in texts:
            words = [t.split() for t in group]
            grams = Counter(tuple(w[i : i + n]) for w in words for i in range(len(w) - n + 1))
            ratio.append(len(grams) / grams.total())
        assert found["texts"][name] == pytest.approx(np.mean(ratio)), name
    same = [len(set(group)) / 12 for group in texts]
    assert found["texts"]["unique_texts"] == pytest.approx(np.mean(same))
    assert 0 < found["texts"]["self_bleu"] < 1


def test_schema_and_words_hold_them_all(tmp_path: Path, rng: np.random.Generator) -> None:
    dump(tmp_path / "rollouts.parquet", rng)
    shown = Shown(bootstrap=20, texts=True)
    data = diagnose(read(tmp_path), target(), shown=shown).to_dict()
    jsonschema.validate(data, SCHEMA)
    names = [name for name, _ in measures(data)]
    assert names == ["below 0.3", "bootstrap", "weights", "each alone", "diversity"]


def test_without_weights_nothing_is_said(tmp_path: Path, rng: np.random.Generator) -> None:
    seen = dump(tmp_path / "all.parquet", rng)
    columns = {n: v for n, v in seen.items() if n not in ("log_mu", "log_ref", "answer")}
    (tmp_path / "some").mkdir()
    pl.DataFrame(columns).write_parquet(tmp_path / "some" / "rollouts.parquet")
    data = diagnose(read(tmp_path / "some"), target()).to_dict()
    jsonschema.validate(data, SCHEMA)
    assert data["weights"] is data["below"] is data["diversity"] is None
    assert measures(data) == []
