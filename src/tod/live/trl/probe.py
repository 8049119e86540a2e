"""A probe inside a TRL trainer: rollouts of the first batch, scored again every few steps.

The first batch is drawn before the first update, so that its rollouts are candidates of the
reference and its log π_old is log b: nothing is drawn for the probe and no reward is asked twice.
Every process holds all of it and scores its share. It is kept in ``trainer_state.json`` of the
trainer's checkpoints, so that a resumed training asks the same rollouts.
"""

import base64
import zlib
from typing import Any

import numpy as np
from jaxtyping import Float
from pydantic import Field

from tod.base import Groups, Spec
from tod.diagnostics import ProbeReading, read_probe
from tod.live.export import LiveBatch

KEY = "tod.probe"
"""Name of the probe among the callbacks of ``trainer_state.json``."""


class LiveProbeSettings(Spec):
    """Rollouts of the first batch that are scored again."""

    every: int = Field(default=25, ge=1)
    """Steps between readings."""
    candidates: int = Field(default=128, ge=2)
    """Rollouts at most, whole groups of the first batch."""


class LiveProbe:
    """The rollouts of the first batch and what was known of them.

    Args:
        prompts: Token ids of every prompt.
        completions: Token ids of every rollout, those of the policy alone.
        value: Reward of every rollout, [N].
        log_b: log π of every rollout before the first update, [N], nats.
        contexts: Rollouts by prompt.
    """

    def __init__(
        self,
        prompts: list[list[int]],
        completions: list[list[int]],
        value: Float[np.ndarray, " N"],
        log_b: Float[np.ndarray, " N"],
        contexts: Groups,
    ) -> None:
        self.prompts, self.completions = prompts, completions
        self.value, self.log_b, self.contexts = value, log_b, contexts

    @classmethod
    def of(
        cls, batch: LiveBatch, prompts: list[list[int]], settings: LiveProbeSettings, total: str
    ) -> "LiveProbe | None":
        """The first whole groups of a batch whose rewards and log-probs are all known.

        Args:
            batch: The first batch, of all processes.
            prompts: Token ids of the prompt of every rollout.
            settings: How many.
            total: Name of the reward that training maximises.
        """
        if batch.sequences is None or batch.token_ids is None or "old" not in batch.log:
            return None
        log_b: Any = batch.sequences.sum(batch.log["old"])
        value: Any = batch.utility[total]
        sound = np.isfinite(log_b) & np.isfinite(value) & (batch.sequences.sizes > 0)
        whole = np.flatnonzero(np.asarray(batch.contexts.min(sound.astype(np.float64))) > 0)
        rows_up_to = np.cumsum(batch.contexts.sizes[whole])
        chosen = whole[rows_up_to <= settings.candidates]
        if not len(chosen):
            return None
        contexts, rows = batch.contexts.take(chosen)
        tokens = batch.sequences.split(batch.token_ids)
        heads = batch.contexts.offsets[:-1][chosen]
        return cls(
            [prompts[int(at)] for at in heads],
            [tokens[int(at)] for at in rows],
            value[rows],
            log_b[rows],
            contexts,
        )

    def read(self, trainer: Any, forward: Any) -> ProbeReading:
        """What the policy says now; every process calls it.

        Args:
            trainer: Whose policy it is.
            forward: The trainer's own method that scores tokens.
        """
        from accelerate.utils import gather_object

        accelerator = trainer.accelerator
        shares = np.array_split(np.arange(len(self.completions)), accelerator.num_processes)
        mine = shares[accelerator.process_index]
        own = self._scored(trainer, forward, mine) if len(mine) else np.zeros(0)
        log_policy = np.concatenate(gather_object([own]))
        return read_probe(self.value, self.log_b, log_policy, self.contexts)

    def _scored(self, trainer: Any, forward: Any, rows: Any) -> Float[np.ndarray, " r"]:
        """Log π of some rollouts; the trainer's random numbers are as they were."""
        import torch

        owner = self.contexts.owner
        device, pad = trainer.accelerator.device, int(trainer._tokenizer.pad_token_id)
        heads = _padded([self.prompts[int(owner[i])] for i in rows], pad, left=True)
        tails = _padded([self.completions[int(i)] for i in rows], pad, left=False)
        ids = torch.tensor(np.concatenate([heads[0], tails[0]], axis=1), device=device)
        mask = torch.tensor(np.concatenate([heads[1], tails[1]], axis=1), device=device)
        with torch.no_grad(), torch.random.fork_rng():
            found = forward(
                trainer.model,
                ids,
                mask,
                tails[0].shape[1],
                batch_size=trainer.args.per_device_train_batch_size,
            )
        by_token = found[0].detach().double().cpu().numpy()
        return np.asarray(np.where(tails[1] > 0, by_token, 0.0).sum(axis=1))

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; tokens are packed."""
        return {
            "prompts": _packed(self.prompts),
            "completions": _packed(self.completions),
            "value": self.value.tolist(),
            "log_b": self.log_b.tolist(),
            "sizes": self.contexts.sizes.tolist(),
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "LiveProbe":
        """The probe of such data."""
        return cls(
            _unpacked(data["prompts"]),
            _unpacked(data["completions"]),
            np.array(data["value"], dtype=np.float64),
            np.array(data["log_b"], dtype=np.float64),
            Groups(np.array(data["sizes"])),
        )


class Probing:
    """What a callback does with a probe, from the first batch on.

    Args:
        trainer: The trainer, before ``train()``.
        settings: How often, and how many rollouts.
        total: Name of the reward that training maximises.
    """

    def __init__(self, trainer: Any, settings: LiveProbeSettings, total: str) -> None:
        self.trainer, self.settings, self.total = trainer, settings, total
        self.probe: LiveProbe | None = None
        self._wanted = False
        self._prompts: list[list[int]] = []

    def begin(self, trainer_state: Any) -> None:
        """Wait for the first batch; of a resumed training take what its checkpoint holds."""
        stored = trainer_state.stateful_callbacks.get(KEY)
        self._prompts, self.probe = [], None
        self._wanted = int(trainer_state.global_step) == 0
        if not self._wanted and stored is not None:
            self.probe = LiveProbe.from_dict(stored["attributes"]["probe"])

    def note(self, output: dict[str, Any] | None) -> None:
        """Prompts of a generated batch, of all processes, while the first step is being made."""
        from accelerate.utils import gather_object

        if self._wanted:
            own = [] if output is None else prompt_rows(output)
            self._prompts += gather_object(own)

    def reading(self, batch: LiveBatch, step: int, state: Any, forward: Any) -> ProbeReading | None:
        """What the policy says of the probe after ``step``, where a reading is due."""
        if self._wanted:
            self._wanted = False
            if len(self._prompts) == len(batch):
                self.probe = LiveProbe.of(batch, self._prompts, self.settings, self.total)
            if self.probe is not None:
                entry = {"args": {}, "attributes": {"probe": self.probe.to_dict()}}
                state.stateful_callbacks[KEY] = entry
        if self.probe is None or step % self.settings.every:
            return None
        return self.probe.read(self.trainer, forward)


def prompt_rows(output: dict[str, Any]) -> list[list[int]]:
    """Token ids of the prompt of every row of one process's batch."""
    ids, mask = (output[name].cpu().numpy() for name in ("prompt_ids", "prompt_mask"))
    return [row[kept > 0].tolist() for row, kept in zip(ids, mask, strict=True)]


def _padded(rows: list[list[int]], pad: int, *, left: bool) -> tuple[Any, Any]:
    """Token ids in a table, and where they are."""
    width = max(len(row) for row in rows)
    ids = np.full((len(rows), width), pad, dtype=np.int64)
    mask = np.zeros((len(rows), width), dtype=np.int64)
    for place, row in enumerate(rows):
        at = slice(width - len(row), width) if left else slice(0, len(row))
        ids[place, at], mask[place, at] = row, 1
    return ids, mask


def _packed(rows: list[list[int]]) -> dict[str, Any]:
    flat = np.array([token for row in rows for token in row], dtype="<i4")
    return {
        "sizes": [len(row) for row in rows],
        "ids": base64.b64encode(zlib.compress(flat.tobytes())).decode("ascii"),
    }


def _unpacked(data: dict[str, Any]) -> list[list[int]]:
    flat = np.frombuffer(zlib.decompress(base64.b64decode(data["ids"])), dtype="<i4")
    return [part.tolist() for part in np.split(flat, np.cumsum(data["sizes"])[:-1])]
