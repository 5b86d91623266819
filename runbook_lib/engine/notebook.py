"""Copy notebooks for a run, check their parameters, redact their text, and write them."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat

from runbook_lib.errors import ConfigError, nearest
from runbook_lib.files import write_whole
from runbook_lib.settings.choice import addressed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PARAMETERS = "parameters"
INJECTED = "injected-parameters"  # papermill's tag of the cell it adds
SKIPPED = "skip-execution"  # nbclient's tag
# The notebook format's own words: never a secret, and the file is no notebook without them.
STRUCTURE = frozenset(
    {"cells", "cell_type", "metadata", "source", "outputs", "output_type", "execution_count", "attachments", "id"}
    | {"data", "text", "name", "ename", "evalue", "traceback", "tags", "nbformat", "nbformat_minor"}
)


@dataclass(frozen=True)
class Prepared:
    """A copy of a notebook that is ready to run: its path, its parameters and its number of code cells."""

    path: Path
    parameters: dict[str, Any]  # the notebook's defaults under the given ones
    code_cells: int


def prepare(source: Path, target: Path, parameters: Mapping[str, Any]) -> Prepared:
    """Copy the notebook ``source`` to ``target``, with ``parameters`` filled in and without outputs.

    In the copy's text, each command of ours names the profile that is among ``parameters``. Raise `ConfigError` if the
    notebook cannot be read or if a parameter is unknown or of the wrong type, and `RecordError` if ``target`` cannot be
    written.
    """
    if source.resolve() == target.resolve():
        raise ConfigError(f"{source} would be executed in place: the copy needs another name")
    notebook = read(source)
    defaults = default_parameters(notebook, source.name)
    for name, value in parameters.items():
        refuse_wrong_parameter(source.name, defaults, name, value)
    refuse_skipping(notebook, source.name)
    refuse_other_language(notebook, source.name)
    _clear(notebook, source, target)
    if parameters:
        notebook = _inject(notebook, dict(parameters))
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and "profile" in parameters:
            cell.source = addressed(cell.source, parameters["profile"])
    write(notebook, target)
    return Prepared(target, {**defaults, **parameters}, sum(runs(cell) for cell in notebook.cells))


def read(path: Path) -> Any:
    """Read a notebook's file. Raise `ConfigError` if the file cannot be read or is no notebook."""
    try:
        return nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    except OSError as error:
        raise ConfigError(f"notebook {path} cannot be read: {error.strerror}") from error
    except Exception as error:  # nbformat raises whatever the damage leads to
        raise ConfigError(f"{path} is not a notebook: {type(error).__name__}: {error}") from error


def runs(cell: Any) -> bool:
    """Return whether a notebook's cell will run: it is a code cell and not blank."""
    return bool(cell.cell_type == "code" and cell.source.strip())


def default_parameters(notebook: Any, name: str) -> dict[str, Any]:
    """Return the default values that the notebook's cell tagged ``parameters`` assigns.

    Raise `ConfigError` if this cell holds anything but plain assignments: papermill overlooks an annotated assignment,
    and then only warns of an unknown parameter.
    """
    cells = [cell for cell in notebook.cells if PARAMETERS in cell.metadata.get("tags", [])]
    if len(cells) != 1:
        raise ConfigError(f"{name}: expected one cell tagged {PARAMETERS!r}, found {len(cells)}")
    try:
        return dict(_assignment(line) for line in ast.parse(cells[0].source).body)
    except (SyntaxError, ValueError) as error:
        raise ConfigError(
            f"{name}: the {PARAMETERS!r} cell must hold plain assignments of literals, found: {error}"
        ) from error


def _assignment(line: ast.stmt) -> tuple[str, Any]:
    match line:
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            return name, ast.literal_eval(value)
    raise ValueError(ast.unparse(line))


def refuse_wrong_parameter(notebook: str, defaults: dict[str, Any], name: str, value: Any) -> None:
    """Raise `ConfigError` if the notebook lacks a parameter, or if the given value has another type than the default.

    The value must have the type of the notebook's default. If the default is None, the value may be of any type.
    """
    if name not in defaults:
        raise ConfigError(f"{notebook} has no parameter {name!r}: {nearest(name, defaults)}")
    default = defaults[name]
    kinds = (int, float) if type(default) is float else (type(default),)
    if default is not None and type(value) not in kinds:
        raise ConfigError(
            f"parameter {name!r} of {notebook}: expected {type(default).__name__} (as {default!r}), "
            f"found {type(value).__name__} {value!r}"
        )


def refuse_skipping(notebook: Any, name: str) -> None:
    for number, cell in enumerate(notebook.cells, 1):
        if SKIPPED in cell.metadata.get("tags", []):
            raise ConfigError(f"{name}: cell {number} is tagged {SKIPPED!r}; every cell of a runbook runs")


def refuse_other_language(notebook: Any, name: str) -> None:
    """Raise `ConfigError` if the notebook is not written in Python, because our kernel would run it as Python."""
    kernel = notebook.metadata.get("kernelspec", {})
    language = kernel.get("language") or notebook.metadata.get("language_info", {}).get("name")
    wanted = str(kernel.get("name", "python3"))
    if (language or "python") != "python" or (not language and not wanted.startswith("python")):
        raise ConfigError(
            f"{name} wants the kernel {wanted!r} ({language or 'of no language we know'}): only Python runs here"
        )


def _clear(notebook: Any, source: Path, target: Path) -> None:
    """Remove everything from a notebook that an earlier run left in it."""
    notebook.metadata.pop("runbook", None)
    notebook.metadata["papermill"] = {
        "default_parameters": {},
        "environment_variables": {},
        "input_path": str(source),
        "output_path": str(target),
        "parameters": {},
    }
    for cell in notebook.cells:
        cell.metadata.pop("runbook", None)
        cell.metadata.pop("papermill", None)
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None


def _inject(notebook: Any, parameters: dict[str, Any]) -> Any:
    """Add a cell that assigns the given parameters, in the form that papermill writes."""
    from papermill.parameterize import parameterize_notebook  # noqa: PLC0415 - slow, and it imports this package

    for cell in notebook.cells:
        cell.metadata.setdefault("tags", [])  # papermill counts on it
    return parameterize_notebook(notebook, parameters, kernel_name="python3", language="python")


def redacted(value: Any, redact: Callable[[str], str]) -> Any:
    """Return a notebook's JSON with every text and field name redacted. Binary data is not changed."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, list):
        return [redacted(item, redact) for item in value]
    if isinstance(value, dict):
        clean: dict[str, Any] = {}
        for key, item in value.items():
            clean[_name(key, redact, clean)] = item if _binary(key) else redacted(item, redact)
        return nbformat.from_dict(clean)  # type: ignore[no-untyped-call]
    return value


def _name(key: str, redact: Callable[[str], str], taken: Mapping[str, Any]) -> str:
    """Return the redacted name of a notebook's field, with a number if the name is taken already."""
    if key in STRUCTURE:
        return key
    name, number = redact(key), 2
    while name in taken:
        name, number = f"{redact(key)} ({number})", number + 1
    return name


def _binary(kind: str) -> bool:
    """Return whether a MIME type is binary. A notebook holds such data in base64."""
    return (kind.startswith(("image/", "audio/", "video/")) and "xml" not in kind) or kind == "application/pdf"


def write(notebook: Any, path: Path) -> None:
    """Write a notebook's file whole or not at all. Raise `RecordError` if it cannot be written."""
    text = nbformat.writes(notebook, version=4)  # type: ignore[no-untyped-call]
    write_whole(path, f"{text}\n".encode())


def merge_streams(notebook: Any) -> None:
    """Join adjacent outputs of one stream, because a secret split over two outputs would not be redacted."""
    for cell in notebook.cells:
        merged: list[Any] = []
        for output in cell.get("outputs", []):
            if merged and output.output_type == "stream" and output.get("name") == merged[-1].get("name"):
                merged[-1].text += output.text
            else:
                merged.append(output)
        if cell.cell_type == "code":
            cell.outputs = merged
