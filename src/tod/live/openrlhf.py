"""OpenRLHF: what `Experience` objects hold in memory, written as rollouts.

Fields read (as in OpenRLHF 0.9, duck-typed): ``sequences`` [B, T] ids, ``action_mask`` [B, A] over
the last A positions, ``rollout_log_probs`` (log μ as the sampling engine reports it),
``action_log_probs`` (π before the update, log π_old), ``base_action_log_probs`` (log π_ref), all
[B, A]; ``rewards``, ``scores`` [B]; ``prompts``; ``index``.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tod.base import DataError, SpecError
from tod.live.export import Exporter, LiveBatch, as_numpy, masked_rows
from tod.live.guard import harmless

_POLICIES = {"mu": "rollout_log_probs", "old": "action_log_probs", "ref": "base_action_log_probs"}
_METHOD = "make_experience_batch"


@dataclass(eq=False)
class OpenRLHFExporter(Exporter):
    """Writes every batch of experiences of an OpenRLHF trainer.

        exporter = OpenRLHFExporter("rollouts/", tokenizer, samples_per_prompt=8)
        exporter.attach(trainer.experience_maker)

    The other arguments are those of `Exporter`.

    Args:
        samples_per_prompt: ``n_samples_per_prompt``: rows ``index // n`` are one context. Without
            it, rows with the same prompt are.
    """

    samples_per_prompt: int | None = field(default=None, kw_only=True)

    def attach(self, maker: Any) -> None:
        """Write whatever ``maker.make_experience_batch`` returns, one step a call.

        What it returns is passed on as it is, whatever becomes of the writing.

        Raises:
            SpecError: The object has no such method.
        """
        if not hasattr(maker, _METHOD):
            raise SpecError(
                f"{type(maker).__name__} has no {_METHOD}: hand in the trainer's experience_maker, "
                "or call write(step, experiences) yourself where they are complete."
            )
        inner = getattr(maker, _METHOD)

        def made(*args: Any, **kwargs: Any) -> Any:
            experiences = inner(*args, **kwargs)
            self._made(experiences)
            return experiences

        setattr(maker, _METHOD, made)

    @harmless("writing experiences")
    def _made(self, experiences: Any) -> None:
        """The next step's; what can be read only once is left to the trainer."""
        self.step += 1
        if not (hasattr(experiences, "sequences") or isinstance(experiences, list | tuple)):
            raise DataError(
                f"{_METHOD} returned a {type(experiences).__name__}, which is read once and by the "
                "trainer: call write(step, experiences) yourself where they are a list."
            )
        self.write(self.step, experiences)
        self.writer.flush()

    @harmless("writing experiences")
    def write(self, step: int, experiences: Iterable[Any] | Any) -> None:
        """Add the experiences of one step; one object or several.

        Raises:
            DataError: If strict: they are not of the documented shape; the field is named.
        """
        items = [experiences] if hasattr(experiences, "sequences") else list(experiences)
        self.writer.append(step, self.batch(items))
        self.step = step

    def batch(self, items: list[Any]) -> LiveBatch:
        """Several experiences as one batch; a policy is kept where all of them have it.

        Raises:
            DataError: A field is missing or of another shape.
        """
        parts = [self._rows(item) for item in items]
        if not parts:
            raise DataError("no experience in this step: nothing was sampled.")
        shared = set.intersection(*(set(part) for part in parts))
        rows = {name: [x for part in parts for x in part[name]] for name in shared}
        return LiveBatch.of(
            group=self._groups(rows),
            prompt=rows["prompt"],
            completion=rows["completion"],
            utility={name[8:]: x for name, x in rows.items() if name.startswith("utility.")},
            log={name[4:]: x for name, x in rows.items() if name.startswith("log_")},
            token_ids=rows["ids"],
        )

    def _rows(self, item: Any) -> dict[str, list[Any]]:
        for name in ("sequences", "action_mask"):
            if getattr(item, name, None) is None:
                raise DataError(f"an Experience without {name}: it is not complete yet.")
        mask = as_numpy(item.action_mask).astype(bool)
        n, width = mask.shape
        ids = as_numpy(item.sequences)[:, -width:]
        rows: dict[str, list[Any]] = {"ids": masked_rows("sequences", ids, mask)}
        rows["prompt"] = _prompts(item, n)
        rows["completion"] = self.texts(rows["ids"])
        for name, attribute in _POLICIES.items():
            values = getattr(item, attribute, None)
            if values is not None:
                rows[f"log_{name}"] = masked_rows(attribute, as_numpy(values), mask)
        rows |= _utilities(item, n)
        index = getattr(item, "index", None)
        if index is not None and len(index) == n:
            rows["index"] = [int(i) for i in index]
        return rows

    def _groups(self, rows: dict[str, list[Any]]) -> list[Any]:
        if self.samples_per_prompt is None:
            return rows["prompt"]
        if "index" not in rows:
            raise DataError(
                "samples_per_prompt was given and these experiences carry no index (it is dropped "
                "when batches are balanced). Write before that, or leave samples_per_prompt out: "
                "rows of one prompt are then one group."
            )
        return [i // self.samples_per_prompt for i in rows["index"]]


def _prompts(item: Any, n: int) -> list[str]:
    prompts = list(getattr(item, "prompts", None) or [])
    if len(prompts) != n:
        raise DataError(f"an Experience of {n} rows with {len(prompts)} prompts: one a row.")
    return [str(prompt) for prompt in prompts]


def _utilities(item: Any, n: int) -> dict[str, list[Any]]:
    """``rewards`` as ``reward``, ``scores`` as ``score``, from the fields or from ``info``."""
    info = getattr(item, "info", None)
    info = info if isinstance(info, dict) else {}
    found = {}
    for name, attribute in (("reward", "rewards"), ("score", "scores")):
        values = getattr(item, attribute, None)
        values = info.get(name) if values is None else values
        if values is not None:
            flat = as_numpy(values).reshape(-1)
            if flat.size != n:
                raise DataError(f"{attribute} has {flat.size} values for {n} rows: one a row.")
            found[f"utility.{name}"] = flat.tolist()
    if not found:
        raise DataError("an Experience without rewards: write it after they are filled in.")
    return found
