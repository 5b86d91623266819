"""A notebook that JupyterLab saves is whole at any moment."""

from __future__ import annotations

import os
import threading

import httpx
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from runbook_lib.errors import RecordError
from runbook_lib.records import plan
from runbook_lib.runs import atomic_saves, jupyterlab

CELL = 'phase.check("1a", "Look", sql("select 1"), expect=rows(1), fix="mend it")'
SAVES = 40


def test_who_reads_while_it_is_saved_finds_all_of_it(tmp_path):
    notebook = new_notebook(cells=[new_code_cell(CELL), new_code_cell("'" + "x" * 2_000_000 + "'")])
    nbformat.write(notebook, tmp_path / "notebook.ipynb")
    seen, over = [], threading.Event()

    def read():
        while not over.is_set():
            seen.append([step.number for step in plan.steps(tmp_path / "notebook.ipynb")])

    reading = threading.Thread(target=read)
    with jupyterlab.serving(tmp_path, dict(os.environ)) as served:
        reading.start()
        for _ in range(SAVES):
            answer = httpx.put(
                f"{served.address}api/contents/notebook.ipynb",
                headers={"Authorization": f"token {served.token}"},
                json={"type": "notebook", "content": notebook},
                timeout=60,
            )
            assert answer.status_code == 200, answer.text
        over.set()
        reading.join()
    assert seen and all(numbers == ["1a"] for numbers in seen)
    assert [path.name for path in tmp_path.iterdir()] == ["notebook.ipynb"]


def test_bytes_are_saved_too_and_what_cannot_be_written_is_said(tmp_path):
    files = atomic_saves.WholeFiles(root_dir=str(tmp_path))
    with files.atomic_writing(str(tmp_path / "data"), text=False) as file:
        file.write(b"\x00\x01")
    assert (tmp_path / "data").read_bytes() == b"\x00\x01"
    with (
        pytest.raises(RecordError, match="cannot be written"),
        files.atomic_writing(str(tmp_path / "nowhere" / "data")) as file,
    ):
        file.write("x")
