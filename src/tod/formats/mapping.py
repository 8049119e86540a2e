"""Anything else: Parquet or JSON lines whose columns ``--map`` names by role.

``utility=reward,context=prompt_id,step=step,log_mu=logp``; more utilities as ``utility.NAME=COL``.
Without ``context``, rows with the same ``prompt`` text are one context. Rollouts nested one prompt
a line by paths: ``utility=rollouts[].score`` (see ``nested``).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from tod.base import SpecError
from tod.formats.columns import Rows
from tod.formats.format import Format
from tod.formats.nested import is_nested, read_nested
from tod.formats.paths import column_name
from tod.formats.roles import Roles
from tod.formats.several_runs import run_of
from tod.formats.table import read_table


def roles_of(mapping: Mapping[str, str]) -> Roles:
    """Roles from what a person wrote, which `check_roles` has admitted.

    Raises:
        SpecError: No utility among them.
    """
    roles = {
        f"utility.{column_name(column)}" if role == "utility" else role: column
        for role, column in mapping.items()
    }
    if not any(role.startswith("utility.") for role in roles):
        raise SpecError("--map names no reward: add utility=COLUMN.")
    return Roles(roles)


def read(files: Sequence[Path], rows: Rows) -> None:
    """All files, with the same columns."""
    roles = roles_of(rows.mapping)
    read_file = read_nested if is_nested(rows.mapping) else read_table
    for path in files:
        read_file(path, roles, rows)
    if "step" not in roles.columns:
        rows.note("no step column was named: all rows are one step, 0")


FORMAT = Format(
    name="mapping",
    title="columns named by --map",
    recognises=lambda _: None,  # a person names the columns
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
