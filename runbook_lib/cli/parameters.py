"""Read a notebook's parameters from the command line: ``-p NAME=VALUE`` and ``-f FILE``.

YAML is imported only when there is a value to read, so that ``--help`` starts fast.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runbook_lib.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import yaml


def parameter_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add to a command the options ``-p NAME=VALUE`` and ``-f FILE``, which set a notebook's parameters."""
    typed = click.option(
        "-p", "--parameter", "typed", multiple=True, metavar="NAME=VALUE", help="A notebook parameter."
    )
    file = click.option(
        "-f", "--parameters-file", "file", type=click.Path(dir_okay=False), help="A YAML file of notebook parameters."
    )
    return typed(file(command))


def read(typed: Sequence[str], file: str | None) -> dict[str, Any]:
    """Return the parameters in ``file`` and those typed with ``-p``. A typed value wins over the file's.

    Raise `ConfigError` if the file or a typed parameter cannot be read.
    """
    return {**(_of_file(Path(file)) if file else {}), **dict(map(_pair, typed))}


@functools.cache
def _core() -> type[yaml.SafeLoader]:
    """Return a YAML loader that reads scalars by YAML 1.2."""
    import yaml

    from runbook_lib.engine.yaml_scalars import read_by_yaml_1_2

    class Core(yaml.SafeLoader):
        """A YAML loader that reads scalars by YAML 1.2."""

    read_by_yaml_1_2(Core)
    return Core


def _of_file(path: Path) -> dict[str, Any]:
    import yaml

    try:
        parameters = yaml.load(path.read_text(encoding="utf-8"), _core())  # noqa: S506 - a safe loader
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
    import yaml

    name, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(f"a parameter reads NAME=VALUE, not {text!r}")
    try:
        return name, yaml.load(value, _core())  # noqa: S506 - a safe loader
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"-p {name}: {value!r} is not YAML ({_one_line(error)}): put a text in quotes") from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
