"""Particles of an enumerated language, against sums over it."""

import numpy as np
import pytest

from tod.operators import ModelTwist, SequentialMonteCarlo, UtilityTwist
from tod.study.language import Language
from tod.study.particles import ParticleWorld
from tod.study.selection_laws import law_of_resampled
from tolerance import double

SEEN = 20_000


@pytest.fixture(params=[False, True], ids=["one length", "ragged"])
def world(request, rng) -> ParticleWorld:
    language = Language.of(3, 3, ends=request.param)
    shape = (2, len(language))
    log_mu, log_guide = (np.log(rng.dirichlet(np.ones(shape[1]), size=2)) for _ in range(2))
    return ParticleWorld(language, log_mu, log_guide, rng.normal(size=shape))


def _put_out(world, rule, size, rng):
    """Mean shares of what is put out, [C, Y], and exp(log Ẑ) of every group, [C, G]."""
    groups = SEEN // size
    rows, gain, weights = world.run(rule, groups, size, rng)
    log_w = (1.3 * world.u)[np.arange(2)[:, None, None], rows] - gain
    w = np.exp(log_w)
    share, law = w / w.sum(axis=2, keepdims=True), np.zeros(world.u.shape)
    for c in range(2):
        law[c] = np.bincount(rows[c].ravel(), share[c].ravel(), minlength=law.shape[1]) / groups
    assert weights.log_z.shape == (2 * groups,)
    return law, w.mean(axis=2)


@pytest.mark.parametrize(
    "twist", [ModelTwist(eta=0.5), UtilityTwist(utility="any", eta=1.3)], ids=lambda t: t.kind
)
@pytest.mark.parametrize("resampling", ["systematic", "stratified"])
def test_the_recorded_density_makes_the_mean_weight_an_unbiased_normaliser(
    world, rng, twist, resampling
):
    """Mean w within five standard errors of Z = E_μ[exp(ηU)]; TV within its bound."""
    rule = SequentialMonteCarlo(twist=twist, resampling=resampling, resample_below=0.9)
    law, z_hat = _put_out(world, rule, 8, rng)
    tilted = np.exp(world.log_mu + 1.3 * world.u)
    z = tilted.sum(axis=1)
    near = 5 * z_hat.std(axis=1, ddof=1) / z_hat.shape[1] ** 0.5
    assert (abs(z_hat.mean(axis=1) - z) < near).all()
    far = abs(law - tilted / z[:, None]).sum(axis=1) / 2
    groups, width = z_hat.shape[1], law.shape[1]
    noise = 0.5 * (width / groups) ** 0.5 + (np.log(1e6) / (2 * groups)) ** 0.5
    assert (far < abs(1 - z_hat / z[:, None]).mean(axis=1) / 2 + noise).all()


def test_without_a_twist_the_law_is_the_exact_one_of_resampling(world, rng):
    law, _ = _put_out(world, SequentialMonteCarlo(), 4, rng)
    want = np.exp(law_of_resampled(world.log_mu, 1.3 * world.u, 4))
    groups, width = SEEN // 4, law.shape[1]
    noise = 0.5 * (width / groups) ** 0.5 + (np.log(1e6) / (2 * groups)) ** 0.5
    assert (abs(law - want).sum(axis=1) / 2 < noise).all()


def test_the_guides_twist_is_its_share_of_a_prefix(world):
    """At the full length (π_guide/μ)(y); at none 1; in between by a sum written by hand."""
    rule, language = SequentialMonteCarlo(twist=ModelTwist()), world.language
    words = [
        tuple(language.symbols[a:b])
        for a, b in zip(
            language.sequences.offsets[:-1], language.sequences.offsets[1:], strict=True
        )
    ]
    for t in range(4):
        got = world.log_twist(rule, t)
        for y, word in enumerate(words):
            same = [other[:t] == word[:t] for other in words]
            want = [np.log(np.exp(x[:, same]).sum(axis=1)) for x in (world.log_guide, world.log_mu)]
            np.testing.assert_allclose(
                got[:, y], want[0] - want[1], rtol=0, atol=double(len(words), 10)
            )
