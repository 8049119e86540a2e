"""A script's statements, followed on every way that is not decided: nothing is run."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from tod.base import SpecError
from tod.configurations.nearby import Near
from tod.configurations.shell import builtins_
from tod.configurations.shell.arithmetic import Arithmetic, NotKnownError
from tod.configurations.shell.conditions import tested
from tod.configurations.shell.documents import Documents
from tod.configurations.shell.marks import ARGUMENTS, Marks, carried, known, plain
from tod.configurations.shell.patterns import matches
from tod.configurations.shell.printing import PRINTING
from tod.configurations.shell.program_run import ProgramRun, without_prefixes
from tod.configurations.shell.rewritten import rewritten
from tod.configurations.shell.state import SOURCES, ShellState, Value, assuming, distinct, joined
from tod.configurations.shell.tree import Node, assigned, parse, text_of, words_of
from tod.configurations.shell.words import ALWAYS, Words

_WAYS = 24
"""Ways through a script that are followed apart; more are joined."""
_TURNS = 40
"""Turns of a loop that are followed one by one."""
_DEEPEST = 12
"""Calls and scripts inside one another."""
_MOST = 20_000
"""Statements that are followed."""
_WORK = 400_000
"""Statements, each counted as often as what its shell holds makes it cost: see `_weight`."""
_PRINTS_ELSEWHERE = re.compile(r"1?>|&>")
"""Begins a redirection of what a command prints."""


@dataclass
class Walk:
    """One reading of a script and of those inside it.

    Attributes:
        marks: What marks stand for.
        started: What to do with a program that is started, by its words, its input and the state.
        files: Those around the outermost script.
        line: Added to lines of the script that is followed now.
        documents: Here-documents of all scripts.
        steps: Statements that were followed so far.
        work: What following them has cost, in the same unit.
    """

    marks: Marks
    started: Callable[["Walk", ProgramRun, str | None, ShellState], None]
    files: Near
    line: int = 0
    documents: Documents = field(default_factory=Documents)
    steps: int = 0
    work: int = 0

    def start(self, run: ProgramRun, document: str | None, state: ShellState) -> None:
        """A program is started, with what it is given to read."""
        self.started(self, run, document, state)

    def script(self, text: str, state: ShellState) -> list[ShellState]:
        """Follow a script; the ways that it ends."""
        if state.depth > _DEEPEST:
            return builtins_.lose_all(self, state, "a script that deep")
        return self.each(parse(self.documents.taken_out(text)).children, [state])

    def inside(self, text: str, state: ShellState, line: int) -> list[ShellState]:
        """Follow a script that stands in another one, from one of its lines on."""
        before, self.line = self.line, line
        try:
            return self.script(text, state)
        finally:
            self.line = before

    def expansion(self, state: ShellState) -> Words:
        """Expansion of words in a state."""
        return Words(state, self.marks, self._printed)

    def each(self, nodes: Iterable[Node], states: list[ShellState]) -> list[ShellState]:
        """Statements one after the other."""
        for node in nodes:
            if not node.is_named and node.type not in ("[", "[["):
                continue
            going = [state for state in states if not state.flow]
            if not going:
                return states
            ended = [state for state in states if state.flow]
            states = [*ended, *self._limited([end for s in going for end in self._whole(node, s)])]
        return states

    def _whole(self, node: Node, state: ShellState) -> list[ShellState]:
        """One statement with the sign behind it: ``&`` leaves it to another shell."""
        behind = node.next_sibling
        if behind is not None and behind.type == "&":
            return self._after(state, self.one(node, state.copy()))
        return self.one(node, state)

    def one(self, node: Node, state: ShellState) -> list[ShellState]:
        """One statement.

        Raises:
            SpecError: Loops and calls come to more of them than are followed.
        """
        self.steps += 1
        self.work += _weight(state)
        if self.work > _WORK:
            raise SpecError(
                "a script that holds so many names and arguments that following it is out of "
                "proportion: it is not followed to its training command."
            )
        if self.steps > _MOST:
            raise SpecError(
                f"a script whose loops and calls come to more than {_MOST} statements: it is not "
                "followed to its training command."
            )
        follow = getattr(self, f"_{node.type}", None)
        if follow is not None:
            return follow(node, state)  # type: ignore[no-any-return]
        if node.type in ("comment", "heredoc_body", "heredoc_end", "heredoc_start"):
            return [state]
        return self._lost(node, state)

    def _limited(self, states: list[ShellState]) -> list[ShellState]:
        states = distinct(states)
        if len(states) <= _WAYS:
            return states
        apart: dict[str, list[ShellState]] = {}
        for state in states:
            apart.setdefault(state.flow, []).append(state)
        return [joined(group, self.marks) for group in apart.values()]

    def _lost(self, node: Node, state: ShellState) -> list[ShellState]:
        """What the grammar could not place: names that are written in it are not known."""
        for name in builtins_.written(text_of(node)) | assigned(node):
            state.set(name, self.marks.unread(f"${name}"))
        if node.named_children:
            return self.each([n for n in node.named_children if "command" in n.type], [state])
        return state.ended(None)

    def _printed(self, text: str, state: ShellState) -> str | None:
        """What a command in `$(…)` prints; None if not known."""
        if text.lstrip().startswith("<"):  # the lines of a file
            return None
        inner = state.copy()
        inner.output, inner.depth = (), state.depth + 1
        text = self.documents.put_back(text)
        ends = self.script(text, inner)
        return _collected(ends)

    # statements of the grammar, by the names of their nodes

    def _program(self, node: Node, state: ShellState) -> list[ShellState]:
        return self.each(node.children, [state])

    _compound = _program

    def _compound_statement(self, node: Node, state: ShellState) -> list[ShellState]:
        if text_of(node.children[0]) == "((":
            return self.worked_out(text_of(node)[2:-2], state)
        return self.each(node.children, [state])

    def worked_out(self, text: str, state: ShellState) -> list[ShellState]:
        """An expression of whole numbers; what it gives a value is lost where it is not known."""
        names = builtins_.counted(text)
        try:
            inner = self.expansion(state).document(text)
            if not known(inner):
                raise NotKnownError
            worked = Arithmetic(inner, state)
            return state.ended(worked.value() != 0, worked.carried)
        except NotKnownError:
            for name in names:
                state.set(name, self.marks.unread(f"${name}"))
            return state.ended(None)

    def _subshell(self, node: Node, state: ShellState) -> list[ShellState]:
        ends = self.each(node.children, [state.copy()])
        return self._after(state, ends)

    def _after(self, state: ShellState, ends: list[ShellState]) -> list[ShellState]:
        """Back in a shell of which another one, that has ended, changed nothing."""
        outputs = {end.output for end in ends}
        state.output = outputs.pop() if len(outputs) == 1 else (self.marks.unread("$(…)"),)
        statuses = {end.status for end in ends}
        return state.ended(statuses.pop() if len(statuses) == 1 else None)

    def _pipeline(self, node: Node, state: ShellState) -> list[ShellState]:
        quiet = state.copy()
        text: str | None = None
        for child in node.named_children:
            inner = quiet.copy()
            inner.output = ()
            if child.type == "command":
                text = _collected(self.command(child, inner, text, []))
            else:
                text = _collected(self.each([child], [inner]))
        if state.output is not None:
            told = self.marks.unread(text_of(node)) if text is None else text
            state.output = (*state.output, told)
        if "lastpipe" in state.modes:
            builtins_.lose_all(self, state, text_of(node))
        return state.ended(None)

    def _list(self, node: Node, state: ShellState) -> list[ShellState]:
        first, sign, second = node.children[0], text_of(node.children[1]), node.children[-1]
        found: list[ShellState] = []
        for end in self.one(first, state):
            if end.flow:
                found.append(end)
            elif end.status is None:
                other = end.copy()
                other.status = sign == "||"
                found += [other, *self.one(second, end)]
            else:
                goes = end.status is (sign == "&&")
                ways = ([second], []) if goes else ([], [second])
                found += self._decided(*ways, end)
        return self._limited(found)

    def _decided(
        self, taken: list[Node], others: list[Node], state: ShellState
    ) -> list[ShellState]:
        """The way that a condition takes; one that ends all by what was assumed is not believed."""
        why, status = state.why, state.status
        before = state.copy() if why else state
        ends = self.each(taken, [state]) if taken else state.ended(status)
        if why and all(end.flow == "exit" for end in ends):
            ends += self.each(others, [before]) if others else before.ended(None)
        names = frozenset[str]().union(*map(assigned, [*taken, *others])) if why else ()
        return [_marked(end, names, why) for end in ends]

    def _negated_command(self, node: Node, state: ShellState) -> list[ShellState]:
        ends = self.each(node.named_children, [state])
        for end in ends:
            end.status = None if end.status is None else not end.status
        return ends

    def _test_command(self, node: Node, state: ShellState) -> list[ShellState]:
        if text_of(node.children[0]) == "((":
            return self.worked_out(text_of(node)[2:-2], state)
        return state.ended(*tested(node, self.expansion(state)))

    def _if_statement(self, node: Node, state: ShellState) -> list[ShellState]:
        return self._branches(node, list(node.children), state)

    def _branches(self, node: Node, children: list[Node], state: ShellState) -> list[ShellState]:
        at = next(i for i, child in enumerate(children) if child.type == "then")
        condition = [c for c in children[1:at] if c.is_named]
        clauses = [c for c in children if c.type in ("elif_clause", "else_clause")]
        body = [c for c in children[at + 1 :] if c.is_named and c not in clauses]
        names = assigned(node)
        found: list[ShellState] = []
        for end in self.each(condition, [state]):
            if end.flow:
                found.append(end)
                continue
            why, status, other = end.why, end.status, end.copy()
            taken = [] if status is False else self.each(body, [end])
            all_end = status is not None and why and all(s.flow == "exit" for s in taken)
            if status is not True or all_end:
                taken += self._otherwise(clauses, other.copy())
            if status is False and why and all(s.flow == "exit" for s in taken):
                taken += self.each(body, [other])
            found += [_marked(s, names, why if status is not None else "") for s in taken]
        return self._limited(found)

    def _otherwise(self, clauses: list[Node], state: ShellState) -> list[ShellState]:
        """The clauses behind a condition that does not hold."""
        if not clauses:
            return state.ended(True)
        first, *rest = clauses
        if first.type == "else_clause":
            return self.each(first.named_children, [state])
        return self._branches(first, [*first.children, *rest], state)

    def _case_statement(self, node: Node, state: ShellState) -> list[ShellState]:
        expansion = self.expansion(state)
        end = next(c for c in node.children if c.type == "in").start_byte
        text = expansion.text(
            "".join(words_of([c for c in node.children[1:] if c.end_byte <= end]))
        )
        outside, why = self.marks.outside(text), carried(text)
        if outside and not outside.startswith(ARGUMENTS) and not ALWAYS.fullmatch(outside):
            text = why = self.marks.assumed(outside)
        items = [c for c in node.children if c.type == "case_item"]
        ends = self._items(items, text, expansion, state)
        if why and all(one.flow == "exit" for one in ends):
            ends += self._items(items, self.marks.unread("…"), expansion, state)
        names = assigned(node)
        return self._limited([_marked(one, names, why) for one in ends])

    def _items(
        self, items: list[Node], text: str, expansion: Words, state: ShellState
    ) -> list[ShellState]:
        """The items of a ``case`` that a text is of, or may be of."""
        found: list[ShellState] = []
        falling: list[ShellState] = []
        testing = [state.copy()]
        for item in items:
            hit = self._item_matches(item, text, expansion)
            begun = [*falling, *(one.copy() for one in testing if hit is not False)]
            testing = [] if hit is True else testing
            ends = self.each(_body(item), begun) if begun else []
            sign = text_of(item.children[-1])
            falling = ends if sign == ";&" else []
            testing += ends if sign == ";;&" else []
            found += [] if sign in (";&", ";;&") else ends
        return [*found, *falling, *testing]

    def _item_matches(self, item: Node, text: str, expansion: Words) -> bool | None:
        if not known(text):
            whole = [text_of(c) for c in item.children if c.type != "|"]
            return True if whole and whole[0] == "*" else None
        answers: list[bool | None] = []
        for pattern in _patterns(item):
            spelled = expansion.text(pattern)
            wild = any(char in pattern for char in "*?[(")
            wild |= "$" in pattern and any(char in spelled for char in "*?[")
            if not known(spelled) or (wild and any(char in pattern for char in "'\"\\$")):
                answers.append(None)
            elif wild:
                answers.append(matches(plain(text), plain(spelled)))
            else:
                answers.append(plain(text) == plain(spelled))
        loose = None in answers or "nocasematch" in expansion.state.modes
        return True if True in answers else None if loose else False

    def _for_statement(self, node: Node, state: ShellState) -> list[ShellState]:
        name = next(text_of(c) for c in node.children if c.type == "variable_name")
        body = next(c for c in node.children if c.type in ("do_group", "compound_statement"))
        values = [c for c in node.children if c.is_named and c is not body][1:]
        has_list = any(c.type == "in" for c in node.children)
        spelled = words_of([c for c in values if c.type != "comment"]) if has_list else ['"$@"']
        expansion = self.expansion(state)
        items = [text for word in spelled for text in expansion.fields(word)]
        asks = text_of(node.children[0]) == "select"  # whoever runs it
        if asks or len(items) > _TURNS or not all(map(known, items)):
            return self._loop([body], state, assigned(node) | {name})
        states, why = [state], "".join(expansion.vanished) + "".join(map(carried, items))
        for item in items:
            for one in states:
                if not one.flow:
                    one.set(name, item)
            states = self._turn([body], states)
        for one in states:
            one.flow = _behind_loop(one.flow)
        names = assigned(node)
        return self._limited([_marked(one, names, why) for one in states])

    def _turn(self, body: list[Node], states: list[ShellState]) -> list[ShellState]:
        """One turn of a loop."""
        ends = self._limited(self.each(body, states))
        for end in ends:
            end.flow = "" if end.flow == "continue" else end.flow
        return ends

    def _loop(self, body: list[Node], state: ShellState, names: Iterable[str]) -> list[ShellState]:
        """A loop whose turns are not counted: what it gives a value is not known."""
        for name in names:
            state.set(name, self.marks.unread(f"${name}"))
        before = state.copy()
        ends = self._turn(body, [state])
        for end in ends:
            end.flow = _behind_loop(end.flow)
            for name in names:
                end.set(name, self.marks.unread(f"${name}"))
        before.status = None
        return self._limited([before, *ends])

    def _while_statement(self, node: Node, state: ShellState) -> list[ShellState]:
        until = text_of(node.children[0]) == "until"
        body = next(c for c in node.children if c.type == "do_group")
        condition = [c for c in node.children[1:] if c.is_named and c is not body]
        ends = self.each(condition, [state.copy()])
        if len(ends) == 1 and ends[0].status is until:
            why, ends[0].status = ends[0].why, True
            return [_marked(ends[0], assigned(node), why)]
        return self._loop([*condition, body], state, assigned(node))

    def _c_style_for_statement(self, node: Node, state: ShellState) -> list[ShellState]:
        body = next(c for c in node.children if c.type in ("do_group", "compound_statement"))
        return self._loop([body], state, assigned(node) | builtins_.counted(text_of(node)))

    def _do_group(self, node: Node, state: ShellState) -> list[ShellState]:
        return self.each(node.named_children, [state])

    def _function_definition(self, node: Node, state: ShellState) -> list[ShellState]:
        name = text_of(node.child_by_field_name("name"))
        state.functions[name] = node, state.variables.get(SOURCES)
        return state.ended(True)

    def _variable_assignment(self, node: Node, state: ShellState) -> list[ShellState]:
        builtins_.assign(self, node, state)
        return state.ended(True)

    def _variable_assignments(self, node: Node, state: ShellState) -> list[ShellState]:
        return self.each(node.named_children, [state])

    def _declaration_command(self, node: Node, state: ShellState) -> list[ShellState]:
        return builtins_.declare(self, node, state)

    def _unset_command(self, node: Node, state: ShellState) -> list[ShellState]:
        expansion = self.expansion(state)
        spelled = words_of(node.children[1:])
        words = [text for word in spelled for text in expansion.fields(word)]
        return builtins_.unset(self, words, state)

    def _redirected_statement(self, node: Node, state: ShellState) -> list[ShellState]:
        body = node.children[0]
        document = next((c for c in node.children if c.type == "heredoc_redirect"), None)
        text, before = self._document(node, state), state.output
        elsewhere = any(_PRINTS_ELSEWHERE.match(text_of(child)) for child in node.children[1:])
        state.output = None if elsewhere else before
        self._redirected(node, state)
        if body.type == "command":
            more = [] if document is None else _behind(document)
            more = [*_behind_files(node), *more]
            ends = self.command(body, state, text, more)
        else:
            ends = self.one(body, state)
        for end in ends if elsewhere else ():
            end.output = before
        for child in [] if document is None else document.children:
            if child.type in ("command", "pipeline", "list"):
                ends = [s for end in ends for s in self.one(child, end)]
        return ends

    def _redirected(self, node: Node, state: ShellState) -> None:
        """Files that a redirection writes are other ones from here on."""
        for child in node.children[1:]:
            if child.type == "file_redirect" and ">" in text_of(child):
                to = words_of(child.named_children)[:1]
                self.marks.rewritten |= {
                    self.files.whole(text) for w in to for text in [self.expansion(state).text(w)]
                }

    def _document(self, node: Node, state: ShellState) -> str | None:
        """What a redirection gives a program to read."""
        for child in node.children:
            if child.type == "herestring_redirect":
                return self.expansion(state).text("".join(words_of(child.named_children)))
            if child.type != "heredoc_redirect":
                continue
            body = next((c for c in child.children if c.type == "heredoc_body"), None)
            start = next((text_of(c) for c in child.children if c.type == "heredoc_start"), "")
            if body is None or not text_of(body).strip():
                return ""
            lines = self.documents.body(text_of(body))
            if text_of(child.children[0]) == "<<-":
                lines = "\n".join(line.lstrip("\t") for line in lines.split("\n"))
            return lines if set(start) & set("'\"\\") else self.expansion(state).document(lines)
        return None

    def _command(self, node: Node, state: ShellState) -> list[ShellState]:
        return self.command(node, state, None, [])

    def command(
        self, node: Node, state: ShellState, document: str | None, more: list[str]
    ) -> list[ShellState]:
        """One command: a builtin, a function of the script, or a program that is started."""
        expansion = self.expansion(state)
        given = [c for c in node.children if c.type == "variable_assignment"]
        spelled = words_of([c for c in node.children if c.is_named and not _aside(c)]) + more
        words: list[str] = []
        sources: list[str] = []
        for word in spelled:
            found = expansion.fields(word)
            words += found
            sources += [word] * len(found)
        if not words:
            return self.each(given, [state]) if given else state.ended(None)
        line = state.line or node.start_point[0] + 1 + self.line
        vanished = "".join(expansion.vanished)
        run = ProgramRun(line, tuple(words), tuple(sources), vanished, document)
        if not given:
            return self._ran(run, state)
        before = {n: state.variables.get(n, ...) for c in given for n in assigned(c)}
        exported = set(state.exported)
        self.each(given, [state])
        state.exported |= set(before)
        ends = self._ran(run, state)
        for end in ends:
            end.left(before)
            end.exported -= set(before) - exported
        return ends

    def _ran(self, run: ProgramRun, state: ShellState) -> list[ShellState]:
        """What a command of known place runs, by its name."""
        whole, run = run, without_prefixes(run)
        name = plain(run.words[0]) if run.words else ":"
        if name in state.functions and "command" not in map(plain, whole.words[:1]):
            if state.depth > _DEEPEST:
                return builtins_.lose_all(self, state, f"{name}, called that deep")
            return self._call(state.functions[name], run, state)
        builtin = builtins_.BUILTINS.get(name)
        if builtin is not None:
            return builtin(self, run, state)
        if name in PRINTING and state.output is not None:
            return builtins_.prints(self, run, state)
        self.start(whole, run.document, state)
        self.marks.rewritten |= {self.files.whole(word) for word in rewritten(run.words)}
        if state.output is not None:
            state.output = (*state.output, self.marks.unread(f"$({name} …)"))
        return state.ended(None)

    def _call(
        self, defined: tuple[Node, Value], run: ProgramRun, state: ShellState
    ) -> list[ShellState]:
        function, files = defined
        outer = state.arguments, state.line
        before = state.reading(files[0] if isinstance(files, tuple) else "")
        state.arguments = builtins_.arguments(self, run.words[1:], run.sources[1:])
        state.line, state.depth = run.line, state.depth + 1
        state.scopes.append({})
        ends = self.one(function.children[-1], state)
        for end in ends:
            end.arguments, end.line, end.depth = outer[0], outer[1], end.depth - 1
            end.flow = "" if end.flow == "return" else end.flow
            end.reads(before)
            end.left(end.scopes.pop())
        return ends


def _weight(state: ShellState) -> int:
    """What a statement costs: another way copies all names and arguments that there are."""
    return 1 + (len(state.variables) + len(state.arguments or ())) // 64


def _collected(ends: list[ShellState]) -> str | None:
    """What was printed on the one way that there is; None if not known."""
    if len(ends) != 1 or ends[0].output is None:
        return None
    text = "\n".join(ends[0].output)
    return text.rstrip("\n") if known(text) else None


def _marked(state: ShellState, names: Iterable[str], why: str) -> ShellState:
    for name in names if why else ():
        if name in state.variables:
            state.set(name, assuming(state.variables[name], why))
    return state


def _patterns(item: Node) -> list[str]:
    """The patterns of one item of a ``case``."""
    found = [""]
    for child in item.children:
        if child.type == ")":
            break
        if child.type == "|":
            found.append("")
        elif child.type != "(":
            found[-1] += text_of(child)
    return [one.strip() for one in found]


def _body(item: Node) -> list[Node]:
    end = next(c for c in item.children if c.type == ")")
    return [c for c in item.children if c.is_named and c.start_byte >= end.end_byte]


def _behind_loop(flow: str) -> str:
    """How a way goes on behind a loop: ``break 2`` ends the one around it, too."""
    word, _, count = flow.partition(" ")
    if word not in ("break", "continue"):
        return flow
    left = int(count or 1) - 1
    return "" if left == 0 else word if left == 1 else f"{word} {left}"


def _behind_files(node: Node) -> list[str]:
    """Words of a command that stand behind the file that it writes or reads."""
    found: list[str] = []
    for child in node.children[1:]:
        if child.type == "file_redirect":
            found += words_of([c for c in child.named_children if c.type != "file_descriptor"])[1:]
    return found


def _aside(node: Node) -> bool:
    """Whether a node of a command is none of its words."""
    return node.type in ("variable_assignment", "comment") or "redirect" in node.type


def _behind(document: Node) -> list[str]:
    """Words that stand behind the mark of a here-document, on its line."""
    plain_words = ("word", "string", "raw_string", "concatenation", "number", "simple_expansion")
    return words_of([c for c in document.children if c.type in (*plain_words, "expansion")])
