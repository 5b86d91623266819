"""Find records, the dated folders of runs, in the folder of all records."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from runbook_lib.errors import ConfigError, RecordError, cited, nearest
from runbook_lib.files import is_there
from runbook_lib.records.ledger import Ledger
from runbook_lib.records.verify import LEDGER, misworded
from runbook_lib.settings.profiles import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runbook_lib.records.ledger import Event
    from runbook_lib.settings.redaction import Redactor


@dataclass(frozen=True)
class Record:
    """A record, the dated folder of one run. It holds the ledger, the notebook and the parameters."""

    folder: Path
    redact: Redactor | None = None

    @cached_property
    def ledger(self) -> Ledger:
        return Ledger(self.folder / LEDGER, self.redact)

    @property
    def notebook(self) -> Path:
        return self.folder / "notebook.ipynb"

    @property
    def root(self) -> Path:
        """Return the folder of all records, in which this record's folder is ``<profile>/<date>/<time>_<phase>``."""
        return self.folder.parent.parent.parent

    @property
    def name(self) -> str:
        """Return the path of the record's folder inside the folder of all records."""
        return str(self.folder.relative_to(self.root))

    @property
    def path(self) -> Path:
        """Return the path of the record's folder, relative to the current folder if it lies below it."""
        current = Path.cwd()
        return self.folder.relative_to(current) if self.folder.is_relative_to(current) else self.folder

    @property
    def profile(self) -> str:
        """Return the name of the profile that the record belongs to.

        Below the folder of all records, the path of a record begins with the profile's name.
        """
        return Path(self.name).parts[0]

    def opened(self) -> Event:
        """Return the first event of a record's ledger: what was begun, by whom and for which profile.

        Raise `RecordError` if there is no ledger or its first line is not such an event.
        """
        try:
            with self.ledger.path.open("rb") as file:
                event: Event = json.loads(file.readline())
            good = event["event"] == "opened" and misworded(event) is None
        except (OSError, ValueError, LookupError, TypeError, RecursionError):
            good = False
        if not good:
            raise RecordError(f"{self.folder}: no ledger, or one that does not begin")
        return event

    @cached_property
    def parents(self) -> tuple[Record, ...]:
        """Return the records that this record resumes, oldest first. Each is read only once, because it is sealed."""
        parent = self.opened().get("parent")
        if parent is None:
            return ()
        record = Record(self.root / parent["record"])
        return (*record.parents, record)

    def sealed(self) -> Event | None:
        """Return a record's seal. Return None if the run goes on or was cut off."""
        events = self.ledger.events()
        return events[-1] if events and events[-1]["event"] == "sealed" else None


def records_root() -> Path:
    """Return the folder of all records: RUNBOOK_RECORDS, or a default.

    Without RUNBOOK_RECORDS, it is the folder ``records`` in the checkout.
    """
    return Path(os.environ.get("RUNBOOK_RECORDS") or ROOT / "records").absolute()


def every(root: Path) -> Iterator[Record]:
    """Yield every record in the folder of all records, by profile and name. Do not follow symbolic links."""
    folders = [root]
    for _ in range(3):
        folders = [inner for folder in folders for inner in _folders_in(folder)]
    yield from map(Record, folders)


def _folders_in(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    except OSError:
        return []
    return [folder / name for name in names if not name.startswith(".")]


def find(root: Path, name: str) -> Record:
    """Return the record with the path ``name`` below the folder of all records.

    If there is no folder at that path, return the newest record whose path contains ``name``.
    """
    for folder in (Path(name), root / name):
        if is_there(folder / LEDGER):
            return Record(folder.resolve())
    matching = [record for record in every(root) if name in record.name]
    if not matching:
        raise ConfigError(f"no record {cited(name)} below {root}: {nearest(name, [r.name for r in every(root)][-8:])}")
    return matching[-1]
