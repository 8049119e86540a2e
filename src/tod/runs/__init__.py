"""The run directory: a public, versioned format that survives kill -9 and full disks."""

from tod.runs.atomic import atomic_directory, write_atomic
from tod.runs.checkpoints import checkpoint_steps, latest_checkpoint, prune_checkpoints
from tod.runs.directory import RunDirectory
from tod.runs.environment import collect_environment
from tod.runs.json_lines import JsonLines
from tod.runs.lock import DirectoryLock
from tod.runs.manifest import SCHEMA, Manifest, differences
from tod.runs.records import HeldOut, Ledger, StepRecord, comparable, plain
from tod.runs.table_parts import Parts

__all__ = [
    "SCHEMA",
    "DirectoryLock",
    "HeldOut",
    "JsonLines",
    "Ledger",
    "Manifest",
    "Parts",
    "RunDirectory",
    "StepRecord",
    "atomic_directory",
    "checkpoint_steps",
    "collect_environment",
    "comparable",
    "differences",
    "latest_checkpoint",
    "plain",
    "prune_checkpoints",
    "write_atomic",
]
