"""The steps of a run in the stores of trackers, besides its own records."""
