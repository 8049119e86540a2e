"""The steps of a run in the stores of trackers."""
