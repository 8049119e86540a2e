"""What an arm leaves: at most 200 kB that suffice for every comparison, without the model."""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from jaxtyping import Float, Int

from tod.base import DataError

__all__ = ["MOST_BYTES", "REGIMES", "SERIES", "Outcome", "series_of"]

MOST_BYTES = 200_000
"""Largest file of one arm."""

SERIES: dict[str, tuple[str, ...]] = {
    "ess_median": ("ess_rel", "median"),
    "ess_q10": ("ess_rel", "q10"),
    "ess_mean": ("ess_rel", "mean"),
    "target_proposal": ("overlap", "target_proposal"),
    "policy_proposal": ("overlap", "policy_proposal"),
    "target_policy": ("overlap", "target_policy"),
    "population_target_proposal": ("population", "target_proposal", "median", "value"),
    "population_policy_proposal": ("population", "policy_proposal", "median", "value"),
    "population_target_policy": ("population", "target_policy", "median", "value"),
    "max_weight": ("tails", "max_weight_median"),
    "log_w_variance": ("tails", "log_w_variance_median"),
    "pareto_k": ("tails", "pareto_k_pooled"),
    "missing_mass": ("coverage", "missing_mass"),
    "mean_rho": ("coverage", "mean_rho"),
    "mean_rho_z": ("coverage", "mean_rho_z"),
    "informative": ("contexts", "informative"),
    "total": ("contexts", "total"),
    "log_ratio_k3": ("staleness", "k3"),
    "log_ratio_kl": ("staleness", "kl_sequence"),
    "activation": ("activation",),
    "entropy": ("entropy",),
    "drift": ("drift", "ref"),
    "eta": ("knobs", "eta"),
    "utility": ("utility", "correct"),
    "grad_norm": ("optimiser", "grad_norm"),
    "flops": ("ledger", "flops"),
}
"""Figures of every step that are kept, by their path in the step's record."""
REGIMES = ("swap_stable", "transition", "operator_dominated")
"""Verdicts of a step in the order of their numbers in the series ``regime``."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """An arm's end.

    Attributes:
        facts: Names, the recipe's hash and what was counted; see `facts_of`.
        evaluated: Steps at which held-out prompts were evaluated, [E].
        held_out: Mean utility by held-out prompt at these steps, [E, P].
        log_probs: Log-prob of every common completion under the final policy, nats, [N].
        distributions: Log of the next-token distribution at the kept positions, nats, [m, V].
        series: Figures by step, [T] each; NaN where a step has none. ``regime`` is a place in
            `REGIMES`.
    """

    facts: Mapping[str, Any]
    evaluated: Int[np.ndarray, " E"]
    held_out: Float[np.ndarray, "E P"]
    log_probs: Float[np.ndarray, " N"]
    distributions: Float[np.ndarray, "m V"]
    series: Mapping[str, Float[np.ndarray, " T"]]

    @property
    def end(self) -> str:
        """A hash of what the final policy is worth and says: equal for equal bits."""
        arrays = (self.held_out, self.log_probs, self.distributions)
        data = b"".join(np.ascontiguousarray(x, np.float64).tobytes() for x in arrays)
        return hashlib.blake2b(data, digest_size=8).hexdigest()

    def save(self, path: Path) -> None:
        """Write it as one file, whole or not at all.

        Raises:
            DataError: It is larger than `MOST_BYTES`.
        """
        unfinished = path.with_suffix(".unfinished.npz")
        arrays: dict[str, Any] = {
            "facts": np.frombuffer(json.dumps(self.facts).encode(), np.uint8),
            "evaluated": self.evaluated,
            "held_out": self.held_out.astype(np.float32),
            "log_probs": self.log_probs.astype(np.float32),
            "distributions": self.distributions.astype(np.float16),
            **{f"series.{name}": x.astype(np.float32) for name, x in self.series.items()},
        }
        np.savez_compressed(unfinished, **arrays)
        size = unfinished.stat().st_size
        if size > MOST_BYTES:
            unfinished.unlink()
            raise DataError(
                f"{path.name}: {size} bytes, and an arm leaves at most {MOST_BYTES}. Lower "
                "`measure.size` or `measure.positions`."
            )
        os.replace(unfinished, path)

    @classmethod
    def load(cls, path: Path) -> "Outcome":
        """An arm's end from its file; nothing in it is run.

        Raises:
            DataError: It is no such file, or was cut.
        """
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
                return cls(
                    facts=json.loads(data["facts"].tobytes()),
                    evaluated=data["evaluated"],
                    held_out=data["held_out"].astype(np.float64),
                    log_probs=data["log_probs"].astype(np.float64),
                    distributions=data["distributions"].astype(np.float64),
                    series={
                        name.removeprefix("series."): data[name].astype(np.float64)
                        for name in data.files
                        if name.startswith("series.")
                    },
                )
        except (OSError, KeyError, ValueError, EOFError, BadZipFile) as error:
            raise DataError(
                f"{path}: no outcome of an arm ({error}). Remove it and the arm runs again."
            ) from None


def series_of(records: Iterable[Mapping[str, Any]]) -> dict[str, Float[np.ndarray, " T"]]:
    """The kept figures of a run's steps, NaN where a step has none; step 0 is left out."""
    steps = [record for record in records if record["step"] > 0]
    series = {
        name: np.array([_figure(record, path) for record in steps], np.float64)
        for name, path in SERIES.items()
    }
    return {**series, "regime": np.array([_regime(record) for record in steps], np.float64)}


def _regime(record: Mapping[str, Any]) -> float:
    """The place of the step's verdict in `REGIMES`; NaN where it is undetermined."""
    verdict = (record.get("regime") or {}).get("verdict")
    return float(REGIMES.index(verdict)) if verdict in REGIMES else float("nan")


def _figure(record: Mapping[str, Any], path: tuple[str, ...]) -> float:
    here: Any = record
    for name in path:
        here = here.get(name) if isinstance(here, Mapping) else None
    return float("nan") if here is None else float(here)
