"""The contract lists every word of the platform that is used, and none that is not."""

import ast
import re
from pathlib import Path

import pytest
import sqlglot
from sqlglot import exp

from runbook_lib.agentic_trading.contract import contract, is_word, last
from runbook_lib.agentic_trading.sql_names import uses
from runbook_lib.agentic_trading.statements import ROOMS, SQL, sources, statements
from runbook_lib.errors import ConfigError
from runbook_lib.settings.profiles import ROOT

MIGRATIONS = sorted((ROOT / "runbook_lib/rehearsal/postgres/migrations").glob("*.sql"))


def columns_of_the_stand_in():
    """Every column the stand-in's migrations make, so that one the contract forgot is still known for a column."""
    found = {}
    for path in MIGRATIONS:
        for name, body in re.findall(r"create table public\.(\w+) \((.*?)\n\);", path.read_text(), re.DOTALL):
            made = sqlglot.parse_one(f"create table {name} ({body})", dialect="postgres")
            found[name] = {column.name for column in made.find_all(exp.ColumnDef)}
        for name, body in re.findall(r"alter table public\.(\w+)\s+add column (\w+)", path.read_text()):
            found[name].add(body)
    return found


def every_column():
    listed = contract().columns()
    made = columns_of_the_stand_in()
    return {table: listed.get(table, frozenset()) | made.get(table, set()) for table in {*listed, *made}}


def used():
    tables = every_column()
    return {use.address: statement.place for statement in statements() for use in uses(statement.text, tables)}


def test_no_word_that_a_command_uses_is_missing():
    listed = {address for address, _ in contract().entries()}

    missing = {address: place for address, place in used().items() if address not in listed}

    assert missing == {}


def test_no_word_is_idle():
    in_sql, written = used(), {text for source in sources() for _, text in source.texts()}

    # A word that is bound as a value, or read from a reply, is a literal text of its own.
    idle = [a for a, _ in contract().entries() if a not in in_sql and not {a, last(a)} & written]

    assert idle == []


def test_every_column_of_the_contract_exists_in_the_rehearsal():
    made = columns_of_the_stand_in()

    lacking = {
        table: columns - made[table]
        for table, columns in contract().columns().items()
        if table in made and columns - made[table]
    }

    assert lacking == {}


def test_statements_are_found_in_cells_and_in_modules():
    places = {statement.place for statement in statements()}

    assert {"0.1h", "phase_4_first_day"} < places
    assert any(place.startswith("agentic_trading/") for place in places)


def test_every_text_of_a_statement_stands_where_it_is_said_to_stand():
    for source in sources():
        for statement in source.statements():
            assert source.text[statement.offset :].startswith(statement.text)


def test_no_statement_about_the_platform_is_overlooked():
    """A text in several pieces, or with escapes, is not found as it stands in the source: it could not be adapted."""
    for source in sources():
        found = {text for _, text in source.texts()}
        texts = {node.value for node in ast.walk(ast.parse(source.text)) if isinstance(node, ast.Constant)}
        overlooked = {text for text in texts - found if isinstance(text, str) and SQL.match(text)}
        assert [text for text in overlooked if any(f"public.{table}" in text for table in contract().tables)] == []


@pytest.mark.parametrize("room", ROOMS)
def test_every_room_with_sql_is_there(room):
    assert (ROOT / "runbook_lib" / room).is_dir()


def test_no_other_room_sends_sql_to_the_platform():
    rooms = {path.name for path in (ROOT / "runbook_lib").iterdir() if path.is_dir()} - {
        *ROOMS,
        "rehearsal",
        "__pycache__",
    }
    folders = [ROOT / "runbook_lib" / room for room in rooms]

    sending = [str(path) for folder in folders for path in folder.rglob("*.py") if "from public." in path.read_text()]

    assert sending == []


def test_a_contract_that_says_something_else_is_refused(tmp_path: Path):
    path = tmp_path / "contract.yaml"
    path.write_text("deployments: {means: rows, basis: guessed, columns: {}}")

    with pytest.raises(ConfigError, match="basis"):
        contract(path)


def test_an_address_ends_in_the_name_itself():
    assert last("agent_logs.data.cloid") == "cloid"
    assert last("deployments.error_text:heartbeat lost:%") == "heartbeat lost:%"
    assert is_word("agent_logs.event:tick") and not is_word("agent_logs.event")
