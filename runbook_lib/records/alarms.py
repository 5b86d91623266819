"""Read the state of a watch's alarms from its ledger. Write each change: raised, recurred, acknowledged, cleared.

An alarm stays open until a round of the watch finds that nothing is wrong any more, or until somebody acknowledges an
event that is over. A round that cannot judge an alarm leaves it as it is and opens the alarm called `unknown`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from runbook_lib.errors import ConfigError, RecordError, nearest
from runbook_lib.records import archive, history, record_folder, run_record
from runbook_lib.settings.choice import addressed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from runbook_lib.records.ledger import Event
    from runbook_lib.records.record_folder import Record
    from runbook_lib.settings.profiles import Settings

MODE = "watch"  # of a watch's record
ACK = "ack"  # of a record that holds an acknowledgement made after the watch had ended
MODES = (MODE, ACK)
UNKNOWN = "unknown"  # the alarm that is open while something cannot be judged
SILENT = timedelta(seconds=30)  # beyond twice its interval: a watch that wrote nothing for so long is not watching
SAID = ("title", "complaint", "fix", "lasts")  # what a verdict and a raised line say alike
Verdict = dict[str, Any]


@dataclass(frozen=True)
class Alarm:
    """The state of one alarm of a watch. Times are in ISO 8601 and UTC.

    ``at`` is the time of the alarm's newest event, None if nothing dates the event. ``lasts``: the event is not over.
    """

    name: str
    title: str
    complaint: str
    fix: str
    raised: str  # when we noticed first
    at: str | None
    lasts: bool
    acked_by: str | None = None
    cleared: str | None = None

    @property
    def open(self) -> bool:
        return self.cleared is None

    @property
    def loud(self) -> bool:
        return self.open and self.acked_by is None


def fold(events: Iterable[Event], known: Mapping[str, Alarm] | None = None) -> dict[str, Alarm]:
    """Apply ``events`` to the alarms of a watch, and return their new state. ``known`` holds their state before."""
    alarms = dict(known or {})
    for event in events:
        name = event.get("alarm", "")
        match event["event"]:
            case "raised":
                said = {key: event[key] for key in SAID}
                alarms[name] = Alarm(name, raised=event["detected_at"], at=event["event_at"], **said)
            case "recurred":
                said = {key: event[key] for key in ("complaint", "lasts")}
                alarms[name] = replace(alarms[name], at=event["event_at"], acked_by=None, **said)
            case "acked" if name in alarms:
                alarms[name] = replace(alarms[name], acked_by=event["by"])
            case "cleared":
                alarms[name] = replace(alarms[name], cleared=event["detected_at"], lasts=False)
    return alarms


def acknowledging(alarm: Alarm, profile: str) -> str:
    """Return the command that acknowledges an alarm of a profile's watch."""
    return addressed(f"./runbook ack {alarm.name} --as NAME", profile)


def changes(
    known: Mapping[str, Alarm], verdicts: Mapping[str, Verdict], now: datetime, before: datetime
) -> Iterator[Event]:
    """Yield a ledger line for each alarm that one round's verdicts raise, repeat or clear.

    ``now`` is the time of this round, ``before`` the time of the round before it: an undated event happened in between.
    """
    for name, verdict in verdicts.items():
        alarm = known.get(name)
        event = _change(alarm, verdict)
        if event is not None:
            at = verdict.get("at") if event != "cleared" else None
            said: Event = {key: verdict[key] for key in SAID if key in verdict}
            if event == "cleared" and alarm is not None:
                said |= {"title": alarm.title, "raised_at": alarm.raised}
            yield {"event": event, "alarm": name, **_dated(at, now), "not_before": before.isoformat(), **said}


def unknown_of(verdicts: Mapping[str, Verdict]) -> Verdict:
    """Return the verdict on the alarm named ``unknown``, which says that something cannot be seen.

    This alarm is open while any verdict on another alarm is unknown.
    """
    unsure = {n: v.get("complaint", "") for n, v in verdicts.items() if v["verdict"] == "unknown"}
    if not unsure:
        return {"verdict": "quiet"}
    whys = [f"{', '.join(n for n in unsure if unsure[n] == why)}: {why}" for why in dict.fromkeys(unsure.values())]
    return {
        "verdict": "alarm",
        "title": "Every alarm can be judged",
        "complaint": "cannot be judged: " + "; ".join(whys),
        "fix": "What is not seen is not good: look at the deployment's page and the venue's; ./runbook doctor.",
        "at": None,
        "lasts": True,
    }


def _change(known: Alarm | None, verdict: Verdict) -> str | None:
    """Return the event that a verdict adds to an alarm. Return None if the verdict changes nothing."""
    if verdict["verdict"] == "quiet":
        return "cleared" if known and known.open else None
    if verdict["verdict"] == "alarm":
        return _again(known, verdict) if known else "raised"
    return None


def _again(known: Alarm, verdict: Verdict) -> str | None:
    """Return the event that a repeated verdict "alarm" adds to an alarm. Return None if the verdict says nothing
    new.
    """
    fresh = verdict["at"] is not None and (known.at is None or _time(verdict["at"]) > _time(known.at))
    if not known.open:
        return "raised" if fresh or verdict["lasts"] else None
    if fresh:
        return "recurred"
    return "cleared" if known.acked_by and not verdict["lasts"] else None


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _dated(at: str | None, now: datetime) -> dict[str, Any]:
    """Return when an alarm's event happened, when it was detected, and the seconds in between."""
    latency = round((now - _time(at)).total_seconds(), 3) if at else None
    return {"event_at": at, "detected_at": now.isoformat(), "latency": latency}


# --- the watches of a profile -----------------------------------------------------------------------------------------


def newest(settings: Settings, root: Path, notebook: str | None = None) -> Record | None:
    """Return the record of a profile's newest watch. Leave out watches of earlier rehearsals.

    If an alarm was acknowledged after that watch had ended, return the newest record of such an acknowledgement.
    """
    for record in reversed([r for r in record_folder.every(root) if r.profile == settings.name]):
        try:
            opened = record.opened()
        except RecordError:
            continue  # cut off while it was begun
        ours = opened["mode"] in MODES and opened["phase"] == (notebook or opened["phase"])
        if ours and opened.get("platform", "") == settings.platform:
            return record
    return None


def every_alarm(settings: Settings, root: Path, now: datetime | None = None) -> list[tuple[Record, Alarm]]:
    """Return every alarm of a profile's newest watch, oldest first, each with its record.

    A watch that was cut off before its time counts as an alarm too.
    """
    record = newest(settings, root)
    if record is None:
        return []
    known = list(fold(history.read(record).all).values())
    silent = _silence(record, now or datetime.now(UTC))
    if silent is not None:
        known = [alarm for alarm in known if alarm.name != UNKNOWN] + [silent]
    return [(record, alarm) for alarm in sorted(known, key=lambda alarm: alarm.raised)]


def open_alarms(settings: Settings, root: Path, now: datetime | None = None) -> list[tuple[Record, Alarm]]:
    """Return every open alarm of a profile's newest watch, oldest first, each with its record."""
    return [(record, alarm) for record, alarm in every_alarm(settings, root, now) if alarm.open]


def _silence(record: Record, now: datetime) -> Alarm | None:
    """Return an alarm if a watch was cut off: its time is not over, and its ledger has stopped growing.

    A watch was cut off if its record has no seal, its time is not over, and its ledger has not grown for long.
    """
    events = record.ledger.events()
    begun = next((event for event in events if event["event"] == "watching"), None)
    if record.sealed() is not None or begun is None:
        return None
    last = str(next(event["at"] for event in reversed(events) if event["event"] in ("round", "watching")))
    if now - _time(last) < 2 * timedelta(seconds=begun["every"]) + SILENT or now > _time(begun["ends"]):
        return None
    complaint = f"the watch has been silent since {last}"
    fix = addressed(f"./runbook watch {record.opened()['phase']} goes on where it was cut off.", record.profile)
    return Alarm(UNKNOWN, "The watch watches", complaint, fix, last, None, lasts=True)


def acknowledge(settings: Settings, root: Path, name: str, by: str) -> Record:
    """Write into a ledger that a person takes care of an open alarm. Return the record that holds this ledger.

    Raise `ConfigError` if there is no open alarm of this name.
    """
    if not by.strip():
        raise ConfigError("--as: expected a name, found none")
    records = {alarm.name: record for record, alarm in open_alarms(settings, root)}
    if name not in records:
        choice = nearest(name, records) if records else "no alarm is open"
        raise ConfigError(f"no open alarm {name!r} on profile {settings.name}: {choice}")
    record = records[name]
    if record.sealed() is None:
        record_folder.Record(record.folder, settings.redactor()).ledger.append("acked", alarm=name, by=by)
        return record
    answer = run_record.begin(settings, record.opened()["phase"], root=root, parent=record, mode=ACK)
    answer.ledger.append("acked", alarm=name, by=by)
    close(answer, "passed")
    return answer


def close(record: Record, outcome: str, **facts: Any) -> Event:
    """Seal the record of a watch or of the acknowledgement of an alarm."""
    return archive.close(record, outcome, **facts)
