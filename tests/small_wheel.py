"""Write a wheel of a few text files. The small project builds itself with this, so it imports nothing of the tests."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path


def write(folder: Path, name: str, files: Mapping[str, str], version: str = "1.0") -> Path:
    """Write a wheel of ``files`` (name -> text) into ``folder`` and return its path; the same text, the same bytes."""
    info = f"{name}-{version}.dist-info"
    held = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{file},,\n" for file in [*held, f"{info}/RECORD"])
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as made:
        for file, text in {**held, f"{info}/RECORD": record}.items():
            made.writestr(zipfile.ZipInfo(file), text)
    return path
