"""What a person may set about sampling."""

from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from tod.base import Spec


class SamplingParams(Spec):
    """How tokens are drawn: μ ∝ exp(logits / temperature) on the tokens top-k and top-p leave."""

    max_new_tokens: Annotated[int, Field(ge=1)]
    """Longest completion, the end-of-sequence token included."""

    temperature: float = 1.0
    """Divides the logits; > 0."""

    top_k: Annotated[int, Field(ge=1)] | None = None
    """Keep the k most likely tokens (and any tied with the last). None: all."""

    top_p: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    """Keep the smallest set of most likely tokens whose mass reaches p. None or 1: all."""

    greedy: bool = False
    """Take the most likely token; for evaluation only, since then there is no usable μ."""

    @field_validator("temperature")
    @classmethod
    def _positive(cls, value: float) -> float:
        if value > 0.0:
            return value
        raise ValueError(
            f"temperature={value}: it must be > 0, because at 0 the draw is certain and there is "
            "no usable mu to weigh it by. To evaluate the most likely answer set `greedy: true`"
        )

    @model_validator(mode="after")
    def _greedy_alone(self) -> Self:
        if self.greedy and (
            self.temperature != 1.0 or self.top_k is not None or self.truncates_mass
        ):
            raise ValueError(
                "greedy: true together with temperature, top_k or top_p: greedy ignores them. "
                "Leave them out, or set greedy: false"
            )
        return self

    @property
    def truncates_mass(self) -> bool:
        """Whether top-p removes anything."""
        return self.top_p is not None and self.top_p < 1.0

    @property
    def full_support(self) -> bool:
        """Whether every token may be drawn, so that log μ is the tempered model's own log-prob."""
        return self.top_k is None and not self.truncates_mass and not self.greedy
