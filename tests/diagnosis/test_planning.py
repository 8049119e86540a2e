"""`tod plan` against brute force."""

import itertools
import json
import math
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from scipy.stats import norm

from tod.base import DataError, Groups, SpecError
from tod.diagnosis import parse_target
from tod.diagnosis.plan import plan
from tod.diagnosis.plan_sizes import informative_share
from tod.formats import Reading, Source, read
from tod.live import RolloutWriter
from tod.procedure import examine
from tod.regimes import feasible_eta
from tolerance import of_weights, printed

SCHEMA = json.loads((Path(__file__).parents[2] / "docs/schema/plan-1.schema.json").read_text())


def brute_ess_rel(log_w, sizes):
    """ESS_rel context by context, from its definition."""
    found, start = [], 0
    for size in sizes:
        w = np.exp(log_w[start : start + size] - log_w[start : start + size].max())
        found.append(w.sum() ** 2 / (w**2).sum() / size)
        start += size
    return np.array(found)


def brute_quantile(values, p):
    """The smallest value with at least a share p of them at or below it."""
    ordered = np.sort(values)
    return ordered[max(math.ceil(p * len(ordered)) - 1, 0)]


@pytest.fixture
def pilot(tmp_path, rng):
    """64 contexts of 16 skewed candidates; three are blind; a second, binary utility; a gap."""
    n, k = 64, 16
    reward = rng.gamma(0.7, 1.0, (n, k)) * rng.uniform(0.3, 2.0, (n, 1))
    reward[:3] = 0.5
    passed = (rng.random((n, k)) < rng.uniform(0.05, 0.6, (n, 1))).astype(float)
    log_mu = -rng.gamma(4.0, 2.0, (n, k)) - 1.0
    gap = rng.standard_normal((n, k)) * 0.4
    with RolloutWriter(tmp_path / "pilot") as writer:
        writer.rows(
            1,
            group=np.repeat(np.arange(n), k).tolist(),
            prompt=[f"prompt {i}" for i in np.repeat(np.arange(n), k)],
            completion=[f"c{i}" for i in range(n * k)],
            utility={"reward": reward.ravel(), "passed": passed.ravel()},
            log={"mu": log_mu.reshape(-1, 1), "ref": np.minimum(log_mu + gap, 0).reshape(-1, 1)},
        )
    return tmp_path / "pilot"


def alive(values, sizes):
    parts = np.split(values, np.cumsum(sizes)[:-1])
    return np.array([part.max() > part.min() for part in parts])


@pytest.mark.parametrize("quantile", ["median", "q10"])
def test_feasible_eta_is_where_brute_force_loses_the_target(pilot, quantile):
    reading = read(pilot)
    found = plan(reading, ess_target=0.6, eta=1.0)
    block = next(f for f in found.feasible if f.utility is None and f.quantile == quantile)
    reward, sizes = np.asarray(reading.utility["reward"]), reading.contexts.sizes
    informative = alive(reward, sizes)
    assert informative.sum() == found.contexts["informative"] == 61
    p = {"median": 0.5, "q10": 0.1}[quantile]

    def at(eta):
        return brute_quantile(brute_ess_rel(eta * reward, sizes)[informative], p)

    assert at(block.sample.eta * (1 - 1e-9)) >= 0.6
    assert at(block.sample.eta * (1 + 1e-6)) < 0.6
    low, high = block.ci90
    assert low < block.sample.eta < high
    data = block.to_dict()
    assert data["at_k"] == {"eta_max": block.sample.eta, "attained": "yes", "ci90": [low, high]}
    assert data["safe"] < data["eta_max"] < block.sample.eta  # skewed: a small K hides the tail
    assert data["method"] == "weight_moments"


def test_feasible_eta_of_another_anchor_follows_the_interval_in_force(pilot):
    reading = read(pilot)
    target = parse_target(
        {"kind": "tilt", "anchor": {"ref": 1.0}, "tilts": [{"utility": "reward", "eta": 0.3}]}
    )
    found = plan(reading, target, ess_target=0.5)
    best = next(f for f in found.feasible if f.utility is None and f.quantile == "median")
    base = np.asarray(reading.log_anchor["ref"]) - np.asarray(reading.log_mu)
    reward, sizes = np.asarray(reading.utility["reward"]), reading.contexts.sizes
    informative = alive(reward, sizes)

    def at(eta):
        return brute_quantile(brute_ess_rel(base + eta * reward, sizes)[informative], 0.5)

    grid = np.linspace(0.3, best.sample.eta, 400)
    assert all(at(eta) >= 0.5 - of_weights("float64", 64, 30) for eta in grid)
    assert at(best.sample.eta + 1e-6) < 0.5
    assert best.ci90 is None
    assert found.best_k is None
    assert feasible_eta(examine(target, reading), 0.5) == pytest.approx(best.sample.eta)
    data = best.to_dict()
    assert (data["method"], data["eta_max"], data["safe"]) == ("sample", best.sample.eta, None)
    assert "a safe eta" in [item.what for item in found.cannot]


def test_every_utility_has_its_own_feasible_eta(pilot):
    found = plan(read(pilot), eta=1.0)
    assert [f.utility for f in found.feasible] == [None] * 2 + ["reward"] * 2 + ["passed"] * 2
    assert found.feasible[0].sample == found.feasible[2].sample
    assert found.feasible[0].population == found.feasible[2].population
    alone = plan(read(pilot), utility="passed", eta=1.0)
    assert [f.utility for f in alone.feasible] == [None, None]
    assert alone.feasible[0].sample == found.feasible[4].sample
    assert alone.feasible[0].population == found.feasible[4].population
    assert alone.feasible[0].population.method == "pass_rates"


def test_table_holds_the_sharpness_in_force_and_reads_as_brute_force(pilot):
    reading = read(pilot)
    found = plan(reading, eta=1.7, ess_target=0.5, count=6)
    row = next(row for row in found.table if row["mark"] == "in force")
    reward, sizes = np.asarray(reading.utility["reward"]), reading.contexts.sizes
    rel = brute_ess_rel(1.7 * reward, sizes)[alive(reward, sizes)]
    assert row["eta"] == 1.7
    assert row["median"] == pytest.approx(
        brute_quantile(rel, 0.5), rel=of_weights("float64", 64, 30)
    )
    assert row["q10"] == pytest.approx(brute_quantile(rel, 0.1), rel=of_weights("float64", 64, 30))
    assert row["below"] == pytest.approx((rel < 0.5).mean())
    assert row["k"] == brute_quantile(np.ceil(6 / rel), 0.5)
    needed = found.needed_k
    assert needed["ess_count"]["q90"] == brute_quantile(np.ceil(6 / rel), 0.9)
    assert needed["error"]["median"] == brute_quantile(np.ceil(4 / (rel * 0.0625)), 0.5)
    assert needed["ess_count"]["at_floor"] == pytest.approx((rel * 16 < 2).mean())
    medians = [row["median"] for row in found.table]
    assert medians == sorted(medians, reverse=True)


def test_informative_share_against_all_subsets():
    values = np.array([0.0, 0.0, 1.0, 1.0, 1.0, 0.5, 0.0, 0.0, 0.0, 1.0])
    contexts = Groups(np.array([6, 4]))
    for k in (2, 3, 4):
        shares = [
            np.mean([len(set(part)) > 1 for part in itertools.combinations(group, k)])
            for group in (values[:6].tolist(), values[6:].tolist())
        ]
        assert informative_share(values, contexts, k) == pytest.approx(np.mean(shares))
    assert informative_share(values, contexts, 5) == pytest.approx(1.0)  # the larger one alone


def test_by_k_ends_at_the_pilots_own(pilot):
    reading = read(pilot)
    found = plan(reading, eta=1.0)
    assert [row["k"] for row in found.by_k] == [2, 4, 8, 16]
    last = found.by_k[-1]
    row = next(row for row in found.table if row["mark"] == "in force")
    assert last["median"] == pytest.approx(row["median"])
    assert last["informative"] == pytest.approx(61 / 64)
    shares = [row["informative"] for row in found.by_k]
    assert shares == sorted(shares)


def test_planned_k_is_read_from_that_many(pilot):
    reading = read(pilot)
    found = plan(reading, eta=1.0, k=4)
    assert found.k == {"min": 4, "median": 4, "max": 4}
    assert [row["k"] for row in found.by_k] == [2, 4]
    with pytest.raises(SpecError, match="at most 16"):
        plan(reading, eta=1.0, k=32)


def coin_reading(p, k, rng):
    """0/1 rewards of prompts of known pass rates."""
    n = len(p)
    return Reading(
        contexts=Groups.equal(n, k),
        utility={"passed": (rng.random((n, k)) < p[:, None]).astype(float).ravel()},
        labels=_labels(n, n),
        source=Source("test", 1, n * k, 0, (1, 1), "D"),
    )


def test_needed_k_and_informative_groups_of_coins(rng):
    """Every prompt has p = .3: e in closed form, and 1 − pᵏ − (1−p)ᵏ at any k."""
    found = plan(coin_reading(np.full(4000, 0.3), 8, rng), eta=1.2)
    e = (0.7 + 0.3 * math.exp(1.2)) ** 2 / (0.7 + 0.3 * math.exp(2.4))
    for name, count in (("ess_count", 8.0), ("error", 4 / 0.25**2)):
        interval = found.needed_k[name]["population"]
        assert interval["low"] <= math.ceil(count / e) <= interval["high"]
    rows = {row["k"]: row for row in found.by_k}
    assert list(rows) == [2, 4, 8, 16, 32]
    for k, row in rows.items():
        share = 1 - 0.3**k - 0.7**k
        ends = row["population_informative"]
        assert ends["low"] - printed(5) <= share <= ends["high"] + printed(5)  # of a grid of p
        assert row["per_100"] == pytest.approx(100 * ends["value"] / k)
    assert found.best_k["k"] == 3
    assert found.best_k["per_100"] == max(found.best_k["per_100"], rows[2]["per_100"] - 1e-9)
    assert rows[32]["median"] is None  # not drawn


def test_a_declared_range_is_a_guarantee_and_is_checked(rng):
    reading = coin_reading(np.full(40, 0.3), 8, rng)
    found = plan(reading, eta=1.0, reward_range={"": (0, 1)}).feasible[0].to_dict()
    assert found["guaranteed"] == pytest.approx(2 * math.log(1 + math.sqrt(2)))
    assert "guaranteed" not in plan(reading, eta=1.0).feasible[0].to_dict()
    for wrong, words in (({"": (0, 0.5)}, "lie outside"), ({"nope": (0, 1)}, "hold passed")):
        with pytest.raises(SpecError, match=words):
            plan(reading, eta=1.0, reward_range=wrong)
    with pytest.raises(SpecError, match="least and the largest"):
        plan(reading, eta=1.0, reward_range={"passed": (1, 1)})


def test_graded_rewards_differ_at_any_k(pilot, rng):
    reading = replace(coin_reading(np.full(40, 0.3), 8, rng), utility={"x": rng.normal(size=320)})
    best = plan(reading, eta=0.5).best_k
    assert (best["k"], best["per_100"]) == (None, None)


def stale_reading(lags, legs, contexts=3, k=4000):
    """Contexts of Gaussian log π/μ at its own quantiles, with ESS_rel exp(−variance)."""
    z = norm.ppf((np.arange(k) + 0.5) / k)
    rows = []
    for leg in legs:
        rows += [np.sqrt(-np.log(leg)) * z for _ in range(contexts)]
    n = len(legs) * contexts
    log_mu = np.full(n * k, -50.0)
    return Reading(
        contexts=Groups.equal(n, k),
        utility={"score": np.tile(np.linspace(0, 1, k), n)},
        log_mu=log_mu,
        log_anchor={"old": log_mu + np.concatenate(rows)},
        labels=_labels(n, contexts),
        source=Source("test", 1, n * k, 0, (1, len(legs)), "B"),
        lag=None if lags is None else np.repeat(np.repeat(lags, contexts), k),
    )


def _labels(n, contexts):
    from tod.candidates import Labels

    return Labels(step=np.repeat(np.arange(1, n // contexts + 1), contexts))


def test_staleness_by_recorded_lag():
    legs = [1.0, 0.95, 0.8, 0.6]
    found = plan(stale_reading([0, 1, 2, 3], legs), eta=1.0).refresh
    assert found["age_from"] == "lag"
    assert [row["age"] for row in found["by_age"]] == [0, 1, 2, 3]
    # midpoint quantiles leave out what is beyond norm.ppf(1/2K): 2·E[e^{2σz}; z > 3.66] at most
    near = 2 * norm.sf(norm.ppf(1 - 0.5 / 4000) - 2 * np.sqrt(-np.log(min(legs))))
    read_off = [row["policy_proposal"] for row in found["by_age"]]
    assert read_off == pytest.approx(legs, abs=near)
    assert found["largest_age"] == 2
    assert not found["extrapolated"]


def test_staleness_beyond_what_was_seen_is_called_extrapolated():
    drift = [math.exp(-0.01 * age**2) for age in (0, 1, 2, 3)]
    found = plan(stale_reading([0, 1, 2, 3], drift), eta=1.0).refresh
    # ln 0.7 = -0.01 age²: 5.97
    assert found["largest_age"] == 5
    assert found["extrapolated"]


def test_staleness_from_the_steps_of_a_sawtooth():
    found = plan(stale_reading(None, [1.0, 0.9, 0.65, 1.0, 0.9]), eta=1.0).refresh
    assert found["age_from"] == "leg"
    assert [row["age"] for row in found["by_age"]] == [0, 1, 2]
    assert found["largest_age"] == 1


@pytest.mark.parametrize(
    ("legs", "ages"),
    [
        ([1.0, 0.9, 0.8, 0.7], [0, 1, 2, 3]),  # never refreshed since the start
        ([1.0, 1.0, 1.0, 1.0, 0.6, 0.5], None),  # fresh for long, then broken: no age
        ([0.8, 0.7, 0.6], None),
    ],
)
def test_an_age_is_inferred_only_where_the_leg_shows_one(legs, ages):
    found = plan(stale_reading(None, legs), eta=1.0).refresh
    assert (found["age_from"] is None) == (ages is None)
    assert [row["age"] for row in found["by_age"]] == (ages or [])


def test_without_policy_log_probs_refresh_is_unknown(pilot):
    found = plan(read(pilot), eta=1.0)
    assert found.refresh is None
    assert "refresh" in [item.what for item in found.cannot]


def test_bad_input_is_named(pilot):
    reading = read(pilot)
    for wrong in ({"ess_target": 1.0}, {"ess_target": 0.0}, {"utility": "nope"}, {"k": 1}):
        with pytest.raises(SpecError):
            plan(reading, eta=1.0, **wrong)
    blind = reading.take(np.arange(3))
    with pytest.raises(DataError, match="do the candidates differ in"):
        plan(
            Reading(
                contexts=blind.contexts,
                utility={"reward": blind.utility["reward"]},
                labels=blind.labels,
                source=reading.source,
            )
        )


def test_no_feasible_eta_is_never_not_zero(pilot):
    """π_ref so far from μ that even η = 0 fails."""
    reading = read(pilot)
    far = Reading(
        contexts=reading.contexts,
        utility=dict(reading.utility),
        log_mu=reading.log_mu,
        log_anchor={
            "ref": np.where(reading.contexts.position == 0, -1e-3, np.asarray(reading.log_mu) - 90)
        },
        labels=reading.labels,
        source=reading.source,
    )
    target = parse_target(
        {"kind": "tilt", "anchor": {"ref": 1.0}, "tilts": [{"utility": "reward", "eta": 1.0}]}
    )
    found = plan(far, target)
    assert {f.sample.attained for f in found.feasible[:2]} == {"never"}
    assert found.feasible[0].to_dict()["eta_max"] is None
    assert feasible_eta(examine(target, far), 0.5) is None


@pytest.mark.parametrize(
    "asked",
    [
        {"eta": 1.0},
        {"k": 4, "utility": "passed"},
        {"target": {"kind": "two_anchor", "utility": "reward", "tau": 0.5, "beta": 0.2}},
    ],
)
def test_the_plan_is_plain_data_of_the_published_schema(asked, pilot):
    reading = read(pilot)
    if "target" in asked:
        asked = {"target": parse_target(asked["target"])}
        log = {**reading.log_anchor, "old": reading.log_mu - 1e-3}
        reading = replace(reading, log_anchor=log, lag=np.arange(len(reading)) // 16 % 3)
    data = plan(reading, **asked).to_dict()
    assert data["schema"] == "tod.plan/1"
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    jsonschema.validate(data, SCHEMA)
    assert (data["refresh"] is not None) == ("target" in asked)
