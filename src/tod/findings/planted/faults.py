"""Faults by name: what changes in a healthy run, from which step, and how it must be named."""

from dataclasses import replace
from functools import partial

import numpy as np
from jaxtyping import Float

from tod.findings.planted.metrics import EVALUATIONS, autoregressive, pass_rates
from tod.findings.planted.scenario import Bounds, Scenario, Sizes
from tod.findings.planted.world import Before, Change, PlantedDraws, PlantedWorld

LONG_RUN = 0.03 * 3**0.5
"""Long-run standard deviation of the log length by step: √((1 + ρ)/(1 − ρ)) of the drift's."""


# rewards


def every_answer_fails(drawn: PlantedDraws) -> None:
    """No answer passes any more: the grader or the policy broke."""
    at = drawn.world.at
    drawn.reward[at:] = 0


def nearly_every_prompt_fails(drawn: PlantedDraws) -> None:
    """All answers fail to 95 % of the prompts."""
    at = drawn.world.at
    fails = drawn.world.rng.random(drawn.prompt.shape) < 0.95
    drawn.reward[at:] = np.where(fails[at:, :, None], 0, drawn.reward[at:])


def every_answer_passes(drawn: PlantedDraws) -> None:
    """The grader lets everything pass."""
    at = drawn.world.at
    drawn.reward[at:] = 1


def every_answer_ties(drawn: PlantedDraws) -> None:
    """The grader gives everything one middling reward."""
    at = drawn.world.at
    drawn.reward[at:] = 0.5


def coin(drawn: PlantedDraws) -> None:
    """Rewards are coin flips; no two answers are alike, so that nothing proves it."""
    at = drawn.world.at
    rng = drawn.world.rng
    size = drawn.reward[at:].shape
    drawn.reward[at:] = rng.random(size) < rng.uniform(0.3, 0.7)
    drawn.text = np.arange(drawn.text.size).reshape(drawn.text.shape)


def coin_with_equal_answers(drawn: PlantedDraws) -> None:
    """Rewards are coin flips, and three in ten answers repeat another to their prompt."""
    coin(drawn)
    again = drawn.world.rng.random(drawn.text.shape) < 0.3
    drawn.text = np.where(again, drawn.text[..., :1], drawn.text)


def unstable_grader(drawn: PlantedDraws) -> None:
    """One in three rewards is turned over; a tenth of the answers repeat another."""
    at = drawn.world.at
    again = drawn.world.rng.random(drawn.text.shape) < 0.2
    again[..., 0] = False
    drawn.text = np.where(again, drawn.text[..., :1], drawn.text)
    drawn.reward = np.where(again, drawn.reward[..., :1], drawn.reward)
    turned = drawn.world.rng.random(drawn.reward.shape) < 0.33
    turned[:at] = False
    drawn.reward = np.where(turned, 1 - drawn.reward, drawn.reward)


def falling(share: tuple[float, float], width: tuple[float, float]) -> Before:
    """The policy gets worse: what is left of the pass rate, and over which share of the rest.

    Args:
        share: Pass rate at the end over the one before, from and to.
        width: Steps of the fall over the steps that are left, from and to; one step at least.
    """

    def fall(world: PlantedWorld) -> None:
        at = world.at
        left = len(world.steps) - at
        wide = max(1, round(float(world.rng.uniform(*width)) * left))
        ramp = np.minimum(1.0, (np.arange(left) + 1) / wide)
        level = float(np.median(world.skill[max(0, at - 5) : at]))
        before = expected_pass_rate(world, level)
        drop = _drop(world, level, float(world.rng.uniform(*share)) * before)
        noise = world.skill[at:] - level
        world.skill[at:] = level + (noise - noise.mean()) * 0.1 - drop * ramp
        after = expected_pass_rate(world, level - drop)
        if wide > 1:
            world.blur = _blur(_reward_noise(world, before), (before - after) / wide, wide)

    return fall


def expected_pass_rate(world: PlantedWorld, skill: float) -> float:
    """Mean pass rate over the prompts at a skill."""
    return float(pass_rates(np.array([skill]), world.spread)[0])


def _drop(world: PlantedWorld, level: float, wanted: float) -> float:
    """Logits by which the skill must fall for a mean pass rate."""
    low, high = 0.0, 30.0
    for _ in range(50):
        middle = (low + high) / 2
        if expected_pass_rate(world, level - middle) > wanted:
            low = middle
        else:
            high = middle
    return high


def _reward_noise(world: PlantedWorld, level: float) -> float:
    """Standard deviation of a step's mean reward: prompts differ, and answers to one of them."""
    between = 0.5 if world.spread > 1 else 0.3  # share of the variance that lies between prompts
    variance = level * (1 - level)
    return float(np.sqrt(variance * (between + (1 - between) / world.k) / world.prompts))


def _blur(noise: float, slope: float, steps: int) -> float:
    """Error of the onset of a ramp: 3·noise/(slope·√steps)."""
    return 3 * noise / (slope * float(np.sqrt(steps)))


def flat(world: PlantedWorld) -> None:
    """Nothing is learned: the mean reward only jitters."""
    level = float(world.rng.uniform(-0.8, 0.8))
    world.skill = level + autoregressive(world.rng, len(world.steps), 0.05)


def too_hard(world: PlantedWorld) -> None:
    """Prompts so hard that hardly one answer in twenty passes, from the first step on."""
    world.spread = 1.0
    world.skill = np.full(len(world.steps), -float(world.rng.uniform(4.0, 5.0)))


def one_reward(drawn: PlantedDraws) -> None:
    """A format reward of weight 1 drowns the task's of weight 0.1; it is learned slowly."""
    rng, size = drawn.world.rng, len(drawn.world.steps)
    share = np.linspace(rng.uniform(0.25, 0.4), rng.uniform(0.6, 0.75), size)
    ready = of_texts(drawn, rng) < share[:, None, None]
    drawn.rewards = {"task": 0.1 * drawn.reward, "format": ready.astype(float)}
    drawn.reward = drawn.rewards["task"] + drawn.rewards["format"]


def of_texts(drawn: PlantedDraws, rng: np.random.Generator) -> Float[np.ndarray, "T C K"]:
    """A uniform number for every rollout, equal where the text is: a reward is of the text."""
    values: np.ndarray = rng.random(int(drawn.text.max()) + 1)[drawn.text]
    return values


# texts


def one_text(drawn: PlantedDraws) -> None:
    """Every answer to every prompt is one text, and wrong."""
    at = drawn.world.at
    drawn.text[at:] = drawn.text.max() + 1
    drawn.length[at:] = drawn.length[at:, :1, :1]
    drawn.reward[at:] = 0


def one_paid_text(drawn: PlantedDraws) -> None:
    """Every answer to every prompt is one text that the grader lets pass."""
    at = drawn.world.at
    one_text(drawn)
    drawn.reward[at:] = 1


def mostly_one_text(drawn: PlantedDraws) -> None:
    """Seven answers in ten are one text, and wrong."""
    at = drawn.world.at
    same = drawn.world.rng.random(drawn.text.shape) < 0.7
    same[:at] = False
    drawn.text = np.where(same, drawn.text.max() + 1, drawn.text)
    drawn.length = np.where(same, 30.0, drawn.length)
    drawn.reward = np.where(same, 0, drawn.reward)


def same_answers(drawn: PlantedDraws) -> None:
    """All answers to one prompt are the same: the sampler lost its randomness."""
    at = drawn.world.at
    for column in (drawn.text, drawn.length, drawn.reward):
        column[at:] = column[at:, :, :1]


# lengths


def growing(factor: float, even: bool = False) -> Before:
    """Answers grow to the end of the run while nothing is learned.

    Args:
        factor: Last mean length over the first.
        even: By equal numbers of tokens a step; else by equal factors.
    """

    def grow(world: PlantedWorld) -> None:
        at = world.at
        flat(world)
        left = len(world.steps) - at
        t = (np.arange(left) + 1) / left
        growth = 1 + (factor - 1) * t if even else factor**t
        world.length[at:] = world.length[at:] * growth
        # even growth is straight in logarithms only until the length has doubled
        steps = max(1, round(left / (factor - 1))) if even else left
        slope = float(np.log(2 if even else factor)) / steps
        world.blur = _blur(_length_noise(world), slope, steps)

    return grow


def growing_from_the_start(world: PlantedWorld) -> None:
    """Answers grow 12-fold over the whole run."""
    growing(12.0)(world)


def _length_noise(world: PlantedWorld) -> float:
    return float(np.hypot(LONG_RUN, 0.3 / np.sqrt(world.prompts * world.k)))


def only(passed: bool) -> Change:
    """Only right answers grow, or only wrong ones: 8-fold to the end of the run."""

    def grow(drawn: PlantedDraws) -> None:
        at = drawn.world.at
        left = len(drawn.world.steps) - at
        growth = np.ones(len(drawn.world.steps))
        growth[at:] = 8 ** ((np.arange(left) + 1) / left)
        member = (drawn.reward > 0) == passed
        drawn.length = np.where(member, drawn.length * growth[:, None, None], drawn.length)

    return grow


def shrinking(world: PlantedWorld) -> None:
    """Answers shrink to a fifth in a tenth of the run, and the pass rate falls by a third."""
    at = world.at
    left = len(world.steps) - at
    wide = max(3, len(world.steps) // 10)
    ramp = np.minimum(1.0, (np.arange(left) + 1) / wide)
    level = float(np.median(world.skill[max(0, at - 5) : at]))
    drop = _drop(world, level, 0.55 * expected_pass_rate(world, level))
    world.skill[at:] = level - drop * ramp
    world.length[at:] = world.length[at:] * 0.2**ramp
    world.blur = _blur(_length_noise(world), float(np.log(5) / wide), wide)


def cut_at_the_limit(drawn: PlantedDraws) -> None:
    """Answers reach the limit at once: two in ten to six in ten are cut."""
    at = drawn.world.at
    rng, level = drawn.world.rng, drawn.length.mean()
    limit = round(float(max(2.0 * level, drawn.length[:at].max() + 1)))
    share = rng.uniform(0.25, 0.6)
    hit = rng.random(drawn.length.shape) < share
    hit[:at] = False
    drawn.length = np.where(hit, limit + 1, drawn.length)
    drawn.world.limit = limit


def cut_by_the_word(drawn: PlantedDraws) -> None:
    """The files say that answers were cut: a lower limit was set."""
    at = drawn.world.at
    limit = float(np.quantile(drawn.length[at:], drawn.world.rng.uniform(0.4, 0.75)))
    drawn.cut = drawn.length > limit
    drawn.cut[:at] = False
    drawn.length[at:] = np.minimum(drawn.length[at:], limit)


# metric logs


def _ramp(world: PlantedWorld, wide: int) -> Float[np.ndarray, " T"]:
    """0 before the onset, 1 from ``wide`` steps after it on."""
    t = np.arange(len(world.steps)) - world.at + 1
    ramp: np.ndarray = np.clip(t / wide, 0.0, 1.0)
    return ramp


def entropy_collapses(drawn: PlantedDraws) -> None:
    """The entropy falls to a fiftieth of its level, or a tenth, within a fifth of the run."""
    rng, size = drawn.world.rng, len(drawn.world.steps)
    wide = max(4, round(float(rng.uniform(0.08, 0.2)) * size))
    depth = float(np.log(rng.uniform(10, 50)))
    drawn.metrics["entropy"] *= np.exp(-depth * _ramp(drawn.world, wide))
    drawn.world.blur = _blur(0.06 * 3**0.5, depth / wide, wide)


def kl_grows(drawn: PlantedDraws) -> None:
    """The KL grows 40- to 400-fold within a sixth of the run."""
    rng, size = drawn.world.rng, len(drawn.world.steps)
    wide = max(3, size // 6)
    height = float(np.log(rng.uniform(40, 400)))
    drawn.metrics["kl"] *= np.exp(height * _ramp(drawn.world, wide))
    drawn.world.blur = _blur(0.12 * 3**0.5, height / wide, wide)


def kl_then_failure(drawn: PlantedDraws) -> None:
    """The KL grows first; eight steps later every answer fails."""
    kl_grows(drawn)
    later = min(drawn.world.at + 8, len(drawn.world.steps) - 5)
    drawn.reward[later:] = 0


def too_fast(drawn: PlantedDraws) -> None:
    """A learning rate a thousand times too high: the KL passes five nats in the first steps."""
    rng, size = drawn.world.rng, len(drawn.world.steps)
    growth = 1 - np.exp(-np.arange(size) / 1.5)  # the policy starts as its reference
    kl = rng.uniform(8, 30) * growth * np.exp(autoregressive(rng, size, 0.1))
    drawn.metrics["kl"] = 1e-4 + kl
    drawn.metrics["learning_rate"] *= 1000


def clipped(drawn: PlantedDraws) -> None:
    """The share of clipped tokens jumps to 0.3 and more."""
    at = drawn.world.at
    level = drawn.world.rng.uniform(0.32, 0.6)
    rest = drawn.metrics["clip_fraction"][at:]
    drawn.metrics["clip_fraction"][at:] = np.minimum(level * rest / np.median(rest), 1.0)


def spikes(drawn: PlantedDraws) -> None:
    """Gradient norms jump 12- to 60-fold in single steps, four to eight times."""
    at = drawn.world.at
    rng, size = drawn.world.rng, len(drawn.world.steps)
    count = int(rng.integers(4, 9))
    places = at + rng.choice(size - at, size=min(count, size - at), replace=False)
    places[0] = at
    drawn.metrics["grad_norm"][places] *= np.exp(rng.uniform(np.log(12), np.log(60), len(places)))


def mismatched(drawn: PlantedDraws) -> None:
    """The sampler's log-probs leave the trainer's by 0.12 to 0.9 nats a token, in one step."""
    gap = drawn.metrics["mismatch"][drawn.world.at :]
    gap *= drawn.world.rng.uniform(0.12, 0.9) / np.median(gap)


def over_optimised(drawn: PlantedDraws) -> None:
    """The training reward rises, the evaluation falls by 0.2 to 0.4 from its best."""
    at = drawn.world.at
    rng = drawn.world.rng
    shown = np.isfinite(drawn.metrics["eval.accuracy"])
    size = len(shown)
    at = next(place for place in range(at, size) if shown[place])
    drawn.world.at = at
    grid = evaluation_grid(size)
    wide = max(grid, round(float(rng.uniform(0.3, 1.0)) * (size - 1 - at)))
    end = 0.6 - rng.uniform(0.2, 0.4)
    # the evaluation at the onset is the first that is lower
    level = np.interp(
        np.arange(size), [0, at - grid, at - grid + wide, size], [0.35, 0.6, end, end]
    )
    drawn.metrics["eval.accuracy"] = np.where(shown, rng.binomial(400, level) / 400, np.nan)


def evaluation_grid(steps: int) -> int:
    """Steps between two evaluations."""
    return max(1, steps // EVALUATIONS)


# groups


def broken_ids(drawn: PlantedDraws) -> None:
    """Every rollout stands under an id of its own, so that every group is one rollout."""
    drawn.single = True


def mixed_groups(drawn: PlantedDraws) -> None:
    """Rollouts of several inputs stand under one id."""
    inputs = np.repeat(drawn.prompt[:, :, None], drawn.world.k, axis=2)
    flat_inputs = inputs.reshape(len(inputs), -1)
    drawn.input = drawn.world.rng.permuted(flat_inputs, axis=1)


RUN = Sizes(steps=(30, 500), rollouts=64)
LONG = replace(RUN, steps=(40, 500))
WIDE = replace(LONG, rollouts=100)
THREE = replace(RUN, k=(4, 64))
RAMP = Bounds(named=0.95, within=2, onset=0.95, covered=0.9)
WHOLE = Bounds(onset=0.0)
NOISE = Bounds(named=0.97, onset=0.0)
FALL = Bounds(named=0.85, within=2, onset=0.95, covered=0.9)
GOLD = Bounds(named=0.8, within=1, onset=0.6)
EARLY = (0.3, 0.55)

whole = partial(Scenario, shape="whole", start=True, sizes=RUN, bounds=WHOLE)
ramped = partial(Scenario, shape="ramp", sizes=LONG, bounds=RAMP)
ramped_early = partial(ramped, place=EARLY)

FAULTS: tuple[Scenario, ...] = (
    Scenario("every answer fails", ("all_fail",), after=every_answer_fails, sizes=RUN),
    Scenario(
        "every answer fails from the start",
        ("all_fail",),
        after=every_answer_fails,
        start=True,
        sizes=RUN,
    ),
    Scenario(
        "nearly every prompt fails",
        ("all_fail",),
        after=nearly_every_prompt_fails,
        sizes=replace(THREE, prompts=(32, 256)),
    ),
    Scenario("every answer passes", ("all_pass",), after=every_answer_passes, sizes=THREE),
    Scenario("every answer ties", ("all_tie",), after=every_answer_ties, sizes=THREE),
    Scenario(
        "every answer ties from the start",
        ("all_tie", "all_pass"),
        after=every_answer_ties,
        start=True,
        sizes=THREE,
    ),
    whole(
        "coin from the start", ("noise",), after=coin, sizes=replace(RUN, pairs=6000), bounds=NOISE
    ),
    Scenario(
        "coin from some step on",
        ("noise",),
        after=coin,
        sizes=replace(LONG, pairs=20_000),
        bounds=Bounds(named=0.6, onset=0.6),
    ),
    whole("coin, equal answers", ("verifier",), after=coin_with_equal_answers),
    whole("unstable grader", ("verifier",), after=unstable_grader, sizes=replace(RUN, pairs=1000)),
    ramped(
        "reward falls fast",
        ("reward_fall",),
        falling((0.1, 0.5), (0.0, 0.1)),
        sizes=WIDE,
        bounds=FALL,
    ),
    Scenario(
        "reward falls at once",
        ("reward_fall",),
        falling((0.1, 0.5), (0.0, 0.0)),
        sizes=WIDE,
        bounds=Bounds(named=0.85, within=2, onset=0.95),
    ),
    ramped_early(
        "reward falls slowly",
        ("reward_fall",),
        falling((0.1, 0.5), (0.5, 0.9)),
        sizes=WIDE,
        bounds=FALL,
    ),
    whole(
        "prompts too hard",
        ("shrinking_signal", "all_fail", "never_solved"),
        too_hard,
        sizes=replace(RUN, k=(2, 8)),
    ),
    whole(
        "one reward drowns the task",
        ("reward_dominated",),
        after=one_reward,
        sizes=replace(THREE, rollouts=128),
    ),
    Scenario("one text", ("one_text",), after=one_text, sizes=RUN),
    Scenario("one text, paid", ("one_text",), after=one_paid_text, sizes=RUN),
    Scenario("one text from the start", ("one_text",), after=one_text, start=True, sizes=RUN),
    Scenario("mostly one text", ("one_text",), after=mostly_one_text, sizes=THREE),
    Scenario("same answers to a prompt", ("same_answers",), after=same_answers, sizes=THREE),
    ramped_early("length x2", ("length_growth",), growing(2.0), bounds=replace(RAMP, named=0.75)),
    ramped_early("length x4", ("length_growth",), growing(4.0)),
    ramped_early("length x12", ("length_growth",), growing(12.0)),
    ramped_early("length x4, evenly", ("length_growth",), growing(4.0, even=True)),
    ramped_early("length x12, evenly", ("length_growth",), growing(12.0, even=True)),
    ramped(
        "length x12 from the start",
        ("length_growth",),
        growing_from_the_start,
        start=True,
        bounds=replace(RAMP, named=0.95, onset=0.9),
    ),
    ramped_early(
        "only wrong answers grow",
        ("length_growth",),
        flat,
        only(passed=False),
        sizes=WIDE,
        bounds=replace(RAMP, named=0.9),
    ),
    ramped_early(
        "only right answers grow",
        ("length_growth",),
        flat,
        only(passed=True),
        sizes=WIDE,
        bounds=replace(RAMP, named=0.9),
    ),
    ramped("answers shrink", ("length_collapse",), shrinking),
    Scenario("cut at the limit", ("truncation",), after=cut_at_the_limit, sizes=RUN),
    Scenario("cut, as the files say", ("truncation",), after=cut_by_the_word, sizes=RUN),
    ramped("entropy collapses", ("entropy_collapse",), after=entropy_collapses),
    ramped("KL grows", ("kl_blowup", "kl_large"), after=kl_grows),
    ramped(
        "KL grows, then failure",
        ("kl_blowup", "kl_large"),
        after=kl_then_failure,
        sizes=replace(LONG, steps=(60, 500)),
    ),
    Scenario(
        "learning rate too high",
        ("learning_rate",),
        after=too_fast,
        start=True,
        sizes=RUN,
        bounds=Bounds(within=2),
    ),
    Scenario("clipping jumps", ("clip",), after=clipped, sizes=RUN),
    Scenario("gradient spikes", ("gradient_spikes",), after=spikes, sizes=LONG),
    Scenario("sampler mismatch", ("mismatch",), after=mismatched, sizes=RUN),
    ramped(
        "evaluation falls",
        ("over_optimised",),
        after=over_optimised,
        sizes=replace(LONG, steps=(60, 500)),
        grid=evaluation_grid,
        bounds=GOLD,
    ),
    whole("broken group ids", ("broken_groups",), after=broken_ids),
    whole("groups of several inputs", ("mixed_groups",), after=mixed_groups),
    Scenario(
        "every answer fails, log alone",
        ("all_fail",),
        after=every_answer_fails,
        sizes=RUN,
        recorded=False,
    ),
    ramped(
        "reward falls fast, log alone",
        ("reward_fall",),
        falling((0.1, 0.5), (0.0, 0.1)),
        sizes=WIDE,
        bounds=FALL,
        recorded=False,
    ),
    ramped_early("length x12, log alone", ("length_growth",), growing(12.0), recorded=False),
)
