"""Every number of D is possible, whatever the input: in its range, or unknown; no warning."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tod.base import Groups
from tod.candidates import Candidates, Labels
from tod.diagnostics import Summary, fraction_interval, mean_rho
from tod.procedure import examine
from tod.regimes import classify
from tod.regimes.remedies import more_evidence
from tod.targets import ScalarReward, Teacher

SCALES = (0.0, 1e-300, 1e-12, 1.0, 60.0, 1e6, 1e300)


def candidates(seed: int, u: float, gap: float) -> Candidates:
    """Ragged contexts; utilities and gaps of log-probs of some scale, ties and equal gaps."""
    rng = np.random.default_rng(seed)
    contexts = Groups(rng.integers(1, 9, 14))
    n = contexts.total
    mu = -rng.gamma(2.0, 10.0, n)

    def policy() -> Any:
        kind = rng.integers(3)
        noise = rng.normal(size=n) if kind else np.ones(n)
        return np.clip(mu + gap * noise, -1e308, 0.0)

    return Candidates(
        contexts,
        {"r": np.clip(u * rng.choice([-1.0, 0.0, 1.0, rng.normal()], n), -1e308, 1e308)},
        mu,
        {name: policy() for name in ("old", "policy", "ref", "teacher")},
        labels=Labels(length=rng.integers(1, 50, n)),
    )


def in_range(data: dict[str, Any]) -> None:
    for block in (data["ess_rel"], data["overlap"], data["tails"], data["coverage"]):
        for name, value in block.items():
            share = isinstance(value, float) and name not in (
                "mean_rho", "mean_rho_z", "pareto_k_pooled", "log_w_variance_median", "carried_by",
                "reverse_ess",
            )  # fmt: skip
            assert not share or 0 <= value <= 1, (name, value)
    for name in ("median", "q10"):
        value, interval = data["ess_rel"][name], data["ess_rel"][f"{name}_ci90"]
        low, high = interval or (None, None)
        assert low is None or low <= value
        assert high is None or high >= value
    for name, value in data["drift"].items():
        assert value is None or 0 <= value < math.inf, (name, value)
    for gap in ("mismatch", "staleness"):
        for name in ("kl_sequence", "k2", "k3", "mean_abs"):
            value = (data[gap] or {}).get(name)
            assert value is None or 0 <= value < math.inf, (gap, name, value)
    assert data["entropy"] is None or data["entropy"] >= 0
    assert data["coverage"]["mean_rho"] is None or data["coverage"]["mean_rho"] >= 0


@pytest.mark.parametrize("gap", SCALES)
@pytest.mark.parametrize("u", SCALES)
@given(seed=st.integers(0, 2**32 - 1), teacher=st.booleans())
@settings(max_examples=6, deadline=None)
def test_no_impossible_number_and_no_warning(
    u: float, gap: float, seed: int, teacher: bool
) -> None:
    c = candidates(seed, u, gap)
    target: Any = Teacher(eta=1.0) if teacher else ScalarReward(utility="r", eta=1.0)
    found = examine(target, c)
    in_range(found.summary.to_dict())
    what = {item.what for item in found.unknown}
    drift = found.summary.drift
    assert (drift.ref is None) == ("drift.ref" in what)
    for reason in classify(found.summary).reasons:
        assert "nan" not in reason.why + reason.remedy


def test_a_negative_kl_is_unknown_and_says_so() -> None:
    """Version 0.1 showed `KL(pi, ref) -58.4 per sequence`."""
    contexts = Groups.equal(16, 8)
    rng = np.random.default_rng(0)
    policy = -100 - rng.random(128)
    c = Candidates(contexts, {"r": rng.random(128)}, policy, {"old": policy, "ref": policy + 58.4})
    found = examine(ScalarReward(utility="r", eta=1.0, anchor={"mu": 1.0}), c)
    assert found.summary.drift.ref is None
    reason = next(item for item in found.unknown if item.what == "drift.ref")
    assert (reason.kind, "-58.4" in reason.why) == ("impossible", True)


def test_equal_ratios_have_no_z_and_still_alarm() -> None:
    """Version 0.1 showed `6660913676664774.0 standard errors`."""
    contexts, rng = Groups.equal(32, 8), np.random.default_rng(1)
    mu = -100 * rng.random(256) - 1
    c = Candidates(contexts, {"r": rng.random(256)}, mu, {"policy": mu - 0.25})
    summary = examine(ScalarReward(utility="r", eta=0.1, anchor={"mu": 1.0}), c).summary
    assert summary.coverage.mean_rho == pytest.approx(math.exp(-0.25))
    assert summary.coverage.mean_rho_z is None
    assert not math.isfinite(mean_rho(np.full(256, -0.25), contexts).z or 0.0)
    assert any("for every rollout alike" in item.why for item in classify(summary).reasons)


@pytest.mark.parametrize("prompts", [8, 48, 5000])
def test_no_remedy_asks_for_more_prompts_than_anyone_draws(prompts: int) -> None:
    """Version 0.1 asked for `48084 informative contexts instead of 48`."""
    text = more_evidence(Summary(), prompts)
    wanted = int(text.split("now, ")[1].split(" ")[0])
    assert prompts < wanted <= max(64, 4 * prompts)


def test_an_interval_of_none_starts_at_0() -> None:
    assert fraction_interval(0, 73)[0] == 0.0
