"""The checkout is rewritten for a platform with other names, and reads its replies as before."""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from runbook_lib.agentic_trading import adapting
from runbook_lib.agentic_trading.adapting import Rename, adapt, users
from runbook_lib.agentic_trading.contract import Column, Table, contract, last
from runbook_lib.agentic_trading.sql_names import uses
from runbook_lib.agentic_trading.statements import ROOMS, sources, statements
from runbook_lib.cli.main import cli
from runbook_lib.errors import ConfigError
from runbook_lib.records import plan
from runbook_lib.rehearsal.postgres import migration_files
from runbook_lib.rehearsal.postgres.database import Database
from runbook_lib.settings.profiles import ROOT

OTHERS = (
    "agent_logs.ts=logged_at",
    "agent_commands.issued_by=queued_by",
    "deployments.hyperliquid_agent_id=agent_id",
    "agent_logs.data.equity_usd=equityUsd",
    "agent_logs.event:reconciled=reconcile_done",
    "skill_versions.payload.risk.maxLeverage=leverage",
    "deployments.error_text:heartbeat lost:%=no heartbeat:%",
    "mainnet_orders=live_orders",
)


ENTRIES = dict(contract().entries())
OWN = [address for address in ENTRIES if address.partition(".")[0] not in ("auth", "vault", "supabase_migrations")]
COLUMNS = [address for address in OWN if isinstance(ENTRIES[address], Column)]
TEXTS = [address for address in OWN if not isinstance(ENTRIES[address], Table | Column)]


@dataclass(frozen=True)
class Other:
    """A copy of the checkout, rewritten."""

    root: Path
    places: dict[str, str]  # every cell and module by its place and number


def places(root):
    return {f"{source.place} {source.cell}": source.text for source in sources(root)}


def adapted_copy(root, renames) -> Other:
    shutil.copytree(ROOT / "notebooks", root / "notebooks")
    for room in ROOMS:
        shutil.copytree(ROOT / "runbook_lib" / room, root / "runbook_lib" / room)
    for path, text in adapt(renames, root).files.items():
        path.write_text(text)
    return Other(root, places(root))


@pytest.fixture(scope="module")
def other(tmp_path_factory) -> Other:
    return adapted_copy(tmp_path_factory.mktemp("checkout"), [Rename.read(text) for text in OTHERS])


@pytest.fixture(scope="module")
def every(tmp_path_factory) -> Other:
    """A copy of the checkout, rewritten for a platform of which every name is another."""
    renames = [Rename(address, f"x_{last(address)}") for address in OWN]
    return adapted_copy(tmp_path_factory.mktemp("checkout"), renames)


class Platform:
    """A database with the platform's tables, which may be called otherwise until ``as_before``."""

    def __init__(self, connection) -> None:
        self.connection = connection
        self.connection.execute("select")
        replies = {each.text: self.answers(each.text) for each in statements()}
        self.known = {text: reply for text, reply in replies.items() if not isinstance(reply, str)}
        assert [text for text in replies if text not in self.known and "public." in text] == []

    def called(self, address, new) -> None:
        table, _, column = address.partition(".")
        changed = f"rename column {column} to {new}" if column else f"rename to {new}"
        self.connection.execute(f"alter table public.{table} {changed}")

    def as_before(self) -> None:
        self.connection.rollback()
        self.connection.execute("select")

    def answers(self, statement) -> list[tuple[str, int, int]] | str:
        """The columns of a statement's reply, each with the column of a table it comes from; or why it is refused."""
        names = {}
        text = re.sub(r"%\((\w+)\)s", lambda bound: f"${names.setdefault(bound[1], len(names) + 1)}", statement)
        server = self.connection.pgconn
        with self.connection.transaction(force_rollback=True):
            prepared = server.prepare(b"", (text.replace("%%", "%") if names else text).encode())
            if prepared.status != psycopg.pq.ExecStatus.COMMAND_OK:
                return prepared.error_message.decode()
            reply = server.describe_prepared(b"")
        return [(reply.fname(n).decode(), reply.ftable(n), reply.ftablecol(n)) for n in range(reply.nfields)]


@pytest.fixture(scope="module")
def platform(tmp_path_factory):
    database = Database.start(tmp_path_factory.mktemp("platform"))
    try:
        migration_files.apply_all(database.dsn, Path(migration_files.__file__).with_name("migrations"))
        with psycopg.connect(database.dsn) as connection:
            yield Platform(connection)
    finally:
        database.stop()


def test_a_platform_of_which_every_name_is_another_answers_as_before(every, platform):
    """Postgres itself says that no old name of a table or column is left, and that every reply has the old columns."""
    before, after = ([*source(root)] for source, root in ((statements, ROOT), (statements, every.root)))
    for address in COLUMNS:
        platform.called(address, f"x_{last(address)}")
    for address in contract().tables:
        if address in OWN:
            platform.called(address, f"x_{address}")

    answers = {
        old.text: platform.answers(new.text)
        for old, new in zip(before, after, strict=True)
        if old.text in platform.known
    }
    platform.as_before()

    assert {text: answer for text, answer in answers.items() if answer != platform.known[text]} == {}


def test_no_statement_for_that_platform_holds_an_old_key_or_word(every):
    old = {last(address) for address in TEXTS}
    quoted = {
        (source.place, part)
        for source in sources(every.root)
        for each in source.statements()
        for text in re.findall(r"'([^']*)'", each.text)
        for part in re.split(r"""[{},:"] *""", text)
        if part.replace("%%", "%") in old
    }

    assert quoted == set()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(address=st.sampled_from(COLUMNS), new=st.sampled_from([*{last(a) for a in COLUMNS}, "another"]))
def test_a_column_may_have_any_other_name(address, new, platform):
    """Also one that a column of another table has: no statement then asks for the wrong one."""
    table, _, old = address.partition(".")
    renaming = adapting._Renaming.of([Rename(address, new)], ROOT)
    naming = [text for text in platform.known if old in text]
    assume(not any(table in text and re.search(rf"(\bas|\)) {new}\b", text) for text in naming))  # its own alias
    try:
        platform.called(address, new)
    except psycopg.errors.DuplicateColumn:
        platform.as_before()
        assume(False)

    answers = {text: platform.answers(adapting._replaced(text, adapting._in_sql(text, renaming))) for text in naming}
    platform.as_before()

    assert {text: answer for text, answer in answers.items() if answer != platform.known[text]} == {}


def test_no_statement_uses_an_old_name_any_more(other):
    renamed = contract(other.root / adapting.CONTRACT)
    tables = {**contract().columns(), **renamed.columns()}
    listed = {address for address, _ in renamed.entries()}

    found = {
        use.address for source in sources(other.root) for each in source.statements() for use in uses(each.text, tables)
    }

    assert found - listed == set()


def test_the_contract_has_the_new_names_and_keeps_the_rest(other):
    renamed, old = contract(other.root / adapting.CONTRACT), contract()
    text = (other.root / adapting.CONTRACT).read_text()

    assert len(dict(renamed.entries())) == len(dict(old.entries()))
    assert renamed.tables["agent_logs"].columns["data"].keys["equityUsd"].rows == {"event": ["reconcile_done"]}
    assert "no heartbeat:%" in renamed.tables["deployments"].columns["error_text"].words
    assert "live_orders" in renamed.tables and "logged_at" in renamed.tables["agent_logs"].columns
    assert text.startswith("# Every word of the platform")


def test_a_column_keeps_its_name_in_the_reply(other):
    [cell] = [text for place, text in other.places.items() if place.startswith("1.4a ")]

    assert "select (l.data ->> 'equityUsd')::numeric as equity_usd, l.logged_at as ts, s.equity_usd as" in cell
    assert "l.event = 'reconcile_done' order by l.logged_at limit 1" in cell


def test_texts_that_mean_the_same_are_rewritten_with_it(other):
    cells = "\n".join(other.places.values())

    assert 'gaps("reconcile_done"' in cells and "'reconciled'" not in cells and '"reconciled"' not in cells
    assert "leverage=1, minOrderUsd=10" in cells and "maxLeverage=1," not in cells and "'maxLeverage'" not in cells
    assert "like 'no heartbeat:%%'" in cells and "like 'heartbeat lost" not in cells


def test_what_needs_no_other_name_is_left_as_it_is(other):
    before = places(ROOT)
    untouched = [place for place in before if before[place] == other.places.get(place)]

    assert len(untouched) > len(before) / 2
    assert any(place.startswith("0.3c ") for place in untouched)


def test_a_name_that_means_several_things_is_left_to_a_person():
    adapted = adapt([Rename.read("deployments.status:error=broken")])

    assert any("'error' may be deployments.status:error" in line for line in adapted.doubtful)


def test_a_word_that_several_columns_hold_is_known_in_a_cell_that_asks_for_one_of_them(tmp_path):
    cells = adapted_copy(tmp_path, [Rename.read("sim_runs.status:error=broken")]).places
    before = places(ROOT)

    assert {place for place in before if before[place] != cells[place]} == {
        place for place in before if place.split()[0] in ("1.2b", "2.3f")
    }


def test_a_cell_that_expects_a_renamed_table_expects_the_new_name(other):
    [cell] = [text for place, text in other.places.items() if place.startswith("0.1i ")]

    assert "mainnet_orders" not in cell and cell.count("live_orders") == 2


def test_a_key_that_python_reads_is_named_by_its_address_and_renamed_there(tmp_path):
    renames = [Rename.read("agent_state.positions.sizeBase=size"), Rename.read("agent_state.positions=holdings")]
    after = adapted_copy(tmp_path, renames).places

    assert 'last("agent_state.holdings.size")' in after["agentic_trading/venue_answers.py None"]


@pytest.mark.parametrize("address", TEXTS)
def test_every_key_and_word_has_somebody_who_uses_it(address):
    assert users(address)


def test_whoever_reads_a_key_of_an_object_that_is_given_out_whole_uses_it():
    assert {"2.5e", "4.4i", "agentic_trading/venue_answers.py"} < set(users("agent_state.positions.sizeBase"))


def test_a_text_that_begins_as_a_renamed_one_is_left_to_a_person():
    adapted = adapt([Rename.read("deployments.error_text:heartbeat lost:%=no heartbeat:%")])

    assert "3.2k: 'heartbeat lost:%' may be deployments.error_text:heartbeat lost:%" in adapted.doubtful


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("agent_logs.ts", "write OLD=NEW"),
        ("agent_logs.time=ts", "the contract has no 'agent_logs.time': did you mean 'agent_logs.ts'"),
        ("agent_logs.ts=agent_logs.logged_at", "no plain name"),
        ("agent_logs.ts=loggedAt", "no plain name"),
        ("agent_logs.event:tick=it's", "no quotes"),
    ],
)
def test_a_rename_that_cannot_be_is_refused(text, words):
    with pytest.raises(ConfigError) as refused:
        Rename.read(text)

    assert words in str(refused.value)


def test_the_command_writes_cells_contract_and_plans(monkeypatch, other):
    """What it writes is what `adapt` made; here that is of another checkout."""
    path = other.root / "notebooks" / "phase_1_paper.ipynb"
    plan.accept(path)
    before = plan.accepted("phase_1_paper", path.parent)
    text = path.read_text().replace("logged_at as ts", "told_at as ts")
    monkeypatch.setattr(adapting, "adapt", lambda _: adapting.Adapted({path: text}, ["the difference"]))

    said = CliRunner().invoke(cli, ["adapt", "agent_logs.level=severity"], catch_exceptions=False).output

    assert said.startswith("the difference\n1 files rewritten: phase_1_paper.ipynb\nthe rehearsal keeps its names")
    assert path.read_text() == text
    assert plan.accepted("phase_1_paper", path.parent) == plan.written_down(path) != before


def test_the_command_shows_the_difference_and_writes_nothing_when_asked(tmp_path):
    listed = tmp_path / "names"
    listed.write_text("# what 0.1ha has found\nagent_commands.issued_by=queued_by\n")
    before = places(ROOT)

    shown = CliRunner().invoke(cli, ["adapt", "--dry-run", "--file", str(listed)], catch_exceptions=False).output

    assert "+      insert into public.agent_commands (id, deployment_id, kind, payload, queued_by)" in shown
    assert "files would be rewritten" in shown and "contract.yaml" in shown
    assert places(ROOT) == before
