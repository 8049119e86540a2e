"""Healthy runs by family: learning in all its forms, in which nothing may be called a fault."""

from dataclasses import replace

import numpy as np

from tod.findings.planted.faults import of_texts
from tod.findings.planted.metrics import autoregressive
from tod.findings.planted.scenario import Scenario, Sizes
from tod.findings.planted.token_gaps import profile_of
from tod.findings.planted.trainer_faults import SHORT, centred, distillation_log, preference_log
from tod.findings.planted.world import PlantedDraws, PlantedWorld


def _t(world: PlantedWorld) -> np.ndarray:
    return np.linspace(0, 1, len(world.steps))


def saturating(world: PlantedWorld) -> None:
    """The task is learned to the end: nearly every answer passes in the last third."""
    world.spread = float(world.rng.uniform(0.5, 1.5))
    world.skill = -1.0 + world.rng.uniform(6, 9) * np.minimum(1.0, _t(world) / 0.7)


def saturated(world: PlantedWorld) -> None:
    """The task was learned before: nine answers in ten pass from the first step on."""
    world.skill = np.full(len(world.steps), float(world.rng.uniform(3.0, 5.0)))


def smooth_curriculum(world: PlantedWorld) -> None:
    """New prompts get harder evenly, at half the pace of learning."""
    world.repeated = False
    world.skill = -0.5 + 2.5 * _t(world)
    world.harder = world.rng.uniform(0.3, 0.6) * 2.5 * _t(world)


def smooth_curriculum_again(world: PlantedWorld) -> None:
    """The same, out of one set of prompts."""
    smooth_curriculum(world)
    world.repeated, world.spread = True, 1.5


def stages(world: PlantedWorld) -> None:
    """New prompts get harder in three or four stages of 0.3 to 0.7 logits; learning outpaces it."""
    world.repeated = False
    count = int(world.rng.integers(3, 5))
    place = np.minimum((_t(world) * count).astype(int), count - 1)
    harder = np.concatenate([np.zeros(1), np.cumsum(world.rng.uniform(0.3, 0.7, count - 1))])
    world.harder = harder[place]
    world.skill = -0.5 + (harder[-1] + 1.0) * _t(world)


def stages_again(world: PlantedWorld) -> None:
    """The same, out of one set of prompts."""
    stages(world)
    world.repeated, world.spread = True, 1.5


def harsh_stages_again(world: PlantedWorld) -> None:
    """Stages of one set of prompts that outpace learning: the reward falls, the policy does not."""
    world.repeated, world.spread = True, 1.5
    count = int(world.rng.integers(3, 5))
    place = np.minimum((_t(world) * count).astype(int), count - 1)
    harder = np.concatenate([np.zeros(1), np.cumsum(world.rng.uniform(0.4, 0.9, count - 1))])
    world.harder = harder[place] - harder[-1] / 2
    world.skill = -0.3 + 0.8 * _t(world)


def drifting(world: PlantedWorld) -> None:
    """The difficulty of new prompts wanders slowly."""
    world.repeated = False
    size = len(world.steps)
    world.harder = autoregressive(world.rng, size, 0.25, 0.9)


def mixing(world: PlantedWorld) -> None:
    """A third of the prompts is hopeless, a third too easy."""
    world.mixed = float(world.rng.uniform(0.15, 0.35))


def jittering(world: PlantedWorld) -> None:
    """The skill jitters with memory."""
    correlation = float(world.rng.uniform(0.4, 0.7))
    world.skill = world.skill + autoregressive(world.rng, len(world.steps), 0.15, correlation)


def starting_late(world: PlantedWorld) -> None:
    """Nothing is learned in the first 40 %, then much."""
    low = float(world.rng.uniform(-2.5, -1.0))
    world.skill = low + world.rng.uniform(1.5, 3.5) * np.clip((_t(world) - 0.4) / 0.4, 0, 1)


def equally_hard(world: PlantedWorld) -> None:
    """All prompts are nearly equally hard, and are learned."""
    world.spread = float(world.rng.uniform(0.3, 0.5))


def short_answers(world: PlantedWorld) -> None:
    """Answers are numbers: equal ones are no accident, and learning makes them more equal."""
    world.answers = int(world.rng.integers(20, 200))


def longer_with_reward(world: PlantedWorld) -> None:
    """Answers grow two- to fivefold while the reward rises: reasoning is learned so."""
    world.skill = -1.0 + world.rng.uniform(1.5, 3.0) * _t(world)
    world.length = world.length * world.rng.uniform(2.0, 5.0) ** _t(world)


def graded(world: PlantedWorld) -> None:
    """Rewards are the share of five or ten tests that pass."""
    world.graded = int(world.rng.choice([5, 10]))


def two_rewards(drawn: PlantedDraws) -> None:
    """A format reward that everyone soon gets stands beside the task's."""
    rng, size = drawn.world.rng, len(drawn.world.steps)
    ready = 1 - 0.6 * np.exp(-np.arange(size) / max(2.0, 0.08 * size))
    given = of_texts(drawn, rng) < ready[:, None, None]
    drawn.rewards = {"task": drawn.reward, "format": 0.2 * given}
    drawn.reward = drawn.rewards["task"] + drawn.rewards["format"]


def few_cut(drawn: PlantedDraws) -> None:
    """Four answers in a hundred reach the limit, all the time."""
    limit = round(float(np.quantile(drawn.length, 0.96)))
    drawn.world.limit = limit


def log_advantages(drawn: PlantedDraws) -> None:
    """The trainer logs z-scored advantages."""
    mean = drawn.reward.mean(axis=2, keepdims=True)
    deviation = drawn.reward.std(axis=2, keepdims=True, ddof=1)
    drawn.advantage = (drawn.reward - mean) / (deviation + 1e-4)


def preferred(drawn: PlantedDraws) -> None:
    """DPO as usual: chosen answers lose a little, rejected ones more, the margin grows."""
    t, rng = _t(drawn.world), drawn.world.rng
    fall = rng.uniform(0.0, 0.5)
    preference_log(drawn, -fall * t, -(fall + rng.uniform(0.2, 0.8)) * t)


def distilled(drawn: PlantedDraws) -> None:
    """The gap to a teacher closes by four tenths and more, evenly or ever more slowly."""
    rng = drawn.world.rng
    pace, depth = rng.uniform(0.1, 5), rng.uniform(0.4, 0.9)
    closed = (1 - np.exp(-pace * _t(drawn.world))) / (1 - np.exp(-pace))
    distillation_log(drawn, 1 - depth * closed)


def steady_lag(drawn: PlantedDraws) -> None:
    """An asynchronous trainer that is one to three versions ahead."""
    rng = drawn.world.rng
    drawn.lag = rng.poisson(rng.uniform(0.5, 3), drawn.reward.shape)


def few_failures(drawn: PlantedDraws) -> None:
    """One rollout in a hundred to four in a hundred fails in its environment, all the time."""
    rng = drawn.world.rng
    drawn.error = rng.random(drawn.reward.shape) < rng.uniform(0.01, 0.04)
    drawn.reward = np.where(drawn.error, 0.0, drawn.reward)


def as_configured(drawn: PlantedDraws) -> None:
    """Advantages are logged, and are what the configuration says."""
    drawn.advantage = centred(drawn)
    drawn.expected = {"advantage": "group_mean"}


def in_step(drawn: PlantedDraws) -> None:
    """Tokens of sampler and trainer, apart by rounding alone."""
    rng = drawn.world.rng
    drawn.gaps = {step: profile_of(rng, None, 0.0) for step in drawn.world.steps.tolist()}


SMALL = Sizes(steps=(20, 40), prompts=(8, 12), k=(2, 4), rollouts=16)

HEALTHY: tuple[Scenario, ...] = (
    Scenario("learning"),
    Scenario("saturating", before=saturating),
    Scenario("saturated", before=saturated),
    Scenario("smooth curriculum, new prompts", before=smooth_curriculum),
    Scenario("smooth curriculum, same prompts", before=smooth_curriculum_again),
    Scenario("stages, new prompts", before=stages),
    Scenario("stages, same prompts", before=stages_again),
    Scenario("harsh stages, same prompts", before=harsh_stages_again),
    Scenario("drifting difficulty", before=drifting),
    Scenario("easy and hopeless prompts", before=mixing),
    Scenario("noise with memory", before=jittering),
    Scenario("late start", before=starting_late),
    Scenario("equally hard prompts", before=equally_hard),
    Scenario("short answers", before=short_answers),
    Scenario("longer with the reward", before=longer_with_reward),
    Scenario("graded rewards", before=graded),
    Scenario("two rewards", after=two_rewards),
    Scenario("few answers cut", after=few_cut),
    Scenario("logged advantages", after=log_advantages),
    Scenario("pairs (K = 2)", sizes=replace(Sizes(), k=(2, 2))),
    Scenario("small batches", sizes=SMALL),
    Scenario("log without rollouts", recorded=False),
    Scenario("DPO as usual", after=preferred),
    Scenario("distillation that closes", after=distilled),
    Scenario("steady lag", after=steady_lag),
    Scenario("few failed environments", after=few_failures),
    Scenario("advantages as configured", after=as_configured),
    Scenario("tokens in step", after=in_step, sizes=SHORT),
)
