"""Records are found by their path and by part of their name."""

from __future__ import annotations

import re

import pytest

from runbook_lib.errors import ConfigError
from runbook_lib.records import record_folder
from tests.records.test_ledger import make


def test_records_are_found_by_path_and_by_part_of_their_name(tmp_path):
    first, second = make(tmp_path, "phase_a"), make(tmp_path, "phase_b")
    assert record_folder.find(tmp_path, str(first.folder)).folder == first.folder
    assert record_folder.find(tmp_path, first.name).folder == first.folder
    assert record_folder.find(tmp_path, "phase_b").folder == second.folder
    for name, cited in (("phase_c", "'phase_c'"), ("a\0b", r"'a\x00b'"), ("x" * 5000, f"'{'x' * 80}…'")):
        with pytest.raises(ConfigError, match=re.escape(f"no record {cited} below")):
            record_folder.find(tmp_path, name)
