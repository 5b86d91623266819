"""Read a notebook's parameters from the command line: ``-p NAME=VALUE`` and ``-f FILE``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from runbook_lib.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence


class Core(yaml.SafeLoader):
    """A YAML loader for YAML 1.2. In PyYAML's YAML 1.1, 0100 is 64, 1:40 is 100 and ``no`` is false."""


# Each scalar's pattern and the characters it can begin with, as PyYAML wants them. Leading zeros make no octal number.
SCALARS = {
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    "int": (r"[-+]?[0-9]+", list("-+0123456789")),
    "float": (r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", list("-+.0123456789")),
}
Core.yaml_implicit_resolvers = {}
for kind, (pattern, beginnings) in SCALARS.items():
    Core.add_implicit_resolver(f"tag:yaml.org,2002:{kind}", re.compile(f"^(?:{pattern})$"), beginnings)
Core.add_constructor("tag:yaml.org,2002:int", lambda _, node: int(node.value))
Core.add_constructor("tag:yaml.org,2002:float", lambda _, node: float(node.value))


def read(typed: Sequence[str], file: str | None) -> dict[str, Any]:
    """Return the parameters in ``file`` and those typed with ``-p``. A typed value wins over the file's.

    Raise `ConfigError` if the file or a typed parameter cannot be read.
    """
    return {**(_of_file(Path(file)) if file else {}), **dict(map(_pair, typed))}


def _of_file(path: Path) -> dict[str, Any]:
    try:
        parameters = yaml.load(path.read_text(encoding="utf-8"), Core)  # noqa: S506 - a safe loader
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {_one_line(error)}") from error
    if not isinstance(parameters, dict) or not all(isinstance(name, str) for name in parameters):
        raise ConfigError(f"{path}: expected names and values of parameters")
    if {"kind", "project"} <= parameters.keys():
        raise ConfigError(f"{path} is a profile and no file of parameters: choose it with --profile {path.stem}")
    return parameters


def _pair(text: str) -> tuple[str, Any]:
    """Return the name and the value of a parameter that was typed as ``NAME=VALUE``."""
    name, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(f"a parameter reads NAME=VALUE, not {text!r}")
    try:
        return name, yaml.load(value, Core)  # noqa: S506 - a safe loader
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"-p {name}: {value!r} is not YAML ({_one_line(error)}): put a text in quotes") from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
