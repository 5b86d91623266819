"""What an expectation says of replies that a test makes up."""

from __future__ import annotations

from typing import Any

from runbook_lib.commands.command import Reply
from runbook_lib.commands.expectations import Expectation, judge
from runbook_lib.steps.spoiling import spoiled


def of(*rows: dict[str, Any], **facts: Any) -> Reply:
    """A reply with these rows."""
    return Reply(rows, **facts)


def replies(*bodies: Any) -> list[Reply]:
    """A reply for each body: a list is rows, text is text, an object one row."""
    return [
        Reply(text=body, status=200)
        if isinstance(body, str)
        else Reply(tuple(body) if isinstance(body, list) else (body,), 200)
        for body in bodies
    ]


def complaint(expect: Expectation, *replies: Reply) -> str:
    return judge(expect, replies).complaint or ""


def can_fail(expect: Expectation, *replies: Reply) -> bool:
    """Whether the expectation complains of a spoiled copy of the replies."""
    return any(judge(expect, bad).complaint for _, bad in spoiled(replies))
