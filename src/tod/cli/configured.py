"""A training configuration that a command was given: read once, and what it says of the data."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tod.base import SpecError

if TYPE_CHECKING:
    from tod.configurations import Located
    from tod.configurations.told import Told
    from tod.diagnosis import Diagnosis
    from tod.formats import Reading


@dataclass(frozen=True)
class ReadConfiguration:
    """A configuration, read.

    Attributes:
        path: The file.
        point: The point of the atlas that it is; None where only its bound of the lag can be read.
        max_lag: Versions that a rollout may be old, as the file writes it down; None: it does not.
    """

    path: Path
    point: "Located | None"
    max_lag: int | None


def configured(config: Path | None, told: "Told | None" = None) -> ReadConfiguration | None:
    """What can be read of a configuration; None without one.

    Args:
        config: The file.
        told: What the person says of it.

    Raises:
        SpecError: Nothing in it can be read, or something is said of a file that is not there.
    """
    from tod.configurations.told import Told
    from tod.findings.lag_limit import lag_limit

    told = told or Told()
    if config is None:
        if told != Told():
            raise SpecError("--framework, --method, --set and --version are of --config FILE.")
        return None
    limit = lag_limit(config)
    try:
        return ReadConfiguration(config, told.locate(config), limit)
    except SpecError:
        if limit is None or told != Told():
            raise
        return ReadConfiguration(config, None, limit)


def expected_by(config: ReadConfiguration | None) -> Mapping[str, object]:
    """What a configuration says that findings are held against; nothing without one."""
    if config is None:
        return {}
    from tod.findings.expected import expected_of

    told = {} if config.point is None else expected_of(config.point)
    return told if config.max_lag is None else {**told, "max_lag": config.max_lag}


def located(config: ReadConfiguration, reading: "Reading") -> tuple["Reading", Any, Any, list[str]]:
    """The reading, the target that a configuration implies for it, ``located``, and remarks.

    Where it implies no finite target (no KL term) the target is None, to be assumed, and the first
    remark says so. Where rewards are z-scored the reading gains the standardised utility, which
    the sharpness multiplies. Of several rewards the total is tilted by, see `with_total`.
    """
    found = config.point
    if found is None:
        return reading, None, None, [f"{config.path}: only its bound of the lag is read"]
    remarks = said_of(found)
    if found.procedure is None:
        remarks.insert(0, f"{config.path.name} implies no finite target: one is assumed below")
        return reading, None, None, [*remarks, _STILL]
    whole, summed = with_total(reading, found)
    if whole is None:
        return reading, None, None, [summed, *remarks, _STILL]
    implied = found.target_for(whole)
    assert implied is not None  # noqa: S101 - there is a procedure
    if summed:
        remarks.insert(0, summed)
    if implied.etas is not None:
        remarks.insert(0, _spread_of_eta(implied.etas))
    same: Any = implied.candidates
    return same, implied.target, _kind(found), remarks


def said_of(found: "Located") -> list[str]:
    """What a file aims at, what moves it, and what of it has no effect."""
    from tod.show.terminal.atlas import aims_at

    told = [f"located: {found.framework} {found.method}; aims at {aims_at(found)}", *found.notes]
    told += [f"{change.setting}: {change.effect}" for change in found.silent_changes]
    return told + [f"{idle.setting}: no effect: {idle.why}" for idle in found.without_effect]


def unreadable_target(found: "Diagnosis", config: ReadConfiguration | None) -> list[str]:
    """Which figures to trust where a configuration's own target cannot be weighed; else nothing.

    Those without the configuration are of an assumed target: they stay, and are named as such.
    """
    if found.assumed is None or config is None:
        return []
    told = found.assumed.as_assumed()
    median, (tilt, *_) = told["ess_rel_median"], told["target"]["tilts"]
    needs = next((item.needs for item in found.cannot if item.what == "ess_rel"), "log-probs")
    value = "unknown" if median is None else f"{median:.2f}"
    return [
        f"its q* needs {needs.partition(',')[0]}. Assumed eta = {tilt['eta']:g} at mu: ESS_rel "
        f"{value}, {told['verdict']}; trust that for the rows, not for q*"
    ]


def with_total(reading: "Reading", point: "Located") -> tuple["Reading | None", str]:
    """A reading in which the target's one utility is there, and how it came about.

    Several rewards are one in the target of a framework's file: their total by name where the
    files hold it, their plain sum where the framework adds them so (TRL without weights). Else
    None: which of them the target is of is not said.
    """
    from dataclasses import replace

    from tod.findings.rollouts_of import TOTALS

    names = tuple(reading.utility)
    if point.procedure is None:
        return reading, ""
    wanted = point.procedure.tilt.utilities
    if len(names) < 2 or len(wanted) != 1 or set(wanted) <= set(names):
        return reading, ""
    (name,) = wanted
    total = next((one for one in TOTALS if one in names), None)
    if total is not None:
        return replace(reading, utility={**reading.utility, name: reading.utility[total]}), ""
    every = (*point.silent_changes, *point.possible_changes)
    weighed = any(c.name in _WEIGHING and c.plain != "reward_weights=None" for c in every)
    listed = " + ".join(names)
    if point.framework != "trl" or weighed:
        return None, f"the file's target is of one reward, these files hold {listed}: see --target"
    values: Any = sum(reading.utility[one] for one in names)
    whole: Any = replace(reading, utility={**reading.utility, name: values})
    return whole, f"U = {listed}, their plain sum"


_WEIGHING = ("reward_weights", "multi_objective_aggregation")
"""Settings by which a total is no plain sum of the rewards."""


def _kind(found: "Located") -> str:
    """A recipe of ours declares its target; a framework's settings only imply it."""
    return "declared" if found.framework == "tod" else "located"


_STILL = (
    "what may still be read: groups, rewards and zero-variance groups as they are; ESS_rel, the "
    "verdict and the feasible eta as functions of an eta that you choose (--eta); with log-probs, "
    "pi/mu, mismatch and drift, which need no target"
)


def _spread_of_eta(etas: Any) -> str:
    """What z-scoring makes of η, context by context."""
    import numpy as np

    from tod.diagnostics import quantile

    known = np.asarray(etas)[np.asarray(etas) > 0]
    if not known.size:
        return "rewards are z-scored and no prompt has any spread: eta_c is 0 everywhere"
    low, middle, high = (quantile(known, p) for p in (0.1, 0.5, 0.9))
    return (
        f"rewards are z-scored, so the implied eta_c differs by prompt: median {middle:.4g}, "
        f"10 % {low:.4g}, 90 % {high:.4g}"
    )
