"""The engine as papermill's: `papermill --engine runbook in.ipynb out.ipynb`."""

from __future__ import annotations

from typing import Any


class PapermillEngine:
    """What papermill looks up under the entry point ``papermill.engine``."""

    @classmethod
    def execute_notebook(cls, nb: Any, kernel_name: str, output_path: str | None = None, **options: Any) -> Any:
        raise NotImplementedError
