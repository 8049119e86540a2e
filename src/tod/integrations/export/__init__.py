"""Writers of our rollout format, and hooks for trainers that leave too little on disk.

None of them imports the framework it serves: objects are read by the names of their fields.
"""

from tod.integrations.export.batch import LiveBatch, identities
from tod.integrations.export.openrlhf import OpenRLHFExporter
from tod.integrations.export.verl import VerlExporter
from tod.integrations.export.writer import RolloutWriter

__all__ = ["LiveBatch", "OpenRLHFExporter", "RolloutWriter", "VerlExporter", "identities"]
