"""Our own rollouts: Parquet or JSON lines, one candidate a row, and run directories.

Columns ``step, context, candidate, prompt, completion, utility.<name>``, and where known
``log_mu, log_old, log_ref, log_policy, log_teacher`` (sums, nats), the same with ``_tokens``,
``length``, ``answer``, ``lag`` and ``drawn_from``. A run directory also says its target, and the
knobs of every step.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tod.base import DataError, RunError
from tod.formats.columns import Rows
from tod.formats.format import FileProbe, Format
from tod.formats.jsonl import first_keys
from tod.formats.roles import LOGS, ROLES, Roles
from tod.formats.several_runs import run_of
from tod.formats.table import read_table

RECORDED = ("activation", "entropy", "mismatch", "staleness", "reward_range")
"""Figures of a run's record that its rollouts do not tell."""


def recognises(probe: FileProbe) -> str | None:
    """By its column names."""
    if probe.suffix not in (".parquet", ".jsonl", ".ndjson") or "context" not in probe.keys:
        return None
    if not any(name.startswith("utility.") for name in probe.keys):
        return None
    return "columns context and utility.* (TOD rollouts)"


def read(files: Sequence[Path], rows: Rows) -> None:
    """All files; the run directory around them, if there is one."""
    roots = sorted({path.parent.parent for path in files if _in_run(path)})
    if len(roots) > 1:
        raise DataError(
            f"{len(roots)} run directories ({', '.join(map(str, roots[:3]))}): steps of different "
            "runs would be mixed. Diagnose one at a time; `tod report` compares several."
        )
    if roots:
        _read_run(roots[0], rows)
    for path in files:
        probe = FileProbe(path)
        keys = probe.keys if probe.suffix == ".parquet" else first_keys(path)
        tokens = [f"{name}_tokens" for name in LOGS]
        named = [name for name in keys if name.startswith("utility.")]
        known = [name for name in (*ROLES, *LOGS, *tokens) if name in keys]
        drop = {name.removesuffix("_tokens") for name in known if name.endswith("_tokens")}
        roles = {name: name for name in (*known, *named) if name not in drop}
        read_table(path, Roles(roles), rows)


def _in_run(path: Path) -> bool:
    return path.parent.name == "rollouts" and (path.parent.parent / "manifest.json").is_file()


def _read_run(root: Path, rows: Rows) -> None:
    from tod.runs import RunDirectory

    try:
        run = RunDirectory.open(root)
        records = list(run.steps.read())
    except (RunError, DataError) as error:
        rows.note(f"{root}: its manifest or records cannot be used, rollouts can ({error})")
        return
    _read_target(run.manifest.recipe, rows)
    operator = run.manifest.recipe.get("operator")
    proposal = operator.get("proposal") if isinstance(operator, dict) else None
    if isinstance(proposal, dict) and proposal.get("semantics") == "fixed":
        rows.extras["semantics"] = "fixed"  # a set of candidates, drawn from no μ
    rows.extras["operator"] = operator if isinstance(operator, dict) else None
    rows.extras["recorded"] = {
        record["step"]: {name: record.get(name) for name in RECORDED}
        for record in records
        if isinstance(record.get("step"), int)
    }
    knobs = {r["step"]: r["knobs"] for r in records if isinstance(r.get("knobs"), dict)}
    rows.extras["knobs"] = {
        step: {name: float(v) for name, v in known.items() if isinstance(v, int | float)}
        for step, known in knobs.items()
    }


def _read_target(recipe: Mapping[str, Any], rows: Rows) -> None:
    """The run's target and where it came from: a live run of another trainer may have guessed."""
    source = recipe.get("target_source", "declared")
    target = recipe.get("assumed_target" if source == "assumed" else "target")
    if isinstance(target, dict) and source in ("declared", "located", "assumed"):
        rows.extras |= {"target": target, "target_source": source}


FORMAT = Format(
    name="tod",
    title="TOD rollouts",
    recognises=recognises,
    read=read,
    forbidden=True,
    specificity=100,
    home=run_of,
    needs={
        "mu": "a log_mu column: sums over the completion of the sampler's own log-probs",
        "old": "a log_old column",
        "ref": "a log_ref column",
        "policy": "a log_policy column: the policy before it saw these candidates",
    },
)
