"""Decoders for files that may be hostile: no code of theirs is run, no size is taken on trust."""
