"""What a run will need, before any weight is loaded: memory, tokens, operations."""

from dataclasses import dataclass, replace
from pathlib import Path

from tod.base import SpecError
from tod.engine.consistency import lags
from tod.engine.costs import ForwardWork, ModelCost
from tod.engine.data.load import CANDIDATES, read_pool
from tod.engine.data.prompts import fitting_ids
from tod.engine.data.task import Task
from tod.engine.memory import Load, MemoryEstimate, ModelSize, Shards, estimate
from tod.engine.models import context_length, load_tokenizer, skeleton
from tod.engine.settings import RunSettings
from tod.operators import NoCredit, PoolProposal, WeightedRegression, WithinBudget

_PROBED = 64
"""Prompts that are tokenised to learn how long prompts are."""


@dataclass(frozen=True)
class Forecast:
    """Upper estimates: every completion at its full length.

    Attributes:
        memory: Peak bytes by part.
        prompt_tokens: Longest prompt among those looked at.
        completion_tokens: Tokens drawn over the whole run, at most.
        flops: Operations of the whole run, at most, evaluation left out.
    """

    memory: MemoryEstimate
    prompt_tokens: int
    completion_tokens: int
    flops: float
    notes: tuple[str, ...] = ()
    """What to know of the candidates before they are read."""


def forecast(settings: RunSettings, task: Task, *, processes: int = 1) -> Forecast:
    """Read the shapes of the model without its weights, and some prompts, and add up.

    Args:
        settings: The run.
        task: Where its prompts come from.
        processes: How many share the prompts of a step, and with ``train.sharding`` the models;
            memory is of one of them, tokens and operations are of all.

    Raises:
        ModelError: The model cannot be found.
        SpecError: The completions alone fill the model's context.
        DataError: A prompt does not fit, or a pool cannot be read.
    """
    if isinstance(settings.operator.proposal, PoolProposal):
        task = read_pool(Path(settings.operator.proposal.path), settings.train.seed)
    model = skeleton(settings.model, settings.peft)
    proposal, train = settings.operator.proposal, settings.train
    room = context_length(model)
    if room is not None and proposal.max_new_tokens >= room:
        raise SpecError(
            f"operator.proposal.max_new_tokens = {proposal.max_new_tokens}: the context of "
            f"{settings.model} is {room} tokens, prompt included. Give a number below {room}."
        )
    prompt = _longest_prompt(settings, task)
    size = ModelSize.of(model)
    load = Load(
        prompts=proposal.prompts,
        size=_candidates(settings, task),
        prompt_tokens=prompt,
        completion_tokens=proposal.max_new_tokens,
        micro_batch_tokens=train.max_tokens_per_micro_batch,
    )
    copies = (size.parameters,) * (len(settings.frozen) + lags(settings.every_operator))
    itemsize = 2 if train.dtype == "bfloat16" else 4
    drawn = proposal.prompts * load.size * proposal.max_new_tokens
    mine = replace(load, prompts=-(-load.prompts // processes))
    if settings.selects:
        return _searching(settings, ModelCost.of(model), size, load, mine)
    step = _step_flops(ModelCost.of(model), settings, load)
    shards = Shards.of(model, processes) if settings.train.sharding and processes > 1 else None
    memory = estimate(size, mine, copies=copies, itemsize=itemsize, shards=shards)
    found = Forecast(
        memory=_with_critic(settings, size, memory, shards),
        prompt_tokens=prompt,
        completion_tokens=drawn * train.steps if proposal.samplers else 0,
        flops=step * train.steps,
        notes=_notes(proposal.prompts, task) if isinstance(proposal, PoolProposal) else (),
    )
    return _with_probe(found, settings, ModelCost.of(model), size, load, processes)


def _with_probe(
    found: Forecast,
    settings: RunSettings,
    cost: ModelCost,
    size: ModelSize,
    load: Load,
    processes: int,
) -> Forecast:
    """With a probe: its draw, its readings at most, and what scoring all of it at once holds."""
    probe = settings.probe
    if probe is None:
        return found
    load = replace(load, prompts=probe.prompts, size=probe.size)
    mine = replace(load, prompts=-(-probe.prompts // processes))
    mine = replace(mine, micro_batch_tokens=mine.prompts * mine.size * mine.row)
    alone = estimate(size, mine)
    scoring = alone.logits + alone.activations // (size.layers + 1)
    memory = replace(found.memory, cache=max(found.memory.cache, alone.cache, scoring))
    forward = float(cost.forward(_work(load)))
    count, readings = probe.prompts * probe.size, settings.train.steps // (probe.every or 1)
    spent = forward * (1 + readings)
    note = f"probe: {count} candidates drawn once, scored {readings} times"
    if probe.every is None:
        spent = max(forward, found.flops * probe.share)
        note = f"probe: {count} candidates drawn once, scored within {probe.share:.2g} of the cost"
        if spent < 2 * forward:
            note += ", which is not even once: set probe.every, or lower probe.prompts or size"
    return replace(
        found,
        memory=memory,
        completion_tokens=found.completion_tokens + count * load.completion_tokens,
        flops=found.flops + spent,
        notes=(*found.notes, note),
    )


def _candidates(settings: RunSettings, task: Task) -> int:
    """K; of a pool the largest of its contexts."""
    proposal = settings.operator.proposal
    if not isinstance(proposal, PoolProposal):
        return proposal.size
    return max(len(task.examples[i].columns[CANDIDATES]) for i in range(len(task)))


def _notes(prompts: int, pool: Task) -> tuple[str, ...]:
    if prompts <= len(pool):
        return ()
    return (
        f"operator.proposal.prompts = {prompts} and the pool has {len(pool)} prompts: a step "
        "holds some of them more than once, which adds no evidence",
    )


def _with_critic(
    settings: RunSettings, size: ModelSize, found: MemoryEstimate, shards: Shards | None
) -> MemoryEstimate:
    """A critic with its own network needs as much again; both graphs are held at once."""
    critic = settings.operator.auxiliary.critic
    if critic is None or critic.kind == "head":
        return found
    held = size.parameters
    if shards is not None:
        held = size.parameters // shards.processes + shards.outside
    return replace(
        found,
        copies=found.copies + held * 4,
        optimiser=2 * found.optimiser,
        gradients=2 * found.gradients,
        activations=2 * found.activations,
    )


def _searching(
    settings: RunSettings, cost: ModelCost, size: ModelSize, load: Load, mine: Load
) -> Forecast:
    """Nothing is trained: weights, and keys and values or one layer of a scoring forward."""
    itemsize = {"bfloat16": 2, "float32": 4, "float64": 8}[settings.searching.dtype]
    others = _other_models(settings)
    mine = replace(mine, micro_batch_tokens=mine.prompts * mine.size * mine.row)
    found = estimate(
        replace(size, trainable=0), mine, copies=(size.parameters,) * others, itemsize=itemsize
    )
    scoring = found.logits + found.activations // (size.layers + 1) if others else 0
    drawing = 0 if settings.policy is not None else found.cache
    memory = replace(
        found,
        weights=0 if settings.unloaded else size.parameters * itemsize,
        activations=0,
        logits=0,
        cache=max(drawing, scoring),
    )
    drawn = load.prompts * load.size * load.completion_tokens
    step = float(cost.forward(_work(load)) * (1 + others))
    return Forecast(memory, load.prompt_tokens, drawn * settings.steps, step * settings.steps)


def _other_models(settings: RunSettings) -> int:
    """How many models are held besides the one that is searched."""
    sources = settings.frozen.items()
    return sum(name in settings.judges or source != settings.model for name, source in sources)


def _longest_prompt(settings: RunSettings, task: Task) -> int:
    tokenizer = load_tokenizer(settings.model)
    examples = task.batch(0, min(_PROBED, max(len(task), 1)))
    return max(len(fitting_ids(example, tokenizer, 2**31)) for example in examples)


def _step_flops(cost: ModelCost, settings: RunSettings, load: Load) -> float:
    """Sampling, scoring under every anchor, and all updates of one step, at full length."""
    operator, updates = settings.operator, settings.train.updates_per_batch
    work = _work(load)
    critic = operator.auxiliary.critic is not None and operator.auxiliary.critic.kind == "copy"
    scored = len(settings.frozen) + bool(operator.proposal.samplers)
    return float(cost.forward(work) * scored + cost.training(work) * updates * (1 + critic))


def _work(load: Load) -> ForwardWork:
    """One forward over the candidates of a step, at full length."""
    candidates = load.prompts * load.size
    prompt, length = load.prompt_tokens, load.completion_tokens
    tokens = load.prompts * prompt + candidates * (length - 1)
    pairs = candidates * (length * prompt + length * (length + 1) // 2)
    return ForwardWork(tokens, pairs, candidates * length)


def aim(settings: RunSettings) -> str:
    """The target in letters, with the η that the run will have."""
    target, action = settings.target.target, settings.operator.action
    if isinstance(action, NoCredit):
        return f"{target} (not read: action 'auxiliary' trains on the auxiliary terms alone)"
    if not (isinstance(action, WeightedRegression) and isinstance(action.weights, WithinBudget)):
        return str(target)
    total = sum(abs(tilt.eta) for tilt in target.tilts)
    shares = [(tilt.eta / total, tilt.utility) for tilt in target.tilts]
    value = " + ".join(name if share == 1 else f"{share:.3g}·{name}" for share, name in shares)
    value = value if len(shares) == 1 else f"({value})"
    base = str(target.revised(tilts=()))
    return f"{base}·exp(η·{value}), η from the KL budget ε = {action.weights.budget:g}"
