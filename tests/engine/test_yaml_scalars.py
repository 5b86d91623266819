"""One file of parameters means the same to our commands and to papermill."""

from __future__ import annotations

from typing import Any

import papermill.iorw
import pytest

from runbook_lib.cli import parameters


@pytest.mark.parametrize(
    ("written", "value"),
    [("0100", 100), ("1:40", "1:40"), ("0x1F", "0x1F"), ("no", "no"), ("2026-01-01", "2026-01-01")],
)
def test_a_file_is_read_by_yaml_1_2_here_and_by_papermill(tmp_path: Any, written: str, value: Any) -> None:
    (tmp_path / "file.yaml").write_text(f"name: {written}\n")
    path = str(tmp_path / "file.yaml")
    assert parameters.read([], path) == papermill.iorw.read_yaml_file(path) == {"name": value}
