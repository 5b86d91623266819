"""Have a YAML loader read scalars by YAML 1.2, in which 0100 is a hundred, and 1:40, 0x1F and no are texts."""

from __future__ import annotations

import re

import yaml

# Each scalar's pattern and the characters it can begin with, as PyYAML wants them. Leading zeros make no octal number.
SCALARS = {
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    "int": (r"[-+]?[0-9]+", list("-+0123456789")),
    "float": (r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", list("-+.0123456789")),
}


def read_by_yaml_1_2(loader: type[yaml.SafeLoader]) -> None:
    """Change a loader's class so that it reads scalars by YAML 1.2. PyYAML itself follows YAML 1.1, by which 0100 is
    64, 1:40 is 100 and no is false.
    """
    loader.yaml_implicit_resolvers = {}
    for kind, (pattern, beginnings) in SCALARS.items():
        loader.add_implicit_resolver(f"tag:yaml.org,2002:{kind}", re.compile(f"^(?:{pattern})$"), beginnings)
    loader.add_constructor("tag:yaml.org,2002:int", lambda _, node: int(node.value))
    loader.add_constructor("tag:yaml.org,2002:float", lambda _, node: float(node.value))
