"""The proposal μ: where candidates come from."""

from typing import Annotated, Literal

from pydantic import Field, FiniteFloat

from tod.base import Spec


class Proposal(Spec):
    """μ(·|c): which policy generates, how many candidates, how they are decoded, how fresh."""

    source: Literal["old", "ref"] = "old"
    """``old``: the policy as it was at the last refresh. ``ref``: the frozen reference."""
    prompts: Annotated[int, Field(ge=1)] = 32
    """Contexts a step, C."""
    size: Annotated[int, Field(ge=1)] = 16
    """Candidates a context, K."""
    temperature: Annotated[FiniteFloat, Field(gt=0.0)] = 1.0
    """Divides the logits, in sampling and in every log-prob of the policy alike."""
    top_p: Annotated[FiniteFloat, Field(gt=0.0, le=1.0)] = 1.0
    """Nucleus mass; below 1 it removes support from μ and the weights say so."""
    top_k: Annotated[int, Field(ge=1)] | None = None
    """Keep the k most likely tokens; None keeps all."""
    max_new_tokens: Annotated[int, Field(ge=1)] = 64
    """Longest completion, in tokens."""
    refresh: Annotated[int, Field(ge=1)] | None = 1
    """Steps between copies of the current policy into μ; None never refreshes."""
