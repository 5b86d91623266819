"""What the cells of a notebook hold, and what they must not (design section 4, style section 6).

Every rule takes a `Notebook` and yields complaints, each with the cell it is about; none means the notebook holds it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from tests.structure.notebook import Notebook, Rule, text_of, texts

COMPARED = "# NBVAL_CHECK_OUTPUT"
PARAMETERS = "parameters"
FORBIDDEN: dict[type[ast.AST], str] = {
    **dict.fromkeys((ast.FunctionDef, ast.AsyncFunctionDef), "def"),
    **dict.fromkeys((ast.If, ast.IfExp), "if"),
    **dict.fromkeys((ast.For, ast.AsyncFor), "for"),
    **dict.fromkeys((ast.Try, ast.TryStar), "try"),
    **dict.fromkeys((ast.With, ast.AsyncWith), "with"),
    ast.ClassDef: "class",
    ast.While: "while",
    ast.Match: "match",
    ast.Lambda: "lambda",
}
HEAD = {
    "what it costs": r"\bcosts?\b",
    "the most money that can be lost": r"\b(lose|lost)\b",
    "how to back out": r"\bback(ing)? out\b",
}
# What nbclient and nbval read as "do not run", "do not look" or "may fail", and what hides a source from the operator.
MUTED_TAGS = {
    "skip-execution",
    "raises-exception",
    "nbval-skip",
    "nbval-ignore-output",
    "nbval-raises-exception",
    "hide_input",
    "hide-input",
    "remove-input",
    "injected-parameters",
}
MUTED_COMMENTS = re.compile(r"^\s*#+\s*(NBVAL_SKIP|NBVAL_IGNORE_OUTPUT|NBVAL_RAISES_EXCEPTION)\b", re.MULTILINE)
TRACES = ("papermill", "runbook", "widgets", "execution", "collapsed", "jupyter", "scrolled", "jupytext")
COMMANDS = {"sql": 1, "shell": 1, "http": 2, "round_trip": 1}  # how many texts each begins with
TOUCHING_FILES = {"open", "Path", "read_csv", "read_sql", "to_csv", "savefig", "chdir"}


def plain_python(notebook: Notebook) -> Iterator[str]:
    """Code cells are flat Python: a step, read from top to bottom; what branches or repeats is in the library."""
    for cell in notebook.code:
        try:
            ast.parse(cell.source)
        except SyntaxError as error:
            yield f"cell {cell.place} is not plain Python (line {error.lineno}): magics and ! belong in `shell`"
        words = [FORBIDDEN[type(node)] for node in ast.walk(cell.tree) if type(node) in FORBIDDEN]
        yield from (f"cell {cell.place} holds {word!r}: move it into the library" for word in dict.fromkeys(words))


def imports(notebook: Notebook, public: frozenset[str]) -> Iterator[str]:
    """Only names that the library offers to notebooks are imported."""
    for cell in notebook.code:
        for node in ast.walk(cell.tree):
            if isinstance(node, ast.Import):
                yield f"cell {cell.place} imports {node.names[0].name}: only `from runbook_lib import …`"
            elif isinstance(node, ast.ImportFrom):
                if node.module != "runbook_lib":
                    yield f"cell {cell.place} imports from {node.module}: only `from runbook_lib import …`"
                    continue
                for name in sorted({alias.name for alias in node.names} - public):
                    yield f"cell {cell.place} imports {name}, which is not a public name of runbook_lib"


def parameters(notebook: Notebook) -> Iterator[str]:
    """The first code cell is the only one tagged, holds plain assignments, and goes to the rehearsal by default."""
    tagged = [cell for cell in notebook.code if PARAMETERS in cell.tags]
    if tagged != notebook.code[:1] or not tagged:
        yield f"the first code cell, and no other, is tagged {PARAMETERS!r}; tagged: {[c.place for c in tagged]}"
        return
    found = {}
    for line in tagged[0].tree.body:
        match line:
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if is_literal(value):
                found[name] = ast.literal_eval(value)
            case _:
                yield f"cell {tagged[0].place}: {ast.unparse(line)!r} is not a plain assignment of a literal"
    if found.get("profile") != "rehearsal":
        yield f"cell {tagged[0].place} sets profile to {found.get('profile')!r}; the default is 'rehearsal'"


def is_literal(node: ast.expr) -> bool:
    try:
        ast.literal_eval(node)
    except ValueError:
        return False
    return True


def opening(notebook: Notebook) -> Iterator[str]:
    """The head says what the operator has to know before the first step."""
    first = notebook.cells[0] if notebook.cells else None
    if first is None or first.kind != "markdown" or not first.source.startswith("# "):
        yield "cell 1 is not markdown that starts with a heading ('# …')"
        return
    for what, words in HEAD.items():
        if not re.search(words, first.source, re.IGNORECASE):
            yield f"cell 1 does not say {what} (expected {words})"


def money(notebook: Notebook) -> Iterator[str]:
    """Two dollar signs in a text enclose a formula for JupyterLab, escaped or not: amounts would be unreadable."""
    for cell in notebook.cells:
        if cell.kind == "markdown" and "$" in re.sub(r"`[^`]*`", "", cell.source):
            yield f"cell {cell.place}: write dollars, in words"


def stored_outputs(notebook: Notebook) -> Iterator[str]:
    """Sources hold no outputs, but for what nbval compares; that must be there, or nbval compares nothing."""
    for cell in notebook.code:
        compared, outputs = COMPARED in cell.source.splitlines(), cell.raw["outputs"]
        count = cell.raw["execution_count"]
        if compared and (not outputs or not isinstance(count, int)):
            yield f"cell {cell.place} is compared but stores {len(outputs)} outputs, execution count {count}"
        if not compared and (outputs or count is not None):
            yield f"cell {cell.place} stores {len(outputs)} outputs, execution count {count}; expected none"


def closing(notebook: Notebook) -> Iterator[str]:
    """The last code cell closes the phase, and its summary is compared."""
    for cell in notebook.code:
        closes = any(call.verb == "close" for call in cell.calls)
        if closes != (cell is notebook.code[-1]):
            yield f"cell {cell.place}: `phase.close()` stands in the last code cell and nowhere else"
        if closes and COMPARED not in cell.source.splitlines():
            yield f"cell {cell.place} closes the phase without a line {COMPARED!r}"


def metadata(notebook: Notebook) -> Iterator[str]:
    """No traces of a run, no muted or hidden cell; every run uses the environment's own kernel."""
    kernel = notebook.raw["metadata"].get("kernelspec", {}).get("name")
    if kernel != "python3":
        yield f"the kernel is {kernel!r}, expected 'python3'"
    yield from (f"the notebook's metadata holds {key!r}" for key in TRACES if key in notebook.raw["metadata"])
    for cell in notebook.cells:
        traces = [key for key in TRACES if key in cell.raw["metadata"]]
        yield from (f"cell {cell.place}: its metadata hold {key!r}, left by a run or an editor" for key in traces)
        yield from (f"cell {cell.place}: the tag {tag!r} mutes it" for tag in cell.tags if tag in MUTED_TAGS)
        if found := MUTED_COMMENTS.search(cell.source):
            yield f"cell {cell.place}: the comment {found[1]} mutes it"


# --- what the texts are ---------------------------------------------------------------------------------------------


def literal_commands(notebook: Notebook) -> Iterator[str]:
    """What is shown is what is sent: the text of a command stands there whole; values are bound, names filled in."""
    for cell in notebook.code:
        for node in ast.walk(cell.tree):
            made = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            for argument in node.args[: COMMANDS.get(made, 0)] if isinstance(node, ast.Call) else ():
                if text_of(beginning(argument) if made == "http" else argument) is None:
                    shown = ast.unparse(argument)[:50]
                    yield f"cell {cell.place}: {made} takes a literal text (%(name)s, {{dotted.name}}), not {shown}"


def beginning(path: ast.expr) -> ast.expr:
    """The left end of a sum: a path has no bound values, so an earlier reply may be its end."""
    return beginning(path.left) if isinstance(path, ast.BinOp) and isinstance(path.op, ast.Add) else path


def places(notebook: Notebook) -> Iterator[str]:
    """No path that depends on where the kernel stands, none that depends on this machine, and no other import path."""
    for cell in notebook.code:
        for text in texts(cell.tree):
            for word in re.findall(r"(?<!\S)(?:\.{1,2}/(?!runbook\b)\S*|~/\S*|/(?:home|root|Users|tmp)/\S*)", text):
                yield f"cell {cell.place} holds the path {word}: the profile names places"
        for node in ast.walk(cell.tree):
            if isinstance(node, ast.Attribute) and ast.unparse(node) in ("sys.path", "os.environ"):
                yield f"cell {cell.place} uses {ast.unparse(node)}"
            called = ast.unparse(node.func).rpartition(".")[2] if isinstance(node, ast.Call) else ""
            if called in TOUCHING_FILES:
                yield f"cell {cell.place} calls {called}: a notebook touches no files"


RULES: tuple[Rule, ...] = (
    plain_python,
    parameters,
    opening,
    money,
    stored_outputs,
    closing,
    metadata,
    literal_commands,
    places,
)
