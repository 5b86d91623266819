"""Errors: by what the operator must do next, in words that name the way out."""

from __future__ import annotations

import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook_lib import errors
from runbook_lib.errors import RunbookError, ServiceError, StepFailed, nearest

KINDS = [kind for name in errors.__all__ if isinstance(kind := getattr(errors, name), type)]


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_is_ours_drawn_in_the_tree_and_shown_as_its_message_alone(kind: type[RunbookError]) -> None:
    assert issubclass(kind, RunbookError)
    assert kind.__name__ in str(errors.__doc__)
    assert kind("say what to do")._render_traceback_() == [f"{kind.__name__}: say what to do"]


def test_the_exit_code_says_who_must_act() -> None:
    codes = {kind.__name__: kind.exit_code for kind in KINDS}
    assert codes == {
        "RunbookError": 1,
        "ConfigError": 2,
        "ServiceError": 1,
        "StepFailed": 1,
        "StepPending": 3,
        "StepUnknown": 4,
        "StepRefused": 2,
        "RecordError": 1,
    }


def test_a_service_error_keeps_whether_it_was_sent() -> None:
    error = ServiceError("no answer", sent=True)
    assert [e.sent for e in (error, copy.copy(error), pickle.loads(pickle.dumps(error)))] == [True] * 3  # noqa: S301
    assert not ServiceError("cannot connect").sent


@pytest.mark.parametrize(
    ("name", "choices", "said"),
    [
        ("regoin", ["region", "org"], "did you mean 'region'?"),
        ("x", ["region", "org"], "choose one of: org, region"),
        ("x", [], "there is none to choose from"),
    ],
)
def test_a_wrong_name_gets_the_nearest_or_all(name: str, choices: list[str], said: str) -> None:
    assert nearest(name, choices) == said


@given(st.text(), st.lists(st.text()))
def test_a_wrong_name_always_gets_an_answer(name: str, choices: list[str]) -> None:
    assert nearest(name, choices)


def test_an_error_whose_message_stands_above_already_is_shown_briefly() -> None:
    error = StepFailed("all of it").told("1a failed, the card above says why")
    assert error._render_traceback_() == ["StepFailed: 1a failed, the card above says why"]
    assert str(error) == "all of it"
