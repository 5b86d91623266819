"""Parameters as they are typed: YAML 1.2's scalars, a file, and what is neither."""

from __future__ import annotations

import pytest

from runbook_lib.cli import parameters
from runbook_lib.errors import ConfigError


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ("0100", 100),
        ("-3", -3),
        ("1:40", "1:40"),
        ("0x1F", "0x1F"),
        ("1_000", "1_000"),
        ("no", "no"),
        ("true", True),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("2026-01-01", "2026-01-01"),
        ("", None),
        ("[1, x]", [1, "x"]),
        ("'7'", "7"),
    ],
)
def test_a_value_is_what_yaml_1_2_says(typed, value):
    read = parameters.read([f"name={typed}"], None)["name"]
    assert read == value and type(read) is type(value)


@pytest.mark.parametrize("typed", ["wallet=@x", "wallet=%x", "wallet=[1", "wallet=*x"])
def test_what_is_no_yaml_is_refused_in_one_line_that_names_the_parameter(typed):
    with pytest.raises(ConfigError, match=r"^-p wallet: .* put a text in quotes$") as refused:
        parameters.read([typed], None)
    assert "\n" not in str(refused.value)


def test_what_is_typed_wins_over_the_file(tmp_path):
    (tmp_path / "file.yaml").write_text("days: 07\nnote: a\n")
    assert parameters.read(["note=b"], str(tmp_path / "file.yaml")) == {"days": 7, "note": "b"}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("kind: rehearsal\nproject: x\n", "is a profile and no file of parameters: choose it with --profile file"),
        ("- 1", "expected names and values"),
        ("1: 2", "expected names and values"),
        ("a: [", "is not YAML"),
        ("", "expected names and values"),
        (None, "cannot be read: No such file"),
    ],
)
def test_a_file_of_something_else_is_refused(tmp_path, text, complaint):
    path = tmp_path / "file.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=complaint):
        parameters.read([], str(path))
