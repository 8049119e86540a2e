"""One batch, one D: five hosts read one Summary, a slice is a slice, and nothing else measures."""

import ast
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

import tod.study.training as study
from tod.base import Groups, MissingLogProbs, SpecError
from tod.candidates import Candidates, Labels
from tod.diagnosis import diagnose
from tod.diagnostics import Mismatch
from tod.engine import record as engine
from tod.formats import read
from tod.live.export import LiveBatch
from tod.live.step import judge
from tod.operators import BestOfK, Operator, WeightedRegression
from tod.procedure import Declared, Procedure, examine, steps_of, weigh
from tod.regimes import GrowingPool, feasible_eta
from tod.study.population import Policies
from tod.study.world import make_world
from tod.targets import (
    Data,
    PreferenceTarget,
    ScalarReward,
    Target,
    Teacher,
    TwoAnchor,
    Verifier,
)
from tolerance import of_weights

SOURCE = Path(__file__).parents[2] / "src/tod"
NEAR = of_weights("float64", 40 * 8, 40.0)
"""Of figures of up to 40 contexts of 8 candidates, whose log w is within 40 nats."""
TARGETS = {
    "reward": ScalarReward(utility="u", eta=1.0),
    "two_anchor": TwoAnchor(tau=0.4, beta=0.3, utility="u"),
    "teacher": Teacher(eta=1.0),
    "anchor": Target(anchor={"ref": 1.0}),
    "data": Data(),
    "selectivity": Verifier(utility="passed", selectivity=0.7, anchor={"mu": 1.0}),
    "preference": PreferenceTarget(utility="u", beta=0.5),
}
ONLY_ONE_KNOWS = {
    # The engine forwards the policy: its entropy is over the vocabulary, not estimated from log μ.
    "engine": {"entropy", "activation"},
    # One table computes both laws of an exact world: there is no second engine to compare, and π's
    # log-probs are kept by sequence, so that its travel has no means over tokens.
    "study": {"mismatch", "staleness"},
    # At test time no policy is trained: its legs, its travel and the mean of π/μ mean nothing.
    "search": {"overlap", "mismatch", "staleness", "drift", "coverage", "path"},
}


def operator() -> Operator:
    return Operator(action=WeightedRegression())


@pytest.fixture(scope="module")
def worlds() -> Policies:
    world = make_world(3, vocabulary=3, length=3, contexts=40, ends=True)
    passed = (world.utility > np.median(world.utility)).astype(float)
    return Policies.of(replace(world, others={"passed": passed}))


def batch_of_study(policies: Policies, target: Any, monkeypatch: Any) -> tuple[Candidates, Any]:
    """The second batch of a run in an exact world with a stale μ, and what the study said of it."""
    seen: list[Any] = []

    def watched(procedure: Any, batch: Candidates, **known: Any) -> Any:
        found = examine(procedure, batch, **known)
        seen.append((batch, found))
        return found

    monkeypatch.setattr(study, "examine", watched)
    plan = study.TrainingPlan(steps=2, size=8, rate=0.5, refresh=2)
    study.train(Procedure(target, operator()), policies, plan)
    batch, found = seen[-1]
    return batch, found.summary


def in_engine(target: Any, c: Candidates) -> Any:
    """As `tod.engine` records a batch, with what its forward knows left out."""
    log = c.tokens.log_anchor if c.tokens is not None else {}
    evidence = SimpleNamespace(
        anchors=log, with_anchors=lambda **_: SimpleNamespace(candidates=lambda: c)
    )
    updated: Any = SimpleNamespace(log_policy=None, activation=[0.25], entropy=np.array([1.5]))
    return engine.diagnose(Procedure(target, operator()), evidence, updated).summary  # type: ignore[arg-type]


def in_trl(target: Any, c: Candidates) -> Any:
    sequences, log = c.tokens.sequences, dict(c.tokens.log_anchor)
    if c.tokens.log_mu is not None:
        log["mu"] = c.tokens.log_mu
    log = {name: x for name, x in log.items() if name == "mu" or name in c.log_anchor}
    batch = LiveBatch.of(
        group=c.contexts.owner.tolist(),
        prompt=[f"p{i}" for i in c.contexts.owner],
        completion=["c"] * len(c),
        utility=dict(c.utility),
        log={name: sequences.split(x) for name, x in log.items()},
        length=sequences.sizes.tolist(),
    )
    known: Any = {"assumed": False, "on_policy": False, "clipped": None, "entropy": None}
    return judge(batch, target, GrowingPool(), 1, **known).examined.summary


def on_disk(target: Any, c: Candidates, path: Path, step: Any = None) -> Any:
    tokens, owner = c.tokens, c.contexts.owner
    columns: dict[str, Any] = {
        "step": np.ones(len(c), dtype=int) if step is None else np.asarray(step)[owner],
        "context": [f"c{i:03}" for i in owner],
        "candidate": c.contexts.position,
        "prompt": ["p"] * len(c),
        "completion": ["a"] * len(c),
        "length": tokens.sequences.sizes,
    }
    columns |= {f"utility.{name}": x for name, x in c.utility.items()}
    by_token = {"mu": tokens.log_mu, **tokens.log_anchor}
    for name in c.recorded:
        rows = tokens.sequences.split(by_token[name])
        columns[f"log_{name}_tokens"] = [list(map(float, row)) for row in rows]
    pl.DataFrame(columns).write_parquet(path / "rollouts.parquet")
    return diagnose(read(path), target)


def differing(a: Any, b: Any) -> set[str]:
    """Blocks of the summary that differ by more than sums in another order do."""

    def same(x: Any, y: Any) -> bool:
        if isinstance(x, dict):
            return set(x) == set(y) and all(same(x[k], y[k]) for k in x)
        if isinstance(x, list | tuple):
            return len(x) == len(y) and all(map(same, x, y))
        if isinstance(x, float | int) and isinstance(y, float | int):
            return bool(np.isclose(x, y, rtol=NEAR, atol=NEAR))
        return bool(x == y)

    a, b = a.to_dict(), b.to_dict()
    return {name for name in a if not same(a[name], b[name])}


def completed(c: Candidates, extra: Any) -> Candidates:
    """With one utility to show where the target reads none, and log-probs of π by token too."""
    utility = dict(c.utility) or {"shown": extra}
    tokens = c.tokens
    assert tokens is not None
    old = np.asarray(c.log_anchor["old"]) / tokens.sequences.sizes
    by_token = {**tokens.log_anchor}
    for name in ("old", "policy"):
        by_token[name] = np.asarray(tokens.sequences.spread(old))
    labels = Labels(length=tokens.sequences.sizes)
    return replace(c, utility=utility, tokens=replace(tokens, log_anchor=by_token), labels=labels)


@pytest.mark.parametrize("without", [(), ("policy",), ("policy", "old"), ("teacher",)])
@pytest.mark.parametrize("name", TARGETS)
def test_one_batch_through_five_hosts_gives_one_summary(
    name: str, without: tuple[str, ...], worlds: Policies, monkeypatch: Any, tmp_path: Path
) -> None:
    target = TARGETS[name]
    if set(without) & set(target.target.needs()):
        pytest.skip("the target reads what is left out")
    drawn, studied = batch_of_study(worlds, target, monkeypatch)
    rng = np.random.default_rng(0)
    c = completed(drawn, rng.integers(0, 2, len(drawn)).astype(float))
    whole = examine(Procedure(target, operator()), drawn, declared=Declared(one_engine=True))
    assert differing(studied, whole.summary) == set()
    assert differing(studied, examine(target, c).summary) <= ONLY_ONE_KNOWS["study"] | (
        set() if drawn.utility else {"contexts", "coverage"}  # the utility that was added
    )
    c = replace(c, log_anchor={k: x for k, x in c.log_anchor.items() if k not in without})
    assert c.tokens is not None
    kept = {k: x for k, x in c.tokens.log_anchor.items() if k not in without}
    c = replace(c, tokens=replace(c.tokens, log_anchor=kept))
    want = examine(Procedure(target, operator()), c).summary
    assert differing(in_engine(target, c), want) <= ONLY_ONE_KNOWS["engine"]
    assert differing(in_trl(target, c), want) == set()
    assert differing(on_disk(target, c, tmp_path).examined.summary, want) == set()
    selecting = Operator(action=BestOfK())
    searched = examine(Procedure(target, selecting), c).summary
    assert differing(searched, want) <= ONLY_ONE_KNOWS["search"]
    assert searched.overlap.target_proposal == want.overlap.target_proposal


def test_lag_leaves_stale_contexts_out_of_the_mismatch(worlds: Policies, monkeypatch: Any) -> None:
    drawn, _ = batch_of_study(worlds, TARGETS["reward"], monkeypatch)
    c = completed(drawn, None)
    lag = np.repeat(np.arange(len(c.contexts)) % 2, c.contexts.sizes)
    fresh = examine(TARGETS["reward"], c, lag=lag).summary.mismatch
    half = examine(TARGETS["reward"], c.take(np.arange(0, len(c.contexts), 2))).summary.mismatch
    assert isinstance(fresh, Mismatch)
    assert half is not None
    assert fresh.kl_sequence == pytest.approx(half.kl_sequence, rel=NEAR, abs=0)
    assert fresh.tokens == half.tokens
    stale = examine(TARGETS["reward"], c, lag=lag + 1)
    assert stale.summary.mismatch is None
    assert "mismatch" in [item.what for item in stale.unknown]


@pytest.mark.parametrize("name", TARGETS)
def test_a_slice_is_examined_as_if_alone(name: str, worlds: Policies, monkeypatch: Any) -> None:
    drawn, _ = batch_of_study(worlds, TARGETS[name], monkeypatch)
    rng = np.random.default_rng(1)
    first, n = np.arange(len(drawn)) < 100, len(drawn)
    u = np.where(first, rng.integers(0, 2, n), rng.random(n))
    c = completed(drawn, u)
    if "u" in c.utility and name != "selectivity":
        c = replace(c, utility={"u": u.astype(float)})  # binary in the first step alone
    step = np.repeat([1, 2, 3], [10, 13, 17])
    c = replace(c, labels=replace(c.labels, step=step))
    declared = {s: Declared(activation=0.1 * s) for s in (1, 2, 3)}
    whole = examine(TARGETS[name], c, declared=declared)
    assert whole.summary.activation == pytest.approx(0.2)
    for at, places in steps_of(c):
        alone = examine(
            TARGETS[name], c.take(np.arange(places.start, places.stop)), declared=declared[at]
        )
        part = whole.part(places)
        assert differing(part.summary, alone.summary) == set()
        assert part.unknown == alone.unknown
        np.testing.assert_allclose(part.log_w, alone.log_w, rtol=NEAR, atol=NEAR)


MEASURING = {"measure", "drift", "drift_and_reasons", "gap", "gap_of_sequences", "per_context"}


def test_nothing_else_measures_a_batch() -> None:
    """The diagnostics of a batch are called in `diagnostics` and `procedure`, nowhere else."""
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        if path.relative_to(SOURCE).parts[0] in ("diagnostics", "procedure"):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        imported = {
            alias.asname or alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
            and (node.module or "").startswith("tod.diagnostics")
            for alias in node.names
            if alias.name in MEASURING
        }
        found += [
            f"{path.relative_to(SOURCE)}:{node.lineno}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in imported
        ]
    assert found == []


def test_every_unknown_of_a_summary_has_one_reason(worlds: Policies, monkeypatch: Any) -> None:
    drawn, _ = batch_of_study(worlds, TARGETS["reward"], monkeypatch)
    bare = Candidates(drawn.contexts, drawn.utility, drawn.log_mu)
    found = examine(ScalarReward(utility="u", eta=1.0, anchor={"mu": 1.0}), bare)
    names = [item.what for item in found.unknown]
    assert len(names) == len(set(names))
    data, paths = found.summary.to_dict(), set(names)
    for block in ("mismatch", "staleness", "activation", "entropy", "path"):
        assert (data[block] is None) == (block in paths), block
    for block in ("overlap", "coverage"):
        for key in ("policy_proposal", "target_policy", "mean_rho", "reverse_ess", "missing_mass"):
            if key in data[block]:
                assert (data[block][key] is None) == (f"{block}.{key}" in paths), key
    lacks = {item.what: item.lacks for item in found.unknown}
    assert lacks["drift.ref"] == "policy|old"
    assert lacks["entropy"] == "length"


@pytest.mark.parametrize("target", [Teacher(eta=1.0), Target(anchor={"ref": 1.0}), Data()])
def test_a_target_without_tilts_speaks_through_its_anchors(target: Any, tmp_path: Path) -> None:
    """Version 0.1 called all 64 contexts blind in `tod diagnose`, and none in `tod.examine`."""
    rng = np.random.default_rng(5)
    mu = -9 - rng.gamma(2.0, size=1024)
    other = mu - rng.normal(0.3, 0.7, size=1024)
    contexts = Groups.equal(64, 16)
    columns = {
        "step": np.ones(1024, dtype=int),
        "context": [f"c{i:02}" for i in contexts.owner],
        "candidate": contexts.position,
        "prompt": ["p"] * 1024,
        "completion": ["a"] * 1024,
        "utility.r": rng.integers(0, 2, 1024).astype(float),
        "log_mu": mu,
        "log_old": mu,
        "log_teacher": np.minimum(other, 0),
        "log_ref": np.minimum(other, 0),
    }
    pl.DataFrame(columns).write_parquet(tmp_path / "rollouts.parquet")
    found = diagnose(read(tmp_path), target)
    assert found.summary.contexts.informative == 64
    w = np.zeros((64, 16)) if target.kind == "data" else (np.minimum(other, 0) - mu).reshape(64, 16)
    w = np.exp(w - w.max(axis=1, keepdims=True))
    rel = w.sum(1) ** 2 / (w**2).sum(1) / 16
    median = np.quantile(rel, 0.5, method="inverted_cdf")
    assert found.summary.ess_rel.median == pytest.approx(
        float(median), rel=of_weights("float64", 16, 40.0), abs=0
    )
    assert found.summary.contexts.all_fail == 0
    assert "feasible.eta_max" in [item.what for item in found.cannot]


def test_equal_weights_of_an_anchored_target_say_nothing() -> None:
    """K copies of one candidate: log b/μ is constant there, and may differ elsewhere."""
    contexts = Groups.equal(2, 4)
    mu = np.repeat([-3.0, -1.0], 4)
    ref = np.concatenate([np.full(4, -2.5), [-1.0, -2.0, -1.5, -1.2]])
    c = Candidates(contexts, {}, mu, {"ref": ref})
    found = examine(Target(anchor={"ref": 1.0}), c)
    assert (found.summary.contexts.informative, found.summary.contexts.zero_information) == (1, 1)
    assert weigh(Data(), c).information is None


def test_the_triple_is_made_by_position_and_by_name() -> None:
    target = ScalarReward(utility="r", eta=1.0)
    assert Procedure(target, operator()) == Procedure(target=target, operator=operator())
    assert Procedure.parse(Procedure(target, operator()).model_dump(mode="json"))


def test_a_declared_reward_that_the_files_lack_names_the_near_one(tmp_path: Path) -> None:
    n = 64
    rng = np.random.default_rng(2)
    columns = {"step": np.ones(n, dtype=int), "context": [f"c{i // 8}" for i in range(n)]}
    columns |= {"candidate": np.arange(n) % 8, "utility.score": rng.random(n)}
    pl.DataFrame(columns).write_parquet(tmp_path / "rollouts.parquet")
    with pytest.raises(SpecError, match="Did you mean 'score'"):
        diagnose(read(tmp_path), ScalarReward(utility="scor", eta=1.0, anchor={"mu": 1.0}))
    with pytest.raises(MissingLogProbs):
        examine(ScalarReward(utility="score", eta=1.0), read(tmp_path))


def test_without_a_reward_no_context_is_called_blind(tmp_path: Path) -> None:
    """Version 0.1: `10 blind, all candidates have the same utility: grade finer`."""
    n = 40
    c = Candidates(Groups.equal(10, 4), {}, np.full(n, -3.0), labels=Labels(step=np.ones(10)))
    found = examine(None, c)
    counts = found.summary.contexts
    assert (counts.total, counts.informative, counts.zero_information) == (10, None, None)
    ungrouped = examine(None, c, declared=Declared(grouped=False)).summary.contexts
    assert (ungrouped.total, ungrouped.informative, ungrouped.singleton) == (10, None, None)


def test_the_controllers_feasible_sharpness_is_that_of_the_examined_batch() -> None:
    rng = np.random.default_rng(4)
    u = rng.normal(size=40 * 16)
    c = Candidates(Groups.equal(40, 16), {"r": u})
    found = examine(ScalarReward(utility="r", eta=1.0, anchor={"mu": 1.0}), c)
    eta = feasible_eta(found, 0.5)
    assert eta is not None
    again = examine(ScalarReward(utility="r", eta=eta, anchor={"mu": 1.0}), c).summary
    assert again.ess_rel.median == pytest.approx(0.5, abs=NEAR)
    assert feasible_eta(examine(Teacher(eta=1.0), replace(c, log_anchor={
        "old": np.full(len(c), -2.0), "teacher": -rng.random(len(c))}, log_mu=np.full(len(c), -2.0)
    )), 0.5) is None  # fmt: skip


def test_the_feasible_solver_steers_a_run(tmp_path: Path) -> None:
    """Version 0.1 accepted `arc: {solver: feasible}` and refused every step of it."""
    from tod.engine.settings import RunSettings
    from tod.engine.train import train as run

    changes = ("operator.proposal.prompts=24", "operator.proposal.size=8", "train.steps=2",
               "evaluate=null", "arc.plan=set_point", "arc.knob=eta", "arc.drift_budget=null",
               "arc.solver=feasible", "arc.min_informative=1",
               "target={kind: scalar_reward, utility: correct, eta: 9.0, anchor: {old: 1.0}}",
               f"output={tmp_path / 'run'}")  # fmt: skip
    settings = RunSettings.load(SOURCE.parents[1] / "configs/quickstart_arc.yaml", changes)
    directory = run(settings)
    decisions = [json.loads(x) for x in (directory / "decisions.jsonl").read_text().splitlines()]
    assert len(decisions) == 2
    assert all("no eta is feasible" not in item["why"] for item in decisions)
    assert {item["action"] for item in decisions} <= {"sharpen", "soften", "hold"}
