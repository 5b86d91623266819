"""Preparing, checking and writing notebooks; no kernel starts here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import nbformat
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runbook_lib.engine.notebook import prepare, redacted
from runbook_lib.errors import ConfigError, RecordError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PARAMETERS = """
# a comment
name = "agent"
limit = 2.5
count = 3
live = False
names = ["a", "b"]
since = None
"""


@pytest.fixture
def source(folder: Any) -> Path:
    path = folder.notebook("print(n)")
    nb = nbformat.read(path, as_version=4)
    nb.cells[1].source = PARAMETERS
    nbformat.write(nb, path)
    return path


def test_given_parameters_follow_the_defaults_in_a_cell_of_their_own(folder: Any, source: Path) -> None:
    prepared = prepare(source, folder.copy, {"count": 4})

    cells = folder.read().cells
    assert cells[2].metadata.tags == ["injected-parameters"]
    assert cells[2].source == "# Parameters\ncount = 4\n"
    assert prepared.parameters["count"] == 4
    assert prepared.parameters["limit"] == 2.5
    assert prepared.code_cells == 3


def test_commands_in_the_words_of_a_copy_name_its_profile(folder: Any, source: Path) -> None:
    nb = nbformat.read(source, as_version=4)
    nb.cells[1].source += 'profile = "rehearsal"\n'
    nb.cells.append(nbformat.v4.new_markdown_cell("Backing out: `./runbook halt --all`."))
    nbformat.write(nb, source)

    prepare(source, folder.copy, {"profile": "production"})
    assert folder.read().cells[-1].source == "Backing out: `./runbook halt --profile production --all`."


def test_the_source_is_not_touched(folder: Any, source: Path) -> None:
    before = source.read_bytes()

    prepare(source, folder.copy, {"count": 4})

    assert source.read_bytes() == before


@pytest.mark.parametrize("way", ["same path", "link"])
def test_a_source_is_never_prepared_in_place(folder: Any, source: Path, way: str) -> None:
    target = source
    if way == "link":
        (target := folder.path / "link.ipynb").symlink_to(source)

    with pytest.raises(ConfigError, match="in place"):
        prepare(source, target, {})


def test_an_unknown_parameter_is_refused_with_the_nearest_name(folder: Any, source: Path) -> None:
    with pytest.raises(ConfigError, match=r"source.ipynb has no parameter 'cuont': did you mean 'count'\?"):
        prepare(source, folder.copy, {"cuont": 4})

    assert not folder.copy.exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("count", "4"),
        ("count", 4.0),
        ("count", True),
        ("count", None),
        ("limit", "2.5"),
        ("limit", True),
        ("live", "true"),
        ("live", 0),
        ("name", 7),
        ("names", "a"),
        ("names", ("a",)),
    ],
)
def test_a_value_of_the_wrong_type_is_refused(folder: Any, source: Path, name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"parameter '{name}' of source.ipynb: expected .* found"):
        prepare(source, folder.copy, {name: value})

    assert not folder.copy.exists()


@pytest.mark.parametrize(("name", "value"), [("limit", 3), ("since", "2026-11-22"), ("since", 5), ("names", [])])
def test_a_whole_number_is_a_float_and_none_takes_anything(folder: Any, source: Path, name: str, value: Any) -> None:
    assert prepare(source, folder.copy, {name: value}).parameters[name] == value


@pytest.mark.parametrize("line", ["n: int = 1", "n = m = 1", "n = len('x')", "import os", "a.b = 1", "n ="])
def test_a_parameters_cell_holds_plain_assignments_of_literals(folder: Any, source: Path, line: str) -> None:
    nb = nbformat.read(source, as_version=4)
    nb.cells[1].source = line
    nbformat.write(nb, source)

    with pytest.raises(ConfigError, match="plain assignments"):
        prepare(source, folder.copy, {})


@pytest.mark.parametrize("tagged", [0, 2])
def test_there_is_one_parameters_cell(folder: Any, source: Path, tagged: int) -> None:
    nb = nbformat.read(source, as_version=4)
    nb.cells[1].metadata.tags = ["parameters"] if tagged else []
    nb.cells[2].metadata.tags = ["parameters"] if tagged else []
    nbformat.write(nb, source)

    with pytest.raises(ConfigError, match=f"expected one cell tagged 'parameters', found {tagged}"):
        prepare(source, folder.copy, {})


def test_a_cell_that_would_be_skipped_is_refused(folder: Any) -> None:
    source = folder.notebook("print(1)", tags=("skip-execution",))

    with pytest.raises(ConfigError, match="cell 3 is tagged 'skip-execution'"):
        prepare(source, folder.copy, {})


@pytest.mark.parametrize("text", ["", "{", "[]", '{"cells": 1}', "no notebook", '{"nbformat": 4}'])
def test_what_is_no_notebook_is_refused(folder: Any, text: str) -> None:
    folder.source.write_text(text)

    with pytest.raises(ConfigError, match=r"source\.ipynb"):
        prepare(folder.source, folder.copy, {})


def test_a_missing_notebook_is_named(folder: Any) -> None:
    with pytest.raises(ConfigError, match=r"source\.ipynb cannot be read: No such file"):
        prepare(folder.source, folder.copy, {})


def test_a_missing_target_folder_is_named(folder: Any, source: Path) -> None:
    with pytest.raises(RecordError, match=r"none/copy\.ipynb cannot be written: No such file"):
        prepare(source, folder.path / "none" / "copy.ipynb", {})


def test_a_copy_does_not_look_like_an_executed_notebook(folder: Any, source: Path) -> None:
    nb = nbformat.read(source, as_version=4)
    nb.cells[2].outputs = [nbformat.v4.new_output("stream", text="stale")]
    nb.cells[2].execution_count = 7
    nb.cells[2].metadata.update(runbook={"outcome": "passed"}, papermill={"status": "completed"})
    nb.metadata.update(runbook={"outcome": "passed"}, papermill={"exception": False})
    nbformat.write(nb, source)

    prepare(source, folder.copy, {})

    text = folder.copy.read_text()
    assert "stale" not in text
    assert "passed" not in text
    assert "completed" not in text
    assert folder.read().cells[2].execution_count is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(value=JSON)
def test_a_parameter_arrives_as_it_was_given(folder: Any, source: Path, value: Any) -> None:
    prepare(source, folder.copy, {"since": value})

    names: dict[str, Any] = {}
    exec(folder.read().cells[2].source, names)  # noqa: S102 - what the kernel would do
    assert names["since"] == value
    assert type(names["since"]) is type(value)


def texts(value: Any) -> Iterator[str]:
    """Every text in a JSON value, names included."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from texts(inner)
    elif isinstance(value, str):
        yield value


LEAKY = st.recursive(
    st.none() | st.integers() | st.text("xyz", max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("xyz", max_size=4), inner, max_size=4),
)


@given(value=LEAKY)
def test_no_text_of_a_json_value_escapes_redaction_and_none_is_lost(value: Any) -> None:
    """Two names that look the same when redacted must not overwrite each other."""
    found = redacted(value, lambda text: text.replace("x", "*").replace("y", "*"))

    assert not any(letter in text for text in texts(found) for letter in "xy")
    assert len(list(texts(found))) == len(list(texts(value)))


def test_pictures_are_left_alone_and_drawings_are_not() -> None:
    data = {"image/png": "hush==", "application/pdf": "hush", "image/svg+xml": "<svg>hush</svg>", "text/plain": "hush"}

    found = redacted(data, lambda text: text.replace("hush", "***"))

    assert found["image/png"] == "hush=="
    assert found["application/pdf"] == "hush"
    assert found["image/svg+xml"] == "<svg>***</svg>"
    assert found["text/plain"] == "***"
