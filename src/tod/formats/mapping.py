"""Anything else: Parquet or JSON lines whose columns ``--map`` names by role.

``utility=reward,context=prompt_id,step=step,log_mu=logp``; more utilities as ``utility.NAME=COL``.
Without ``context``, rows with the same ``prompt`` text are one context.
"""

from collections.abc import Sequence
from pathlib import Path

from tod.base import SpecError
from tod.formats.columns import Rows
from tod.formats.format import Format, Probe
from tod.formats.roles import LOGS, ROLES, Roles
from tod.formats.several_runs import run_of
from tod.formats.table import read_table

_KNOWN = (*ROLES, *LOGS)


def recognises(probe: Probe) -> str | None:  # noqa: ARG001 - nothing is recognised by itself
    """Never by itself: a person names the columns."""
    return None


def roles_of(mapping: dict[str, str]) -> Roles:
    """Roles from what a person wrote.

    Raises:
        SpecError: An unknown role, or no utility.
    """
    roles: dict[str, str] = {}
    for role, column in mapping.items():
        if role == "utility":
            roles[f"utility.{column}"] = column
        elif role.startswith("utility.") or role in _KNOWN or role.removesuffix("_tokens") in LOGS:
            roles[role] = column
        else:
            raise SpecError(
                f"--map {role}={column}: no role {role!r}. Roles: utility, utility.NAME, "
                f"{', '.join(_KNOWN)}, and log_*_tokens."
            )
    if not any(role.startswith("utility.") for role in roles):
        raise SpecError("--map names no utility: add utility=COLUMN.")
    return Roles(roles)


def read(files: Sequence[Path], rows: Rows) -> None:
    """All files, with the same columns."""
    roles = roles_of(dict(rows.mapping))
    for path in files:
        read_table(path, roles, rows)
    if "step" not in roles.columns:
        rows.note("no step column was named: all rows are one step, 0")


FORMAT = Format(
    name="mapping",
    title="columns named by --map",
    recognises=recognises,
    read=read,
    forbidden=True,
    specificity=0,
    home=run_of,
    settings=None,
    needs={
        "mu": "the sampler's log-probs: --map log_mu=COLUMN",
        "old": "--map log_old=COLUMN",
        "ref": "--map log_ref=COLUMN",
        "policy": "--map log_policy=COLUMN",
    },
)
