"""Sweeps: one recipe at every combination of some settings, and what they change of its end.

A sweep is a folder of run directories and one file, ``sweep.json``, which says what was asked and
what came of it. `grid` makes the runs of the words, `run` runs those that are missing, `ends` reads
how they ended, `compare` asks whether settings differ by more than seeds do.
"""
