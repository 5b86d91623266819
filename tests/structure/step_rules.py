"""What the steps of a notebook are like: one to a cell, numbered, told in words, judged, and safe to send again.

Every rule takes a `Notebook` and yields complaints, each with the cell it is about; none means the notebook holds it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from tests.structure.notebook import STEPS, Call, Cell, Notebook, Rule, rank, text_of, texts

LINES = 15  # of a code cell, its SQL included
IN_A_ROW = 2  # code cells without a word between them
CODE_CELLS = 30  # in a notebook; guidance
# Cells that may be longer, by notebook and step: how many lines, and why. Long SQL is the only good reason.
LONGER: dict[tuple[str, str], tuple[int, str]] = {
    ("phase_0_platform_prep", "0.2c"): (18, "four statements of one trial"),
    ("phase_0_platform_prep", "0.4d"): (20, "a line for each variable of the checklist"),
    ("phase_2_first_mainnet", "2.6a"): (19, "two of the three trails are long statements, judged together"),
    ("phase_3_dry_runs", "3.0a"): (17, "one statement: deployment, Skill, agent, and who shares the wallet"),
    ("phase_3_dry_runs", "3.1b"): (19, "the change, its proof and its undo, one above the other"),
    ("phase_3_dry_runs", "3.1c"): (20, "what the guard did, to whom, and that the runner ticked, judged together"),
    ("phase_3_dry_runs", "3.2k"): (17, "who was marked, and who must not be, judged together"),
    ("phase_3_dry_runs", "3.4i"): (17, "the switches and the runner that came back, judged together"),
    ("phase_4_first_day", "4.2g"): (18, "the row, its agent, its Skill and its first reconciliation in one statement"),
    ("phase_4_first_day", "4.3b"): (17, "each order beside the decision it came from"),
    ("phase_4_first_day", "4.3c"): (22, "two of the three trails are long statements, judged together"),
    ("phase_4_first_day", "4.4g"): (16, "each status beside the command that explains it"),
}
# Notebooks that may have more code cells: how many, and why.
MORE_CELLS: dict[str, tuple[int, str]] = {
    "phase_0_platform_prep": (47, "five sections of the checklist, each short"),
    "phase_1_paper": (57, "every command twice, sent and then seen; and the halt"),
    "phase_2_first_mainnet": (45, "nothing is signed or deployed before all of it was looked at"),
    "phase_3_dry_runs": (60, "four dry runs, each a bracket of looks around its changes"),
    "phase_4_first_day": (59, "the upgrade, then one cell for each alarm and each chart"),
}

READING = ("phase.reply", "phase.value", "phase.undo")  # what a cell asks of an earlier step
OURS = re.compile(r"%\((?:began|since)\)s|\b(?:\w+_)?id(?:::text)? = %\(")  # what tells our rows from others'
# Steps that may look at the newest row of anybody, and why.
NEWEST = {
    ("diagnose_boot", "1.6a"): "it only looks, shows which deployment it took, and takes another by -p deployment"
}
# Steps that may judge each row there is, and pass without any, and why; others are left unproven then.
WITHOUT_ROWS = {
    ("phase_0_platform_prep", "0.4c"): "a project may have no variables yet: that they can be listed is all it says",
    ("rotate_secret", "1.7g"): "where Vercel does not hold the secret, nothing is sent to it",
    ("rotate_secret", "1.7ta"): "the app may have no machine: it only lists them",
}
COSTLY = ("deploy_live",)  # gestures that can cost money
MEASURED = re.compile(r"seconds|_ms$|_usd$|_pct$")  # columns that hold a duration or an amount
KEY = "{key}"  # what an act's command holds of its step
KEYED = ("send_command(",)  # commands of the library that carry it


def narrative(notebook: Notebook) -> Iterator[str]:
    """A word before every step, a heading for every section of steps, never many code cells in a row."""
    row = 0
    headings: set[str] = set()
    before: Cell | None = None
    for cell in notebook.cells:
        row = row + 1 if cell.kind == "code" else 0
        if row == IN_A_ROW + 1:
            yield f"cell {cell.place} is code cell number {row} in a row, expected at most {IN_A_ROW}"
        if cell.kind == "markdown":
            headings.update(line for line in cell.source.splitlines() if line.startswith("#"))
        for number in filter(None, (call.number for call in cell.steps if cell.kind == "code")):
            if before is None or before.kind != "markdown" or not before.source.strip():
                yield f"cell {cell.place}: no markdown before step {number}"
            section = number.rstrip("abcdefghijklmnopqrstuvwxyz")
            if not any(re.search(rf"(?<![\w.]){re.escape(section)}(?![\d.]\d|\d)", line) for line in headings):
                yield f"cell {cell.place}: no heading above step {number} names {section}"
        before = cell


def one_step(notebook: Notebook) -> Iterator[str]:
    """A step is one call in one cell, on `phase`, and nothing else is in that cell."""
    for cell in notebook.code:
        alone = [call for call in cell.calls if call.verb != "show"]
        if len(cell.calls) > 1:
            yield f"cell {cell.place} calls {', '.join(call.verb for call in cell.calls)}: one step in a cell"
        elif alone and not (len(cell.tree.body) == 1 and is_statement(cell.tree.body[0], alone[0])):
            yield f"cell {cell.place}: {alone[0].verb} is not alone in its cell, as a statement of its own"
        yield from (f"cell {cell.place}: {other}" for other in disguised(cell))


def is_statement(line: ast.stmt, call: Call) -> bool:
    """Whether a line is the call, its value kept or not, awaited or not."""
    value = line.value if isinstance(line, ast.Expr | ast.Assign) else None
    return (value.value if isinstance(value, ast.Await) else value) is call.node


def disguised(cell: Cell) -> Iterator[str]:
    """A verb reached by another way than `phase.verb(…)`, which the order of steps would not see."""
    called = {id(call.node.func) for call in cell.calls}
    for node in ast.walk(cell.tree):
        if isinstance(node, ast.Attribute) and node.attr in (*STEPS, "undo", "close") and id(node) not in called:
            yield f"{ast.unparse(node)} is not a call `phase.{node.attr}(…)`"


def length(notebook: Notebook) -> Iterator[str]:
    """A cell is read at a glance."""
    for cell in notebook.code:
        step = next((call.number for call in cell.steps if call.number), "")
        allowed, _ = LONGER.get((notebook.name, step), (LINES, ""))
        if cell.lines > allowed:
            yield f"cell {cell.place} ({step or 'no step'}) has {cell.lines} lines, expected at most {allowed}"


def numbers(notebook: Notebook) -> Iterator[str]:
    """Numbers are literal, of the notebook's phase, unique and in order; later mentions name a step there is."""
    phase = re.match(r"phase_(\d+)_", notebook.name)
    last: str | None = None
    for cell, call in notebook.steps:
        number = call.number
        if number is None or rank(number) is None:
            yield f"cell {cell.place}: {call.verb} starts with no literal number such as '1.5b' ({number!r})"
            continue
        if phase and number.partition(".")[0] != phase[1]:
            yield f"cell {cell.place}: step {number} is not of phase {phase[1]}"
        if last is not None and (rank(number) or ()) <= (rank(last) or ()):
            yield f"cell {cell.place}: step {number} comes after {last}"
        last = number


def mentions(notebook: Notebook) -> Iterator[str]:
    """`phase.reply`, `phase.value` and `phase.undo` name an earlier step, and what registers an undo is undone."""
    seen: set[str] = set()
    owed: dict[str, int] = {}
    for cell in notebook.code:
        for node in ast.walk(cell.tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in READING:
                named = text_of(node.args[0]) if node.args else None
                if named not in seen:
                    yield f"cell {cell.place}: {ast.unparse(node)} names no step above it"
                if ast.unparse(node.func) == "phase.undo" and named and owed.pop(named, None) is None:
                    yield f"cell {cell.place}: step {named} registers no undo, or was undone above"
        for call in cell.steps:
            seen.add(call.number or "")
            if call.keyword("undo") is not None:
                owed[call.number or ""] = cell.place
    yield from (f"cell {place}: the undo of step {number} is never asked for" for number, place in owed.items())


# --- what a step must carry -----------------------------------------------------------------------------------------


def fixes(notebook: Notebook) -> Iterator[str]:
    """Whoever judges says what to do when the answer is wrong."""
    for cell, call in notebook.steps:
        judges = call.verb == "check" or (call.verb == "act" and call.keyword("expect") is not None)
        if judges and not (text_of(call.keyword("fix")) or "").strip():
            yield f"cell {cell.place}: step {call.number} has no `fix=` with a text"
        if len(call.node.args) < 2 or not (text_of(call.node.args[1]) or "").strip():
            yield f"cell {cell.place}: step {call.number} has no title"


def judged(notebook: Notebook) -> Iterator[str]:
    """A check has a command and an expectation."""
    for cell, call in notebook.steps:
        if call.verb == "check" and (len(call.node.args) < 3 or call.keyword("expect") is None):
            yield f"cell {cell.place}: step {call.number} needs a command and `expect=`"


def bounds(notebook: Notebook) -> Iterator[str]:
    """A duration or an amount has both ends: below zero is as wrong as too large."""
    for cell in notebook.code:
        for node in ast.walk(cell.tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "at_most":
                yield f"cell {cell.place}: {ast.unparse(node)} has no lower end: write between(0, …)"
            named = [(k.arg or "", k.value) for k in node.keywords] if isinstance(node, ast.Call) else []
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "value" and len(node.args) == 2:
                named.append((text_of(node.args[1]) or "", node.args[0]))
            for name, bound in named:
                if MEASURED.search(name) and ast.unparse(bound).startswith("at_least("):
                    yield f"cell {cell.place}: {name}={ast.unparse(bound)} has no upper end: write between(…)"


def ours(notebook: Notebook) -> Iterator[str]:
    """A row is found by an id or since this run began: the newest may be somebody else's."""
    for cell in notebook.code:
        step = next((call.number for call in cell.steps if call.number), "")
        for text in texts(cell.tree):
            newest = re.search(r"order by[^)]*\blimit 1\b", text, re.IGNORECASE)
            if newest and not OURS.search(text) and (notebook.name, step) not in NEWEST:
                yield f"cell {cell.place}: {newest[0]!r} takes the newest of everybody's: name an id, or began(phase)"


def rested(notebook: Notebook) -> Iterator[str]:
    """A gesture that can cost money rests on checks, and whatever a step rests on is a check above it."""
    above: set[str] = set()
    for cell, call in notebook.steps:
        named = call.keyword("rests_on")
        if call.verb == "confirm" and text_of(call.keyword("gesture")) in COSTLY and named is None:
            yield f"cell {cell.place}: {call.number} can cost money and names no check in `rests_on=`"
        if strange := [name for name in texts(named or ast.Tuple([])) if name not in above]:
            yield f"cell {cell.place}: {call.number} rests on {', '.join(strange)}, which is no check above it"
        if call.verb == "check":
            above.add(call.number or "")


def vacuous(notebook: Notebook) -> Iterator[str]:
    """What is asked of each row is not shown by no row: it is left for a step to prove."""
    for cell, call in notebook.steps:
        expect = ast.unparse(call.keyword("expect") or ast.Tuple([]))
        idle = "minimum=0" in expect and "else_unproven(" not in expect
        if idle and (notebook.name, call.number) not in WITHOUT_ROWS:
            yield f"cell {cell.place}: {call.number} passes without a row: add `& else_unproven(…)`"


def addresses(notebook: Notebook) -> Iterator[str]:
    """Addresses are compared whatever their case: the platform may store them with capitals."""
    for cell in notebook.code:
        for text in texts(cell.tree):
            if found := re.search(r"(?<![(\w.])(?:\w+\.)?(?:agent_)?address\s*(?:=|<>)", text):
                yield f"cell {cell.place}: {found[0]!r} compares an address with its case: write lower(…)"


def once(notebook: Notebook) -> Iterator[str]:
    """An act cannot take effect twice: it carries its key, or a proof, or says that repeating leaves the same state."""
    for cell, call in notebook.steps:
        if call.verb != "act":
            continue
        repeatable = call.keyword("repeatable")
        proven = call.keyword("proof") is not None and ast.unparse(call.keyword("proof") or call.node) != "None"
        repeats = isinstance(repeatable, ast.Constant) and repeatable.value is True
        keyed = any(KEY in text for argument in call.node.args[2:] for text in texts(argument))
        keyed = keyed or any(ast.unparse(argument).startswith(KEYED) for argument in call.node.args[2:])
        if not (proven or repeats or keyed):
            yield f"cell {cell.place}: act {call.number} has no {KEY} in its command, no `proof=`, no `repeatable=True`"


def too_many(notebook: Notebook) -> str | None:
    """Guidance, not a rule: what to say about a notebook that has grown."""
    allowed, _ = MORE_CELLS.get(notebook.name, (CODE_CELLS, ""))
    if len(notebook.code) <= allowed:
        return None
    return f"{notebook.name} has {len(notebook.code)} code cells, usually at most {allowed}"


def idle_exceptions(notebooks: list[Notebook]) -> Iterator[str]:
    """An exception that nobody needs any more, or that gives no reason."""
    lengths = {(n.name, call.number): cell.lines for n in notebooks for cell, call in n.steps}
    for (name, step), (allowed, reason) in LONGER.items():
        if not LINES < lengths.get((name, step), 0) <= allowed or not reason:
            yield f"LONGER: {name} {step} has {lengths.get((name, step), 0)} lines, allowed {allowed} for {reason!r}"
    sizes = {n.name: len(n.code) for n in notebooks}
    for name, (allowed, reason) in MORE_CELLS.items():
        if not CODE_CELLS < sizes.get(name, 0) <= allowed or not reason:
            yield f"MORE_CELLS: {name} has {sizes.get(name, 0)} code cells, allowed {allowed} for {reason!r}"


RULES: tuple[Rule, ...] = (
    *(narrative, one_step, length, numbers, mentions, fixes, judged, bounds, ours, addresses, once),
    *(rested, vacuous),
)
