"""Everything a run holds in memory: models by the names of the theory, optimiser, task."""

import copy
import secrets
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Int

from tod.base import ModelError
from tod.engine.consistency import lags
from tod.engine.critic import ValueFunction
from tod.engine.data.load import load_task
from tod.engine.data.prompts import fitting_ids, unknown_message
from tod.engine.data.task import Example, Task
from tod.engine.distributed import World
from tod.engine.forecast import forecast
from tod.engine.memory import available, require
from tod.engine.models import (
    context_length,
    eos_ids,
    load_model,
    load_tokenizer,
    pad_id,
    shapes,
)
from tod.engine.sampling.params import SamplingParams
from tod.engine.served.sampler import ServedSampler
from tod.engine.served.weights import ServedWeights
from tod.engine.settings import RunSettings
from tod.engine.sharding import shard
from tod.engine.utilities.judge import Judges
from tod.engine.utilities.scorer import Scorer
from tod.operators import Operator, due


@dataclass
class Session:
    """The mutable heart of a run. Everything else is a value.

    Attributes:
        settings: What the person wrote.
        world: This process among its peers.
        policy: π_θ, trained.
        frozen: Models that stay: ``ref`` and ``teacher`` where something names them, and
            ``utility.NAME`` whose log-likelihood is that utility.
        behaviour: μ's model where it lags behind the policy, else None: μ is the policy. In a
            search the policy, which stays.
        tokenizer: Of the policy; the frozen models share it.
        optimiser: AdamW over the trainable parameters.
        task: Prompts.
        scorer: Utilities, with their worker processes.
        operator: (μ, A) in force; a controller may authorise another.
        critic: Value function with its optimiser, where an advantage needs one.
        buffer: Earlier evidence, where the proposal replays it.
        probe: Candidates of the reference, where the run has a probe (`tod.engine.rescore`).
        warned: Whether it was said that a prompt holds unknown characters.
        served: Servers that draw in the place of the policy; None: it draws here.
        synced: What of the policy these servers hold, where it is trained.
        version: Batches that the policy was trained on.
        judges: Servers that utilities are asked of; None without any.
    """

    settings: RunSettings
    world: World
    policy: Any
    tokenizer: Any
    optimiser: torch.optim.Optimizer
    task: Task
    scorer: Scorer
    operator: Operator
    frozen: dict[str, Any] = field(default_factory=dict)
    behaviour: Any | None = None
    critic: ValueFunction | None = None
    buffer: Any | None = None
    probe: Any | None = None
    warned: bool = False
    served: ServedSampler | None = None
    synced: ServedWeights | None = None
    version: int = 0
    judges: Judges | None = None

    @property
    def sampler(self) -> Any:
        """The one model that candidates are drawn from; None where they are given, or mixed."""
        samplers = self.operator.proposal.samplers
        return self.model_named(samplers[0]) if len(samplers) == 1 else None

    def model_named(self, name: str) -> Any:
        """``old``: the policy at the last refresh, itself when that is every step; or a frozen."""
        if name != "old":
            return self.frozen[name]
        return self.policy if self.operator.proposal.refresh == 1 else self.behaviour

    def close(self) -> None:
        """End the utilities' worker processes and the connections to servers."""
        self.world.turns.forget()
        self.scorer.close()
        if self.judges is not None:
            self.judges.close()
        if self.synced is not None:
            self.synced.close()
        if self.served is not None:
            self.served.close()

    @property
    def in_shards(self) -> bool:
        """Whether this process holds a slice of every parameter only."""
        return _in_shards(self.settings, self.world)

    @property
    def parameters(self) -> list[torch.nn.Parameter]:
        """What is trained."""
        return [p for p in self.policy.parameters() if p.requires_grad]

    @property
    def anchor_models(self) -> dict[str, Any]:
        """Models that candidates are scored under, by the names of the target's anchor.

        In training without π_old where that is the policy itself, whose first forward tells it.
        """
        target = self.settings.target.target
        models = {name: self.frozen[name] for name in target.names if name in self.frozen}
        if self.settings.selects:
            return models | ({"old": self.policy} if "old" in target.needs() else {})
        told = self.sampler is None or self.sampler is self.policy
        return models if told else {**models, "old": self.sampler}

    @property
    def params(self) -> SamplingParams:
        """How candidates are drawn."""
        proposal = self.operator.proposal
        return SamplingParams(
            max_new_tokens=proposal.max_new_tokens,
            temperature=proposal.temperature,
            top_k=proposal.top_k,
            top_p=proposal.top_p if proposal.top_p < 1.0 else None,
        )

    @property
    def mu_is_its_model(self) -> bool:
        """Whether log μ as drawn is the log-prob that scoring the sampler would give."""
        proposal = self.operator.proposal
        same = proposal.scoring_temperature == proposal.temperature
        return same and self.params.full_support and self.synced is None

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """Tokens that end a completion."""
        return eos_ids(self.policy, self.tokenizer)

    @property
    def pad_id(self) -> int:
        """Token that fills space."""
        return pad_id(self.policy, self.tokenizer)

    def prompts(self, examples: Sequence[Example]) -> list[Int[np.ndarray, " P"]]:
        """Token ids of every example, refused where they do not fit with the completion."""
        room = context_length(self.policy)
        longest = 2**31 if room is None else room - self.operator.proposal.max_new_tokens
        found = [np.asarray(fitting_ids(e, self.tokenizer, longest), np.int64) for e in examples]
        self._warn_of_unknown(examples, found)
        return found

    def _warn_of_unknown(
        self, examples: Sequence[Example], ids: Sequence[Int[np.ndarray, " P"]]
    ) -> None:
        """Say once in a run that a prompt holds what the tokenizer does not know."""
        unknown = getattr(self.tokenizer, "unk_token_id", None)
        if self.warned or unknown is None:
            return
        for example, row in zip(examples, ids, strict=True):
            count = int((row == unknown).sum())
            if count:
                self.warned = True
                warnings.warn(unknown_message(example, self.tokenizer, count), stacklevel=2)
                return

    def refresh(self, step: int) -> None:
        """Copy the current policy into μ where it is due before ``step`` (from 1)."""
        self.version = step - 1
        if self.behaviour is not None and due(self.operator.proposal.refresh, step):
            self.behaviour.load_state_dict(self.policy.state_dict())


def open_session(
    settings: RunSettings, world: World | None = None, *, allow_imports: bool = False
) -> Session:
    """Load what the settings name, on this process's device; of a search nothing is trained.

    Args:
        settings: The run.
        world: The processes; found from the environment if None.
        allow_imports: Whether utilities may be imported from the person's own code.

    Raises:
        SpecError: A utility is to be imported and that was not allowed.
        ModelError: A model cannot be loaded, or its vocabulary differs from the policy's.
        DataError: The task has no usable prompts.
        ResourceError: The run would not fit into memory; nothing was loaded.
    """
    world = world or World.join()
    scorer = Scorer(settings.text_utilities, allow_imports)
    task = load_task(settings.task, settings.prompt_seed)
    require(forecast(settings, task, processes=world.size).memory, available(world.device.type))
    policy, tokenizer = _policy(settings, world)
    critic, network = settings.operator.auxiliary.critic, None
    if critic is not None and critic.kind == "copy":
        network = _held(copy.deepcopy(policy), settings, world, trained=True)
    behaviour = policy if settings.selects else None
    if not settings.selects and lags(settings.every_operator):
        behaviour = _held(_still(copy.deepcopy(policy)), settings, world)
    policy = _held(policy, settings, world, trained=True)
    session = Session(
        settings=settings,
        world=world,
        policy=_still(policy) if settings.selects else policy.train(),
        tokenizer=tokenizer,
        optimiser=_optimiser(policy, settings),
        task=task,
        scorer=scorer,
        operator=settings.operator,
        frozen=_frozen(settings, policy, world),
        behaviour=behaviour,
        judges=Judges(settings.asked) if settings.asked else None,
    )
    if settings.policy is not None:
        vocabulary = policy.get_input_embeddings().num_embeddings
        session.served = ServedSampler(settings.policy, vocabulary)
        if not settings.selects:
            session.synced = _synced(settings, world, session.served)
    if critic is not None:
        session.critic = ValueFunction(critic, policy, network)
    return session


def _synced(settings: RunSettings, world: World, served: ServedSampler) -> ServedWeights:
    """What servers will hold of the policy; names begin alike in all processes."""
    assert settings.policy is not None  # noqa: S101 - the caller checked
    place = settings.policy.sync.adapters
    return ServedWeights(
        served,
        place or settings.directory / "adapters",
        world.main,
        world.gather(secrets.token_hex(4))[0],
        settings.directory / "adapters.txt",
        ours=place is None,
    )


def _policy(settings: RunSettings, world: World) -> tuple[Any, Any]:
    """The policy and its tokenizer; of one that is served only its shapes, where that is enough."""
    if settings.unloaded:
        return shapes(settings.model), load_tokenizer(settings.model)
    where = _loading(settings, world)
    return load_model(settings.model, dtype=settings.held_dtype, device=where, lora=settings.peft)


def _in_shards(settings: RunSettings, world: World) -> bool:
    return settings.train.sharding is not None and world.size > 1


def _loading(settings: RunSettings, world: World) -> torch.device:
    """Where a model is whole: what is to be put in shards is so on the host alone."""
    return torch.device("cpu") if _in_shards(settings, world) else world.device


def _held(model: Any, settings: RunSettings, world: World, *, trained: bool = False) -> Any:
    """A whole model as this process holds it: as it is, or a slice of every parameter."""
    if not _in_shards(settings, world):
        return model
    return shard(model, world.device, world.turns, trained=trained)


def _optimiser(policy: Any, settings: RunSettings) -> torch.optim.Optimizer:
    train = settings.train
    return torch.optim.AdamW(
        [{"params": [p for p in policy.parameters() if p.requires_grad]}],
        lr=train.learning_rate,
        betas=train.betas,
        eps=train.epsilon,
        weight_decay=train.weight_decay,
        foreach=True,
    )


def _frozen(settings: RunSettings, policy: Any, world: World) -> dict[str, Any]:
    """The models that never move by name, each loaded once however many names it has.

    Raises:
        ModelError: A model cannot be loaded, or its vocabulary differs from the policy's.
    """
    loaded: dict[str, Any] = {settings.model: policy} if settings.selects else {}
    where = _loading(settings, world)
    for name, source in settings.frozen.items():
        if source not in loaded:
            model, _ = load_model(source, dtype=settings.held_dtype, device=where)
            _same_vocabulary(name, source, model, policy)
            loaded[source] = _held(_still(model), settings, world)
    return {name: loaded[source] for name, source in settings.frozen.items()}


def _same_vocabulary(name: str, source: str, model: Any, policy: Any) -> None:
    theirs = model.get_input_embeddings().num_embeddings
    ours = policy.get_input_embeddings().num_embeddings
    if theirs != ours:
        raise ModelError(
            f"{name} model {source!r} has {theirs} tokens and the policy {ours}: log-probs of the "
            "same tokens cannot be compared. Use a model with the same tokenizer."
        )


def _still(model: Any) -> Any:
    return model.eval().requires_grad_(False)
