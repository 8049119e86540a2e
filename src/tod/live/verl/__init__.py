"""verl: an exporter for its older trainers, and a plugin for those of ``trainer.use_v1``.

The plugin is loaded by verl itself, by ``VERL_USE_EXTERNAL_MODULES=tod.live.verl.plugin``; nothing
else here imports verl.
"""

from tod.live.verl.exporter import VerlExporter

__all__ = ["VerlExporter"]
