"""One setting in a block of worlds: what was measured, as conditions and as a file."""

import io
import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from jaxtyping import Float

from tod.base import DataError
from tod.procedure import LEGS
from tod.runs.atomic import write_atomic
from tod.study.distances import expectation, variation
from tod.study.swap.condition import Condition
from tod.study.swap.exact_before import before_training
from tod.study.swap.exact_spec import ExactSpec, GridPoint
from tod.study.swap.exact_stack import Stack
from tod.study.swap.exact_training import Ends, ExactOperator

__all__ = ["ExactResult"]


@dataclass(frozen=True, eq=False)
class ExactResult:
    """A setting in W worlds: A arms at S seeds, C contexts.

    Attributes:
        about: Names and facts: ``name``, ``control``, ``worlds``, ``arms``, ``seeds``, ``facts``,
            ``diagnostics`` (names), ``legs`` (names), ``contrast``.
        distance: TV of final policies, mean over contexts, [W, A, S, A, S].
        utility: E[U] of final policies, [W, A, S, C].
        start: E[U] of the base, [W, C].
        travel: TV of final policies from the base, mean over contexts, [W, A, S].
        legs: What was seen in training, arm by arm, [W, A, S, n]; NaN where there is none.
        probes: Mean cosine of the arms' first ascent directions over seeds, [W, A, A].
        diagnostics: What was seen before training, [W, n]; NaN where it could not be read.
    """

    about: dict[str, Any]
    distance: Float[np.ndarray, "W A S A S"]
    utility: Float[np.ndarray, "W A S C"]
    start: Float[np.ndarray, "W C"]
    travel: Float[np.ndarray, "W A S"]
    legs: Float[np.ndarray, "W A S n"]
    probes: Float[np.ndarray, "W A A"]
    diagnostics: Float[np.ndarray, "W n"]

    @classmethod
    def of(
        cls,
        spec: ExactSpec,
        stack: Stack,
        setting: GridPoint,
        arms: tuple[ExactOperator, ...],
        ends: Ends,
        control: str | None = None,
    ) -> "ExactResult":
        """What the ends of a stack amount to."""
        operator = next(iter(spec.operators.values()))
        before = [before_training(spec, world, setting, operator) for world in stack.worlds]
        series = {**ends.legs, "activation": ends.activation}
        about = {
            "name": setting.name if control is None else f"{control}, {setting.mu}",
            "control": control,
            "worlds": [world.seed for world in stack.worlds],
            "arms": [arm.name for arm in arms],
            "seeds": list(stack.seeds),
            "facts": facts(spec, setting),
            "diagnostics": list(before[0]),
            "legs": list(series),
            "gated": [arm.name for arm in arms if gated(arm)],
            "contrast": list(spec.contrast),
            "negative": next((a.name.removesuffix(AGAIN) for a in arms if AGAIN in a.name), None),
        }
        p = np.exp(np.moveaxis(ends.laws, 1, 0))
        return cls(
            about=about,
            distance=np.stack([all_pairs(one) for one in p]),
            utility=np.stack([_utility(w, laws) for w, laws in zip(stack.worlds, p, strict=True)]),
            start=np.stack([expectation(world.base, world.utility) for world in stack.worlds]),
            travel=np.stack(
                [
                    variation(laws, np.exp(world.base)).mean(axis=-1)
                    for world, laws in zip(stack.worlds, p, strict=True)
                ]
            ),
            legs=np.moveaxis(np.stack(list(series.values()), axis=-1), 1, 0),
            probes=ends.directions.mean(axis=1),
            diagnostics=np.array([list(row.values()) for row in before], dtype=float),
        )

    def save(self, path: Path) -> None:
        """Write a file of some kB, as a whole or not at all."""
        arrays = {
            item.name: getattr(self, item.name).astype(np.float32)
            for item in fields(self)
            if item.name != "about"
        }
        memory = io.BytesIO()
        np.savez_compressed(memory, about=np.array(json.dumps(self.about)), **arrays)
        write_atomic(path, memory.getvalue())

    @classmethod
    def load(cls, path: Path) -> "ExactResult":
        """Read what `save` wrote.

        Raises:
            DataError: The file is no such result.
        """
        try:
            with np.load(path, allow_pickle=False) as stored:
                arrays = {name: stored[name].astype(float) for name in stored if name != "about"}
                return cls(about=json.loads(str(stored["about"])), **arrays)
        except (OSError, EOFError, BadZipFile, KeyError, ValueError, TypeError) as error:
            raise DataError(f"{path} is no result of an exact study: {error}. Remove it.") from None

    @property
    def conditions(self) -> list[Condition]:
        """A condition for every world: of the operators, or of the control."""
        again = [name for name in self.about["arms"] if name.endswith(AGAIN)]
        own = [name for name in self.about["arms"] if name not in again]
        return [self._condition(w, own, self.about["control"]) for w in range(len(self.distance))]

    @property
    def negative(self) -> list[Condition]:
        """The negative control in every world: one operator under two names; none if not run."""
        name = self.about["negative"]
        if name is None:
            return []
        names = [name, name + AGAIN]
        return [self._condition(w, names, "negative") for w in range(len(self.distance))]

    def _condition(self, w: int, names: list[str], control: str | None) -> Condition:
        arms = [self.about["arms"].index(name) for name in names]
        compared = [a for a in arms if self.about["arms"][a] not in self.about["contrast"]]
        distance = self.distance[w][arms][:, :, arms]
        return Condition(
            name=self.about["name"],
            cluster=f"world {self.about['worlds'][w]}",
            operators=tuple(names),
            seeds=tuple(self.about["seeds"]),
            distance=distance,
            utility=self.utility[w][arms],
            start=self.start[w],
            travel=self.travel[w][arms],
            diagnostics={**self._before(w), **self._during(w, compared)},
            facts={
                **self.about["facts"],
                "world": float(self.about["worlds"][w]),
                "control": control,
                "contrast": ", ".join(n for n in self.about["contrast"] if n in names) or None,
            },
        )

    def _before(self, w: int) -> dict[str, float | None]:
        return {
            name: None if np.isnan(value) else float(value)
            for name, value in zip(self.about["diagnostics"], self.diagnostics[w], strict=True)
        }

    def _during(self, w: int, arms: list[int]) -> dict[str, float | None]:
        """Means over arms and seeds; the probe over pairs of arms."""
        names = self.about["legs"]
        means = dict(zip(names, self.legs[w][arms].mean(axis=(0, 1)), strict=True))
        clips = [a for a in arms if self.about["arms"][a] in self.about["gated"]]
        clip = self.legs[w][clips][..., names.index("activation")] if clips else np.full(1, np.nan)
        pairs = self.probes[w][np.ix_(arms, arms)][np.triu_indices(len(arms), 1)]
        values = {
            "ess_two": min(means["target_proposal"], means["policy_proposal"]),
            **{f"training_{leg}": means[leg] for leg in LEGS},
            "off_path": means["off_path"],
            "clip_activation": clip.mean(),
            "swap_probe": pairs.mean() if pairs.size else np.nan,
        }
        return {k: None if np.isnan(value) else float(value) for k, value in values.items()}


AGAIN = " again"
"""What the second name of a negative control ends with."""


def all_pairs(p: Float[np.ndarray, "A S C Y"]) -> Float[np.ndarray, "A S A S"]:
    """TV of every policy from every other, mean over contexts."""
    a, s = p.shape[:2]
    flat = p.reshape(a * s, *p.shape[2:])
    table = np.zeros((a * s, a * s))
    for i in range(1, a * s):
        table[i, :i] = table[:i, i] = variation(flat[:i], flat[i]).mean(axis=-1)
    return table.reshape(a, s, a, s)


def gated(arm: ExactOperator) -> bool:
    """Whether the arm has a clip, whose activation says how often it acts."""
    return getattr(getattr(arm.operator.action, "trust_region", None), "kind", None) == "clip"


def facts(spec: ExactSpec, setting: GridPoint) -> dict[str, float | str | None]:
    """What was set."""
    return {
        "eta": setting.eta,
        "mu": setting.mu,
        "refresh": None if setting.proposal.refresh is None else float(setting.proposal.refresh),
        "rate": spec.rate,
        "k": float(spec.size),
        "steps": float(spec.steps),
        "shape": spec.shape,
    }


def _utility(world: Any, p: Float[np.ndarray, "A S C Y"]) -> Float[np.ndarray, "A S C"]:
    return (p * world.utility).sum(axis=-1)  # type: ignore[no-any-return]
