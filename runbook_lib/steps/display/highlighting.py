"""Colour the text of commands: SQL as PostgreSQL's dialect, everything else as a shell line."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

STATEMENT = re.compile(r"\s*(select|with|insert|update|delete|begin|listen|notify|alter|create)\b", re.IGNORECASE)


def coloured(command: str) -> str:
    """Highlight ``command`` in colours.

    The returned HTML has the colours in its tags, so that any viewer shows them.
    """
    return _painter()(command, sql=bool(STATEMENT.match(command)))


@cache
def _painter() -> Callable[..., str]:
    from pygments import highlight  # noqa: PLC0415 - a tenth of a second, which a halt need not pay
    from pygments.formatters import HtmlFormatter  # noqa: PLC0415
    from pygments.lexers.shell import BashLexer  # noqa: PLC0415
    from pygments.lexers.sql import PostgresLexer  # noqa: PLC0415
    from pygments.styles.default import DefaultStyle  # noqa: PLC0415
    from pygments.token import Error  # noqa: PLC0415

    # Without red boxes: an SQL statement and a curl line in one command are no mistake.
    calm = type("Calm", (DefaultStyle,), {"styles": {**DefaultStyle.styles, Error: ""}})
    options: dict[str, Any] = {"stripnl": False, "ensurenl": False}
    lexers = {True: PostgresLexer(**options), False: BashLexer(**options)}
    formatter = HtmlFormatter(noclasses=True, nowrap=True, style=calm)

    def paint(command: str, *, sql: bool) -> str:
        painted = str(highlight(command, lexers[sql], formatter))
        return painted if command.endswith("\n") else painted.removesuffix("\n")  # the formatter ends every line

    return paint
