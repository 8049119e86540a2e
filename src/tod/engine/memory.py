"""Whether a run fits, before it starts: peak bytes by part, and the room there is.

Sampling and training do not overlap, so the peak is

    weights + copies + optimiser + max(cache, gradients + activations + logits + transient)

Activations of one layer, in numbers kept for the backward pass, for T positions that pass
through it and S key slots of attention rectangles: T·(4·I + 7·d + 8·A) + 2·A·(T + S), with I the
feed-forward width, d the hidden width, A heads × head width (counted from what autograd saves of
Llama and Qwen 3 layers; the second term only where prompts are shared). The estimate is for the
longest prompt and completion everywhere; peaks measured on such batches lie between 0.5 and
1.25 times it (0.8 to 1.0 for the Llamas tried), and shorter completions need less.

Of n processes in shards (`tod.engine.sharding`) each holds P/n of P parameters, of their gradients
and moments. To that comes what is gathered while it computes: E parameters outside the layers, and
three layers of P_l (one in use, one coming, one leaving), and their gradients before they are added
up and sliced:

    weights = P/n + E + max(E, 3·P_l)    gradients = 2·P/n + E + max(E, 2·P_l)    moments = 2·P/n
"""

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from tod.base import ResourceError
from tod.engine.forward.model_parts import layers_of
from tod.engine.models import text_config

_MIB = 2**20
_LOGITS_AT_ONCE = 2**24  # the forward pass holds no more logits than this


@dataclass(frozen=True)
class ModelSize:
    """The widths that memory depends on.

    Attributes:
        parameters: All parameters, adapters included.
        trainable: Those that receive a gradient.
        layers: Number of layers.
        hidden: Hidden width d.
        intermediate: Feed-forward width I that one token goes through.
        attention: Heads × head width of one layer, A.
        key_value: Key heads × head width of one layer.
        vocabulary: Columns of the logits V.
    """

    parameters: int
    trainable: int
    layers: int
    hidden: int
    intermediate: int
    attention: int
    key_value: int
    vocabulary: int

    @classmethod
    def of(cls, model: Any) -> "ModelSize":
        """Read off a model, on any device (``meta`` costs no memory)."""
        config = text_config(model)
        heads = getattr(config, "num_attention_heads", None) or 0  # some have no attention
        width = getattr(config, "head_dim", None) or config.hidden_size // max(heads, 1)
        experts = getattr(config, "num_experts_per_tok", None) or 1
        inner_width = (
            (getattr(config, "moe_intermediate_size", None) if experts > 1 else None)
            or getattr(config, "intermediate_size", None)
            or 4 * config.hidden_size
        )
        parameters = list(model.parameters())
        return cls(
            parameters=sum(p.numel() for p in parameters),
            trainable=sum(p.numel() for p in parameters if p.requires_grad),
            layers=config.num_hidden_layers,
            hidden=config.hidden_size,
            intermediate=inner_width * experts,
            attention=heads * width,
            key_value=(getattr(config, "num_key_value_heads", None) or heads) * width,
            vocabulary=config.vocab_size,
        )


@dataclass(frozen=True)
class Load:
    """What a step asks of memory.

    Attributes:
        prompts: Contexts of a step.
        size: Candidates per context K.
        prompt_tokens: Longest prompt.
        completion_tokens: Longest completion.
        micro_batch_tokens: max_tokens_per_micro_batch: prompt and completion of every candidate.
        sampling_rows: Candidates that are sampled at once; None for all of a step.
        shared: Whether training computes the prompt once per context.
        checkpointing: Whether layers are recomputed in the backward pass.
    """

    prompts: int
    size: int
    prompt_tokens: int
    completion_tokens: int
    micro_batch_tokens: int
    sampling_rows: int | None = None
    shared: bool = True
    checkpointing: bool = False

    @property
    def row(self) -> int:
        """Tokens of a candidate with its prompt."""
        return self.prompt_tokens + self.completion_tokens

    @property
    def contexts_at_once(self) -> int:
        """Contexts of the largest micro-batch: whole ones, one at least."""
        fitting = self.micro_batch_tokens // (self.size * self.row)
        return min(self.prompts, max(1, fitting))


@dataclass(frozen=True)
class Shards:
    """How many processes share a model, and what each must gather of it at once.

    Attributes:
        processes: n >= 1.
        outside: Parameters outside the layers, E: embeddings, output head, final norm.
        trained_outside: Those of them that receive a gradient.
    """

    processes: int
    outside: int
    trained_outside: int

    @classmethod
    def of(cls, model: Any, processes: int) -> "Shards":
        """Read off a model, on any device.

        Raises:
            ModelError: Its layers cannot be found.
        """
        inside = {id(p) for layer in layers_of(model) for p in layer.parameters()}
        outside = [p for p in model.parameters() if id(p) not in inside]
        trained = sum(p.numel() for p in outside if p.requires_grad)
        return cls(processes, sum(p.numel() for p in outside), trained)


@dataclass(frozen=True)
class MemoryEstimate:
    """Peak bytes of a run by part, over and above the bare process.

    Attributes:
        weights: The policy's parameters.
        copies: Reference, teacher and other models held beside it.
        optimiser: AdamW's two moments.
        gradients: One number per trained parameter, and the optimiser's passing copy of it.
        activations: What the backward pass of the largest micro-batch keeps.
        logits: Logits, their softmax and their gradient, of one chunk.
        cache: Keys and values of all candidates that are sampled at once.
    """

    weights: int
    copies: int
    optimiser: int
    gradients: int
    activations: int
    logits: int
    cache: int

    @property
    def standing(self) -> int:
        """What is held all the time."""
        return self.weights + self.copies + self.optimiser

    @property
    def training(self) -> int:
        """What training adds to it."""
        return self.gradients + self.activations + self.logits

    @property
    def total(self) -> int:
        """The peak."""
        return self.standing + max(self.training, self.cache)

    def table(self) -> str:
        """The parts and the peak in MiB, on one line."""
        parts = [f"{f.name} {getattr(self, f.name) / _MIB:.0f}" for f in fields(self)]
        return f"{self.total / _MIB:.0f} MiB ({', '.join(parts)})"


def estimate(
    size: ModelSize,
    load: Load,
    *,
    copies: tuple[int, ...] = (),
    itemsize: int = 4,
    shards: Shards | None = None,
) -> MemoryEstimate:
    """Peak bytes of a run.

    Args:
        size: The policy.
        load: What a step asks.
        copies: Parameters of every other model held in memory.
        itemsize: Bytes of an activation and of a copy's parameter: 4 in float32, 2 in bfloat16.
            The policy's own weights, gradients and moments are float32 masters; in a half
            precision their casts are held as well.
        shards: How processes share the models; None: each holds all of them.
    """
    casts = 0 if itemsize == 4 else size.parameters * itemsize
    states = load.contexts_at_once * load.size * load.completion_tokens
    logits = min(states * size.vocabulary, max(_LOGITS_AT_ONCE, size.vocabulary))
    rows = load.prompts * load.size if load.sampling_rows is None else load.sampling_rows
    slots = rows * load.row
    # growing a cache by one token copies one layer of it
    cache = slots * 2 * size.key_value * (size.layers + 1) * itemsize
    found = MemoryEstimate(
        weights=size.parameters * 4 + casts,
        copies=sum(copies) * itemsize,
        optimiser=size.trainable * 8,
        gradients=size.trainable * 8,
        activations=_activations(size, load) * itemsize,
        logits=3 * logits * 4,
        cache=cache,
    )
    return found if shards is None else _in_shards(found, size, shards, casts, len(copies))


def _in_shards(
    found: MemoryEstimate, size: ModelSize, shards: Shards, casts: int, copies: int
) -> MemoryEstimate:
    """The estimate of one process of several; casts stay whole: the backward pass keeps them."""
    n, outside, trained = shards.processes, shards.outside, shards.trained_outside
    layer = (size.parameters - outside) // size.layers
    trained_layer = (size.trainable - trained) // size.layers
    itemsize = casts // size.parameters or 4
    return replace(
        found,
        weights=(found.weights - casts) // n + 4 * (outside + max(outside, 3 * layer)) + casts,
        copies=found.copies // n + copies * outside * itemsize,
        optimiser=found.optimiser // n,
        gradients=found.gradients // n + 4 * (trained + max(trained, 2 * trained_layer)),
    )


def _activations(size: ModelSize, load: Load) -> int:
    """Numbers kept for the backward pass of the largest micro-batch, and one layer in passing."""
    candidates = load.contexts_at_once * load.size
    shared = load.shared and not load.checkpointing
    prompts = load.contexts_at_once if shared else candidates
    tokens = prompts * load.prompt_tokens + candidates * load.completion_tokens
    layer = tokens * (4 * size.intermediate + 7 * size.hidden + 8 * size.attention)
    if shared:
        layer += 2 * size.attention * (tokens + candidates * load.row)
    if load.checkpointing:
        return size.layers * tokens * size.hidden + 2 * layer
    return (size.layers + 1) * layer


def require(needed: MemoryEstimate, room: int | None = None) -> None:
    """Nothing, if the estimate fits.

    Args:
        needed: What the run needs.
        room: Bytes there are; None asks ``available``. Call before the model is loaded: the
            estimate counts the weights.

    Raises:
        ResourceError: It does not fit; with the numbers, and what to turn.
    """
    there = available() if room is None else room
    if needed.total <= there:
        return
    if needed.standing + needed.gradients > there:
        way = (
            "Train adapters (peft: {kind: lora}), share it among processes (train.sharding=fsdp2, "
            "docs/scale.md), or take a smaller model"
        )
        why = "the model with its optimiser alone does not fit"
    elif needed.training >= needed.cache:
        way = (
            "Lower train.max_tokens_per_micro_batch, or, since a group is never split, "
            "operator.proposal.size or max_new_tokens"
        )
        why = "the largest micro-batch is what does not fit"
    else:
        way = "Lower operator.proposal.prompts, size or max_new_tokens"
        why = "the keys and values of the rollouts sampled at once are what does not fit"
    raise ResourceError(
        f"the run needs about {needed.table()} and {there / _MIB:.0f} MiB are available: {why}. "
        f"{way}."
    )


def available(device: str = "cpu", *, root: Path = Path("/")) -> int:
    """Bytes that can still be allocated.

    On the host the least of the free memory of the machine and of the control groups this
    process is in (versions 2 and 1; file pages that can be dropped count as free); on ``cuda``
    the free memory of that device.
    """
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.mem_get_info(device)[0])
    import psutil

    return min([int(psutil.virtual_memory().available), *_group_room(root)])


def _group_room(root: Path) -> list[int]:
    """Free bytes of every control group with a limit that this process sees."""
    base = root / "sys/fs/cgroup"
    own = root / "proc/self/cgroup"
    places = [base, base / "memory"]
    for line in own.read_text().splitlines() if own.is_file() else []:
        path = line.split(":", 2)[-1].lstrip("/")
        places += [base / path, base / "memory" / path]
    files = [("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")]
    found = []
    for place in dict.fromkeys(places):
        for limit, usage in files:
            allowed, used = _number(place / limit), _number(place / usage)
            if allowed is not None and used is not None:
                found.append(max(0, allowed - used + _droppable(place / "memory.stat")))
    return found


def _number(path: Path) -> int | None:
    """The integer in a file; None where there is no file or no limit ('max')."""
    text = path.read_text().strip() if path.is_file() else "max"
    return int(text) if text.isdigit() else None


def _droppable(path: Path) -> int:
    """Bytes of file pages that the kernel drops first."""
    lines = path.read_text().splitlines() if path.is_file() else []
    pairs = [line.split() for line in lines]
    return sum(int(pair[1]) for pair in pairs if pair[0] == "inactive_file")
