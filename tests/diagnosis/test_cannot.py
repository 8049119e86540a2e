"""Every null names what is really missing: all ways to record less, contexts without a word."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tod.diagnosis import diagnose
from tod.formats import read
from tod.show.terminal.diagnosis_screen import show

POLICIES = ("mu", "old", "policy", "ref")
OWNERS = {"mu": "sampler", "old": "old policy", "policy": "policy", "ref": "reference"}


def save(path: Path, rng: np.random.Generator, recorded: Any, **kind: Any) -> Path:
    """24 contexts with some log-probs; ``k`` candidates each, utilities by ``outcome``."""
    k, outcome, length = kind.get("k", 4), kind.get("outcome", "mixed"), kind.get("length", False)
    n = 24 * k
    columns: dict[str, Any] = {
        "step": np.ones(n, dtype=int),
        "context": [f"c{i // k}" for i in range(n)],
        "candidate": np.arange(n) % k,
        "prompt": ["p"] * n,
        "completion": ["a"] * n,
        "utility.r": np.zeros(n) if outcome == "fail" else rng.random(n).round(2),
    }
    mu = -9 - rng.gamma(2.0, size=n)
    columns |= {f"log_{name}": mu - 0.01 * rng.random(n) for name in recorded}
    if length:
        columns["length"] = np.full(n, 7)
    pl.DataFrame(columns).write_parquet(path / "rollouts.parquet")
    return path


def missing_of(path: Path) -> dict[str, Any]:
    return {item["what"]: item for item in diagnose(read(path), eta=0.5).to_dict()["cannot"]}


@pytest.mark.parametrize("length", [False, True])
@pytest.mark.parametrize(("k", "outcome"), [(4, "mixed"), (4, "fail"), (1, "mixed")])
def test_nothing_recorded_is_called_missing(
    tmp_path: Path, rng: np.random.Generator, k: int, outcome: str, length: bool
) -> None:
    subsets = (c for n in range(5) for c in itertools.combinations(POLICIES, n))
    for at, recorded in enumerate(subsets):
        (tmp_path / str(at)).mkdir()
        path = save(tmp_path / str(at), rng, recorded, k=k, outcome=outcome, length=length)
        found = missing_of(path)
        for item in found.values():
            for name in recorded:
                said = f"the {OWNERS[name]}'s log-probs are not recorded"
                assert said not in item["why"], (recorded, item)
                assert not item["needs"].startswith(f"a log_{name} column"), (recorded, item)
            if length:
                assert "length" not in item["needs"], (recorded, item)
        assert ("entropy" in found) == ("mu" not in recorded or not length), recorded
        leg = found.get("overlap.policy_proposal")
        known = k > 1 and "mu" in recorded and bool({"old", "policy"} & set(recorded))
        assert (leg is None) == known, (recorded, leg)
        if outcome == "fail":
            silent = "mu" not in recorded or not {"old", "policy"} & set(recorded)
            kind = found["overlap.target_policy"]["kind"]
            assert kind == ("not_recorded" if silent else "no_information")


def test_the_planted_cases_of_a_person(
    tmp_path: Path, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    """log μ without a length; a policy without the old one; and the terminal says why."""
    found = diagnose(read(save(tmp_path, rng, ("mu", "policy"))), eta=0.5)
    said = {item.what: item for item in found.cannot}
    assert "how many tokens" in said["entropy"].why
    assert "length" in said["entropy"].needs
    assert "old policy" in said["staleness"].why
    assert said["staleness"].needs.startswith("a log_old column")
    show(found, [])
    shown = " ".join(capsys.readouterr().out.split())
    for item in found.cannot:
        assert f"{item.why}; needs {item.needs}" in shown


@pytest.mark.parametrize(
    ("k", "outcome", "helps"), [(4, "fail", "never succeed"), (1, "mixed", "several rollouts")]
)
def test_reasons_ask_for_contexts_where_log_probs_are_there(
    tmp_path: Path, rng: np.random.Generator, k: int, outcome: str, helps: str
) -> None:
    path = save(tmp_path, rng, POLICIES, k=k, outcome=outcome)
    reasons = diagnose(read(path), eta=0.5).regime.reasons
    legs = [item for item in reasons if item.kind in ("unreadable_leg", "unknown_leg")]
    assert legs
    assert all(helps in item.remedy for item in legs)
    assert all("record" not in item.remedy for item in reasons)


def test_slime_names_the_policy_and_not_its_recorded_sampler(writers: Any, tmp_path: Path) -> None:
    reading = read(writers.write_slime(writers.make_world(), tmp_path))
    assert "mu" in reading.recorded
    for item in diagnose(reading, eta=1.0).cannot:
        assert "rollout_log_probs" not in item.needs, item
