"""Metric logs of any framework as one table by training step.

``read_log`` reads a file or the folder of a run, ``detect`` says whether there is one to read, and
``join`` lays several logs of one run side by side. ``names.yaml`` says what every framework calls a
figure.
"""

from tod.logs.build import join
from tod.logs.log import Log, Rejected
from tod.logs.names import names
from tod.logs.read import detect, read_log

__all__ = ["Log", "Rejected", "detect", "join", "names", "read_log"]
