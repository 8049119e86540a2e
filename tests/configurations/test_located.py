"""The implied target of a located configuration: η_c of z-scored runs, from their own σ_c."""

from pathlib import Path

import numpy as np
import pytest

from tod.base import DataError, Groups
from tod.candidates import Candidates
from tod.configurations import locate

CONFIGS = Path(__file__).parent / "files"


def candidates(backend, rng, sizes=(4, 1, 7, 3, 5)) -> Candidates:
    contexts = Groups(np.array(sizes))
    n = int(sum(sizes))
    reward = rng.exponential(size=n)
    reward[contexts.owner == 3] = 0.5
    return Candidates(
        contexts=contexts,
        utility={"score": backend.make(reward)},
        log_mu=backend.make(-rng.exponential(size=n)),
        log_anchor={"ref": backend.make(-rng.exponential(size=n))},
    )


def test_eta_of_every_context(backend, rng) -> None:
    """1/(β(σ_c + ε)) with ddof 1; 0 for a singleton and where all rewards are equal."""
    c = candidates(backend, rng)
    implied = locate(CONFIGS / "trl_grpo.py").target_for(c)
    assert implied is not None
    values = np.asarray(c.utility["score"], dtype=np.float64)
    parts = np.split(values, np.cumsum([4, 1, 7, 3, 5])[:-1])
    near = backend.rounding(3 * 7, 8)  # a deviation of values that a mean is taken from
    expected = [
        0.0 if np.ptp(part) == 0 else 1 / (0.04 * (part.std(ddof=1) + 1e-4)) for part in parts
    ]
    np.testing.assert_allclose(np.asarray(implied.etas), expected, rtol=near)


def test_weights_are_those_of_the_standardised_reward(backend, rng) -> None:
    c = candidates(backend, rng)
    implied = locate(CONFIGS / "trl_grpo.py").target_for(c)
    log_w = np.asarray(implied.target.log_weights(implied.candidates), dtype=np.float64)
    ref, mu = (np.asarray(x, dtype=np.float64) for x in (c.log_anchor["ref"], c.log_mu))
    eta = np.repeat(np.asarray(implied.etas, dtype=np.float64), [4, 1, 7, 3, 5])
    value = np.asarray(c.utility["score"], dtype=np.float64)
    np.testing.assert_allclose(
        log_w,
        ref - mu + eta * value,
        rtol=0,
        atol=backend.rounding(4, np.abs(ref - mu).max() + np.abs(eta * value).max()),
    )


def test_one_eta_without_z_scores(backend, rng) -> None:
    c = candidates(backend, rng)
    implied = locate(CONFIGS / "trl_rloo_args.json").target_for(c)
    assert implied.etas is None
    assert implied.candidates is c
    assert implied.target.tilts[0].utility == "score"
    assert implied.target.tilts[0].eta == pytest.approx(50.0)


def test_the_batch_scale_is_one_number(backend, rng, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("scale_rewards: batch\nbeta: 0.5\nnum_generations: 4\n")
    c = candidates(backend, rng)
    etas = np.asarray(locate(path).target_for(c).etas, dtype=np.float64)
    sigma = np.asarray(c.utility["score"], dtype=np.float64).std(ddof=1)
    varied = np.array([True, False, True, False, True])
    np.testing.assert_allclose(
        etas[varied], 2 / (sigma + 1e-4), rtol=backend.rounding(3 * len(c), 8)
    )


def test_per_update_sharpness_of_our_own_two_anchor_run(backend, rng) -> None:
    """q* of one update has η = 1/(τ+β) = 5, though its fixed point has 1/β = 20."""
    c = candidates(backend, rng)
    found = locate(CONFIGS / "own_two_anchor.yaml")
    assert found.law.etas == pytest.approx({"correct": 20.0})
    assert found.target_for(c).target.tilts[0].eta == pytest.approx(5.0)


def test_no_finite_target_is_none(backend, rng) -> None:
    found = locate(CONFIGS / "trl_cispo.yaml")
    assert found.target is None
    assert found.target_for(candidates(backend, rng)) is None


def test_several_utilities_are_not_guessed(backend, rng) -> None:
    from dataclasses import replace

    c = candidates(backend, rng)
    c = replace(c, utility={"a": c.utility["score"], "b": c.utility["score"]})
    with pytest.raises(DataError):
        locate(CONFIGS / "trl_grpo.py").target_for(c)
