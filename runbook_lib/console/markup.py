"""Render the console as HTML, from templates that escape every word.

Ages are written once and go on counting in the browser, where a part that gets too old turns grey and says so, with or
without a kernel.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from runbook_lib.agentic_trading import runner_commands
from runbook_lib.agentic_trading.deployment_health import STATUSES, has_ended, is_live, worries
from runbook_lib.agentic_trading.venue_answers import SIDE, SIZE, SYMBOL
from runbook_lib.records.alarms import acknowledging
from runbook_lib.settings.choice import addressed

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from runbook_lib.console.overview import Overview
    from runbook_lib.console.sent_commands import SentCommand
    from runbook_lib.halt.state import Part
    from runbook_lib.records.alarms import Alarm
    from runbook_lib.settings.profiles import Settings

Row = dict[str, Any]
EVERY = 2.0  # seconds between two looks when nothing wakes the console
STALE = 3 * EVERY  # seconds after which a picture is old
HUNG = 8.0  # seconds after which a kernel that says nothing is taken to hang
PRODUCTION, REHEARSAL = "#B00020", "#005A8D"
STATUS_COLOURS = dict(zip(STATUSES, ("green", "amber", "red", "red", "quiet", "quiet"), strict=True))
LEVEL_COLOURS = {"error": "red", "warn": "amber", "debug": "quiet"}
OUTCOME_COLOURS = {"passed": "green", "failed": "red", "unknown": "plum", "not sent": "red"}
LABELS = {gesture.kind: gesture.label for gesture in runner_commands.GESTURES}
UNITS = ((120.0, "s", 1), (7200.0, "min", 60), (float("inf"), "h", 3600))  # up to so many seconds; seconds in one
FULL_COUNT = 100_000  # how far the animation counts


@dataclass(frozen=True)
class Age:
    """The age of data on the console, in HTML. The browser counts the age up unless ``counts`` is false."""

    seconds: float
    counts: bool = True

    @property
    def _unit(self) -> tuple[str, int]:
        return next((unit, size) for end, unit, size in UNITS if self.seconds < end)

    @property
    def unit(self) -> str:
        return self._unit[0]

    @property
    def words(self) -> str:
        unit, size = self._unit
        return f"{max(self.seconds, 0) // size:.0f} {unit}"

    @property
    def delay(self) -> str:
        """Return the delay in seconds of the HTML animation that counts up the age of data.

        It is negative, because the count began earlier; half a unit is added so that the age is rounded.
        """
        return f"{self._unit[1] / 2 - max(self.seconds, 0):.2f}"

    @property
    def duration(self) -> int:
        return FULL_COUNT * self._unit[1]


# --- the frame --------------------------------------------------------------------------------------------------------


def style() -> str:
    """Return the style sheet of the console's HTML."""
    return _part("style", STALE, f"{HUNG:g}")


def label(row: Mapping[str, Any]) -> str:
    """Return a deployment's name for the console's picker. The name does not change while the deployment lives."""
    return f"{row['id'][:8]}  {row['broker']}  {row['skill']} v{row['version']}"


def bar(settings: Settings, operator: str, overview: Overview | None, listening: str, trouble: str) -> str:
    """Return the HTML of the bar at the top: the profile, the time of the last read, and whether the database notifies
    us.
    """
    view = {
        "colour": PRODUCTION if settings.kind == "production" else REHEARSAL,
        "profile": settings.name,
        "project": settings.project,
        "operator": operator,
        "at": f"{overview.at:%H:%M:%S}" if overview else "",
        "milliseconds": f"{1000 * overview.seconds:.0f}" if overview else "",
        "listens": listening.startswith("listens"),
        "listening": listening,
        "trouble": trouble,
        "hung": f"{HUNG:g}",
    }
    return _part("bar", view)


def watchdog(beat: int, now: datetime, profile: str) -> str:
    """Return the HTML of the watchdog line. The browser turns the line red if the kernel stops renewing it."""
    halt = addressed("./runbook halt --all", profile)
    return _part("watchdog", {"beat": beat, "at": f"{now:%H:%M:%S}", "age": Age(0.0), "halt": halt})


def about(chosen: Sequence[str], where: str) -> str:
    """Return the HTML of the line that names the deployments to which the buttons send their commands."""
    return _part("about", whom(chosen) or "nothing: choose deployments", where)


def whom(chosen: Sequence[str]) -> str:
    """Return the words with which a button names the chosen deployments.

    One deployment is named by its short id, several by their count.
    """
    return chosen[0][:8] if len(chosen) == 1 else f"{len(chosen)} deployments" if chosen else ""


def heading(words: str) -> str:
    """Return the HTML of the heading above a scrolling part of the console."""
    return _part("heading", words)


def remark(words: str, colour: str = "quiet") -> str:
    """Return the HTML of a line with ``words``. Without words, return an empty text."""
    return _part("remark", words, colour) if words else ""


# --- what was read ----------------------------------------------------------------------------------------------------


def deployments(overview: Overview, chosen: Collection[str], *, trouble: str = "", still: bool = False) -> str:
    """Return the HTML of the console's tables of deployments: with real money, then on paper, then ended.

    In each table, deployments with an alarm come first.
    """
    return _picture(overview, _part("deployments", _groups(overview, chosen, still=still)), trouble, still=still)


def log(overview: Overview, *, trouble: str = "", still: bool = False) -> str:
    """Return the HTML of the console's log, newest entry first."""
    entries = [
        {
            "at": f"{row['ts'][:10]} {row['ts'][11:19]}",
            "short": row["id"][:8],
            "level": row["level"],
            "event": row["event"],
            "message": row["message"] or "",
            "colour": LEVEL_COLOURS.get(row["level"], "plain"),
        }
        for row in overview.log
    ]
    return _picture(overview, _part("log", entries), trouble, still=still)


def summary(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return the line that counts the deployments by status, and those with an alarm."""
    rows = list(rows)
    statuses = [row["status"] for row in rows]
    counted = ", ".join(f"{statuses.count(word)} {word}" for word in STATUSES if word in statuses)
    bad = sum(bool(worries(row)) for row in rows)
    return f"{len(rows)} deployment{'s' if len(rows) != 1 else ''}: {counted or 'none'}; {bad or 'none'} with an alarm"


def figure(data: bytes, alt: str, every: float, at: datetime) -> str:
    """Return a chart as HTML. The browser turns the chart grey if it is not redrawn for three intervals."""
    drawn = {"data": base64.b64encode(data).decode(), "alt": alt, "at": f"{at:%H:%M:%S}"}
    return _part("figure", {**drawn, "age": Age(0.0), "stale_in": f"{3 * every + HUNG:g}"})


def _picture(overview: Overview, body: str, trouble: str, *, still: bool) -> str:
    """Return HTML with ``body`` in a frame that turns grey when the data is old.

    If the newest read failed, the frame is grey at once.
    """
    if still:
        return Markup('<div class="rb">{}</div>').format(Markup(body))  # noqa: S704 - made by a template
    view = {
        "at": f"{overview.at:%H:%M:%S}",
        "age": Age(overview.age),
        "stale_in": "0" if trouble else f"{STALE - overview.age:.2f}",
    }
    return _part("picture", view, Markup(body))  # noqa: S704 - made by a template


def _groups(overview: Overview, chosen: Collection[str], *, still: bool) -> Row:
    ended = [row for row in overview.rows if has_ended(row)]
    live = [row for row in overview.rows if is_live(row) and not has_ended(row)]
    paper = [row for row in overview.rows if not is_live(row) and not has_ended(row)]
    groups = (("Live money", live), ("Paper", paper), ("Ended in the last hour", ended))
    return {
        "summary": summary(overview.rows),
        "groups": [
            {
                "title": title,
                "money": rows is live,
                "rows": [
                    _deployment(row, overview, row["id"] in chosen, still=still)
                    for row in sorted(rows, key=lambda row: not worries(row))
                ],
            }
            for title, rows in groups
            if rows
        ],
    }


def _deployment(row: Mapping[str, Any], overview: Overview, picked: bool, *, still: bool) -> Row:
    since = 0.0 if still else overview.age
    stale, ticked = row["seconds_stale"], row["tick_at"]
    decided = (overview.at - datetime.fromisoformat(ticked)).total_seconds() if ticked else None
    return {
        "picked": picked,
        "short": row["id"][:8],
        "name": label(row)[10:],
        "status": row["status"],
        "colour": STATUS_COLOURS.get(row["status"], "quiet"),
        "beat": None if stale is None else Age(stale + since, not still),
        "limit": f"{row['limit_seconds']:.0f}",
        "spent": _spent(row),
        "position": _position(row["positions"]),
        "equity": "" if row["equity_usd"] is None else f"${row['equity_usd']:,.2f}",
        "decision": _decision(row) if ticked else "none yet",
        "decided": None if decided is None else Age(decided + since, not still),
        "worries": "; ".join(worries(row)),
    }


def _spent(row: Mapping[str, Any]) -> str:
    spent = row["month_usd"]
    cap = "no cap" if row["cap_usd"] is None else f"of ${row['cap_usd']:g}"
    return f"{'?' if spent is None else f'${spent:.2f}'} {cap}"


def _position(held: Any) -> str:
    if not isinstance(held, list):
        return str(held)
    known = (
        f"{position.get(SIDE, '')} {_size(position.get(SIZE, '?'))} {position.get(SYMBOL, '?')}" for position in held
    )
    return ", ".join(known) or "flat"


def _size(size: Any) -> str:
    return f"{size:g}" if isinstance(size, float) else str(size)


def _decision(row: Mapping[str, Any]) -> str:
    reason = f"({row['reason']})" if row["reason"] else ""
    return " ".join(filter(None, [row["action"], row["verdict"], reason]))


# --- what was done, and what rang -------------------------------------------------------------------------------------


def alarms(known: Iterable[Alarm], profile: str) -> str:
    """Return the HTML of the watch's alarms: open alarms first, acknowledged or not, then cleared ones."""
    lines = []
    for alarm in sorted(known, key=lambda alarm: (not alarm.open, alarm.raised)):
        if alarm.open:
            taken = f"acknowledged by {alarm.acked_by}" if alarm.acked_by else acknowledging(alarm, profile)
            colour = "amber" if alarm.acked_by else "red"
        else:
            taken, colour = f"cleared at {str(alarm.cleared)[:19]}Z", "quiet"
        lines.append(
            {
                "word": "open" if alarm.open else "cleared",
                "name": alarm.name,
                "title": alarm.title,
                "since": alarm.raised[:19],
                "complaint": alarm.complaint,
                "taken": taken,
                "colour": colour,
            }
        )
    return _part("alarms", lines)


def presses(newest: Iterable[tuple[str, SentCommand]]) -> str:
    """Return the HTML of the list of presses. Each press has status lamps: sent, acknowledged, effect."""
    return _part("presses", [_press(at, command) for at, command in newest])


def _press(at: str, command: SentCommand) -> Row:
    outcome = command.outcome or "under way"
    names = ", ".join(target.id[:8] for target in command.targets[:4])
    more = f" and {len(command.targets) - 4} more" if len(command.targets) > 4 else ""
    acknowledged = [] if command.kind == runner_commands.KILL else [("acknowledged", command.acknowledged)]
    lamps = [("sent", command.sent), *acknowledged, ("effect", command.effect)]
    return {
        "at": at,
        "label": LABELS.get(command.kind, command.kind),
        "who": names + more,
        "lamps": [
            (name, name if after is None else f"{name} {1000 * after:.0f} ms", after is not None)
            for name, after in lamps
        ],
        "outcome": outcome,
        "colour": OUTCOME_COLOURS.get(outcome, "quiet"),
        "words": command.words,
        "unrecorded": command.unrecorded,
    }


def halting(at: str, parts: Iterable[Part], outcome: str | None, words: str) -> str:
    """Return the HTML of a halt's parts, each with its outcome.

    If the halt has ended, show its own outcome too.
    """
    view = {
        "at": at,
        "outcome": outcome or "under way",
        "colour": OUTCOME_COLOURS.get(outcome or "", "quiet"),
        "words": words,
        "parts": [
            {
                "outcome": part.outcome or "under way",
                "colour": OUTCOME_COLOURS.get(part.outcome or "", "quiet"),
                "title": part.title,
                "seen": f"{'' if part.ended is None else f'{part.ended:.1f} s '}{part.seen}",
                "complaint": part.complaint or "",
            }
            for part in parts
        ],
    }
    return _part("halting", view)


def _part(macro: str, *values: Any) -> str:
    return str(getattr(_templates(), macro)(*values))


@cache
def _templates() -> Any:
    made = Environment(
        loader=PackageLoader("runbook_lib.console"),
        autoescape=True,
        undefined=StrictUndefined,  # a hole must not look like nothing to tell
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return made.get_template("console.html").module
