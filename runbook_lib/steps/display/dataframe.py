"""Show a DataFrame as a table with all its columns, below the command that returned the rows."""

from __future__ import annotations

import pandas as pd

from runbook_lib.steps.display.cards import looked


class Frame(pd.DataFrame):
    """A DataFrame that is shown as a table below its command. ``attrs["command"]`` holds the command."""

    def _repr_html_(self) -> str:
        plain = self.astype(object).where(self.notna(), None)
        return looked(self.attrs["command"], [{str(k): v for k, v in row.items()} for row in plain.to_dict("records")])
