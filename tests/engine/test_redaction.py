"""No secret reaches the notebook, the caller or the terminal, whichever way a cell puts it out."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import pytest

from runbook_lib.engine.kernel_pool import Kernels
from runbook_lib.engine.run import run
from runbook_lib.settings.redaction import Redactor

# Holds what JSON, URLs and Python write differently.
CANARY = 'canary-"7f3a\\9c"/+ é-end-of-it'
REDACTOR = Redactor({"CANARY": CANARY})

WAYS = {
    "printed": "print(secret)",
    "printed in pieces": "import sys\nfor c in secret:\n    print(c, end='', flush=True)",
    "printed to stderr": "import sys; print(secret, file=sys.stderr)",
    "written by a command": "import subprocess; subprocess.run(['printenv', 'CANARY'], check=True)",
    "the cell's value": "secret",
    "in a structure": "{'deep': [{'er': secret}], secret: 1}",
    "in a DataFrame": "import pandas as pd; pd.DataFrame({'a': [secret], secret: ['b']})",
    "in HTML": "from IPython.display import HTML; HTML(f'<b>{secret}</b>')",
    "in JSON": "from IPython.display import JSON; JSON({'a': {'b': secret}})",
    "in JSON names": "from IPython.display import JSON; JSON({secret: {secret: 1}})",
    "in a drawing": "from IPython.display import SVG; SVG('<svg><text>canary</text></svg>'.replace('canary', 'x')); "
    "display({'image/svg+xml': f'<svg><text>{secret}</text></svg>'}, raw=True)",
    "in output metadata": "display('x', metadata={'note': secret, secret: 1})",
    "in a changed display": "h = display('x', display_id=True); h.update(secret)",
    "in a widget": "import ipywidgets as w; w.VBox([w.Text(value=secret, description=secret), w.HTML(secret)])",
    "in an Output widget": "import ipywidgets as w; o = w.Output(); display(o)\nwith o:\n    print(secret)",
    "in base64": "import base64; print(base64.b64encode(b'x' + secret.encode() + b'y').decode())",
    "raised": "raise ValueError(f'refused: {secret}')",
    "raised from": "try:\n    raise KeyError(secret)\nexcept KeyError as e:\n    raise ValueError('later') from e",
    "an exception's name": "raise type('E' + secret, (Exception,), {})('x')",
    "a warning": "import warnings; warnings.warn(secret)",
    "logged": "import logging; logging.warning('sent %s', secret)",
    "last words": "import os, time; os.write(2, secret.encode()); print(secret, flush=True); time.sleep(1); os.abort()",
    "a failed command": "import subprocess; subprocess.run(['sh', '-c', 'exit 3', secret], check=True)",
}


@dataclass(frozen=True)
class Traces:
    """What a run of a leaking cell left: the notebook's text, and all that the caller got."""

    notebook: str
    caller: str


@pytest.fixture(scope="module")
def traces(tmp_path_factory: pytest.TempPathFactory, new_folder: Any) -> dict[str, Traces]:
    """Each way to leak, run in a notebook of its own."""
    traces, env = {}, {**os.environ, "CANARY": CANARY}
    with Kernels(len(WAYS)) as kernels:
        for way, source in WAYS.items():
            path = new_folder(tmp_path_factory.mktemp("leak")).prepared(
                f"import os; secret = os.environ['CANARY']\n{source}"
            )
            heard: list[Any] = []
            options = {"redact": REDACTOR.text, "on_cell": heard.append, "kernels": kernels}
            result = run(path, env=env, cwd=path.parent, **options)
            traces[way] = Traces(result.notebook.read_text(), repr((result, heard)))
    return traces


@pytest.mark.parametrize("way", WAYS)
def test_a_secret_stays_out_of_the_notebook_and_of_what_the_caller_hears(traces: dict[str, Traces], way: str) -> None:
    left = traces[way]

    assert list(REDACTOR.hits(left.notebook)) == []
    assert "end-of-it" not in left.notebook
    assert "end-of-it" not in left.caller
    assert "$CANARY" in left.notebook  # it had been there


def test_the_prepared_copy_is_redacted_once_it_has_run(folder: Any) -> None:
    """A secret given as a parameter is refused by the command line; if it gets here, it does not stay."""
    path = folder.prepared("print(1)")
    path.write_text(path.read_text().replace("print(1)", "x = 'canary-of-the-source'"))

    run(
        path,
        env=dict(os.environ),
        cwd=folder.path,
        redact=lambda text: text.replace("canary-of-the-source", "***"),
    )

    assert "canary-of-the-source" not in path.read_text()


def test_a_chart_survives_redaction(folder: Any) -> None:
    chart = "import matplotlib.pyplot as plt; fig, ax = plt.subplots(); ax.plot([1, 2]);"

    run(
        folder.prepared(chart),
        env=dict(os.environ),
        cwd=folder.path,
        redact=lambda text: text.replace("iVBOR", "***"),  # how each PNG begins, in base64
    )

    assert '"image/png": "iVBOR' in folder.outputs(0)


def test_the_terminal_stays_silent(folder: Any) -> None:
    """Neither the kernel nor asyncio nor nbclient prints: nobody redacts there."""
    for source in ("1/0", "import os; os.write(2, b'x'); os.abort()", "import time; time.sleep(600)"):
        folder.prepared(source)
        command = [sys.executable, "-c", folder.COMMAND, str(folder.copy), "{'cell_timeout': 2}"]

        done = subprocess.run(command, capture_output=True, text=True, check=True)

        assert done.stderr == ""
