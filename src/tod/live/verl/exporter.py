"""verl: what a `DataProto` holds at the end of a training step, written as rollouts.

Keys read (duck-typed): in ``batch`` ``prompts`` [B, P] (left-padded), ``responses`` [B, R],
``response_mask`` or ``attention_mask``, ``old_log_probs`` (log π_old), ``ref_log_prob``
(log π_ref), ``rollout_log_probs`` (log μ as the engine reports it) and ``token_level_scores``, all
[B, R]; in ``non_tensor_batch`` ``uid``.
"""

from collections.abc import Mapping
from inspect import Parameter, signature
from typing import Any

import numpy as np

from tod.base import DataError, SpecError
from tod.live.export import Exporter, LiveBatch, as_numpy, masked_rows
from tod.live.guard import harmless

_POLICIES = {"mu": "rollout_log_probs", "old": "old_log_probs", "ref": "ref_log_prob"}
_METHOD = "_log_rollout_data"
_EXTRA = "reward_extra_infos_dict"


class VerlExporter(Exporter):
    """Writes every training batch of a verl trainer.

        exporter = VerlExporter("rollouts/", tokenizer)
        exporter.attach(trainer)        # needs trainer.rollout_data_dir to be set

    Args:
        path: Directory of the rollouts.
        tokenizer: Decodes prompts and responses; without one the ids are the prompt's identity
            and completions are left empty.
        resume_at: Step that a resumed run goes on from.
        strict: Raise what would otherwise be said once.

    Raises:
        RunError: Another process writes to the directory.
    """

    def attach(self, trainer: Any) -> None:
        """Write every batch that the trainer logs; its own dump goes on as before.

        What the trainer's own method is given and returns stays as it is, whatever becomes of the
        writing.

        Raises:
            SpecError: The trainer has no such place, never comes there, or has no batch there:
                the trainers of ``trainer.use_v1`` keep it in a queue and pass a list of keys.
        """
        if not hasattr(trainer, _METHOD):
            raise SpecError(
                f"{type(trainer).__name__} has no {_METHOD}: hand in a RayPPOTrainer, or call "
                "write(step, batch) yourself after compute_advantage."
            )
        if not _rollout_dir(trainer):
            raise SpecError(
                f"trainer.rollout_data_dir is not set: verl then never calls {_METHOD}. Add "
                "trainer.rollout_data_dir=DIR to the command line."
            )
        inner = getattr(trainer, _METHOD)
        _require_batch(type(trainer).__name__, inner)

        def logged(*args: Any, **kwargs: Any) -> Any:
            self._logged(trainer, inner, args, kwargs)
            return inner(*args, **kwargs)

        setattr(trainer, _METHOD, logged)

    @harmless("writing a batch")
    def _logged(self, trainer: Any, inner: Any, args: Any, kwargs: Any) -> None:
        """What the trainer is about to log."""
        given = _in_order(inner, args, kwargs) if kwargs else args
        self.write(int(trainer.global_steps), given[0], given[1])
        self.writer.flush()

    @harmless("writing a batch")
    def write(self, step: int, data: Any, extra: Mapping[str, Any] | None = None) -> None:
        """Add the batch of one step.

        Args:
            step: ``trainer.global_steps``.
            data: A ``DataProto``.
            extra: ``reward_extra_infos_dict``: numeric entries of one value a row are utilities.

        Raises:
            DataError: If strict: it is not of the documented shape; the key is named.
        """
        self.writer.append(step, self.batch(data, extra))

    def batch(self, data: Any, extra: Mapping[str, Any] | None = None) -> LiveBatch:
        """The batch as candidates: rows of one ``uid`` are one context.

        Raises:
            DataError: A key is missing or of another shape.
        """
        tensors = data.batch
        responses = _tensor(tensors, "responses")
        mask = _mask(tensors, responses.shape[1])
        scores = _tensor(tensors, "token_level_scores")
        if scores.shape != responses.shape:
            raise DataError(
                f"token_level_scores has shape {scores.shape}, responses {responses.shape}."
            )
        uid = data.non_tensor_batch.get("uid")
        if uid is None:
            raise DataError("the batch has no uid: groups cannot be told apart.")
        log = {
            name: masked_rows(key, _tensor(tensors, key), mask)
            for name, key in _POLICIES.items()
            if key in tensors.keys()  # noqa: SIM118 - a TensorDict iterates over its rows
        }
        ids = masked_rows("responses", responses, mask)
        return LiveBatch.of(
            group=[str(value) for value in uid],
            prompt=self._prompts(tensors, len(ids)),
            completion=self.texts(ids),
            utility={"score": scores.sum(axis=1), **_extra(extra, len(ids))},
            log=log,
            token_ids=ids,
        )

    def _prompts(self, tensors: Any, n: int) -> list[str]:
        prompts = _tensor(tensors, "prompts")
        width = prompts.shape[1]
        if "attention_mask" in tensors.keys():  # noqa: SIM118
            mask = _tensor(tensors, "attention_mask")[:, :width].astype(bool)
        else:
            mask = np.ones((n, width), dtype=bool)
        rows = masked_rows("prompts", prompts, mask)
        if self.tokenizer is None:
            return [" ".join(map(str, row)) for row in rows]
        return self.texts(rows)


def _tensor(tensors: Any, key: str) -> Any:
    if key not in tensors.keys():  # noqa: SIM118
        known = ", ".join(sorted(map(str, tensors.keys())))
        raise DataError(f"the batch has no {key} (it has {known}): write it after it is computed.")
    return as_numpy(tensors[key])


def _mask(tensors: Any, width: int) -> Any:
    """Policy tokens among the responses: tool output and padding are not."""
    if "response_mask" in tensors.keys():  # noqa: SIM118
        return _tensor(tensors, "response_mask").astype(bool)
    return _tensor(tensors, "attention_mask")[:, -width:].astype(bool)


def _extra(extra: Mapping[str, Any] | None, n: int) -> dict[str, Any]:
    """Numeric reward extras of one value a row; ``score`` itself is not among them."""
    found = {}
    for name, values in (extra or {}).items():
        if name == "score" or not hasattr(values, "__len__") or len(values) != n:
            continue
        try:
            found[name] = np.array(values, dtype=np.float64)
        except (TypeError, ValueError):
            continue
    return found


def _in_order(inner: Any, args: Any, kwargs: Any) -> list[Any]:
    """Arguments as the method lists its parameters."""
    return list(signature(inner).bind(*args, **kwargs).arguments.values())


def _require_batch(trainer: str, inner: Any) -> None:
    """Refuse a trainer whose method is not given the batch with its rewards.

    Raises:
        SpecError: With what it is given, and the way out.
    """
    known = signature(inner).parameters
    anything = any(p.kind is Parameter.VAR_POSITIONAL for p in known.values())
    if _EXTRA in known or anything:
        return
    raise SpecError(
        f"{trainer}.{_METHOD} is given ({', '.join(known)}) and not {_EXTRA}: this trainer keeps "
        "its batch in a queue and passes keys (verl's V1 trainers, the default since 0.9). The "
        "plugin watches those: set VERL_USE_EXTERNAL_MODULES=tod.live.verl.plugin in the "
        "environment and trainer.v1.trainer_mode=tod_sync on the command line, and leave attach "
        "out. Or set trainer.use_v1=false."
    )


def _rollout_dir(trainer: Any) -> Any:
    settings = getattr(getattr(trainer, "config", None), "trainer", None)
    return settings.get("rollout_data_dir") if settings is not None else None
