"""Shapes of answers: each request says what a service may answer to it, and nothing else is an answer.

An error page, ``null`` or half a list holds no rows, and who asks only for rows takes it for "none". So a body is
judged here, before anybody reads rows from it.
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
    """What is taken for an answer to one kind of request.

    ``words`` name it in complaints. ``form`` is a type pydantic judges JSON by; None takes any text, for pages and
    manifests. ``moment`` is the key of the time, in epoch milliseconds, at which the answer says that it was true.
    ``fresh``: an answer made before the request is refused; what never changes, or is a clock itself, needs not be.
    ``empty``: no body at all is an answer too.
    """

    words: str
    form: Any = None
    most: int = LARGEST
    moment: str | None = None
    fresh: bool = True
    empty: bool = False

    def complaint(self, body: Any) -> str | None:
        """Say why a parsed body is no answer; None if it is one."""
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
    """Read a body as JSON: None for no body, `NOT_JSON` for what is none or is nested beyond reading."""
    try:
        return json.loads(text) if text else None
    except (ValueError, RecursionError):
        return NOT_JSON


@cache
def _adapter(shape: Shape) -> TypeAdapter[Any]:
    """Build what judges a shape, once and when first needed: a halt must not pay for the shapes it never asks."""
    return TypeAdapter(shape.form)


def _first(error: ValidationError) -> str:
    problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place = ".".join(str(step) for step in problem["loc"])
    return f"{place or 'the answer'}: {problem['msg']}"


def _deeper(body: Any, most: int) -> bool:
    """Whether lists and objects stand in each other more than ``most`` levels deep; level by level, for a body that
    goes too deep would break a function that calls itself."""
    level = [body]
    for _ in range(most):
        inside = [value for value in level if isinstance(value, dict | list)]
        if not inside:
            return False
        level = [inner for value in inside for inner in (value.values() if isinstance(value, dict) else value)]
    return any(isinstance(value, dict | list) for value in level)
