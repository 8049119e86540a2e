"""Text of which pieces could not be read: a mark stands where each would be."""

import re
from dataclasses import dataclass, field

_UNREAD = re.compile("\ue000(\\d+)\ue001")
_ASSUMED = re.compile("\ue002(\\d+)\ue003")
GONE = "\ue004"
"""An item of a list that is no word: it carries what was assumed for a list to be as it is."""
ARGUMENTS = "arguments"
"""What is assumed of a script that reads its arguments: that it is run without any."""


@dataclass(frozen=True)
class Unread:
    """A piece that could not be read.

    Attributes:
        source: How the script spells it.
        outside: The variable that it is the value of, if the script never gives it one.
    """

    source: str
    outside: str = ""


@dataclass
class Marks:
    """The pieces that the marks of one reading stand for.

    Attributes:
        pieces: In order.
        scripts: Scripts that were to be read in place and are not here: they may set anything.
        rewritten: Whole paths of files that the script itself writes: as they are here is not as
            they will be.
    """

    pieces: list[Unread | str] = field(default_factory=list)
    scripts: list[str] = field(default_factory=list)
    rewritten: set[str] = field(default_factory=set)
    _places: dict[Unread | str, int] = field(default_factory=dict, repr=False)

    def unread(self, source: str, outside: str = "") -> str:
        """A mark for a piece that could not be read."""
        return f"\ue000{self._place(Unread(source, outside))}\ue001"

    def assumed(self, name: str) -> str:
        """A mark, of no length, for text that holds where `name` is not set outside."""
        return f"\ue002{self._place(name)}\ue003"

    def shown(self, text: str) -> str:
        """The text as the script spells it."""
        return plain(_UNREAD.sub(lambda found: self._unread(found).source, text))

    def outside(self, text: str) -> str:
        """The variable whose value the whole text is, if the script never gives it one."""
        found = _UNREAD.fullmatch(plain(text))
        return "" if found is None else self._unread(found).outside

    def assumptions(self, text: str) -> frozenset[str]:
        """What has to be unset outside for the text to hold."""
        return frozenset(str(self.pieces[int(n)]) for n in _ASSUMED.findall(text))

    def _unread(self, found: re.Match[str]) -> Unread:
        piece = self.pieces[int(found.group(1))]
        return piece if isinstance(piece, Unread) else Unread(piece)

    def _place(self, piece: Unread | str) -> int:
        place = self._places.get(piece)
        if place is None:
            place = self._places[piece] = len(self.pieces)
            self.pieces.append(piece)
        return place


def without_marks(text: str) -> str:
    """A text of a file's, without characters that would be taken for marks."""
    return re.sub("[\ue000-\ue011]", "\ufffd", text)


def known(text: str) -> bool:
    """Whether all of a text was read."""
    return "\ue000" not in text


def plain(text: str) -> str:
    """The text without what was assumed for it."""
    return _ASSUMED.sub("", text).replace(GONE, "") if "\ue002" in text else text.replace(GONE, "")


def carried(text: str) -> str:
    """The marks of what was assumed for a text, without the text."""
    return "".join(f"\ue002{n}\ue003" for n in _ASSUMED.findall(text))


def certain(text: str) -> str:
    """The characters of a text that were read."""
    return _UNREAD.sub("", plain(text))
