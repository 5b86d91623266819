"""Describe the shapes of answers. A request names the shape that it accepts; an answer of another shape is an error.

An error page, ``null`` or half a list holds no rows, and a caller that asks only for rows would take it for "none". So
a body is judged here, before anybody reads rows from it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

LARGEST = 2_000_000  # bytes of a body after unpacking, unless its shape allows more
DEEPEST = 64  # levels of lists and objects inside each other
NOT_JSON = object()


@dataclass(frozen=True)
class Shape:
    """The shape that the answers to one kind of request must have.

    ``words`` name the shape in complaints. ``form`` is the type by which pydantic judges the JSON; None accepts any
    text, such as a page or a manifest. ``most`` is the largest number of bytes a body may have. ``moment`` is the key
    under which the answer holds its own time, in epoch milliseconds. If ``fresh``, an answer made before the request is
    refused; it is false for answers that never change or are a clock themselves. If ``empty``, an answer without a body
    is accepted too.
    """

    words: str
    form: Any = None
    most: int = LARGEST
    moment: str | None = None
    fresh: bool = True
    empty: bool = False

    def complaint(self, body: Any) -> str | None:
        """Return why an answer's parsed body does not have this shape. Return None if it has the shape."""
        if self.form is None or (self.empty and body is None):
            return None
        if body is NOT_JSON:
            return f"expected {self.words}, found no JSON"
        if _deeper(body, DEEPEST):
            return f"expected {self.words}, found more than {DEEPEST} levels of JSON"
        try:
            _adapter(self).validate_python(body)
        except ValidationError as error:
            return f"expected {self.words}: {_first(error)}"
        return None


def parsed(text: str) -> Any:
    """Parse an answer's body as JSON, to judge its shape. Return None for no body, `NOT_JSON` for an unreadable one."""
    try:
        return json.loads(text) if text else None
    except (ValueError, RecursionError):
        return NOT_JSON


@cache
def _adapter(shape: Shape) -> TypeAdapter[Any]:
    """Build the pydantic adapter of a shape when it is first needed, so that a halt spends no time on shapes that it
    does not use.
    """
    return TypeAdapter(shape.form)


def _first(error: ValidationError) -> str:
    problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place = ".".join(str(step) for step in problem["loc"])
    return f"{place or 'the answer'}: {problem['msg']}"


def _deeper(body: Any, most: int) -> bool:
    """Return whether lists and objects are nested more than ``most`` levels deep.

    The function looks level by level, because a recursive function would itself fail on a body that is nested too deep.
    """
    level = [body]
    for _ in range(most):
        inside = [value for value in level if isinstance(value, dict | list)]
        if not inside:
            return False
        level = [inner for value in inside for inner in (value.values() if isinstance(value, dict) else value)]
    return any(isinstance(value, dict | list) for value in level)
