"""The checkout is rewritten for a platform with other names, and reads its replies as before."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from runbook_lib.agentic_trading import adapting
from runbook_lib.agentic_trading.adapting import Rename, adapt
from runbook_lib.agentic_trading.contract import contract
from runbook_lib.agentic_trading.sql_names import uses
from runbook_lib.agentic_trading.statements import ROOMS, sources
from runbook_lib.cli.main import cli
from runbook_lib.errors import ConfigError
from runbook_lib.records import plan
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


@dataclass(frozen=True)
class Other:
    """A copy of the checkout, rewritten."""

    root: Path
    places: dict[str, str]  # every cell and module by its place and number


def places(root):
    return {f"{source.place} {source.cell}": source.text for source in sources(root)}


@pytest.fixture(scope="module")
def other(tmp_path_factory) -> Other:
    root = tmp_path_factory.mktemp("checkout")
    shutil.copytree(ROOT / "notebooks", root / "notebooks")
    for room in ROOMS:
        shutil.copytree(ROOT / "runbook_lib" / room, root / "runbook_lib" / room)
    for path, text in adapt([Rename.read(text) for text in OTHERS], root).files.items():
        path.write_text(text)
    return Other(root, places(root))


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

    assert "select (data ->> 'equityUsd')::numeric as equity_usd, logged_at as ts from public.agent_logs" in cell
    assert "event = 'reconcile_done' order by logged_at limit 1" in cell


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

    assert said == "the difference\n1 files rewritten: phase_1_paper.ipynb\n"
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
