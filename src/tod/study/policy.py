"""Policies over a finite language, the gradient of any credit by hand, and Adam."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from tod.study.world import FiniteWorld, generator

Vector = Float[np.ndarray, " P"]

STRETCH = 1 << 14
"""Parameters that Adam moves at once: six arrays of 128 KiB."""


@runtime_checkable
class FinitePolicy(Protocol):
    """Logits by state from a vector of parameters, and the way back."""

    def start(self) -> Vector:
        """Parameters at which the policy is the base."""
        ...

    def logits(self, parameters: Vector) -> Float[np.ndarray, "C S V"]:
        """Logits of every symbol in every state."""
        ...

    def pull_back(self, parameters: Vector, slope: Float[np.ndarray, "C S V"]) -> Vector:
        """Σ slope·∂logits/∂parameters."""
        ...


@dataclass(frozen=True, eq=False)
class Tabular:
    """One logit per state and symbol: every law of full support is realised exactly."""

    world: FiniteWorld

    def start(self) -> Vector:
        """The base's logits."""
        return self.world.base_logits.ravel().copy()

    def logits(self, parameters: Vector) -> Float[np.ndarray, "C S V"]:
        """The parameters themselves."""
        return parameters.reshape(self.world.base_logits.shape)

    def pull_back(self, parameters: Vector, slope: Float[np.ndarray, "C S V"]) -> Vector:  # noqa: ARG002
        """The slope itself."""
        return slope.ravel()


@dataclass(frozen=True, eq=False)
class Shared:
    """Base logits plus a two-layer network on features of context and prefix, shared by all.

    logits = base + W₂·tanh(W₁x); W₂ starts at 0, so the policy starts at the base. Features x are
    fixed random vectors by context, by state and by both: every state can be told apart, none
    has a parameter of its own.
    """

    world: FiniteWorld
    hidden: int = 32
    features: int = 16

    def start(self) -> Vector:
        """A random first layer, and a second one of zeros."""
        first = generator(self.world.seed, 7, 0).standard_normal((self.features, self.hidden))
        second = np.zeros((self.hidden, self.world.language.vocabulary))
        return np.concatenate([(first / np.sqrt(self.features)).ravel(), second.ravel()])

    @property
    def inputs(self) -> Float[np.ndarray, "C S F"]:
        """Features of every state in every context."""
        rng = generator(self.world.seed, 7, 1)
        count, states, _ = self.world.base_logits.shape
        by_context = rng.standard_normal((count, 1, self.features))
        by_state = rng.standard_normal((1, states, self.features))
        both = rng.standard_normal((count, states, self.features))
        return (by_context + by_state + both) / np.sqrt(3.0)  # type: ignore[no-any-return]

    def logits(self, parameters: Vector) -> Float[np.ndarray, "C S V"]:
        """Base plus the network."""
        first, second = self._layers(parameters)
        return self.world.base_logits + np.tanh(self.inputs @ first) @ second  # type: ignore[no-any-return]

    def pull_back(self, parameters: Vector, slope: Float[np.ndarray, "C S V"]) -> Vector:
        """Backpropagation through the two layers."""
        first, second = self._layers(parameters)
        x = self.inputs.reshape(-1, self.features)
        down = slope.reshape(-1, slope.shape[-1])
        h = np.tanh(x @ first)
        inner = (down @ second.T) * (1.0 - h * h)
        return np.concatenate([(x.T @ inner).ravel(), (h.T @ down).ravel()])

    def _layers(self, parameters: Vector) -> tuple[np.ndarray, np.ndarray]:
        cut = self.features * self.hidden
        return (
            parameters[:cut].reshape(self.features, self.hidden),
            parameters[cut:].reshape(self.hidden, -1),
        )


def slope_of_logits(
    world: FiniteWorld,
    log_conditionals: Float[np.ndarray, "C S V"],
    credit: Float[np.ndarray, "C M"],
) -> Float[np.ndarray, "C S V"]:
    """Σ credit·∇log π by logits: Σ_t c_t·(1{v = y_t} − π(v|s_t)) in every state."""
    return slope_of_choices(log_conditionals, world.language.by_choice(credit))


def slope_of_choices(
    log_conditionals: Float[np.ndarray, "..."], credit: Float[np.ndarray, "..."], axis: int = -1
) -> Float[np.ndarray, "..."]:
    """The same from the credit of every choice; ``axis`` holds the symbols of a state."""
    slope: Float[np.ndarray, ...] = np.exp(log_conditionals)
    slope *= credit.sum(axis=axis, keepdims=True)
    return np.subtract(credit, slope, out=slope)  # type: ignore[no-any-return]


@dataclass(frozen=True, eq=False)
class Adam:
    """First and second moments of the gradient, and how many updates made them.

    ε is 1e-6 at least: below it, rounding noise at a stationary point becomes full steps, and
    looks like an effect of the operator. Source: Kingma and Ba 2015.

    Attributes:
        mean: First moment.
        square: Second moment.
        count: Updates so far.
    """

    mean: Vector
    square: Vector
    count: int = 0

    @classmethod
    def start(cls, parameters: Vector) -> "Adam":
        """No updates yet."""
        return cls(np.zeros_like(parameters), np.zeros_like(parameters))

    def step(
        self,
        parameters: Vector,
        gradient: Vector,
        rate: float,
        *,
        betas: tuple[float, float] = (0.9, 0.99),
        epsilon: float = 1e-6,
    ) -> tuple[Vector, "Adam"]:
        """One update up the gradient; returns the parameters and the new state."""
        state = Adam(self.mean.copy(), self.square.copy(), self.count)
        moved = parameters.copy()
        return moved, state.step_in_place(moved, gradient, rate, betas=betas, epsilon=epsilon)

    def step_in_place(
        self,
        parameters: Vector,
        gradient: Vector,
        rate: float,
        *,
        betas: tuple[float, float] = (0.9, 0.99),
        epsilon: float = 1e-6,
    ) -> "Adam":
        """The same update in the memory of the parameters and of both moments.

        Stretch by stretch: fresh memory for every intermediate result of 10⁵ parameters costs
        nine times the arithmetic, and passes over all of them leave the cache.

        Args:
            parameters: Written to.
            gradient: Its direction is up.
            rate: Learning rate.
            betas: Decay of the first and of the second moment.
            epsilon: Added to the root of the second moment.
        """
        count = self.count + 1
        rates = rate / (1 - betas[0] ** count), 1 / (1 - betas[1] ** count)
        buffers = np.empty((2, min(STRETCH, len(gradient))))
        for start in range(0, len(gradient), STRETCH):
            at = slice(start, start + STRETCH)
            g, mean, square = gradient[at], self.mean[at], self.square[at]
            new, scale = buffers[:, : len(g)]
            mean *= betas[0]
            mean += np.multiply(g, 1 - betas[0], out=new)
            square *= betas[1]
            np.multiply(g, g, out=new)
            new *= 1 - betas[1]
            square += new
            np.sqrt(np.multiply(square, rates[1], out=scale), out=scale)
            scale += epsilon
            np.multiply(mean, rates[0], out=new)
            new /= scale
            parameters[at] += new
        return Adam(self.mean, self.square, count)
