"""How the console looks: plain HTML of what was read, every word escaped. The words stand beside every colour."""

from __future__ import annotations

from datetime import datetime
from html import escape
from typing import TYPE_CHECKING, Any

from runbook_lib.console.overview import worries
from runbook_lib.steps.display.pages import COLOURS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from runbook_lib.console.overview import Overview
    from runbook_lib.console.sent_commands import Press
    from runbook_lib.halt.state import Part
    from runbook_lib.records.alarms import Alarm
    from runbook_lib.settings.profiles import Settings

__all__ = ["bar", "deployments", "halting", "label", "log", "presses", "ringing", "trouble"]

Row = dict[str, Any]
RED, GREEN, GREY, AMBER = "#B00020", "#00745A", "#666", "#8A5A00"
STATUS = {"running": GREEN, "paused": AMBER, "halted": RED, "error": RED, "stopped": GREY, "provisioning": GREY}
LEVEL = {"error": RED, "warn": AMBER, "info": "#222", "debug": GREY}
MONO = "font-family:ui-monospace,'DejaVu Sans Mono',monospace"
TABLE = "border-collapse:collapse;width:100%;font-size:12.5px;line-height:1.45;color:#222;background:#fff"
HEAD = "position:sticky;top:0;background:#eee;text-align:left;padding:2px 8px;white-space:nowrap"
CELL = "text-align:left;padding:1px 8px;border-top:1px solid #e6e6e6;vertical-align:top"


def label(row: Mapping[str, Any]) -> str:
    """A deployment as the picker names it: nothing in it changes while the deployment lives."""
    return f"{row['id'][:8]}  {row['broker']}  {row['skill']} v{row['version']}"


def bar(settings: Settings, operator: str, overview: Overview | None, listening: str, trouble: str) -> str:
    """Where this console leads, how old its picture is, and whether the line that wakes it is up."""
    colour = RED if settings.kind == "production" else "#0072B2"
    parts = [
        f"<span style='background:{colour};color:#fff;padding:1px 10px;border-radius:10px;font-weight:700'>"
        f"{escape(settings.name)}</span>",
        f"project {escape(settings.project)}",
        f"operator {escape(operator)}",
    ]
    if overview:
        parts.append(f"as of <b>{overview.at:%H:%M:%S} UTC</b>, read in {1000 * overview.seconds:.0f} ms")
    up = listening.startswith("listens")
    parts.append(f"<span style='color:{GREEN if up else RED}'>{escape(listening)}</span>")
    text = "&ensp;·&ensp;".join(parts)
    if trouble:
        text += (
            f"<div style='background:{RED};color:#fff;padding:4px 10px;margin-top:4px;font-weight:700'>"
            f"What is shown below is old: {escape(trouble)}</div>"
        )
    return f"<div style='font-size:13px;line-height:1.6'>{text}</div>"


def ringing(open_alarms: Iterable[Alarm]) -> str:
    """Open alarms of the watch, until somebody has taken each over, and after."""
    lines = []
    for one in open_alarms:
        taken = f"acknowledged by {one.acked_by}" if one.acked_by else f"./runbook ack {one.name} --as NAME"
        lines.append(
            f"<div style='color:{AMBER if one.acked_by else RED}'><b>open alarm: {escape(one.name)} "
            f"{escape(one.title)}</b> since {escape(one.raised[:19])}Z: {escape(one.complaint)} ({escape(taken)})</div>"
        )
    return "".join(lines)


def trouble(rows: Iterable[Mapping[str, Any]]) -> str:
    """How many there are of each status, and how many have a worry."""
    rows = list(rows)
    statuses = [row["status"] for row in rows]
    told = ", ".join(f"{statuses.count(word)} {word}" for word in STATUS if word in statuses)
    bad = sum(bool(worries(row)) for row in rows)
    return f"{len(rows)} deployment{'s' if len(rows) != 1 else ''}: {told or 'none'}; {bad or 'none'} with an alarm"


def deployments(overview: Overview, chosen: Collection[str]) -> str:
    """The table: whoever has a worry first, then in the order they were made."""
    rows = sorted(overview.rows, key=lambda row: not worries(row))
    names = ("", "deployment", "status", "heartbeat", "this month", "position", "equity", "last decision", "alarms")
    head = "".join(f"<th style='{HEAD}'>{name}</th>" for name in names)
    body = "".join(_deployment(row, overview.at, row["id"] in chosen) for row in rows)
    return f"<div>{escape(trouble(rows))}</div><table style='{TABLE}'><tr>{head}</tr>{body}</table>"


def _deployment(row: Mapping[str, Any], now: datetime, chosen: bool) -> str:
    found = worries(row)
    cells = (
        "▶" if chosen else "",
        f"<span style='{MONO}'>{row['id'][:8]}</span> {escape(label(row)[10:])}",
        f"<b style='color:{STATUS.get(row['status'], GREY)}'>{escape(row['status'])}</b>",
        _beat(row),
        _spent(row),
        escape(_position(row["positions"])),
        "" if row["equity_usd"] is None else f"${row['equity_usd']:,.2f}",
        escape(_decision(row, now)),
        f"<b style='color:{RED}'>{escape('; '.join(found))}</b>" if found else "",
    )
    shade = ";background:#FFF3E8" if found else ";background:#EAF3FB" if chosen else ""
    return "<tr>" + "".join(f"<td style='{CELL}{shade}'>{cell}</td>" for cell in cells) + "</tr>"


def _beat(row: Mapping[str, Any]) -> str:
    stale, limit = row["seconds_stale"], row["limit_seconds"]
    return "never" if stale is None else f"{stale:.0f} s ago (limit {limit:.0f} s)"


def _spent(row: Mapping[str, Any]) -> str:
    spent = row["month_usd"]
    cap = "no cap" if row["cap_usd"] is None else f"of ${row['cap_usd']:g}"
    return f"{'?' if spent is None else f'${spent:.2f}'} {cap}"


def _position(held: Any) -> str:
    if not isinstance(held, list):
        return str(held)
    known = (f"{one.get('side', '')} {_size(one.get('sizeBase', '?'))} {one.get('symbol', '?')}" for one in held)
    return ", ".join(known) or "flat"


def _size(found: Any) -> str:
    return f"{found:g}" if isinstance(found, float) else str(found)


def _decision(row: Mapping[str, Any], now: datetime) -> str:
    if not row["tick_at"]:
        return "none yet"
    ago = (now - datetime.fromisoformat(row["tick_at"])).total_seconds()
    what = " ".join(filter(None, [row["action"], row["verdict"], f"({row['reason']})" if row["reason"] else ""]))
    return f"{what}, {_span(ago)} ago"


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{max(seconds, 0):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"


def log(rows: Sequence[Mapping[str, Any]]) -> str:
    """The newest entries, newest first."""
    if not rows:
        return "<i>no entry of this level</i>"
    body = "".join(
        f"<tr style='color:{LEVEL.get(row['level'], GREY)}'><td style='{CELL};white-space:nowrap'>{row['ts'][:10]} "
        f"{row['ts'][11:19]}</td><td style='{CELL}'>{row['id'][:8]}</td><td style='{CELL}'>{escape(row['level'])}</td>"
        f"<td style='{CELL}'>{escape(row['event'])}</td>"
        f"<td style='{CELL};overflow-wrap:anywhere'>{escape(row['message'] or '')}</td></tr>"
        for row in rows
    )
    head = "".join(f"<th style='{HEAD}'>{name}</th>" for name in ("UTC", "deployment", "level", "event", "message"))
    return f"<table style='{TABLE};{MONO};font-size:11.5px'><tr>{head}</tr>{body}</table>"


def presses(newest: Iterable[tuple[str, Press]]) -> str:
    """Each press with its lamps: sent, acknowledged, effect, in milliseconds after the press."""
    lines = [_press(at, one) for at, one in newest]
    return "".join(lines) or f"<i style='color:{GREY}'>nothing was pressed yet</i>"


def _press(at: str, one: Press) -> str:
    word = one.outcome or "under way"
    who = escape(", ".join(target.id[:8] for target in one.targets[:4]))
    more = f" and {len(one.targets) - 4} more" if len(one.targets) > 4 else ""
    lamps = "".join(_lamp(name, at) for name, at in (("sent", one.sent), *_awaited(one), ("effect", one.effect)))
    unrecorded = f" <b style='color:{RED}'>{escape(one.unrecorded)}</b>" if one.unrecorded else ""
    return (
        f"<div style='margin:1px 0;font-size:13px;line-height:1.5'><span style='{MONO}'>{at}</span>&ensp;"
        f"<b>{escape(one.kind)}</b> {who}{more}&ensp;{lamps}&ensp;"
        f"<b style='color:{COLOURS.get(word, GREY)}'>{word}</b> {escape(one.words)}{unrecorded}</div>"
    )


def _awaited(one: Press) -> list[tuple[str, float | None]]:
    """A kill is never acknowledged: the process ends inside the handler."""
    return [] if one.kind == "kill" else [("acknowledged", one.acknowledged)]


def _lamp(name: str, at: float | None) -> str:
    lit = at is not None
    words = f"{name} {1000 * at:.0f} ms" if at is not None else name
    return (
        f"<span style='border-radius:8px;padding:0 8px;margin-right:4px;font-size:12px;display:inline-block;"
        f"background:{'#009E73' if lit else '#ddd'};color:{'#fff' if lit else '#555'}'>{words}</span>"
    )


def halting(at: str, parts: Iterable[Part], outcome: str | None, words: str) -> str:
    """A halt under way, or how it ended: the same proofs as ``./runbook halt`` prints."""
    word = outcome or "under way"
    lines = "".join(
        f"<div><b style='color:{COLOURS.get(part.outcome or '', GREY)}'>{part.outcome or 'under way'}</b> "
        f"{escape(part.title)} <span style='color:{GREY}'>"
        f"{'' if part.ended is None else f'{part.ended:.1f} s '}{escape(part.seen)}</span> "
        f"{escape(part.complaint or '')}</div>"
        for part in parts
    )
    return (
        f"<div style='border:2px solid {COLOURS.get(word, RED)};padding:4px 10px;font-size:13px'>"
        f"<b>Halt at {at} UTC: {word}</b> {escape(words)}{lines}</div>"
    )
