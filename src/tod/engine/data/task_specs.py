"""What a recipe's ``task:`` block may say: one spec per source of prompts."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from tod.base import Spec
from tod.engine.tasks.stream import Split


class CountdownTask(Spec):
    """Countdown problems, made on demand."""

    kind: Literal["countdown"] = "countdown"
    split: Split = "train"
    """Split that is trained on; evaluation always uses the held-out one."""
    size: int = Field(default=20_000, ge=1)
    """Problems in an epoch."""


class SumsTask(Spec):
    """A number as a sum of three rising parts, the first of which is named; made on demand."""

    kind: Literal["sums"] = "sums"
    split: Split = "train"
    """Split that is trained on; evaluation always uses the held-out one."""
    size: int = Field(default=20_000, ge=1)
    """Problems in an epoch."""


class _RowsTask(Spec):
    prompt: str = "prompt"
    """Column that holds the prompt: text, or a list of messages with `role` and `content`."""
    chat: bool = False
    """Whether a text prompt becomes one user message, so that the chat template applies."""
    held_out: float = Field(default=0.1, ge=0, lt=1)
    """Share of the prompts kept for evaluation, by a hash of the prompt."""


class _FileTask(_RowsTask):
    path: Path
    """File of the prompts; ``tod://data/NAME`` is one that comes with the recipes."""
    held_out_path: Path | None = None
    """File of prompts for evaluation; given, nothing is held out from `path`."""


class JsonlTask(_FileTask):
    """One JSON object a line."""

    kind: Literal["jsonl"] = "jsonl"


class ParquetTask(_FileTask):
    """A Parquet file."""

    kind: Literal["parquet"] = "parquet"


class DatasetsTask(_RowsTask):
    """A data set of the `datasets` library: an id on the hub, or a local directory."""

    kind: Literal["datasets"] = "datasets"
    name: str
    """Id or directory."""
    config: str | None = None
    """Configuration of the data set, where it has several."""
    split: str = "train"
    """Split to train on."""
    held_out_split: str | None = None
    """Split for evaluation; given, nothing is held out from `split`."""


class ReasoningGymTask(Spec):
    """Questions of a reasoning-gym generator."""

    kind: Literal["reasoning_gym"] = "reasoning_gym"
    name: str
    """Name of the generator, such as `countdown` or `leg_counting`."""
    size: int = Field(default=2_000, ge=1)
    """Questions generated."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Further settings of the generator."""
    chat: bool = False
    """Whether a question becomes one user message, so that the chat template applies."""
    held_out: float = Field(default=0.1, ge=0, lt=1)
    """Share of the questions kept for evaluation, by a hash of the question."""


TaskSpec = Annotated[
    CountdownTask | SumsTask | JsonlTask | ParquetTask | DatasetsTask | ReasoningGymTask,
    Field(discriminator="kind"),
]
