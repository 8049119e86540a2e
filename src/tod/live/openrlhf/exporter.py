"""OpenRLHF's experiences written as rollouts, from inside the process that makes them."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tod.base import DataError, SpecError
from tod.live.export import Exporter, LiveBatch, spelled
from tod.live.guard import harmless
from tod.live.openrlhf.experiences import batch_of
from tod.live.openrlhf.releases import EXPORTED, require

_METHOD = "make_experience_batch"


@dataclass(eq=False)
class OpenRLHFExporter(Exporter):
    """Writes every batch of experiences of an OpenRLHF trainer.

        exporter = OpenRLHFExporter("rollouts/", tokenizer, samples_per_prompt=8)
        exporter.attach(trainer.experience_maker)

    The other arguments are those of `Exporter`. The trainer of `train_ppo_ray` lives in a process
    of its own, where nobody's script can call this: `python -m tod.live.openrlhf` does.

    Args:
        samples_per_prompt: ``n_samples_per_prompt``: rows ``index // n`` are one context. Without
            it, rows with the same prompt are.
    """

    samples_per_prompt: int | None = field(default=None, kw_only=True)
    _summed_reference: bool = field(default=False, init=False)

    def attach(self, maker: Any) -> None:
        """Write whatever ``maker.make_experience_batch`` returns, one step a call.

        What it returns is passed on as it is, whatever becomes of the writing.

        Raises:
            SpecError: The object has no such method, or is of a release that was not looked at.
        """
        if not hasattr(maker, _METHOD):
            raise SpecError(
                f"{type(maker).__name__} has no {_METHOD}: hand in the trainer's experience_maker, "
                "or call write(step, experiences) yourself where they are complete."
            )
        if type(maker).__module__.partition(".")[0] == "openrlhf":
            require(EXPORTED, "OpenRLHFExporter.attach", "Call write(step, experiences) yourself.")
            self._summed_reference = sums_reference(maker)
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
        n = self.samples_per_prompt
        return spelled(batch_of(items, n, summed_reference=self._summed_reference), self.tokenizer)


def sums_reference(maker: Any) -> bool:
    """Whether of the reference only a mean by answer stays: a KL in the reward, and a reference."""
    settings = getattr(getattr(maker, "args", None), "algo", None)
    in_loss = getattr(getattr(settings, "kl", None), "use_loss", None)
    return in_loss is False and getattr(maker, "initial_model_group", None) is not None
