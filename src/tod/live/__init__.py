"""Writers of our rollout format, and hooks for trainers that leave too little on disk.

None of them imports the framework it serves: objects are read by the names of their fields.
"""

from tod.live.batch import LiveBatch, identities
from tod.live.openrlhf import OpenRLHFExporter
from tod.live.verl import VerlExporter
from tod.live.writer import RolloutWriter

__all__ = ["LiveBatch", "OpenRLHFExporter", "RolloutWriter", "VerlExporter", "identities"]
