"""Every notebook there is, against every rule; and every rule, on a small notebook that breaks it."""

from __future__ import annotations

import copy
import json
import warnings
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

import runbook_lib
from runbook_lib.records import plan
from tests.structure import cell_rules, step_rules, texts
from tests.structure.notebook import Notebook

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
# Those in the repository: not what papermill or nbconvert wrote beside them.
PATHS = sorted(path for path in texts.tracked(FOLDER.parent) if path.parent == FOLDER and path.suffix == ".ipynb")
PUBLIC = frozenset(runbook_lib.__all__)
RULES = (*cell_rules.RULES, *step_rules.RULES)


class LongNotebook(UserWarning):
    """Guidance: shown in the summary, fails nothing."""


def test_there_are_notebooks():
    assert PATHS, f"no notebooks found in {FOLDER}: the rules below would hold of nothing"


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_the_notebook_holds(path, rule):
    found = list(rule(Notebook.read(path)))

    assert not found, "\n".join(["", *found])


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_the_notebook_imports_public_names_only(path):
    found = list(cell_rules.imports(Notebook.read(path), PUBLIC))

    assert not found, "\n".join(["", *found])


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_the_file_is_a_notebook_of_the_format(path):
    nbformat.validate(nbformat.read(path, as_version=nbformat.NO_CONVERT))


@pytest.mark.filterwarnings("default::tests.structure.test_notebooks.LongNotebook")
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_long_notebook_is_mentioned(path):
    if advice := step_rules.too_many(Notebook.read(path)):
        warnings.warn(advice, LongNotebook, stacklevel=1)


def test_no_exception_is_idle():
    assert list(step_rules.idle_exceptions([Notebook.read(path) for path in PATHS])) == []


# --- the rules can fail -----------------------------------------------------------------------------------------------

HEAD = "# Phase 7: a trial\n\nIt costs nothing; the most that can be lost is nothing. To back out, close the tab."
SETUP = "from runbook_lib import open_phase, rows, sql\n\nphase = open_phase('phase_7_trial', profile=profile)"
CHECK = 'phase.check("7.1a", "Tables exist", sql("select 1"), expect=rows(1), fix="Migrate.")'
ACT = """phase.act("7.2a", "Row is there", sql("insert into t values (%(id)s)", id="{key}"),
    undo=sql("delete from t"))"""
UNDO = 'phase.undo("7.2a")'
CONFIRM = 'phase.confirm("7.3a", "A person looked")'
CLOSE = "# NBVAL_CHECK_OUTPUT\nphase.close()"


def good():
    """A notebook that holds every rule: markdown (text) and code cells, in the order a phase has them."""
    stored = [new_output("stream", name="stdout", text="phase_7_trial: 3 passed\n")]
    cells = [
        new_markdown_cell(HEAD),
        new_code_cell('profile = "rehearsal"', metadata={"tags": ["parameters"]}),
        new_code_cell(SETUP),
        new_markdown_cell("## 7.1 Tables\n\nBefore anything is written."),
        new_code_cell(CHECK),
        new_markdown_cell("## 7.2 A row"),
        new_code_cell(ACT),
        new_markdown_cell("Take it away again."),
        new_code_cell(UNDO),
        new_markdown_cell("## 7.3 People"),
        new_code_cell(CONFIRM),
        new_markdown_cell("## The end"),
        new_code_cell(CLOSE, outputs=stored, execution_count=1),
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return new_notebook(cells=cells, metadata={"kernelspec": kernel})


PLACES = {
    "head": 0,
    "parameters": 1,
    "setup": 2,
    "words": 3,
    "check": 4,
    "act": 6,
    "undo": 8,
    "confirm": 10,
    "close": 12,
}


def complaints(rule, notebook):
    return list(rule(Notebook("phase_7_trial", notebook)))


def spoil(cell, source=None, **raw):
    """The good notebook with one cell's source or other fields replaced."""
    notebook = copy.deepcopy(good())
    found = notebook.cells[PLACES[cell]]
    found.update({**raw, **({} if source is None else {"source": source})})
    return notebook


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_good_notebook_holds(rule):
    assert complaints(rule, good()) == []
    nbformat.validate(good())


def tagged(*tags):
    return {"metadata": {"tags": list(tags)}}


LONG = 'phase.check("7.1a", "t", sql("""\n' + "select 1\n" * 14 + '"""), expect=rows(1), fix="f")'
STORED = [new_output("stream", name="stdout", text="left over")]
BAD = [
    (cell_rules.plain_python, "check", "%matplotlib inline", {}, "not plain Python"),
    (cell_rules.plain_python, "check", "!fly deploy", {}, "not plain Python"),
    *(
        (cell_rules.plain_python, "setup", text, {}, f"holds '{word}'")
        for word, text in {
            "def": "def twice(x):\n    return 2 * x",
            "class": "class A: ...",
            "if": "if profile == 'production':\n    x = 1",
            "for": "for n in range(3):\n    print(n)",
            "while": "while False:\n    pass",
            "try": "try:\n    x = 1\nexcept Exception:\n    pass",
            "with": "with a as b:\n    pass",
            "lambda": "f = lambda x: x",
        }.items()
    ),
    (cell_rules.plain_python, "setup", "x = 1 if profile else 2", {}, "holds 'if'"),
    (cell_rules.parameters, "parameters", None, tagged(), "tagged: []"),
    (cell_rules.parameters, "setup", None, tagged("parameters"), "tagged: [2, 3]"),
    (cell_rules.parameters, "parameters", 'profile = "production"', {}, "'production'; the default is 'rehearsal'"),
    (cell_rules.parameters, "parameters", "limit = 1", {}, "sets profile to None"),
    (cell_rules.parameters, "parameters", 'profile: str = "rehearsal"', {}, "not a plain assignment"),
    (cell_rules.parameters, "parameters", 'profile = "rehearsal"\nday = today()', {}, "not a plain assignment"),
    (cell_rules.opening, "head", "Phase 7", {}, "starts with a heading"),
    (cell_rules.opening, "head", "# Phase 7\n\nNothing can be lost; back out at will.", {}, "what it costs"),
    (cell_rules.opening, "head", "# Phase 7\n\nCosts nothing. Back out at will.", {}, "most money"),
    (cell_rules.opening, "head", "# Phase 7\n\nCosts nothing, nothing can be lost.", {}, "how to back out"),
    (cell_rules.money, "words", "## 7.1 Tables\n\nFrom $1 to $2, or `$NAME`.", {}, "write dollars, in words"),
    (cell_rules.stored_outputs, "check", None, {"outputs": STORED}, "stores 1 outputs"),
    (cell_rules.stored_outputs, "check", None, {"execution_count": 4}, "execution count 4"),
    (cell_rules.stored_outputs, "close", None, {"outputs": []}, "stores 0 outputs"),
    (cell_rules.stored_outputs, "close", None, {"execution_count": None}, "execution count None"),
    (cell_rules.closing, "close", "phase.close()", {}, "without a line"),
    (cell_rules.closing, "close", "1 + 1", {}, "stands in the last code cell"),
    (cell_rules.closing, "check", "phase.close()", {}, "nowhere else"),
    (cell_rules.metadata, "check", None, {"metadata": {"papermill": {"status": "completed"}}}, "'papermill'"),
    (cell_rules.metadata, "check", None, {"metadata": {"jupyter": {"source_hidden": True}}}, "'jupyter'"),
    (cell_rules.metadata, "check", None, tagged("skip-execution"), "mutes it"),
    (cell_rules.metadata, "check", f"# NBVAL_SKIP\n{CHECK}", {}, "NBVAL_SKIP mutes it"),
    (cell_rules.literal_commands, "check", CHECK.replace('"select 1"', 'f"select {x}"'), {}, "literal text"),
    (cell_rules.literal_commands, "check", CHECK.replace('"select 1"', '"select " + x'), {}, "literal text"),
    (cell_rules.literal_commands, "check", CHECK.replace('"select 1"', '"select {}".format(x)'), {}, "literal text"),
    (cell_rules.literal_commands, "check", "query = 'select'\nsql(query)", {}, "not query"),
    (cell_rules.literal_commands, "check", "shell('rm ' + folder)", {}, "shell takes a literal text"),
    (cell_rules.literal_commands, "check", "http('fly', f'GET /{app}')", {}, "http takes a literal text"),
    (cell_rules.literal_commands, "check", "http('fly', app + ' /')", {}, "http takes a literal text"),
    (cell_rules.places, "check", 'shell("cat ../secrets")', {}, "../secrets"),
    (cell_rules.places, "check", 'shell("cat ./here")', {}, "./here"),
    (cell_rules.places, "check", 'shell("ls ~/notes")', {}, "~/notes"),
    (cell_rules.places, "setup", "sys.path.insert(0, '..')", {}, "sys.path"),
    (cell_rules.places, "setup", "open('x')", {}, "touches no files"),
    (step_rules.narrative, "words", "", {}, "no markdown before step 7.1a"),
    (step_rules.narrative, "words", "## 7.10 Tables", {}, "names 7.1"),
    (step_rules.narrative, "words", "Section 7.1, with no heading.", {}, "names 7.1"),
    (step_rules.narrative, "words", None, {"cell_type": "code", "outputs": [], "execution_count": None}, "3 in a row"),
    (step_rules.one_step, "check", f"{CHECK}\n{CONFIRM}", {}, "one step in a cell"),
    (step_rules.one_step, "check", f"{CHECK}\nx = 1", {}, "not alone"),
    (step_rules.one_step, "check", f"x = [{CHECK}]", {}, "not alone"),
    (step_rules.one_step, "check", CHECK.replace("phase.", "again."), {}, "not a call `phase.check"),
    (step_rules.one_step, "check", "look = phase.check", {}, "not a call `phase.check"),
    (step_rules.length, "check", LONG, {}, "(7.1a) has 16 lines, expected at most 15"),
    (step_rules.numbers, "check", CHECK.replace('"7.1a"', "number"), {}, "no literal number"),
    (step_rules.numbers, "check", CHECK.replace("7.1a", "one"), {}, "no literal number"),
    (step_rules.numbers, "check", CHECK.replace("7.1a", "8.1a"), {}, "not of phase 7"),
    (step_rules.numbers, "check", CHECK.replace("7.1a", "7.2a"), {}, "7.2a comes after 7.2a"),
    (step_rules.numbers, "check", CHECK.replace("7.1a", "7.10a"), {}, "7.2a comes after 7.10a"),
    (step_rules.mentions, "undo", 'phase.undo("7.9z")', {}, "names no step above it"),
    (step_rules.mentions, "undo", 'phase.undo("7.1a")', {}, "registers no undo"),
    (step_rules.mentions, "undo", 'phase.reply("7.3a")', {}, "names no step above it"),
    (step_rules.mentions, "undo", 'phase.value("7.3a", "n")', {}, "names no step above it"),
    (step_rules.mentions, "undo", "1 + 1", {}, "undo of step 7.2a is never asked for"),
    (step_rules.fixes, "check", CHECK.replace(', fix="Migrate."', ""), {}, "no `fix="),
    (step_rules.fixes, "check", CHECK.replace("Migrate.", " "), {}, "no `fix="),
    (step_rules.fixes, "act", ACT.replace("undo=", "expect=rows(1), undo="), {}, "no `fix="),
    (step_rules.fixes, "confirm", 'phase.confirm("7.3a", "")', {}, "no title"),
    (step_rules.judged, "check", 'phase.check("7.1a", "t", sql("select 1"), fix="f")', {}, "`expect=`"),
    (step_rules.judged, "check", 'phase.check("7.1a", "t", expect=rows(1), fix="f")', {}, "needs a command"),
    (step_rules.bounds, "check", CHECK.replace("rows(1)", "reply(n=at_most(1))"), {}, "no lower end"),
    (step_rules.bounds, "check", CHECK.replace("rows(1)", "each(seconds_stale=at_least(1))"), {}, "no upper end"),
    (step_rules.bounds, "check", CHECK.replace("rows(1)", "value(at_least(1), 'cap_usd')"), {}, "no upper end"),
    (step_rules.ours, "check", CHECK.replace("select 1", "select id from t order by at limit 1"), {}, "the newest of"),
    (step_rules.addresses, "check", CHECK.replace("select 1", "select 1 from w where w.address = 'a'"), {}, "its case"),
    (step_rules.once, "act", ACT.replace("{key}", "1"), {}, "act 7.2a has no {key}"),
    (step_rules.once, "act", ACT.replace("{key}", "1").replace("undo=", "repeatable=False, undo="), {}, "no {key}"),
    (step_rules.once, "act", ACT.replace("{key}", "1").replace("undo=", "proof=None, undo="), {}, "no {key}"),
    (step_rules.once, "act", 'phase.act("7.2a", "the {key}", sql("insert"))', {}, "no {key}"),
    (step_rules.rested, "confirm", CONFIRM.replace(")", ', gesture="deploy_live")'), {}, "names no check"),
    (
        step_rules.rested,
        "confirm",
        CONFIRM.replace(")", ', rests_on=("7.2a",))'),
        {},
        "rests on 7.2a, which is no check",
    ),
    (step_rules.rested, "check", CHECK.replace("fix=", 'rests_on=("7.1a",), fix='), {}, "rests on 7.1a, which is no"),
    (step_rules.vacuous, "check", CHECK.replace("rows(1)", "each(minimum=0, n=1)"), {}, "7.1a passes without a row"),
]


@pytest.mark.parametrize(("rule", "cell", "source", "raw", "words"), BAD)
def test_the_rule_sees(rule, cell, source, raw, words):
    found = complaints(rule, spoil(cell, source, **raw))

    assert any(words in line for line in found), found


def test_every_rule_has_been_seen_to_complain():
    assert {rule for rule, *_ in BAD} == set(RULES)


def test_the_end_of_a_path_may_come_from_an_earlier_reply():
    text = "http('registry', 'HEAD /v2/' + phase.value('7.1a', 'tag'))"

    assert complaints(cell_rules.literal_commands, spoil("confirm", text)) == []


@pytest.mark.parametrize("extra", ['proof=sql("select 1")', "repeatable=True"])
def test_an_act_may_be_proven_or_repeatable_in_place_of_a_key(extra):
    text = ACT.replace("{key}", "1").replace("undo=", f"{extra}, undo=")

    assert complaints(step_rules.once, spoil("act", text)) == []


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import pandas", "imports pandas"),
        ("from runbook_lib.services import Services", "imports from runbook_lib.services"),
        ("from runbook_lib import settings", "settings, which is not a public name"),
    ],
)
def test_an_import_of_something_else_is_seen(source, words):
    [found] = cell_rules.imports(Notebook("phase_7_trial", spoil("setup", source)), PUBLIC)

    assert words in found


def test_the_notebooks_own_metadata_are_looked_at():
    notebook = good()
    notebook.metadata["papermill"] = {}
    notebook.metadata["kernelspec"]["name"] = "my-venv"

    assert len(complaints(cell_rules.metadata, notebook)) == 2


def test_a_notebook_of_no_phase_numbers_its_steps_freely():
    assert list(step_rules.numbers(Notebook("diagnose_boot", good()))) == []


def test_an_exception_must_be_needed_and_reasoned(monkeypatch):
    long = Notebook("phase_7_trial", spoil("check", LONG))
    monkeypatch.setattr(step_rules, "LONGER", {("phase_7_trial", "7.1a"): (16, "fourteen checks of one table")})
    monkeypatch.setattr(step_rules, "MORE_CELLS", {})

    assert list(step_rules.length(long)) == []
    assert list(step_rules.idle_exceptions([long])) == []
    assert len(list(step_rules.idle_exceptions([Notebook("phase_7_trial", good())]))) == 1

    monkeypatch.setitem(step_rules.LONGER, ("phase_7_trial", "7.1a"), (16, ""))
    assert len(list(step_rules.idle_exceptions([long]))) == 1


def test_a_long_notebook_gets_advice_until_it_is_allowed(monkeypatch):
    notebook = good()
    notebook.cells += [new_code_cell("1 + 1")] * step_rules.CODE_CELLS
    long = Notebook("phase_7_trial", notebook)

    assert step_rules.too_many(Notebook("phase_7_trial", good())) is None
    assert step_rules.too_many(long) == "phase_7_trial has 37 code cells, usually at most 30"

    monkeypatch.setitem(step_rules.MORE_CELLS, "phase_7_trial", (37, "every variable is a step"))
    assert step_rules.too_many(long) is None


def test_the_plans_are_those_of_the_notebooks():
    """Gates take only records that followed these; ``./runbook accept --plans`` writes them anew."""
    kept = json.loads((plan.NOTEBOOKS / plan.ACCEPTED).read_text(encoding="utf-8"))
    assert kept == {path.stem: plan.written_down(path) for path in PATHS}
