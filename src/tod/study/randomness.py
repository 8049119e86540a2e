"""Counter-based random numbers: a draw is a function of its seed and its place, with no state."""

import numpy as np


def generator(seed: int, *place: int) -> np.random.Generator:
    """The generator of one place (step, context, purpose, ...) under a seed; the same every time.

    Equal seeds and places give equal numbers whatever was drawn before: two operators that ask at
    the same place share their random numbers. Philox, Salmon et al. 2011.
    """
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, *place])))
