"""What a recipe's ``utilities:`` list may say: one spec per way to score a completion."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, FiniteFloat, model_validator

from tod.base import Spec
from tod.serving.spec import Servers

Workers = Annotated[int, Field(ge=0, le=256)]


UNIT = (0.0, 1.0)


def _with(between: tuple[float, float], value: float | None) -> tuple[float, float]:
    """A range with one more value in it."""
    least, largest = between
    return between if value is None else (min(least, value), max(largest, value))


class _Utility(Spec):
    library: ClassVar[str | None] = None
    """A library that not everybody has and that scores."""
    name: str
    """Name by which targets and records refer to it."""
    timeout_seconds: float = Field(default=30.0, gt=0)
    """Longest time one call in a worker may take; then the worker is killed."""
    on_timeout: float | None = None
    """Utility given to the candidates of a call that ran out of time; unset: the run stops."""
    workers: Workers = 0
    """Worker processes. 0 scores in the run's own process, where nothing can be timed out."""

    @property
    def range(self) -> tuple[float, float] | None:
        """Least and largest utility that there can be; None where nothing bounds it."""
        return _with(UNIT, self.on_timeout)


class CountdownUtility(_Utility):
    """1 for an expression that reaches the target with every number used once, else 0."""

    kind: Literal["countdown"] = "countdown"
    partial: float = Field(default=0.0, ge=0, lt=1)
    """Utility of an expression that uses every number once and misses the target."""
    distance: Annotated[float, Field(gt=0)] | None = None
    """Miss that still gets ½: utility d/(d + |value − target|) instead of ``partial``."""

    @model_validator(mode="after")
    def _one_grade(self) -> Self:
        if self.distance is not None and self.partial:
            raise ValueError("`distance` grades a miss and `partial` gives all the same: set one")
        return self


class SumsUtility(_Utility):
    """1 for three rising parts, from the named one on, that add up to the total, else 0."""

    kind: Literal["sums"] = "sums"


class ExactMatchUtility(_Utility):
    """1 when the completion equals the answer, leading and trailing blanks aside, else 0."""

    kind: Literal["exact_match"] = "exact_match"
    answer: str = "answer"
    """Column that holds the answer."""


class MathVerifyUtility(_Utility):
    """1 when math-verify finds the completion equal to the answer, else 0."""

    library: ClassVar[str | None] = "math_verify"
    kind: Literal["math_verify"] = "math_verify"
    answer: str = "answer"
    """Column that holds the answer: a number, an expression or LaTeX."""
    workers: Workers = 1
    """Worker processes. Parsing untrusted mathematics can hang, so there is one by default."""
    on_timeout: float | None = 0.0
    """Utility of a candidate whose check ran out of time: not verified, so 0 by default."""


class ReasoningGymUtility(_Utility):
    """The score of a reasoning-gym generator for the completion, or its last `<answer>`."""

    library: ClassVar[str | None] = "reasoning_gym"
    kind: Literal["reasoning_gym"] = "reasoning_gym"
    task: str | None = None
    """Name of the generator; unset: the one that the row's metadata names."""
    workers: Workers = 1
    """Worker processes. Scorers evaluate untrusted text, so there is one by default."""
    on_timeout: float | None = 0.0
    """Utility of a candidate whose check ran out of time."""

    @property
    def range(self) -> None:
        """None: a generator's own scorer says what it gives, and nothing bounds it."""
        return None


class OverlongUtility(_Utility):
    """0 up to ``longest`` − ``buffer`` tokens, then linear to −1 at ``longest``, −1 beyond.

    DAPO's soft overlong punishment, 2503.14476; tilt by it beside the reward.
    """

    kind: Literal["overlong"] = "overlong"
    longest: int = Field(ge=1)
    """Tokens of the longest completion, usually ``max_new_tokens``."""
    buffer: int = Field(ge=1)
    """Tokens before it in which the punishment grows."""

    @model_validator(mode="after")
    def _shorter(self) -> Self:
        if self.buffer > self.longest:
            raise ValueError(f"buffer {self.buffer} is longer than longest {self.longest}")
        return self

    @property
    def range(self) -> tuple[float, float] | None:
        """−1 to 0."""
        return _with((-1.0, 0.0), self.on_timeout)


class CustomUtility(_Utility):
    """A reward function of one's own: ``f(prompts, completions, **columns)``, as in TRL."""

    kind: Literal["custom"] = "custom"
    target: str = Field(pattern=r"^(?:.+\.py|[A-Za-z_][\w.]*):[A-Za-z_]\w*$")
    """A file's function, `my_rewards.py:name`, or an import path, `pkg.module:name`; honoured only
    when imports are allowed."""
    workers: Workers = 1
    """Worker processes; each gets whole contexts, so a function may compare candidates."""

    @property
    def range(self) -> None:
        """None: nothing is known of somebody's function."""
        return None


class LogLikelihoodUtility(Spec):
    """U(y, c) = Σ_t log p(y_t | c, y_<t) of a frozen model: the supervised log-likelihood, nats.

    With p fitted to the data this is SFT's second lens (Table 2 row 1): b flat and η = 1 make
    q* = p, and a tilt of b by it is b·p^η, sharper than both at η = 1. The sum runs over the
    completion and its end-of-sequence token, at temperature 1 whatever the proposal's is.
    """

    name: str
    """Name by which targets and records refer to it."""
    kind: Literal["log_likelihood"] = "log_likelihood"
    model: str
    """The model p: ``tod://`` name, directory, or hub id, with the policy's vocabulary."""

    @property
    def range(self) -> None:
        """None: a log-likelihood has no lower bound."""
        return None


class JudgeUtility(Servers):
    """What a model on a server makes of a completion: of answer options, or a number that it says.

    With ``options`` U = Σ_j v_j p_j / Σ_j p_j, where p_j is the probability that the judge goes on
    with option j after the question: no draw, the same every time. With ``scale`` it answers by its
    most likely tokens, and the last number in them is read. A candidate that no server judges in
    time, or that gets no number on the scale, has an unknown utility: it is left out of its group.

    Source: definition of an expectation over options (equation judge)
    """

    name: str
    """Name by which targets and records refer to it."""
    kind: Literal["judge"] = "judge"
    question: str
    """Text that the judge reads: ``{prompt}``, ``{completion}`` and ``{COLUMN}`` of the row stand
    for themselves."""
    options: dict[str, FiniteFloat] | None = None
    """What the judge may go on with, and the utility of each; two at least."""
    scale: tuple[FiniteFloat, FiniteFloat] | None = None
    """The number that the judge says, from the first, which is utility 0, to the second, 1."""
    longest: Annotated[int, Field(ge=1)] = 16
    """Tokens in which it says the number."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.options is None) == (self.scale is None):
            raise ValueError(
                "a judge chooses between `options` ({' yes': 1, ' no': 0}) or says a number on a "
                "`scale` ([0, 10]): give one of them"
            )
        if self.options is not None and len(self.options) < 2:
            raise ValueError("one option is always chosen: give two at least")
        if self.scale is not None and self.scale[0] == self.scale[1]:
            raise ValueError("the ends of `scale` are equal, so every number would be utility 0/0")
        if "{completion}" not in self.question:
            raise ValueError("`question` lacks {completion}: every candidate would be judged alike")
        return self

    @property
    def range(self) -> tuple[float, float]:
        """From the worst option to the best one; 0 to 1 on a scale."""
        if self.options is None:
            return UNIT
        return (min(self.options.values()), max(self.options.values()))


TextUtility = (
    CountdownUtility
    | SumsUtility
    | ExactMatchUtility
    | MathVerifyUtility
    | ReasoningGymUtility
    | OverlongUtility
    | CustomUtility
)
"""What is read off a completion by itself, without a model."""

UtilitySpec = Annotated[
    TextUtility | LogLikelihoodUtility | JudgeUtility, Field(discriminator="kind")
]
