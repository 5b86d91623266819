"""@nktkas/hyperliquid, as it is published, drives the stand-in exchange as it does mainnet.

It is looked for below ``RUNBOOK_NODE_MODULES``, a folder in which ``npm install @nktkas/hyperliquid viem`` was run.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from eth_account import Account

from runbook_lib.rehearsal.exchange.orders_and_margin import Exchange
from tests.venue import serving

FOLDER = Path(os.environ.get("RUNBOOK_NODE_MODULES", "."))
PACKAGES = ("@nktkas/hyperliquid", "viem")
missing = [name for name in PACKAGES if not (FOLDER / "node_modules" / name).is_dir()]

pytestmark = [
    pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed"),
    pytest.mark.skipif(bool(missing), reason=f"not below RUNBOOK_NODE_MODULES: {', '.join(missing)}"),
]


def test_the_client_reads_places_cancels_and_approves():
    exchange, wallet = Exchange(), Account.create()
    exchange.fund(wallet.address, 1_000)
    script = Path(__file__).with_suffix("").with_name("hyperliquid_nktkas.mjs")
    with serving(exchange) as address:
        command = ["node", str(script), str(FOLDER.resolve()), address, f"0x{wallet.key.hex().removeprefix('0x')}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "resting": 2,
        "cancelled": ["success"],
        "byCloid": ["cancel", ["success"]],
        "cloid": True,
        "history": ["canceled", "canceled", "open", "open"],
        "approved": "ok",
        "agents": ["0x" + "ab" * 20],
        "dexes": [None, "xyz", "flx"],
        "state": "number",
        "candles": 2,
    }
