"""What a recipe says of adapters; what they are made of needs torch and is in `models`."""

from typing import Annotated, Literal

from pydantic import Field

from tod.base import Spec


class LoraSpec(Spec):
    """Low-rank adapters (Hu et al. 2021): W + (alpha / rank) B A, only A and B are trained."""

    kind: Literal["lora"] = "lora"

    rank: Annotated[int, Field(ge=1)] = 16
    """Inner dimension of B A."""

    alpha: Annotated[float, Field(gt=0)] | None = None
    """Scale; None: twice the rank."""

    target_modules: Literal["all-linear"] | tuple[str, ...] = "all-linear"
    """Names of the modules that get adapters; all-linear leaves out the output head."""

    seed: int = 0
    """Seed of A; B starts at zero, so the adapted model starts as the base model."""
