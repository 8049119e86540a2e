"""All formats by name, the most specific first: detection takes the first that recognises."""

from tod.formats import (
    areal,
    mapping,
    ms_swift,
    nemo_rl,
    open_instruct,
    prime_rl,
    skyrl,
    slime,
    tinker,
    trl,
    verl,
)
from tod.formats import own as tod_format
from tod.formats.format import Format

FORMATS: dict[str, Format] = {
    module.FORMAT.name: module.FORMAT
    for module in (
        tod_format,
        trl,
        verl,
        nemo_rl,
        skyrl,
        slime,
        prime_rl,
        tinker,
        ms_swift,
        open_instruct,
        areal,
        mapping,
    )
}
"""Every format that `read` knows, by the name used with ``--format``."""
