"""README.md and docs/ against what there is: commands, options, events, settings, notebooks, packages, files."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import click
import pytest

from runbook_lib.cli.group import SECTIONS
from runbook_lib.cli.main import cli
from runbook_lib.records import plan, verify
from runbook_lib.settings.profiles import Settings
from tests.runs.drills import test_coverage
from tests.structure import packages, texts

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "SECURITY.md", *sorted(DOCS.glob("*.md"))]
HEADING = re.compile(r"^(#+) (.+)$", re.MULTILINE)
LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)#?([^)\s]*)\)")
LINE = re.compile(r"\./runbook ([a-z]+)((?: [^`|#,;\"'\n]*)?)")  # a command line, in a page, a notebook or a message
OPTION = re.compile(r"(?<![\w-])(--?[a-z][a-z-]*)")
COMMAND_HEADING = re.compile(r"^### `\./runbook ([a-z]+)", re.MULTILINE)
HELP = {"--help", "-h"}
SHOWN = (".md", ".ipynb", ".py", ".yaml")  # files whose texts people read


def options(name):
    taken = (parameter for parameter in cli.commands[name].params if isinstance(parameter, click.Option))
    return {text for option in taken for text in option.opts}


def sections(page, depth):
    """Return what stands below each heading of a depth, by the heading."""
    parts = re.split(rf"^#{{{depth}}} (.+)$", page, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def first_cells(text):
    """Return the first cell of each row of the tables in ``text``, without their heads."""
    cells = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("|")]
    heads = {n - 1 for n, cell in enumerate(cells) if set(cell) == {"-"}}
    return [cell for n, cell in enumerate(cells) if n not in heads and set(cell) != {"-"}]


def named(text):
    """Return the names in backticks in the first cells of the tables in ``text``."""
    return {name for cell in first_cells(text) for name in re.findall(r"`([^`]+)`", cell)}


def unknown(text):
    """Yield the command lines in ``text`` that name a command or an option that there is not."""
    for name, rest in LINE.findall(text):
        wrong = set(OPTION.findall(rest)) - options(name) - HELP if name in cli.commands else {name}
        if wrong and name != "test":  # its options are pytest's
            yield f"./runbook {name}{rest}: there is no {', '.join(sorted(wrong))}"


def slug(heading):
    """Return the anchor that a heading gets."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def dead_links(path):
    for target, anchor in LINK.findall(path.read_text(encoding="utf-8")):
        file = (path.parent / target) if target else path
        if not file.exists():
            yield f"{path.name}: {target} is no file"
        elif anchor and anchor not in {slug(title) for _, title in HEADING.findall(file.read_text(encoding="utf-8"))}:
            yield f"{path.name}: {file.name} has no heading {anchor}"


def reference():
    return (DOCS / "commands.md").read_text(encoding="utf-8")


def test_the_reference_has_every_command_in_the_groups_of_help():
    groups = {title: tuple(COMMAND_HEADING.findall(text)) for title, text in sections(reference(), 2).items()}

    assert {title: names for title, names in groups.items() if names} == SECTIONS


def test_the_reference_has_every_option_of_every_command_and_no_other():
    written = {
        LINE.findall(title)[0][0]: set(OPTION.findall(" ".join(first_cells(text.partition("\n## ")[0]))))
        for title, text in sections(reference(), 3).items()
    }

    assert written == {name: options(name) for name in cli.commands}


def test_every_command_line_that_is_shown_exists():
    """In pages, in notebooks, and in the messages of the library."""
    paths = [path for path in texts.tracked(ROOT) if path.suffix in SHOWN and "tests" not in path.parts]

    assert [line for path in paths for line in unknown(path.read_text(encoding="utf-8"))] == []


def test_every_link_leads_to_a_file_and_a_heading():
    assert [complaint for page in PAGES for complaint in dead_links(page)] == []


def test_the_table_of_phases_names_every_notebook():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")

    assert named(sections(readme, 2)["The phases"]) == set(plan.notebooks())


def test_the_readme_names_every_package_the_project_asks_for():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    listed = {name for cell in first_cells(sections(readme, 2)["Dependencies"]) for name in cell.split(", ")}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

    assert listed == {requirement.name for requirement in packages.wanted(project)}


def test_the_format_of_records_has_every_event():
    page = (DOCS / "records.md").read_text(encoding="utf-8")

    assert named(sections(page, 2)["The ledger"]) == set(verify.EVENTS)


def test_the_page_of_profiles_has_every_setting():
    page = (DOCS / "profiles.md").read_text(encoding="utf-8")
    keys = {name.partition(".")[0] for name in named(sections(page, 2)["Settings"])}

    assert keys == Settings.model_fields.keys() - {"name", "platform"}


# --- the rules can fail -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["`./runbook stop`", "./runbook halt --everything", "run ./runbook show -x RECORD"])
def test_a_command_or_option_that_is_not_there_is_seen(text):
    assert len(list(unknown(text))) == 1


def test_a_dead_link_is_seen(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# Here\n[a](gone.md) [b](page.md#there) [c](#here) [d](page.md#here) [e](https://example.com/x)")

    assert list(dead_links(page)) == ["page.md: gone.md is no file", "page.md: page.md has no heading there"]


def test_every_correction_of_the_checklist_that_code_and_tests_cite_is_told_once():
    listed = re.findall(r"^\| (C\d+) \|", (DOCS / "corrections.md").read_text(), re.MULTILINE)
    sources = [*(ROOT / "runbook_lib").rglob("*.py"), ROOT / "tests" / "runs" / "drills" / "test_coverage.py"]
    cited = {number for path in sources for number in re.findall(r"(?<![\w-])C[1-9]\d?\b", path.read_text())}

    assert listed == [f"C{number}" for number in range(1, len(listed) + 1)]
    assert cited <= set(listed)
    assert set(test_coverage.CORRECTIONS) == set(listed)
