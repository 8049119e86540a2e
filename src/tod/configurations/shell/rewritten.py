"""Files that a program writes by its words: ``tee``, ``cp``, ``sed -i``."""

from tod.configurations.shell.marks import plain

_LAST = ("cp", "mv", "ln", "install", "rsync")
_EVERY = ("tee", "truncate", "rm")


def rewritten(words: tuple[str, ...]) -> tuple[str, ...]:
    """Names of files that are other ones, or away, once a program has run.

    Args:
        words: The program's, its own name first.
    """
    if not words:
        return ()
    name = plain(words[0]).rpartition("/")[2]
    rest = tuple(word for word in words[1:] if not plain(word).startswith("-"))
    in_place = any(plain(word).startswith(("-i", "--in-place")) for word in words[1:])
    if name in _EVERY or (name in ("sed", "perl", "yq") and in_place):
        return rest
    return rest[-1:] if name in _LAST else ()
