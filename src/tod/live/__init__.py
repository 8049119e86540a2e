"""Writers of our rollout format, and hooks for trainers that leave too little on disk.

None of them imports the framework it serves: objects are read by the names of their fields.
"""

from tod.live.export import LiveBatch, RolloutWriter, identities
from tod.live.openrlhf import OpenRLHFExporter
from tod.live.verl import VerlExporter

__all__ = ["LiveBatch", "OpenRLHFExporter", "RolloutWriter", "VerlExporter", "identities"]
