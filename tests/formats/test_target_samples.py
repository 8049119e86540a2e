"""Samples of the target in a file: the missed mode that candidates cannot show."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from tod.base import DataError
from tod.cli.main import app
from tod.diagnosis import diagnose, parse_target
from tod.formats import read
from tolerance import of_weights

ETA = 0.3
TARGET = {"anchor": {"ref": 1.0}, "tilts": [{"utility": "r", "eta": ETA}]}


NEAR = of_weights("float64", 200, 20.0)
"""Means over draws, then over contexts, of weights within e^±20."""


def world(hole: float, contexts: int = 128, k: int = 16, m: int = 8, seed: int = 0) -> pl.DataFrame:
    """Ten answers a context, enumerated: μ is the reference but for answer 9, of mass ``hole``.

    π is μ, slightly moved, and misses answer 9 as μ does; q* gives it about a third.
    """
    rng = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    for c in range(contexts):
        ref = np.append(0.65 * rng.dirichlet(np.full(9, 3.0)), 0.35)
        utility = np.append(rng.normal(size=9), 0.5)
        mu = np.append(ref[:9] * (1 - hole) / ref[:9].sum(), hole)
        policy = mu * np.exp(0.01 * rng.normal(size=10))
        policy /= policy.sum()
        q = ref * np.exp(ETA * utility)
        q /= q.sum()
        for source, law, count in (("mu", mu, k), ("target", q, m)):
            for place, y in enumerate(rng.choice(10, size=count, p=law).tolist()):
                rows.append(
                    {
                        "step": 1 + c // 64,
                        "context": f"c{c}",
                        "candidate": place,
                        "drawn_from": source,
                        "utility.r": float(utility[y]),
                        "log_mu": math.log(mu[y]),
                        "log_policy": math.log(policy[y]),
                        "log_ref": math.log(ref[y]),
                    }
                )
    return pl.DataFrame(rows)


def expected(frame: pl.DataFrame) -> float:
    """1/mean_c(1/Ê_rev) in plain Python."""
    sides: dict[str, dict[str, list[float]]] = {}
    for row in frame.iter_rows(named=True):
        w = math.exp(row["log_ref"] + ETA * row["utility.r"] - row["log_mu"])
        sides.setdefault(row["context"], {}).setdefault(row["drawn_from"], []).append(w)
    inverse = []
    for both in sides.values():
        if len(both) == 2:
            y, z = both["mu"], both["target"]
            inverse.append((sum(z) / len(z)) / (sum(y) / len(y)))
    return len(inverse) / sum(inverse)


def run(path: Path, *extra: str) -> dict[str, Any]:
    words = ["diagnose", str(path), "--target", json.dumps(TARGET), "--json", "-", *extra]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    return json.loads(result.output)  # type: ignore[no-any-return]


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_a_missed_mode_is_found_through_the_command(tmp_path: Path, kind: str) -> None:
    frame = world(hole=1e-6).sample(fraction=1.0, shuffle=True, seed=1)
    path = tmp_path / f"x.{kind}"
    frame.write_parquet(path) if kind == "parquet" else frame.write_ndjson(path)
    found = run(path)
    assert found["coverage"]["reverse_ess"] == pytest.approx(expected(frame), rel=NEAR)
    assert found["coverage"]["reverse_ess"] < 1e-4
    assert found["ess_rel"]["median"] > 0.8
    assert found["overlap"]["minimum"] > 0.8
    assert abs(found["coverage"]["mean_rho_z"]) < 3
    assert found["regime"]["verdict"] == "operator_dominated"
    assert any("misses modes" in reason["why"] for reason in found["regime"]["reasons"])
    assert found["source"]["rows"] == 128 * 16
    assert not any(item["what"] == "coverage.reverse_ess" for item in found["cannot"])
    assert any("1024 rows are samples of the target" in note for note in found["source"]["notes"])


def test_without_the_samples_nobody_can_know(tmp_path: Path) -> None:
    """The control: the same candidates alone look fine, and the reason is given."""
    frame = world(hole=1e-6)
    alone = frame.filter(pl.col("drawn_from") == "mu")
    alone.write_parquet(tmp_path / "alone.parquet")
    frame.write_parquet(tmp_path / "both.parquet")
    found, both = run(tmp_path / "alone.parquet"), run(tmp_path / "both.parquet")
    assert found["regime"]["verdict"] == "swap_stable"
    assert found["coverage"]["reverse_ess"] is None
    (need,) = [i["needs"] for i in found["cannot"] if i["what"] == "coverage.reverse_ess"]
    assert "drawn_from" in need
    for block in ("contexts", "ess_rel", "tails", "overlap", "drift", "entropy", "mismatch"):
        assert found[block] == both[block], block


def test_with_no_hole_both_sides_agree(tmp_path: Path) -> None:
    frame = world(hole=0.35)
    frame.write_parquet(tmp_path / "x.parquet")
    found = run(tmp_path / "x.parquet")
    assert found["coverage"]["reverse_ess"] == pytest.approx(expected(frame), rel=NEAR)
    assert found["coverage"]["reverse_ess"] > 0.8
    assert found["regime"]["verdict"] == "swap_stable"


def test_a_mapping_names_the_column(tmp_path: Path) -> None:
    names = {"step": "it", "context": "q", "drawn_from": "origin", "utility.r": "r"}
    frame = world(hole=1e-6, contexts=32)
    frame.rename(names).write_parquet(tmp_path / "x.parquet")
    roles = "utility=r,context=q,step=it,drawn_from=origin,log_mu=log_mu,log_ref=log_ref"
    found = run(tmp_path / "x.parquet", "--map", roles)
    assert found["coverage"]["reverse_ess"] == pytest.approx(expected(frame), rel=NEAR)


def test_every_step_has_its_own(tmp_path: Path) -> None:
    frame = pl.concat(
        [
            world(0.35).filter(pl.col("step") == 1),
            world(1e-6, seed=1).filter(pl.col("step") == 2),
        ]
    )
    frame.write_parquet(tmp_path / "x.parquet")
    found = diagnose(read(tmp_path), parse_target(TARGET))
    one, two = (found.summaries[step].coverage.reverse_ess for step in (1, 2))
    assert one == pytest.approx(expected(frame.filter(pl.col("step") == 1)), rel=NEAR)
    assert two == pytest.approx(expected(frame.filter(pl.col("step") == 2)), rel=NEAR)


def test_what_the_proposal_can_never_draw_reads_zero(tmp_path: Path) -> None:
    frame = world(hole=1e-6, contexts=16)
    beyond = (pl.col("log_mu") < -10) & (pl.col("drawn_from") == "target")
    frame = frame.with_columns(pl.when(beyond).then(-math.inf).otherwise("log_mu").alias("log_mu"))
    frame.write_parquet(tmp_path / "x.parquet")
    assert run(tmp_path / "x.parquet")["coverage"]["reverse_ess"] == 0.0


def test_samples_of_few_contexts_and_of_none(tmp_path: Path) -> None:
    """Contexts without samples do not count, samples without candidates are said."""
    frame = world(hole=1e-6, contexts=32)
    few = pl.col("context").is_in(["c3", "c17", "c5"])
    kept = frame.filter((pl.col("drawn_from") == "mu") | few)
    lone = frame.filter(few & (pl.col("drawn_from") == "target")).with_columns(context=pl.lit("n"))
    pl.concat([lone, kept]).write_parquet(tmp_path / "x.parquet")
    found = run(tmp_path / "x.parquet")
    assert found["coverage"]["reverse_ess"] == pytest.approx(expected(kept), rel=NEAR)
    assert found["contexts"]["total"] == 32
    (note,) = [n for n in found["source"]["notes"] if "samples of the target" in n]
    assert "in 3 groups" in note
    assert "8 more are in groups without rollouts of mu" in note


def test_samples_that_cannot_be_weighed_are_a_reason_not_a_number(tmp_path: Path) -> None:
    frame = world(hole=1e-6, contexts=16)
    unknown = pl.when(pl.col("drawn_from") == "mu").then("log_ref").alias("log_ref")
    frame.with_columns(unknown).write_parquet(tmp_path / "x.parquet")
    found = run(tmp_path / "x.parquet")
    assert found["ess_rel"]["median"] is not None
    assert found["coverage"]["reverse_ess"] is None
    (why,) = [i["why"] for i in found["cannot"] if i["what"] == "coverage.reverse_ess"]
    assert "ref" in why


def test_bad_marks_and_bad_samples_are_rejected(tmp_path: Path) -> None:
    frame = world(hole=1e-6, contexts=16)
    odd = frame.with_row_index().with_columns(
        pl.when(pl.col("index") == 5)
        .then(pl.lit("sft"))
        .otherwise("drawn_from")
        .alias("drawn_from"),
        pl.when(pl.col("index") == 20).then(math.nan).otherwise("utility.r").alias("utility.r"),
    )
    odd.drop("index").write_parquet(tmp_path / "x.parquet")
    source = read(tmp_path, max_rejected=0.1).source
    assert [(r.row, r.name) for r in source.rejections] == [(6, "drawn_from"), (21, "utility.r")]
    odd.drop("index").write_ndjson(tmp_path / "x.jsonl")
    (tmp_path / "x.parquet").unlink()
    again = read(tmp_path, max_rejected=0.1).source
    assert sorted(r.row for r in again.rejections) == [6, 21]
    with pytest.raises(DataError, match=r"drawn_from|utility"):
        read(tmp_path, max_rejected=0.0)


def test_tokens_of_samples_stay_out_of_the_mismatch(tmp_path: Path) -> None:
    rows = []
    for c in range(4):
        for place, source in enumerate(("mu", "mu", "mu", "target")):
            gap = -5.0 if source == "target" else -0.25
            rows.append(
                {"step": 1, "context": f"c{c}", "candidate": place, "drawn_from": source}
                | {"utility.r": float(place), "log_mu_tokens": [-1.0, -2.0]}
                | {"log_old_tokens": [-1.0 + gap, -2.0 + gap]}
            )
    pl.DataFrame(rows).write_parquet(tmp_path / "x.parquet")
    for _ in range(2):
        found = diagnose(read(tmp_path), eta=0.1).summary.mismatch
        assert found is not None
        assert (found.tokens, found.k1) == (24, pytest.approx(0.25))
        pl.DataFrame(rows).write_ndjson(tmp_path / "x.jsonl")
        (tmp_path / "x.parquet").unlink(missing_ok=True)
