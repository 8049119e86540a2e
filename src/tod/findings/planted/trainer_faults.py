"""Faults of the trainer's machinery: gradients, versions, environments, advantages, tokens."""

from dataclasses import replace

import numpy as np

from tod.findings.planted.faults import EARLY, LONG, RAMP, RUN, WHOLE
from tod.findings.planted.metrics import autoregressive
from tod.findings.planted.scenario import Scenario, Sizes
from tod.findings.planted.token_gaps import GapFault, profile_of
from tod.findings.planted.world import Change, PlantedDraws, PlantedWorld


def nothing_learned_from_there(world: PlantedWorld) -> None:
    """The skill stands from the onset on: no update changes the policy."""
    world.skill[world.at :] = world.skill[world.at] - max(0.0, world.skill[world.at] - 0.5)


def no_gradient(drawn: PlantedDraws) -> None:
    """The trained parameters are out of the graph: gradients are exactly 0."""
    drawn.metrics["grad_norm"][drawn.world.at :] = 0.0


def not_finite(drawn: PlantedDraws) -> None:
    """An update makes the weights NaN: gradients, KL and entropy are NaN from there on."""
    at, steps = drawn.world.at, drawn.world.steps
    for name in ("grad_norm", "kl", "entropy"):
        drawn.metrics[name][at:] = np.nan
        drawn.not_finite[name] = steps[at:]


# preference training, of which only the log is there


def preference_log(drawn: PlantedDraws, chosen: np.ndarray, rejected: np.ndarray) -> None:
    """A log of log-probs of chosen and rejected answers, margin, accuracy and length."""
    rng, size = drawn.world.rng, len(drawn.world.steps)
    level = rng.uniform(60, 300)

    def noisy(values: np.ndarray) -> np.ndarray:
        noisy: np.ndarray = level * (values + autoregressive(rng, size, 0.02))
        return noisy

    chosen, rejected = noisy(chosen - 1.0), noisy(rejected - 1.1)
    t = np.linspace(0, 1, size)
    drawn.metrics = {
        "chosen_logp": chosen,
        "rejected_logp": rejected,
        "margin": 0.1 * (chosen - chosen[0] - (rejected - rejected[0])),
        "accuracy": 0.55 + 0.2 * (1 - np.exp(-4 * t)) + autoregressive(rng, size, 0.02),
        "length": rng.uniform(80, 400) * np.exp(autoregressive(rng, size, 0.03)),
        "grad_norm": rng.uniform(0.5, 5) * np.exp(autoregressive(rng, size, 0.15)),
    }
    drawn.bare = True


def _from_there(drawn: PlantedDraws) -> np.ndarray:
    """0 before the onset, 1 at the end, even between."""
    size, at = len(drawn.world.steps), drawn.world.at
    ramp: np.ndarray = np.clip((np.arange(size) - at + 1) / (size - at), 0.0, 1.0)
    return ramp


def preference_collapses(drawn: PlantedDraws) -> None:
    """Chosen and rejected fall together, and sampled answers grow."""
    rng = drawn.world.rng
    ramp, depth = _from_there(drawn), rng.uniform(0.6, 1.2)
    preference_log(drawn, -depth * ramp, -(depth + 0.3) * ramp)
    drawn.metrics["length"] *= rng.uniform(1.6, 3.0) ** ramp
    _datable(drawn, depth, 0.02)


def preference_accuracy_falls(drawn: PlantedDraws) -> None:
    """Both fall, the margin does not grow and fewer pairs are ordered rightly."""
    rng = drawn.world.rng
    ramp, depth = _from_there(drawn), rng.uniform(0.5, 1.0)
    preference_log(drawn, -depth * ramp, -depth * ramp)
    drawn.metrics["accuracy"] -= rng.uniform(0.15, 0.3) * ramp
    _datable(drawn, depth, 0.02)


def _datable(drawn: PlantedDraws, height: float, noise: float) -> None:
    """The error that noise leaves of a ramp's onset, as of faults of one room."""
    left = len(drawn.world.steps) - drawn.world.at
    drawn.world.blur = 3 * noise * 3**0.5 / (height / left * left**0.5)


# distillation


def distillation_log(drawn: PlantedDraws, share: np.ndarray) -> None:
    """A log of the distance to the teacher, as a share of a first one."""
    rng, size = drawn.world.rng, len(drawn.world.steps)
    first = rng.uniform(0.3, 2.0)
    drawn.metrics = {
        "distillation_loss": first * share * np.exp(autoregressive(rng, size, 0.04)),
        "grad_norm": rng.uniform(0.1, 1.0) * np.exp(autoregressive(rng, size, 0.15)),
    }
    drawn.bare = True


def gap_stops_closing(drawn: PlantedDraws) -> None:
    """A tenth of the gap closes in the first steps and no more."""
    rng, size = drawn.world.rng, len(drawn.world.steps)
    left = rng.uniform(0.88, 0.97)
    distillation_log(drawn, left + (1 - left) * np.exp(-np.arange(size) / 3))


def gap_grows_again(drawn: PlantedDraws) -> None:
    """The gap closes until the onset and is larger than at first at the end."""
    rng, size = drawn.world.rng, len(drawn.world.steps)
    closed = 1 - 0.6 * (1 - np.exp(-3 * np.arange(size) / max(1, drawn.world.at)))
    rise = rng.uniform(0.5, 1.2)
    distillation_log(drawn, closed + rise * _from_there(drawn))
    _datable(drawn, rise, 0.04)


# versions, environments, advantages


def stale(drawn: PlantedDraws) -> None:
    """The sampler hangs: a whole batch is equally old, six to fourteen versions from there on."""
    at, rng = drawn.world.at, drawn.world.rng
    drawn.lag = rng.integers(0, 2, drawn.reward.shape)
    drawn.lag[at:] += int(rng.integers(6, 14))


def ever_staler(drawn: PlantedDraws) -> None:
    """The sampler stopped taking weights: the lag grows by a version a step."""
    at, rng = drawn.world.at, drawn.world.rng
    drawn.lag = rng.integers(0, 2, drawn.reward.shape)
    late = np.arange(len(drawn.world.steps) - at) + 1
    drawn.lag[at:] = late[:, None, None]


def environment_fails(drawn: PlantedDraws) -> None:
    """A tool is down: a quarter to seven tenths of the rollouts fail and get nothing."""
    at, rng = drawn.world.at, drawn.world.rng
    share = np.full(len(drawn.world.steps), 0.01)
    share[at:] = rng.uniform(0.25, 0.7)
    drawn.error = rng.random(drawn.reward.shape) < share[:, None, None]
    drawn.reward = np.where(drawn.error, 0.0, drawn.reward)


def centred(drawn: PlantedDraws) -> np.ndarray:
    """Rewards less the mean of their prompt."""
    values: np.ndarray = drawn.reward - drawn.reward.mean(axis=2, keepdims=True)
    return values


def not_as_configured(drawn: PlantedDraws) -> None:
    """The configuration says z-scores, the trainer subtracts the mean alone."""
    drawn.advantage = centred(drawn)
    drawn.expected = {"advantage": "group_zscore"}


def wrong_sign(drawn: PlantedDraws) -> None:
    """Advantages with the other sign: the reward was a cost."""
    drawn.advantage = -centred(drawn)


# tokens


def apart(fault: GapFault) -> Change:
    """Sampler and trainer part from the onset on, by what the tokens show."""

    def part(drawn: PlantedDraws) -> None:
        rng, at = drawn.world.rng, drawn.world.at
        strength = float(rng.uniform())
        for place, step in enumerate(drawn.world.steps.tolist()):
            drawn.gaps[step] = profile_of(rng, fault if place >= at else None, strength)
        drawn.metrics.pop("mismatch", None)

    return part


SHORT: Sizes = replace(RUN, steps=(30, 120))
TEN_LEFT = replace(RUN, steps=(40, 500))
SAME = ("weights_out_of_sync", "precision")
"""What the tokens of one step do not tell apart."""
TOKEN_FAULTS: tuple[tuple[str, GapFault, tuple[str, ...]], ...] = (
    ("tokens: sampler truncates", "top_p", ("truncated_sampling",)),
    ("tokens: other temperature", "temperature", ("temperature",)),
    ("tokens: other prompt scored", "other_prompt", ("other_prompt",)),
    ("tokens: other text scored", "other_text", ("other_text",)),
    ("tokens: other weights", "weights", SAME),
    ("tokens: other experts", "router", SAME),
)

TRAINER_FAULTS: tuple[Scenario, ...] = (
    Scenario(
        "no gradient",
        ("no_gradient",),
        nothing_learned_from_there,
        no_gradient,
        sizes=TEN_LEFT,
    ),
    Scenario("NaN", ("not_finite",), after=not_finite, sizes=RUN),
    Scenario(
        "DPO: both fall, answers grow",
        ("preference_collapse",),
        after=preference_collapses,
        shape="ramp",
        sizes=LONG,
        place=EARLY,
        bounds=RAMP,
    ),
    Scenario(
        "DPO: both fall, pairs are lost",
        ("preference_collapse",),
        after=preference_accuracy_falls,
        shape="ramp",
        sizes=LONG,
        place=EARLY,
        bounds=RAMP,
    ),
    Scenario(
        "distillation stops closing",
        ("distillation_stalls",),
        after=gap_stops_closing,
        shape="whole",
        start=True,
        sizes=replace(LONG, steps=(250, 500)),
        bounds=WHOLE,
    ),
    Scenario(
        "distillation gap grows again",
        ("distillation_rises",),
        after=gap_grows_again,
        shape="ramp",
        sizes=LONG,
        bounds=RAMP,
    ),
    Scenario("equally stale batches", ("staleness",), after=stale, sizes=RUN),
    Scenario(
        "ever staler batches",
        ("staleness",),
        after=ever_staler,
        shape="ramp",
        sizes=LONG,
        bounds=RAMP,
    ),
    Scenario("environment fails", ("environment_errors",), after=environment_fails, sizes=RUN),
    Scenario(
        "advantages not as configured",
        ("advantage_contradiction",),
        after=not_as_configured,
        shape="whole",
        start=True,
        sizes=replace(RUN, k=(4, 64)),
        bounds=WHOLE,
    ),
    Scenario(
        "advantages of the other sign",
        ("advantage_sign",),
        after=wrong_sign,
        shape="whole",
        start=True,
        sizes=RUN,
        bounds=WHOLE,
    ),
    *(
        Scenario(name, ("mismatch",), after=apart(fault), sizes=SHORT, causes=causes)
        for name, fault, causes in TOKEN_FAULTS
    ),
)
