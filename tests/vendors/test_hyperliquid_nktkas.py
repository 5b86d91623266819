"""@nktkas/hyperliquid, as it is published, drives the stand-in exchange as it does mainnet."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from eth_account import Account

from runbook_lib.rehearsal.exchange.orders_and_margin import Exchange
from tests.vendors.npm import installed
from tests.venue import serving

PACKAGES = ("@nktkas/hyperliquid@0.31.0", "viem@2.57.20")  # from 0.33.3 on it wants node 22


def test_the_client_reads_places_cancels_and_approves():
    folder, exchange, wallet = installed(*PACKAGES), Exchange(), Account.create()
    exchange.fund(wallet.address, 1_000)
    script = Path(__file__).with_suffix("").with_name("hyperliquid_nktkas.mjs")
    with serving(exchange) as address:
        command = ["node", str(script), str(folder), address, f"0x{wallet.key.hex().removeprefix('0x')}"]
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
