"""A sweep so small that it is run in tests."""

from tod.study.sweep.grid import grid_of, parse_words

WORDS = (
    "target.eta=1,4",
    "operator=weighted_mle,weighted_mle_centred",
    "seeds=2",
    "train.steps=2",
    "train.checkpoint_every=1",
    "operator.proposal.prompts=4",
    "operator.proposal.size=4",
    "operator.proposal.max_new_tokens=12",
    "evaluate.held_out_prompts=6",
    "evaluate.samples_per_prompt=2",
)


def grid(*more):
    """Eight runs of two steps; words of ``more`` stand in the place of those of their setting."""
    return grid_of("weighted_mle", {**parse_words(WORDS), **parse_words(more)})


class Stop(BaseException):
    """What stops a process from outside."""


def stop_at(runs, told):
    """Stops when so many runs have ended, and the next has told so often how far it is."""
    ended, since = [], []

    def progress(state):
        if state.run is not None:
            ended.append(state.run)
        elif len(ended) == runs:
            since.append(state.done)
            if len(since) == told:
                raise Stop

    return progress
