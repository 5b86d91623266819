"""Run the steps of a launch as notebook cells, and record what each step saw."""

from __future__ import annotations

import importlib
import sys
from typing import Any

# Compiles 35 grammars when nbformat is imported, 0.9 s in every process, for an address format no notebook uses.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
# The command line that httpx brings along imports a highlighter of source code, which a halt has no time for.
sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]

# Where each name a notebook uses lives. Imported on first use, so that the command line and the halt start at once.
PUBLIC = {
    "runs.open_phase": ("open_phase",),
    "console.console": ("open_console",),
    "commands.command": ("http", "round_trip", "series", "shell", "sql", "subscribe", "trial"),
    "commands.expectations": (
        "at_least",
        "between",
        "clocks",
        "each",
        "else_unproven",
        "entries",
        "matches",
        "never",
        "newer",
        "no_rows",
        "not_null",
        "one_of",
        "reply",
        "rows",
        "same",
        "text",
        "turned_away",
        "value",
        "version",
    ),
    "agentic_trading.runner_commands": ("command_state", "send_command", "sent_state"),
    "steps.display.charts": (
        "alarms",
        "cadence",
        "cost_per_tick",
        "equity",
        "fill_latency",
        "freshness",
        "month_to_date",
    ),
    "agentic_trading.contract_proof": ("contract_kept", "named_columns", "spoken_words", "words_proven"),
    "checklist.deployment_machines": (
        "each_machine",
        "machine_down",
        "machine_gone",
        "machine_id",
        "machine_of",
        "owned_machines",
    ),
    "checklist.tick_costs": ("band", "cost_known", "highest", "tick_costs", "unusual_costs", "usual_cost"),
    "checklist.boot_diagnosis": ("boot_lines", "known_cause", "machines_named", "written_down"),
    "steps.run_facts": ("began", "recorded", "rests_on", "told"),
    "checklist.live_wallets": (
        "agent_questions",
        "agents_known",
        "fill_questions",
        "fills_have_rows",
        "position_questions",
        "positions_agree",
    ),
    "checklist.first_day": ("alarms_of", "gaps", "most_lost", "spending_confirmed", "window"),
    "checklist.cost_guard": ("guard_plan", "guard_projection", "guard_tripped"),
    "checklist.follow_up": ("holds_up", "outages", "wait_advice"),
    "checklist.incidents": ("concerned", "first_looks", "incident"),
    "checklist.skill_caps": ("can_trade", "lasts", "limits"),
    "checklist.runner_image": ("image_tag", "one_image", "pinned_image"),
    "checklist.live_deployment": ("same_positions", "started_flat"),
    "checklist.audit_trail": ("trails_agree",),
    "agentic_trading.venue_books": ("info",),
    "checklist.agent_approval": ("agent_gone", "agent_known", "approval_of"),
    "checklist.wallet": (
        "book_questions",
        "equity_before",
        "flat",
        "fresh_wallet",
        "funded",
        "holds_at_most",
        "state_questions",
        "wallet_of",
    ),
    "checklist.rotation_places": (
        "changed",
        "cron_key",
        "held",
        "let_in",
        "logins",
        "mirror",
        "old_cron_key",
        "reset",
        "stage",
    ),
    "checklist.rotation_machines": (
        "answered",
        "arrived",
        "as_noted",
        "listening",
        "asked",
        "restart",
        "running_again",
        "snapshot_each",
        "update_lacking",
    ),
    "checklist.migrations": ("applied", "push_migrations", "pushed"),
    "checklist.halt_command": ("halt_line", "halted", "unhalt_line"),
    "checklist.web_app_variables": ("production_variables", "set_variables"),
    "checklist.heartbeat_sweep": (
        "paused_swept",
        "scheduled",
        "sweep_called",
        "sweep_command",
        "sweep_runs",
        "sweep_schedule",
        "sweep_tight",
    ),
    "checklist.web_app": ("crons_healthy", "request_log", "serves", "younger_than_variables"),
}
HOMES = {name: module for module, names in PUBLIC.items() for name in names}
__all__ = sorted(HOMES)  # noqa: PLE0605 - the table above is the list


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{HOMES[name]}"), name)
