"""Write the stand-in of the platform's repository, and the vendors' command lines, into a rehearsal's folder."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from pathlib import Path

from runbook_lib.rehearsal.runner.decisions import MODEL_RATES

HERE = Path(__file__).parent

CRONS = [  # as shipped: once a day, all that the smallest Vercel plan allows (checklist 0.4)
    {"path": "/api/jobs/heartbeat-sweep", "schedule": "0 3 * * *"},
    {"path": "/api/jobs/pending-agents-gc", "schedule": "0 4 * * *"},
]

FILES = {
    "package.json": '{"name": "agentic-trading", "private": true}\n',
    "pnpm-workspace.yaml": "packages: [apps/*, packages/*]\n",
    "apps/live-runner/fly.toml": 'app = "agentic-live-runner"\nprimary_region = "nrt"\n',
    "apps/live-runner/Dockerfile": (
        "FROM node:22-slim\nCOPY package.json pnpm-workspace.yaml ./\nCOPY packages packages\n"
        'COPY apps/live-runner apps/live-runner\nCMD ["node", "apps/live-runner/dist/main.js"]\n'
    ),
    "apps/live-runner/src/main.ts": "// the runner's stand-in is runbook_lib/rehearsal/runner/main.py\n",
    "apps/web/vercel.json": json.dumps({"crons": CRONS}, indent=2) + "\n",
    "packages/shared/src/model-rates.ts": "\n".join(f'"{model}": {list(rate)},' for model, rate in MODEL_RATES.items()),
    "apps/web/components/skill-editor/model-catalog.ts": "\n".join(f'{{ id: "{model}" }},' for model in MODEL_RATES),
    "packages/db/supabase/config.toml": 'project_id = "agentic-trading"\n',
}


def write(folder: Path) -> None:
    """Fill a new rehearsal's folder: the platform's ``repository/``, the vendors' ``bin/`` and an empty ``logs/``."""
    repository = folder / "repository"
    for name, text in FILES.items():
        path = repository / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    migrations = repository / "packages/db/supabase/migrations"
    migrations.mkdir()
    for migration in sorted((HERE / "postgres" / "migrations").glob("*.sql")):
        shutil.copy(migration, migrations)
    (folder / "logs").mkdir()
    (folder / "bin").mkdir()
    _executable(folder, "supabase", [sys.executable, "-m", "runbook_lib.rehearsal.supabase.cli"])
    # flyctl's stand-in needs only the standard library, so it starts without site packages: three times faster
    _executable(folder, "fly", [sys.executable, "-S", "-I", str(HERE / "fly" / "cli.py")])


def _executable(folder: Path, name: str, command: list[str]) -> None:
    path = folder / "bin" / name
    rehearsal = shlex.quote(str(folder))
    path.write_text(f'#!/bin/sh\nRUNBOOK_REHEARSAL={rehearsal} exec {shlex.join(command)} "$@"\n')
    path.chmod(0o755)
