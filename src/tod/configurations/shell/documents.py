"""Here-documents of a script, taken out before its grammar is read: their lines are no commands."""

import re
from dataclasses import dataclass, field

_OPENS = re.compile(r"(?<![<\w])<<(-?)[ \t]*(['\"\\]?)([A-Za-z_]\w*)\2")
_STANDS = re.compile("\ue010(\\d+)\ue011")


@dataclass
class Documents:
    """The bodies of here-documents, each under a number that stands where it was."""

    bodies: list[str] = field(default_factory=list)

    def taken_out(self, text: str) -> str:
        """The script with a number for every body, on as many lines."""
        if "<<" not in text:
            return text
        lines = text.split("\n")
        found: list[str] = []
        at = 0
        while at < len(lines):
            found.append(lines[at])
            at += 1
            if lines[at - 1].lstrip().startswith("#"):
                continue
            for dash, _, word in _OPENS.findall(lines[at - 1]):
                end = _end(lines, at, word, bool(dash))
                if end is None:
                    continue
                self.bodies.append("".join(f"{line}\n" for line in lines[at:end]))
                stands = [f"\ue010{len(self.bodies) - 1}\ue011", *[""] * (end - at - 1)]
                found += [*(stands if end > at else []), lines[end]]
                at = end + 1
        return "\n".join(found)

    def body(self, text: str) -> str:
        """The body that a number stands for."""
        found = _STANDS.search(text)
        return text if found is None else self.bodies[int(found.group(1))]

    def put_back(self, text: str) -> str:
        """A text with every body where it was."""
        return _STANDS.sub(lambda found: self.bodies[int(found.group(1))].rstrip("\n"), text)


def _end(lines: list[str], start: int, word: str, dash: bool) -> int | None:
    for at in range(start, len(lines)):
        if (lines[at].lstrip("\t") if dash else lines[at]).rstrip("\r") == word:
            return at
    return None
