"""Collect every HTTP request that a notebook, the halt, the console or the doctor can send, as production would get it.

Read from the sources: each call of ``http`` is rendered with a filled-in production profile, sample values in the place
of what only a run knows. A call that cannot be read so is an error, for nobody could compare it either.
"""

from __future__ import annotations

import ast
import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from runbook_lib.commands.command import NAME, Http, http
from runbook_lib.services.services import Services
from runbook_lib.settings.profiles import ROOT, Settings

SAMPLE = "sample"
# Where requests are written that production never gets: they drive the rehearsal, or are the machinery itself.
ELSEWHERE = ("rehearsal", "runs/drills", "commands/command.py")
REHEARSALS_OWN = "person"


@dataclass(frozen=True)
class Sent:
    """A request as it leaves for production, and the place in the sources that it comes from."""

    place: str
    host: str
    method: str
    path: str
    scheme: str
    query: frozenset[str]


def sent_to_production(settings: Settings) -> list[Sent]:
    """Every request, in the order of the sources."""
    services = Services(settings)
    found = []
    for place, source in _sources():
        for command in _commands(place, ast.parse(source)):
            shown = services.shown(command.filled(settings.lookup))
            found.append(_read(place, shown))
    services.close()
    return found


def _sources() -> Iterator[tuple[str, str]]:
    for path in sorted((ROOT / "runbook_lib").rglob("*.py")):
        name = path.relative_to(ROOT / "runbook_lib").as_posix()
        if not name.startswith(ELSEWHERE):
            yield name, path.read_text()
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        for cell in json.loads(path.read_text())["cells"]:
            if cell["cell_type"] == "code":
                yield f"{path.stem} {_number(cell)}", "".join(cell["source"])


def _number(cell: dict[str, Any]) -> str:
    step = re.search(r'"(\d\.\d+[a-z]+)"', "".join(cell["source"]))
    return step[1] if step else cell["id"]


def _commands(place: str, tree: ast.Module) -> Iterator[Http]:
    """Every request of a module or a cell; a name in it is looked up in the function around it."""
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    for call in ast.walk(tree):
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in ("http", "Http")):
            continue
        around = [function for function in functions if call in ast.walk(function)]
        service, *request = [_text(argument, around[-1] if around else tree) for argument in call.args]
        if service == REHEARSALS_OWN:
            continue
        if service is None or not request or None in request:
            raise AssertionError(f"{place}: {ast.unparse(call)}: write service, method and path as text")
        words = {word.arg: word.value for word in call.keywords}
        yield _command(place, service, " ".join(filter(None, request)), words)


def _text(node: ast.expr, around: ast.AST) -> str | None:
    """The text of an argument, a sample in the place of what a run puts in; None where it is no text."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(_text(part, around) or SAMPLE for part in parts)
        case ast.BinOp(left=left, op=ast.Add()):
            return f"{_text(left, around)}{SAMPLE}"
        case ast.Name(id=name):
            for other in ast.walk(around):
                if isinstance(other, ast.Assign) and ast.unparse(other.targets[0]) == name:
                    return _text(other.value, around)
    return None


def _command(place: str, service: str, request: str, words: dict[str | None, ast.expr]) -> Http:
    query, headers = (_keys(place, words.get(name)) for name in ("query", "headers"))
    placed = {name: SAMPLE for name in NAME.findall(request) if name in words}
    authorization = {name: "Bearer $CRON_SECRET" for name in headers if name.lower() == "authorization"}
    return http(
        service,
        request,
        **placed,
        query=dict.fromkeys(query, SAMPLE),
        headers=dict.fromkeys(headers, SAMPLE) | authorization,
        json={} if "json" in words else None,
    )


def _keys(place: str, node: ast.expr | None) -> list[str]:
    """The keys of a dictionary that is written out."""
    if node is None:
        return []
    if not isinstance(node, ast.Dict) or not all(isinstance(key, ast.Constant) for key in node.keys):
        raise AssertionError(f"{place}: {ast.unparse(node)}: write the query out")
    return [str(key.value) for key in node.keys if isinstance(key, ast.Constant)]


def _read(place: str, shown: str) -> Sent:
    """Read a request from the text that an operator can paste."""
    arguments = shlex.split(shown.partition("<<JSON")[0].replace("\\\n", " "))
    url = urlsplit(next(argument for argument in arguments if argument.startswith("http")))
    method = "HEAD" if "-I" in arguments else arguments[arguments.index("-X") + 1]
    headers = [arguments[at + 1] for at, argument in enumerate(arguments) if argument == "-H"]
    scheme = next((line.split()[1] for line in headers if line.lower().startswith("authorization:")), "")
    return Sent(place, url.netloc, method, url.path, scheme, frozenset(name for name, _ in parse_qsl(url.query)))
