"""Sequential Monte Carlo against enumeration: every draw and every resampling of small worlds.

Answers are T tokens of a vocabulary of V, so that Z, q* and the optimal twist are sums over V^T
answers. The expectation over all draws of tokens is a sum; that over a uniform is exact too, since
ancestors change at finitely many points: one node inside each stretch, weighed by its length.
"""

from collections.abc import Iterator
from itertools import pairwise, product

import numpy as np
import pytest

from tod.base import DataError, Groups
from tod.operators import (
    incremental_log_weight,
    stratified_ancestors,
    systematic_ancestors,
)
from tod.operators.selection import resample
from tod.procedure import ParticleWeights
from tolerance import double

RULES = {"systematic": systematic_ancestors, "stratified": stratified_ancestors}
V, T, ETA = 2, 3, 1.7
SPREAD = 10.0
"""Largest |log| of a weight or a normaliser of these worlds, nats."""


def near(runs: float) -> float:
    """How far two sums over so many runs are apart: exp and log of up to `SPREAD` in each."""
    return double(runs + 8 * T, 4 * (1 + SPREAD))


class World:
    """p₀ and q by prefix, U by answer, and what follows from them by summation."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        prefixes = [y for t in range(T) for y in product(range(V), repeat=t)]
        self.p = {y: rng.dirichlet(np.ones(V)) for y in prefixes}
        self.q = {y: rng.dirichlet(3 * np.ones(V)) for y in prefixes}
        self.answers = list(product(range(V), repeat=T))
        self.u = dict(zip(self.answers, rng.normal(size=V**T), strict=True))
        self.noise = {y: rng.normal() for y in prefixes}

    def p0(self, y: tuple[int, ...]) -> float:
        return float(np.prod([self.p[y[:t]][y[t]] for t in range(len(y))]))

    def promise(self, prefix: tuple[int, ...]) -> float:
        """E_{p₀}[exp(ηU) | prefix], the best ψ."""
        below = [y for y in self.answers if y[: len(prefix)] == prefix]
        return sum(self.p0(y) * np.exp(ETA * self.u[y]) for y in below) / self.p0(prefix)

    @property
    def z(self) -> float:
        return self.promise(())

    @property
    def target(self) -> dict[tuple[int, ...], float]:
        return {y: self.p0(y) * np.exp(ETA * self.u[y]) / self.z for y in self.answers}

    def twist(self, kind: str, y: tuple[int, ...]) -> float:
        """log ψ: 0 before the first token, ηU at the end."""
        if not y:
            return 0.0
        if len(y) == T:
            return ETA * self.u[y]
        return {"none": 0.0, "any": self.noise[y], "best": np.log(self.promise(y))}[kind]


def _uniforms(rule: str, log_w: np.ndarray) -> Iterator[tuple[float, np.ndarray]]:
    """Probability and a node of every stretch of the uniforms with the same ancestors."""
    w = np.exp(log_w - log_w.max())
    cuts = np.cumsum(w / w.sum()) * len(w)
    stretches = []
    for k in range(len(w)):
        at = cuts % 1 if rule == "systematic" else cuts - k
        edges = np.unique(np.concatenate([[0.0, 1.0], at[(at > 0) & (at < 1)]]))
        stretches.append([((a + b) / 2, b - a) for a, b in pairwise(edges)])
    if rule == "systematic":
        yield from ((length, np.full(len(w), node)) for node, length in stretches[0])
        return
    for nodes in product(*stretches):
        yield float(np.prod([n[1] for n in nodes])), np.array([n[0] for n in nodes])


def _runs(
    world: World, size: int, twist: str, below: float, rule: str, proposal: str
) -> Iterator[tuple[float, list[tuple[int, ...]], ParticleWeights]]:
    """Every run that there is, with its probability."""

    def draws(prefix: tuple[int, ...]) -> np.ndarray:
        if proposal == "best":
            values = [world.p[prefix][v] * world.promise((*prefix, v)) for v in range(V)]
            return np.array(values) / world.promise(prefix)
        return (world.p if proposal == "p" else world.q)[prefix]

    def go(chance: float, particles: list, weights: ParticleWeights) -> Iterator:
        if len(particles[0]) == T:
            yield chance, particles, weights
            return
        for tokens in product(range(V), repeat=size):
            q = np.array([draws(y)[v] for y, v in zip(particles, tokens, strict=True)])
            p = np.array([world.p[y][v] for y, v in zip(particles, tokens, strict=True)])
            new = [(*y, v) for y, v in zip(particles, tokens, strict=True)]
            psi = [np.array([[world.twist(twist, y) for y in some]]) for some in (new, particles)]
            stepped = weights.add(incremental_log_weight(np.log(p)[None], np.log(q)[None], *psi))
            at = chance * float(q.prod())
            if len(new[0]) == T or not stepped.due(below)[0]:
                yield from go(at, new, stepped)
                continue
            for share, u in _uniforms(rule, stepped.log_w[0]):
                after, ancestors = stepped.resample(below, u[None], rule)
                yield from go(at * share, [new[i] for i in ancestors[0]], after)

    yield from go(1.0, [()] * size, ParticleWeights.start(1, size))


def _law(world: World, runs: Iterator) -> dict[tuple[int, ...], float]:
    """Probability of every answer when one particle is drawn by its weight."""
    law = dict.fromkeys(world.answers, 0.0)
    for chance, particles, weights in runs:
        w = np.exp(weights.log_w[0] - weights.log_w[0].max())
        for y, share in zip(particles, w / w.sum(), strict=True):
            law[y] += chance * share
    return law


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("twist", ["none", "any", "best"])
@pytest.mark.parametrize("proposal", ["p", "q"])
def test_the_normaliser_is_unbiased_and_so_is_the_weighted_measure(rule, twist, proposal):
    """E[Ẑ] = Z and E[Ẑ·P(y put out)] = Z·q*(y), whatever the twist, the proposal, the threshold."""
    world = World(3)
    for below in (0.0, 0.9, 1.1):  # never, where uneven, at every token
        mass, mean, measure = 0.0, 0.0, dict.fromkeys(world.answers, 0.0)
        runs = list(_runs(world, 2, twist, below, rule, proposal))
        for chance, particles, weights in runs:
            z = float(np.exp(weights.log_normaliser[0]))
            w = np.exp(weights.log_w[0] - weights.log_w[0].max())
            mass, mean = mass + chance, mean + chance * z
            for y, share in zip(particles, w / w.sum(), strict=True):
                measure[y] += chance * z * share
        assert mass == pytest.approx(1, rel=near(len(runs)))
        assert mean == pytest.approx(world.z, rel=near(len(runs)))
        for y, mass_of_target in world.target.items():
            assert measure[y] == pytest.approx(world.z * mass_of_target, rel=near(len(runs)))


@pytest.mark.parametrize("twist", ["none", "any", "best"])
def test_the_law_of_what_is_put_out_nears_the_target_as_particles_are_added(twist):
    """By enumeration at K = 1, 2 and 3. At K = 1 the law is p₀; TV to q* is at most ½E|1 − Ẑ/Z|.

    The bound: law(y) − q*(y) = E[P(y put out)·(1 − Ẑ/Z)]. A twist of noise may do harm at small K.
    """
    world = World(3)
    far = []
    for size in (1, 2, 3):
        runs = list(_runs(world, size, twist, 0.9, "systematic", "p"))
        law = _law(world, iter(runs))
        far.append(sum(abs(law[y] - world.target[y]) for y in world.answers) / 2)
        off = (abs(1 - np.exp(w.log_normaliser[0]) / world.z) * chance for chance, _, w in runs)
        assert far[-1] <= sum(off) / 2 + near(len(runs))
    first = sum(abs(world.p0(y) - world.target[y]) for y in world.answers) / 2
    assert far[0] == pytest.approx(first, rel=near(V**T))
    if twist != "any":
        assert far[2] < far[1] < far[0]


@pytest.mark.parametrize("rule", RULES)
def test_many_particles_put_out_the_target_even_with_a_twist_of_noise(rule):
    """R runs of 256: the mean of what is put out is q* within ½E|1 − Ẑ/Z| and sampling noise."""
    world, rng, runs = World(3), np.random.default_rng(0), 400
    off = {}
    for size in (16, 256):
        codes, weights = np.zeros((runs, size), int), ParticleWeights.start(runs, size)
        for t in range(T):
            names = list(product(range(V), repeat=t))
            one = np.array([world.p[y][1] for y in names])
            before = np.array([world.twist("any", y) for y in names])[codes]
            codes = codes * V + (rng.uniform(size=codes.shape) < one[codes])
            after = [world.twist("any", y) for y in product(range(V), repeat=t + 1)]
            log_p = np.zeros(codes.shape)  # the proposal is p₀: any number of both cancels
            weights = weights.add(
                incremental_log_weight(log_p, log_p, np.array(after)[codes], before)
            )
            if t + 1 < T:
                weights, ancestors = weights.resample(0.9, rng.uniform(size=codes.shape), rule)
                codes = np.take_along_axis(codes, ancestors, axis=1)
        off[size] = np.abs(1 - np.exp(weights.log_normaliser) / world.z).mean() / 2
    w = np.exp(weights.log_w - weights.log_w.max(axis=1, keepdims=True))
    w /= w.sum(axis=1, keepdims=True)
    law = np.bincount(codes.ravel(), weights=w.ravel(), minlength=V**T) / runs
    far = np.abs(law - list(world.target.values())).sum() / 2
    noise = 0.5 * np.sqrt(V**T / runs) + np.sqrt(np.log(1e6) / (2 * runs))
    assert far <= off[256] + noise
    assert off[256] < off[16] / 2, "the error of Z falls like 1/sqrt(K): a quarter, but for noise"


def test_the_best_twist_and_its_own_proposal_leave_nothing_to_weigh():
    """Every run has equal weights and log Ẑ = log Z: no variance at all."""
    world = World(5)
    for _, _, weights in _runs(world, 2, "best", 0.9, "systematic", "best"):
        np.testing.assert_allclose(np.ptp(weights.log_w), 0, atol=near(V**T), rtol=0)
        assert float(weights.log_normaliser[0]) == pytest.approx(np.log(world.z), abs=near(V**T))
        assert int(weights.resampled[0]) == 0


def test_a_guides_prefix_ratio_is_the_best_twist_of_its_own_target():
    """For U = log π_guide/p₀ at η = 1, E[e^U | prefix] = π_guide(prefix)/p₀(prefix)."""
    world, guide = World(1), World(2)
    for y in world.answers:
        world.u[y] = np.log(guide.p0(y) / world.p0(y)) / ETA
    for t in range(T):
        for prefix in product(range(V), repeat=t):
            ratio = guide.p0(prefix) / world.p0(prefix)
            assert world.promise(prefix) == pytest.approx(ratio, rel=near(V**T))


def test_without_a_twist_it_is_sampling_importance_resampling():
    """ψ = 1 till the end: never resampled, ω = ηU, and the draw is that of `resample`."""
    rng = np.random.default_rng(0)
    tilt, zero = rng.normal(size=(6, 5)), np.zeros((6, 5))
    weights, log_p = ParticleWeights.start(6, 5), np.log(rng.uniform(size=(6, 5)))
    for psi in (zero, zero, tilt):
        weights = weights.add(incremental_log_weight(log_p, log_p, psi, zero))
        if psi is zero:
            assert not weights.due(0.999).any()
    np.testing.assert_array_equal(weights.log_w, tilt)
    contexts, u = Groups.equal(6, 5), rng.uniform(size=30)
    np.testing.assert_array_equal(
        resample(weights.log_w.ravel(), contexts, u), resample(tilt.ravel(), contexts, u)
    )
    np.testing.assert_allclose(weights.log_normaliser, np.log(np.exp(tilt).mean(axis=1)))


@pytest.mark.parametrize("rule", RULES)
def test_expected_children_are_k_times_the_weight(rule):
    """Exactly, by the lengths of the stretches; a weight of 0 has none."""
    log_w = np.array([0.3, -1.0, -np.inf, 1.2])
    w = np.exp(log_w) / np.exp(log_w).sum()
    mean = np.zeros(4)
    for share, u in _uniforms(rule, log_w):
        children = np.bincount(RULES[rule](w[None], u[None])[0], minlength=4)
        more = 0 if rule == "systematic" else 1
        assert (np.floor(4 * w) - more <= children).all()
        assert (children <= np.ceil(4 * w) + more).all()
        mean += share * children
    np.testing.assert_allclose(mean, 4 * w, rtol=near(len(w)), atol=0)
    assert mean[2] == 0


@pytest.mark.parametrize("rule", RULES)
def test_equal_weights_have_one_child_each_and_the_last_uniform_none_of_weight_zero(rule):
    u = np.full((1, 7), np.nextafter(1, 0))
    np.testing.assert_array_equal(RULES[rule](np.ones((1, 7)), 0 * u + 0.5)[0], np.arange(7))
    weights = np.array([[0.1, 0.2, 0.3, 0.0, 0.1, 0.0, 0.0]])
    assert RULES[rule](weights, u).max() == 4


def test_prompts_are_resampled_alone_and_the_others_keep_everything():
    log_w = np.array([[0.0, 0.0, 0.0], [5.0, -np.inf, 0.0], [-np.inf] * 3])
    weights = ParticleWeights.start(3, 3).add(log_w)
    after, ancestors = weights.resample(0.5, np.full((3, 3), 0.5), "systematic")
    np.testing.assert_array_equal(after.resampled, [0, 1, 0])
    np.testing.assert_array_equal(ancestors[[0, 2]], [[0, 1, 2]] * 2)
    np.testing.assert_array_equal(after.log_w[[0, 2]], log_w[[0, 2]])
    np.testing.assert_array_equal(after.log_w[1], 0)
    np.testing.assert_allclose(after.log_normaliser[:2], weights.log_normaliser[:2])
    assert after.log_normaliser[2] == -np.inf
    assert np.isnan(after.ess_rel[2])


def test_a_twist_of_zero_ends_a_particle_and_one_that_is_no_number_is_refused():
    zero, dead = np.zeros((1, 2)), np.array([[-np.inf, 0.0]])
    got = incremental_log_weight(zero, zero, zero, dead)
    np.testing.assert_array_equal(got, [[-np.inf, 0.0]])
    for bad in (np.inf, np.nan):
        with pytest.raises(DataError, match="must be a number"):
            incremental_log_weight(zero, zero, zero + bad, zero)
    with pytest.raises(DataError, match="no particle of prompt 1"):
        systematic_ancestors(np.array([[1.0, 0.0], [0.0, 0.0]]), np.zeros((2, 2)))
