"""Scripts of a small grammar of the shell, for what a reader of them has to survive."""

from hypothesis import strategies as st

SCALARS, LISTS, SPACED = ("A", "B", "C", "E1", "E2"), ("L", "M"), ("S", "T")
"""Names of variables: without spaces, arrays, and texts that hold several words."""
name, array, spaced = map(st.sampled_from, (SCALARS, LISTS, SPACED))
plain = st.sampled_from(["1", "2", "07", "x", "0.5", "a_b", "true", ""])
key = st.sampled_from(["k.a", "k.b", "k.c", "+k.a"])


@st.composite
def expansions(draw: st.DrawFn) -> str:
    """``${X:-y}`` and its kin."""
    v, d = draw(name), draw(plain)
    n = d if d.isdigit() else "3"
    forms = [f"${v}", f"${{{v}}}", f"${{{v}:-{d}}}", f"${{{v}-{d}}}", f"${{{v}:+{d}}}"]
    forms += [f"$(({v}+1))", f"$(( {n} * 2 ))", f"${{{v}%1}}", f"${{{v}#0}}", f"${{{v}/x/y}}"]
    forms += [f"${{{v}:={d}}}", f"${{#{v}}}", f"${{{v}^^}}", f"$(echo {d})", f"${{{v}:0:1}}"]
    return draw(st.sampled_from(forms))


in_quotes = st.lists(st.one_of(plain, expansions(), st.just("\\$")), max_size=3)
quoted = in_quotes.map(lambda found: '"' + "".join(found) + '"')
single = st.sampled_from(["'a:b'", "'$A'", "''", "'k=1'", "$'x\\x41y'"])
piece = st.one_of(plain, quoted, single, expansions())
word = st.lists(piece, min_size=1, max_size=2).map("".join)
setting = st.tuples(key, word).map("=".join)
argument = st.one_of(
    setting,
    setting,
    array.map(lambda a: f'"${{{a}[@]}}"'),
    array.map(lambda a: f"${{{a}[@]}}"),
    array.map(lambda a: f"${{{a}[0]}}"),
    array.map(lambda a: f'"k.n=${{#{a}[@]}}"'),
    array.map(lambda a: f'"k.j=${{{a}[*]}}"'),
    name.map(lambda v: f"${v}"),
    spaced.map(lambda v: f"${v}"),
    spaced.map(lambda v: f'k.b="${v}"'),
    st.sampled_from(['"$@"', "k.a={1,2}"]),
)
arguments_ = st.lists(argument, max_size=3).map(" ".join)
assignment = st.one_of(
    st.tuples(name, word).map("=".join),
    st.tuples(name, word).map(lambda t: f"export {t[0]}={t[1]}"),
    st.tuples(name, word).map("+=".join),
    st.tuples(spaced, key, plain).map(lambda t: f'{t[0]}="{t[1]}={t[2]} k.c=4"'),
    st.tuples(spaced, key, plain).map(lambda t: f'{t[0]}+=" k.a=6\n {t[1]}={t[2]}"'),
    st.tuples(array, arguments_).map(lambda t: f"{t[0]}=({t[1]})"),
    st.tuples(array, arguments_).map(lambda t: f"{t[0]}+=({t[1]})"),
    st.tuples(array, st.integers(0, 2)).map(lambda t: f"{t[0]}[{t[1]}]=k.b=3"),
    name.map(lambda v: f"unset {v}"),
    name.map(lambda v: f"(({v}++))"),
    name.map(lambda v: f"(( {v} = 3 * 2 ))"),
    name.map(lambda v: f": ${{{v}:=4}}"),
    name.map(lambda v: f"let {v}+=2"),
    st.sampled_from(["set -- k.a=8 k.b=9", "shift"]),
)
PROGRAM = "-m verl.trainer.main_ppo"
TAG = "TAG"
"""Stands at the end of every command, for a number of its own."""


@st.composite
def commands(draw: st.DrawFn) -> str:
    """A training command."""
    start = draw(st.sampled_from(["python3", "srun -n1 python3", "torchrun x"]))
    between = draw(st.sampled_from([" ", " \\\n  "]))
    return between.join([f"{start} {PROGRAM}", *draw(st.lists(argument, max_size=4)), TAG])


condition = st.one_of(
    st.sampled_from(["maybe", "! maybe", "true", "[ $# -gt 0 ]", "[ -f nofile ]"]),
    name.map(lambda v: f'[ -z "${v}" ]'),
    st.tuples(name, plain).map(lambda t: f'[ "${t[0]}" = "{t[1]}" ]'),
    st.tuples(name, plain).map(lambda t: f"[[ ${t[0]} == {t[1] or 'x'}* ]]"),
    name.map(lambda v: f'[[ -n "${v}" && "${v}" != 1 ]]'),
    name.map(lambda v: f"(( {v} > 1 ))"),
)


def _blocks(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    some = st.lists(inner, min_size=1, max_size=2).map("\n".join)
    bare = commands().map(lambda c: c.replace("'", "").replace("\\\n", ""))
    return st.one_of(
        st.tuples(condition, some, some).map(
            lambda t: f"if {t[0]}; then\n{t[1]}\nelse\n{t[2]}\nfi"
        ),
        st.tuples(condition, some).map(lambda t: f"if {t[0]}; then\n{t[1]}\nfi"),
        st.tuples(condition, st.sampled_from(["&&", "||"]), assignment).map(" ".join),
        st.tuples(name, plain, inner, inner).map(
            lambda t: f'case "${t[0]}" in\n {t[1] or "q"}|zz)\n {t[2]}\n ;;\n *) {t[3]} ;;\nesac'
        ),
        st.tuples(name, inner).map(lambda t: f"for {t[0]} in 1 2; do\n{t[1]}\ndone"),
        st.tuples(inner, arguments_).map(lambda t: f"f() {{\n local A=5\n {t[0]}\n}}\nf {t[1]}"),
        some.map(lambda body: f"(\n{body}\n)"),
        commands().map(lambda c: f"bash <<EOF\n{c}\nEOF"),
        commands().map(lambda c: f"bash <<'EOF'\n{c}\nEOF"),
        bare.map(lambda c: f"bash -c '{c}'"),
        bare.map(lambda c: f'ssh host "{c.replace(chr(34), "")}"'),
        st.tuples(condition, inner).map(lambda t: f"while {t[0]}; do\n{t[1]}\nbreak\ndone"),
        condition.map(lambda c: f"{c} && exit 0"),
    )


statement = st.recursive(st.one_of(assignment, assignment, commands()), _blocks, max_leaves=4)
scripts = st.tuples(st.lists(statement, min_size=1, max_size=7), commands()).map(
    lambda t: "\n".join([*t[0], t[1]])
)
values = st.sampled_from(["1", "x", "k.a=7", "", "07"])
outside = st.fixed_dictionaries(
    {"VERDICT": st.sampled_from(["0", "1"])},
    optional=dict.fromkeys((*SCALARS, *SPACED), values),
)
"""Variables that are set outside of a script, and what `maybe` says."""
