"""Findings of a diagnosis as `tod diagnose --json` saved it."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from tod.base import RunError, Unknown
from tod.findings import Cause, Finding, Findings, Onset, Remedy, Series, TrainingRun
from tod.show.page.document import CERTAINTIES, SEVERITIES


def saved_findings(data: Mapping[str, Any], name: str) -> Findings | None:
    """What was seen when it was saved; of the series only the rewards by step were.

    Args:
        data: The diagnosis as plain data.
        name: What names its file, for errors.

    Returns:
        None for a diagnosis that was saved without findings.

    Raises:
        RunError: The findings are damaged.
    """
    saved = data.get("findings")
    if saved is None:
        return None
    try:
        every = [_finding(item) for item in saved["findings"]]
        return Findings(
            TrainingRun(series=_rewards(data)),
            tuple(item for item in every if item.fault),
            tuple(item for item in every if not item.fault),
            tuple(str(check) for check in saved["clear"]),
            {str(kind): Unknown(**item) for kind, item in saved["unknown"].items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RunError(
            f"{name}: its findings are damaged ({error}). Write the diagnosis again."
        ) from error


def _finding(item: Mapping[str, Any]) -> Finding:
    onset, best = item["onset"], item["best_step"]
    if item["severity"] not in SEVERITIES:
        raise ValueError(f"severity {item['severity']!r}")
    return Finding(
        kind=str(item["kind"]),
        severity=item["severity"],
        headline=str(item["headline"]),
        onset=None if onset is None else _onset(onset),
        evidence=tuple((str(row["name"]), str(row["text"])) for row in item["evidence"]),
        numbers=dict(item["numbers"]),
        causes=tuple(_cause(cause) for cause in item["causes"]),
        remedies=tuple(
            Remedy(str(one["kind"]), str(one["text"]), str(one["effect"]), dict(one["promise"]))
            for one in item["remedies"]
        ),
        best_step=None if best is None else int(best),
        cost=str(item["cost"]),
        series=tuple(str(name) for name in item["series"]),
        consequences=tuple(str(kind) for kind in item["consequences"]),
    )


def _onset(item: Mapping[str, Any]) -> Onset:
    step = item["step"]
    return Onset(None if step is None else int(step), int(item["low"]), int(item["high"]))


def _cause(item: Mapping[str, Any]) -> Cause:
    if item["certainty"] not in CERTAINTIES:
        raise ValueError(f"certainty {item['certainty']!r}")
    return Cause(str(item["kind"]), str(item["text"]), item["certainty"], str(item["decide"]))


def _rewards(data: Mapping[str, Any]) -> dict[str, Series]:
    """Mean reward by step, as the trend has it."""
    rows = [(row["step"], row["utility_mean"]) for row in data["trend"]]
    known = sorted((int(step), float(mean)) for step, mean in rows if mean is not None)
    steps, means = np.array(known, dtype=float).reshape(-1, 2).T
    return {"reward": Series("reward", steps.astype(np.int64), means)} if known else {}
