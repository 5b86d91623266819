"""Four lamps, as the ledger's events light them."""

from __future__ import annotations

from runbook_lib.records.past_presses import NAMES, Lamp, clock, later, press

AT = "2026-11-22T14:53:07.{}Z"


def event(kind, at="000000", step="1a", **facts):
    return {"event": kind, "at": AT.format(at), "step": step, **facts}


def pressed(at, **facts):
    return event("pressed", at, verb="act", label="Pause", by="ana", **facts)


def lamp(name, milliseconds, note=""):
    return event("lamp", lamp=name, lit=True, time=AT.format("500000"), milliseconds=milliseconds, note=note)


def test_a_step_that_was_never_pressed_has_no_lamps():
    assert press([event("sending"), pressed("1", step="1b")], "1a") is None


def test_every_press_has_four_lamps_awaited_until_the_ledger_lights_them():
    found = press([pressed("100000"), event("sending", "200000"), lamp("acknowledged", 300)], "1a", busy=True)
    assert [one.name for one in found.lamps] == list(NAMES)
    assert [one.lit for one in found.lamps] == [True, True, None, None]
    assert found.lamps[0].words == "sent 14:53:07.200Z"
    assert found.lamps[1].words == "acknowledged 14:53:07.500Z +300 ms"
    assert found.lamps[2].words == "effect: awaited"
    assert found.words == "pressed by ana at 14:53:07.100Z, acknowledged in 300 ms"


def test_a_second_press_begins_with_all_lamps_dark():
    found = press([pressed("1"), event("sending", "2"), lamp("effect", 5), pressed("300000")], "1a", busy=True)
    assert [one.lit for one in found.lamps] == [None] * 4
    assert found.words == "pressed by ana at 14:53:07.300Z"


def test_what_a_failed_press_did_not_bring_about_is_awaited_no_more():
    found = press([pressed("1"), event("press failed")], "1a")
    assert [(one.lit, one.note) for one in found.lamps] == [(False, "nothing was sent")] * 4
    found = press([pressed("1"), event("sending", "200000"), event("press failed")], "1a")
    assert [one.lit for one in found.lamps] == [True, False, False, False] and found.lamps[1].note == "not seen"


def test_what_a_kernel_that_died_did_not_see_is_awaited_by_nobody():
    found = press([pressed("1"), event("sending", "200000")], "1a")
    assert [one.words for one in found.lamps[1:]] == [f"{name}: not seen" for name in NAMES[1:]]


def test_a_person_who_vouched_pressed_but_sent_nothing():
    found = press([event("pressed", "100000", verb="confirm", label="I vouch", by="AL")], "1a")
    assert (found.by, found.lamps) == ("AL", [])


def test_what_cannot_be_seen_says_why():
    assert Lamp("venue", False, note="paper, nothing there").words == "venue: paper, nothing there"
    assert Lamp("effect", None, note="not within 5 s").words == "effect: not within 5 s"


def test_times_are_of_the_day_to_the_millisecond():
    assert clock(AT.format("007123")) == "14:53:07.007Z"
    assert clock("") == ""
    assert later(AT.format("900000"), 250) == "2026-11-22T14:53:08.150000Z"
