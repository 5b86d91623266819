"""The person performs the gestures there are, by number or name, and says what was done."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize("key", ["backup", "0.1", "0.1c"])
def test_a_gesture_answers_to_its_name_and_to_its_step(person, key):
    assert "point-in-time" in person.post(f"/gestures/{key}").raise_for_status().json()["performed"]


def test_a_token_is_made_with_an_expiry(person):
    made = person.post("/gestures/deploy_token", json={"days": 30}).raise_for_status().json()
    assert "--expiry 720h" in made["performed"]
    assert made["expires_at"].endswith("+00:00")


def test_an_unknown_gesture_names_those_there_are(person):
    reply = person.post("/gestures/9.9")
    assert reply.status_code == 404
    assert "no gesture for '9.9'" in reply.json()["error"]
    assert "backup" in reply.json()["error"]


def test_a_parameter_nobody_knows_is_refused(person):
    assert person.post("/gestures/backup", json={"colour": "red"}).status_code == 400


def test_gestures_are_remembered(person):
    person.post("/gestures/backup")
    assert person.get("/gestures").json()["performed"][-1]["gesture"] == "backup"
