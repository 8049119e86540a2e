"""The exit codes of every command, in one table: what a script may rely on."""

EXITS = {
    0: "done; nothing to look at",
    1: "a fault in tod, or work that failed part of the way",
    2: "what was given cannot be used, a library is missing, the disk is full",
    3: "something to look at: a warning, a setting without its effect",
    4: "something to stop for: a critical finding, a setting that cannot work",
    130: "interrupted; what was done is saved",
}
"""Code → what it means. 3 and 4 are of `diagnose --exit-code`, `watch`, `check` and `audit`,
4 of `check-sync` too."""
