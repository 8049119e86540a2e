"""A word of a script as the words that a program receives: quotes, variables, splitting."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from tod.configurations.shell.arithmetic import Arithmetic, NotKnownError
from tod.configurations.shell.braces import closing, skipped, spread
from tod.configurations.shell.marks import (
    ARGUMENTS,
    GONE,
    Marks,
    carried,
    certain,
    known,
    plain,
)
from tod.configurations.shell.parameters import Parameter, changed, parameter
from tod.configurations.shell.state import NO_BRACES, ShellState, Value

ALWAYS = re.compile(
    r"HOME|PATH|PWD|OLDPWD|USER|LOGNAME|SHELL|HOSTNAME|HOSTTYPE|OSTYPE|MACHTYPE|TERM|LANG|RANDOM"
    r"|SECONDS|LINENO|E?UID|PPID|BASH\w*|FUNCNAME|EPOCH\w*"
)
"""Variables that a shell always has: that they are unset is never assumed."""
SPACE = " \t\n"
_ESCAPES = {
    "n": "\n",
    "t": "\t",
    "r": "\r",
    "a": "\a",
    "b": "\b",
    "e": "\x1b",
    "f": "\f",
    "v": "\v",
}
_ANSI = re.compile(
    r"\\(x[0-9a-fA-F]{1,2}|u[0-9a-fA-F]{1,4}|U[0-9a-fA-F]{1,5}|[0-7]{1,3}|.)", re.DOTALL
)
_PLAIN = re.compile(r"[^\\'\"$`<>]+")
_PLAIN_IN_QUOTES = re.compile(r"[^\\$`]+")
_NAME = re.compile(r"\$([A-Za-z_]\w*|\d|[@*#?$!-])")


@dataclass(frozen=True)
class WordPiece:
    """Characters of a word.

    Attributes:
        text: Themselves; marks stand for what could not be read.
        splits: Whether spaces in them part words.
        breaks: Whether a word ends here: it stands between two items of a list.
    """

    text: str = ""
    splits: bool = False
    breaks: bool = False


@dataclass
class Words:
    """Expansion of words in one state.

    Attributes:
        state: The shell; ``${X:=y}`` and arithmetic change its variables.
        marks: What marks stand for.
        output: What a command prints, None if not known.
        vanished: Marks of what was assumed for words that are not there.
    """

    state: ShellState
    marks: Marks
    output: Callable[[str, ShellState], str | None]
    vanished: list[str] = field(default_factory=list)

    def fields(self, word: str) -> list[str]:
        """The words that one comes to: none, one or several."""
        words = [word] if NO_BRACES in self.state.modes else spread(word)
        return [text for one in words for text in self._split(self.pieces(_tilde(one, self)))]

    def text(self, word: str) -> str:
        """What a word comes to where it is not split, as in an assignment."""
        return "".join(" " if p.breaks else p.text for p in self.pieces(_tilde(word, self)))

    def document(self, body: str) -> str:
        """What the lines of a here-document come to: quotes in them are characters."""
        return "".join(" " if p.breaks else p.text for p in self._quoted(body, document=True))

    def number(self, text: str) -> str | None:
        """The number that an expression comes to, as text; None if not known."""
        try:
            inner = self.document(text)
            if not known(inner):
                return None
            worked = Arithmetic(inner, self.state)
            number = worked.value()
        except NotKnownError:
            return None
        return str(number) + worked.carried

    def pieces(self, word: str) -> list[WordPiece]:
        """A word without its quotes, its expansions done."""
        found: list[WordPiece] = []
        at = 0
        while at < len(word):
            run = _PLAIN.match(word, at)
            if run is not None:
                found.append(WordPiece(run.group()))
                at = run.end()
                continue
            char, end = word[at], skipped(word, at)
            if char == "\\":
                found += [WordPiece(word[at + 1 : at + 2])] if word[at + 1 : at + 2] != "\n" else []
            elif char == "'":
                found.append(WordPiece(word[at + 1 : end - 1]))
            elif char == '"' or word.startswith('$"', at):
                start = at + (1 if char == '"' else 2)
                end = closing(word, start, '"') + 1
                inside = word[start : end - 1]
                found += [] if _only_list(inside) else [WordPiece()]
                found += self._quoted(inside)
            elif word.startswith("$'", at):
                found.append(WordPiece(_ansi(word[at + 2 : end - 1])))
            elif word.startswith(("<(", ">("), at):
                found.append(WordPiece(self.marks.unread(word[at:end])))
            elif char in "$`":
                inner, end = self._expansion(word, at, False)
                found += inner
            else:
                found.append(WordPiece(char))
            at = end
        return found

    def _quoted(self, text: str, document: bool = False) -> list[WordPiece]:
        """The inside of double quotes."""
        found: list[WordPiece] = []
        at = 0
        while at < len(text):
            run = _PLAIN_IN_QUOTES.match(text, at)
            if run is not None:
                found.append(WordPiece(run.group()))
                at = run.end()
            elif text[at] == "\\":
                follows = text[at + 1 : at + 2]
                special = follows in ("$", "`", "\\", "\n") or (follows == '"' and not document)
                found.append(
                    WordPiece("" if follows == "\n" else follows if special else "\\" + follows)
                )
                at += 2
            elif text[at] in "$`":
                inner, at = self._expansion(text, at, True)
                found += inner
            else:
                found.append(WordPiece(text[at]))
                at += 1
        return found

    def _expansion(self, text: str, at: int, quoted: bool) -> tuple[list[WordPiece], int]:
        """What `$` or a backtick begins, and where it ends."""
        if text.startswith("$((", at):
            end = closing(text, at + 3, ")")
            if text.startswith("))", end):
                number = self.number(text[at + 3 : end])
                return self._one(number, text[at : end + 2], quoted), end + 2
        if text.startswith(("$(", "`"), at):
            end = skipped(text, at)
            inner = (
                text[at + 2 : end - 1] if text[at] == "$" else _in_backticks(text[at + 1 : end - 1])
            )
            return self._one(self.output(inner, self.state), text[at:end], quoted), end
        if text.startswith("$[", at):
            end = closing(text, at + 2, "]") + 1
            return self._one(self.number(text[at + 2 : end - 1]), text[at:end], quoted), end
        if text.startswith("${", at):
            end = skipped(text, at)
            of = parameter(text[at + 2 : end - 1])
            if of is None:
                return self._one(None, text[at:end], quoted), end
            return self._parameter(of, text[at:end], quoted), end
        named = _NAME.match(text, at)
        if named is None:
            return [WordPiece(text[at])], at + 1
        name = named.group(1)
        of = Parameter("@", prefix="#") if name == "#" else Parameter(name)
        return self._parameter(of, named.group(), quoted), named.end()

    def _one(self, text: str | None, source: str, quoted: bool) -> list[WordPiece]:
        return [WordPiece(self.marks.unread(source) if text is None else text, not quoted)]

    def _parameter(self, of: Parameter, source: str, quoted: bool) -> list[WordPiece]:
        if (
            of.prefix == "!"
            or of.name in "?$!-"
            or (of.name == "0" and not self.state.name)
            or (of.index not in (None, "@", "*") and of.operator in ("=", ":="))
        ):
            return self._one(self._indirect(of), source, quoted)
        items, outside = self._items(of)
        if of.prefix == "#":
            return self._one(self._length(of, items), source, quoted)
        if of.operator.lstrip(":") in ("-", "=", "+", "?") and of.operator != ":":
            return self._default(of, items, outside, source, quoted)
        if items is None:
            if outside:
                return [WordPiece(self.marks.unread(source, outside), not quoted)]
            return []
        if of.operator:
            items = self._operated(of, items, source)
        return self._list(of, items, quoted)

    def _operated(self, of: Parameter, items: tuple[str, ...], source: str) -> tuple[str, ...]:
        if of.every and of.operator == ":":
            return self._slice(of, items, source)
        return tuple(self._changed(of, item, source) for item in items)

    def _slice(self, of: Parameter, items: tuple[str, ...], source: str) -> tuple[str, ...]:
        start, _, count = of.operand.partition(":")
        first, many = self._whole(start), self._whole(count) if count else len(items)
        if first is None or many is None or min(first, many) < 0:
            return (self.marks.unread(source),)
        first -= 1 if of.name in "@*" else 0
        return items[max(0, first) : first + many]

    def _changed(self, of: Parameter, item: str, source: str) -> str:
        assumed = carried(item)

        def expand(word: str) -> str | None:
            nonlocal assumed
            text = self.text(word)
            assumed += carried(text)
            quoted = any(char in word for char in "'\"\\") and any(c in text for c in "*?[")
            return plain(text) if known(text) and not quoted else None

        text = changed(plain(item), of, expand, self._whole) if known(item) else None
        return self.marks.unread(source) if text is None else text + assumed

    def _whole(self, text: str) -> int | None:
        number = self.number(text)
        return None if number is None else int(plain(number))

    def _indirect(self, of: Parameter) -> str | None:
        """``${!X}``: the value of the variable that X names; None if not known."""
        if of.prefix != "!" or of.index or of.name not in self.state.variables:
            return None
        name = self.state.variables[of.name]
        if not isinstance(name, str) or not known(name):
            return None
        inner, _ = self._items(Parameter(plain(name)))
        return inner[0] + carried(name) if inner else None

    def _length(self, of: Parameter, items: tuple[str, ...] | None) -> str | None:
        if items is None or not all(map(known, items)):
            return None
        assumed = "".join(map(carried, items))
        if of.every:
            there = [item for item in items if GONE not in item]
            assumed += self.marks.assumed(ARGUMENTS) if self._from_arguments(of) else ""
            return str(len(there)) + assumed
        return str(sum(len(plain(item)) for item in items)) + assumed

    def _from_arguments(self, of: Parameter) -> bool:
        return of.name in "@*" and self.state.arguments is None

    def _items(self, of: Parameter) -> tuple[tuple[str, ...] | None, str]:
        """The texts that are meant, None if there are none; the variable, if set outside alone."""
        if of.name in "@*":
            if self.state.arguments is None:
                return (GONE + self.marks.assumed(ARGUMENTS),), ""
            return self.state.arguments, ""
        if of.name == "0":
            return (self.state.name,), ""
        if of.name.isdigit():
            given = self.state.arguments
            if given is None:
                return None, f"{ARGUMENTS} {of.name}"
            place = int(of.name) - 1
            if place >= len(given) and given and self.marks.shown(given[-1]) == "$@":
                return (given[-1],), ""
            return ((given[place],), "") if place < len(given) else (None, "")
        if of.name in self.state.loose:
            return (self.marks.unread(f"${of.name}"),), ""
        if of.name not in self.state.variables:
            if self.state.open and not ALWAYS.fullmatch(of.name):
                return (self.marks.unread(f"${of.name}", of.name),), ""
            return None, of.name
        return self._chosen(of, self.state.variables[of.name]), ""

    def _chosen(self, of: Parameter, value: Value) -> tuple[str, ...] | None:
        """The items of a value that an index chooses."""
        if value is None:
            return None
        items = value if isinstance(value, tuple) else (value,)
        if of.index in ("@", "*"):
            return items
        number = 0 if of.index is None else self._whole(of.index)
        if number is None or any(not known(item) for item in items[:-1]):
            return (self.marks.unread(f"${{{of.name}[{of.index or 0}]}}"),)
        there = [item for item in items if GONE not in item]
        assumed = "".join(carried(item) for item in items if GONE in item)
        inside = -len(there) <= number < len(there)
        if not inside and items and not known(items[-1]):
            return (self.marks.unread(f"${{{of.name}[{of.index or 0}]}}"),)
        return (there[number] + assumed,) if inside else None

    def _default(
        self, of: Parameter, items: tuple[str, ...] | None, outside: str, source: str, quoted: bool
    ) -> list[WordPiece]:
        """``${X:-y}`` and its kinds."""
        empty = self._empty(of, items)
        if empty is None or (outside and ALWAYS.fullmatch(outside)):
            return [WordPiece(self.marks.unread(source, outside), not quoted)]
        sign = of.operator[-1]
        name = ARGUMENTS if outside.startswith(ARGUMENTS + " ") else outside
        assumed = self.marks.assumed(name) if name else "".join(map(carried, items or ()))
        if sign == "+" and empty:
            self.vanished.append(assumed)
            return [] if quoted and of.spread else [WordPiece(assumed, not quoted)]
        if sign != "+" and not empty:
            return self._list(of, items or (), quoted)
        if sign == "?":
            return [WordPiece(self.marks.unread(source, outside), not quoted)]
        inner = self._quoted(of.operand) if quoted else self._operand(of.operand)
        if sign == "=":
            text = "".join(" " if p.breaks else p.text for p in inner)
            self.state.set(of.name, text + assumed)
        return [*inner, WordPiece(assumed, not quoted)]

    def _operand(self, operand: str) -> list[WordPiece]:
        """An operand outside of quotes: its own plain characters are split like a value."""
        found: list[WordPiece] = []
        at = 0
        while at < len(operand):
            end = skipped(operand, at)
            single = end == at + 1 and operand[at] not in "$`"
            if operand[at] == "$" and end == at + 1:
                named = _NAME.match(operand, at)
                end = named.end() if named else end
            part = operand[at:end]
            found += [WordPiece(part, True)] if single else self.pieces(part)
            at = end
        return found

    def _empty(self, of: Parameter, items: tuple[str, ...] | None) -> bool | None:
        """Whether an operator takes the variable as unset; None if not known."""
        if items is None:
            return True
        there = [item for item in items if GONE not in item]
        if not there:
            return True
        if not of.operator.startswith(":"):
            return False
        if any(certain(item) for item in there) or len(there) > 1:
            return False
        return True if all(map(known, there)) else None

    def _list(self, of: Parameter, items: tuple[str, ...], quoted: bool) -> list[WordPiece]:
        self.vanished += [plain_free(item) for item in items if GONE in item]
        there = [item for item in items if GONE not in item]
        if quoted and of.every and not of.spread:
            between = self.state.variables.get("IFS", " ")
            if not isinstance(between, str) or not known(between):
                return [WordPiece(self.marks.unread("${…[*]}"))]
            return [WordPiece(between[:1].join(there))]
        found: list[WordPiece] = []
        for item in there:
            found += [WordPiece(breaks=True)] if found else []
            found.append(WordPiece(item, not quoted))
        return found

    def _split(self, pieces: list[WordPiece]) -> list[str]:
        """Pieces as words: a space in one that splits ends a word."""
        space = self.state.variables.get("IFS", SPACE)
        words: list[str] = []
        current: str | None = None
        for piece in pieces:
            if piece.breaks:
                words += [] if current is None else [current]
                current = None
            elif not piece.splits:
                current = (current or "") + piece.text
            elif plain(piece.text) == "":
                self.vanished.append(piece.text)
                current = current if current is None else current + piece.text
            elif space != SPACE:
                current = (current or "") + self.marks.unread("$IFS")
            else:
                current = _parted(piece.text, current, words)
        return words + ([] if current is None else [current])


def _in_backticks(text: str) -> str:
    """A command in backticks: a backslash there is taken off before it is read."""
    return re.sub(r"\\([\\$`])", r"\1", text)


def plain_free(item: str) -> str:
    """The marks of an item that is no word."""
    return item.replace(GONE, "")


def _parted(text: str, current: str | None, words: list[str]) -> str | None:
    """Put all words of a text but the last to ``words``; the last, which may go on."""
    parts = re.split(f"[{SPACE}]+", text)
    if parts[0] or (len(parts) == 1 and current is not None):
        current = (current or "") + parts[0]
    if len(parts) == 1:
        return current
    words += [] if current is None else [current]
    words += parts[1:-1]
    return parts[-1] or None


def _only_list(inside: str) -> bool:
    """Whether double quotes hold nothing but a list: without items it is no word."""
    return re.fullmatch(r"\$@|\$\{(@|\w+\[@\])[^}]*\}", inside) is not None


def _tilde(word: str, words: Words) -> str:
    """A home directory at a word's start is not read."""
    found = re.match(r"([A-Za-z_]\w*=)?~(?=/|$)", word)
    if found is None:
        return word
    return f"{found.group(1) or ''}{words.marks.unread('~')}{word[found.end() :]}"


def _ansi(text: str) -> str:
    """The characters of ``$'…'``."""

    def one(found: re.Match[str]) -> str:
        code = found.group(1)
        if code[0] in "xuU" and len(code) > 1:
            return chr(int(code[1:], 16))
        return chr(int(code, 8)) if code[0] in "01234567" else _ESCAPES.get(code, code)

    return re.sub(
        r"\\(x[0-9a-fA-F]{1,2}|u[0-9a-fA-F]{1,4}|U[0-9a-fA-F]{1,6}|[0-7]{1,3}|.)",
        one,
        text,
        flags=re.DOTALL,
    )
