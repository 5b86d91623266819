"""Run the stand-in for the platform's runner. As on the platform, each deployment has a process of its own.

A runner takes everything from its environment variables: ``DEPLOYMENT_ID`` and the app's secrets as in production, and
from the rehearsal ``RUNBOOK_REHEARSAL`` (the folder with the addresses), ``RUNBOOK_REST`` (the service role's address
of the database) and ``RUNBOOK_TICK`` (seconds that stand for five minutes). Exit codes: 0 for a stop, 1 for anything
that the restart policy should see.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
import zlib
from collections.abc import Mapping
from typing import Any

import psycopg

from runbook_lib.rehearsal.runner import runner_faults
from runbook_lib.rehearsal.runner.broker import MAINNET, Broker, BrokerError
from runbook_lib.rehearsal.runner.database_rows import Commands, Loaded, Store, server_text, spent
from runbook_lib.rehearsal.runner.decisions import Decision, decide, symbols_of
from runbook_lib.rehearsal.runner.mainnet_broker import MainnetBroker
from runbook_lib.rehearsal.runner.paper_broker import PaperBroker
from runbook_lib.rehearsal.runner.risk_engine import Account, daily_loss, judge
from runbook_lib.rehearsal.runner.runner_settings import Fatal, Settings
from runbook_lib.rehearsal.runner.stub_broker import StubBroker
from runbook_lib.rehearsal.runner.venue_client import VenueClient, VenueError
from runbook_lib.rehearsal.world.loopback import source_of


class Runner:
    """The runner's main loop for one deployment.

    After the boot, the runner obeys commands, ticks and reconciles until the runner must stop.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.store = Store(settings.rest, settings.deployment, _say, lambda: self.faults)
        self.venue = VenueClient(settings.addresses["hyperliquid"], source_of(settings.deployment))
        self.loaded: Loaded
        self.payload: dict[str, Any] = {}
        self.broker: Broker
        self.commands: Commands
        self.status = "provisioning"
        self.marks: dict[str, float] = {}
        self.ticks = 0
        self.day: tuple[int, float] | None = None  # UTC day and its first equity
        self.stopping = asyncio.Event()
        self.trading = asyncio.Lock()  # an order and a flatten never interleave
        self.handling = asyncio.Lock()
        self._running: set[asyncio.Task[None]] = set()

    @property
    def faults(self) -> dict[str, Any]:
        return runner_faults.present(self.settings.folder, self.settings.deployment)

    # -- boot

    async def boot(self) -> None:
        """Do what a runner does before its first tick. On failure, raise `Fatal` with words that name the cause."""
        _say(f"live-runner: booting deployment {self.settings.deployment}")
        self.settings.check_service_key()
        with contextlib.suppress(psycopg.IntegrityError):  # no such deployment: said when it is loaded
            await self.store.log("runner_started", "runner process started")
        if self.faults.get("crash_at_boot"):
            raise RuntimeError("crashed at boot, as the rehearsal asked")
        await self._load()
        try:
            self.commands = await Commands.listen(self.settings.database(), self.settings.deployment)
        except psycopg.OperationalError as problem:
            raise Fatal(server_text(problem)) from problem
        await self._build_broker()
        # what a person or a cap has stopped stays stopped over a restart, unless the deployed code forgets it
        kept = {"halted"} if self.faults.get("forgets_pause") else {"paused", "halted"}
        self.status = self.loaded.status if self.loaded.status in kept else "running"
        await self._beat()
        await self.store.status(self.status)
        _say(f"live-runner: status={self.status}; entering tick loop")

    async def _load(self) -> None:
        try:
            loaded = await self.store.load()
        except psycopg.Error as problem:
            raise Fatal(f"loadDeploymentAndSkill failed: {server_text(problem)}") from problem
        if loaded is None:
            raise Fatal(f"loadDeploymentAndSkill failed: no deployment {self.settings.deployment}")
        if loaded.status == "stopped" and not self.faults.get("forgets_stop"):
            _say("live-runner: deployment is stopped; nothing to run")
            raise SystemExit(0)
        self.loaded, self.payload = loaded, loaded.payload
        kind = loaded.broker_kind
        _say(f"live-runner: loaded skill {loaded.skill_name} v{loaded.skill_version} (broker={kind})")

    async def _build_broker(self) -> None:
        loaded = self.loaded
        if loaded.broker_kind != MAINNET:
            self.broker = PaperBroker(loaded.equity_usd, loaded.positions)
        elif self.faults.get("stub_broker"):
            self.broker = StubBroker()
        else:
            self.broker = await self._mainnet()
        await self.broker.start()
        if loaded.broker_kind == MAINNET:
            text = f"mainnet broker started for {loaded.master} as agent {loaded.agent_address}"
            await self.store.log("broker_started", text, master=loaded.master, agent=loaded.agent_address)

    async def _mainnet(self) -> MainnetBroker:
        if not self.settings.live:
            raise Fatal("HYPERLIQUID_LIVE_ENABLED is not true: mainnet broker refused")
        loaded = self.loaded
        key = await self.store.agent_key(loaded.vault_key_id) if loaded.vault_key_id else None
        if not key or not loaded.master:
            raise Fatal(f"no agent key in Vault for {loaded.agent_address}: get_hyperliquid_agent_secret gave NULL")
        retired = bool(self.faults.get("webdata2"))
        return MainnetBroker(
            venue=self.venue, store=self.store, agent_key=key, master=loaded.master, retired_socket=retired
        )

    # -- the three loops

    async def live(self) -> None:
        """Run the runner's loops until the runner is told to stop.

        Let the present tick end, then write ``stopped`` into the deployment's row.
        """
        parts = (self._tick_loop(), self._reconcile_loop(), self._listen_loop())
        loops = [asyncio.create_task(part) for part in parts]
        ended, _ = await asyncio.wait(loops, return_when=asyncio.FIRST_COMPLETED)
        for loop in loops:
            loop.cancel()
        await asyncio.wait(loops)
        for loop in ended:
            loop.result()  # raises what ended it
        if self.status == "stopped":
            await self.store.status("stopped")
        _say(f"live-runner: {self.status}; bye")

    async def _listen_loop(self) -> None:
        async for command in self.commands.ids():
            task = asyncio.create_task(self._hear(command))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        raise Fatal("Connection terminated unexpectedly")

    async def _tick_loop(self) -> None:
        while await self._pause_until_next(self.interval, self.interval):
            faults = self.faults
            if faults.get("silent"):
                continue
            try:
                if self.status == "running":
                    await self._tick(faults)
                elif not faults.get("mute_when_paused"):
                    await self._beat()
            except Exception as problem:  # noqa: BLE001  one bad tick does not end the runner
                await self._tick_failed(problem)

    async def _reconcile_loop(self) -> None:
        await self._reconcile()
        while await self._pause_until_next(self.settings.tick, self.interval):
            if not self.faults.get("silent"):
                await self._reconcile()

    @property
    def interval(self) -> float:
        """Return the seconds between the runner's ticks: those that the Skill sets, or else those that the rehearsal
        sets.
        """
        return (self.loaded.every or self.settings.tick) / float(self.faults.get("hurries", 1))

    async def _pause_until_next(self, period: float, interval: float) -> bool:
        """Wait for the next multiple of ``period`` on the clock. Return False if the runner must stop meanwhile.

        If the period is short, each deployment waits for another moment in it, so that fifty runners do not wake at
        once.
        """
        phase = zlib.crc32(self.settings.deployment.encode()) % 1000 / 1000 * period if interval < 60 else 0.0
        delay = period - (time.time() - phase) % period
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.stopping.wait(), delay)
        return not self.stopping.is_set()

    # -- a tick

    async def _tick(self, faults: Mapping[str, Any]) -> None:
        await self._refresh_marks()
        if not faults.get("stale_skill"):
            self.payload = await self.store.payload(self.loaded)
        risk = self.payload.get("risk") or {}
        cost, orders = await spent(self.settings.database(), self.settings.deployment)
        if await self._over_budget(risk, cost):
            return
        account = await self.broker.account(self.marks)
        if await self._halted(risk, account):
            return
        tick, self.ticks = self.ticks, self.ticks + 1
        seed, tokens = self.settings.deployment, float(faults.get("tokens", 1))
        decision = decide(self.payload, account, seed=seed, tick=tick, tokens=tokens)
        if "propose" in faults:
            decision = Decision(faults["propose"], "as the rehearsal asked", *_usage(decision))
        verdict = await self._carry_out(decision, risk, account, orders)
        if faults.get("crash_mid_tick"):
            os._exit(1)
        account = await self.broker.account(self.marks)
        await self.store.snapshot(decision, verdict, account, {"marks": _some(self.marks, self.payload)})

    async def _carry_out(
        self, decision: Decision, risk: Mapping[str, Any], account: Account, orders: int
    ) -> dict[str, Any]:
        """Have the risk engine judge the proposed action. If it passes, have the broker execute it.

        Return the verdict.
        """
        if decision.action is None:
            return {"status": "noop", "reason": "agent_proposed_nothing"}
        rejection = judge(decision.action, risk, account, orders_today=orders)
        if rejection:
            return rejection.view()
        async with self.trading:
            if self.status != "running":  # paused while the model was thinking
                return {"status": "noop", "reason": f"deployment_{self.status}"}
            return (await self.broker.execute(decision.action, self.marks)).view()

    async def _refresh_marks(self) -> None:
        """Read the venue's mid prices as the runner's marks.

        If the request fails, keep the last marks of the Skill's own symbols.
        """
        try:
            mids = await self.venue.info("allMids")
        except VenueError as problem:
            await self.store.log("all_mids_fetch_failed", f"Hyperliquid allMids {problem}", level="warn")
            self.marks = _some(self.marks, self.payload)
            return
        self.marks = {symbol: float(price) for symbol, price in mids.items()}

    async def _over_budget(self, risk: Mapping[str, Any], cost: float) -> bool:
        cap = risk.get("maxMonthlyCostUsd")
        if cap is None or cost < float(cap):
            return False
        reason = f"cost_guard: month to date ${cost:.4f} of ${float(cap):.2f}"
        await self.store.log("cost_guard_tripped", reason, level="warn", mtd_usd=cost, cap_usd=cap)
        await self._obey(await self.store.issue("pause", reason, "cost_guard"))
        return True

    async def _halted(self, risk: Mapping[str, Any], account: Account) -> bool:
        today = int(time.time() // 86400)
        if self.day is None or self.day[0] != today:
            self.day = (today, account.equity)
        rejection = daily_loss(risk, account.equity, self.day[1])
        if rejection is None:
            return False
        await self._set("halted")
        await self.store.log("daily_loss_halt", rejection.detail, level="error", rule=rejection.rule)
        await self.store.state(account)
        return True

    async def _tick_failed(self, problem: Exception) -> None:
        text = server_text(problem) if isinstance(problem, psycopg.Error) else str(problem)
        if isinstance(problem, VenueError):
            text = f"Hyperliquid {text}"
        await self.store.log("tick_failed", text, level="error")
        await self.store.state(None)

    async def _beat(self) -> None:
        """Write the runner's heartbeat without making a decision."""
        with contextlib.suppress(VenueError):
            self.marks = {key: float(price) for key, price in (await self.venue.info("allMids")).items()}
        try:
            await self.store.state(await self.broker.account(self.marks))
        except (VenueError, NotImplementedError):
            await self.store.state(None)

    async def _reconcile(self) -> None:
        try:
            if isinstance(self.broker, MainnetBroker):
                self.broker.wrong_by = float(self.faults.get("drift", 0))
            async with self.trading:  # an order in flight is no drift
                drift = await self.broker.drift()
            account = await self.broker.account(self.marks)
        except (VenueError, NotImplementedError) as problem:
            _say(f"live-runner: reconcile failed: {problem}")
            return
        if drift:
            text = f"REST {drift.rest} and WebSocket {drift.socket} disagree"
            await self.store.log("state_drift", text, level="warn", rest=drift.rest, socket=drift.socket)
            return
        held, equity = len(account.positions), round(account.equity, 2)
        text = f"reconciled: positions={held} equity=${equity:.2f}"
        await self.store.log("reconciled", text, positions=held, equity_usd=equity)

    # -- commands

    async def _hear(self, command: str) -> None:
        if not self.faults.get("deaf"):
            await self._obey(command)

    async def _obey(self, command: str) -> None:
        """Carry out a command to the runner, then acknowledge it.

        A kill ends the process, so a kill is never acknowledged.
        """
        async with self.handling:
            row = await self.store.command(command)
            if row is None:
                return
            _say(f"live-runner: command {row['kind']}")
            await self._do(row["kind"])
            await asyncio.sleep(float(self.faults.get("slow_ack", 0)))
            await self.store.acknowledge(row["id"])
        if row["kind"] == "stop":
            self.stopping.set()

    async def _do(self, kind: str) -> None:
        if kind == "kill":
            os._exit(1)
        if kind == "stop":
            self.status = "stopped"
        elif kind == "pause":
            await self._set("paused")
        elif kind == "resume" and self.status == "paused":
            await self._set("running")
        elif kind == "clear_halt" and self.status == "halted":
            self.day = None
            await self._set("running")
        elif kind == "flatten":
            await self._flatten()
        elif kind == "snapshot":
            await self._beat()
            await self.store.log("snapshot", "state snapshot written")

    async def _flatten(self) -> None:
        """Pause the runner, then close everything that the account holds."""
        self.status = "paused"  # first, so that nothing opens again behind the closing orders
        try:
            async with self.trading:
                await self._refresh_marks()
                await self.broker.flatten(self.marks)
                await self.store.state(await self.broker.account(self.marks))
        except (BrokerError, VenueError, NotImplementedError) as problem:
            await self.store.log("flatten_failed", str(problem), level="error")
        await self._set("paused")

    async def _set(self, status: str) -> None:
        self.status = status
        await self.store.status(status)

    async def fatal(self, text: str) -> None:
        """Write to the runner's output why the runner ends.

        If the database answers, write the reason to the deployment's log and row too.
        """
        _say(text if text.startswith("live-runner") else f"live-runner: fatal: {text}")
        with contextlib.suppress(psycopg.Error):
            await self.store.log("runner_fatal", text, level="error")
            await self.store.status("error", text)


def _usage(decision: Decision) -> tuple[int, int, float | None]:
    return decision.prompt_tokens, decision.completion_tokens, decision.cost_usd


def _some(marks: Mapping[str, float], payload: Mapping[str, Any]) -> dict[str, float]:
    """Return the marks of the symbols that the Skill names.

    Price bars for these symbols still reach the runner if the venue's mid prices fail.
    """
    wanted = (payload.get("context") or {}).get("symbols") or symbols_of(payload)
    return {symbol: price for symbol, price in marks.items() if symbol in wanted}


async def run(settings: Settings) -> None:
    """Boot the runner, then run its loops. Raise `SystemExit` with code 1 if the runner cannot go on."""
    runner = Runner(settings)
    task = asyncio.current_task()
    assert task is not None  # noqa: S101  a coroutine always runs in a task
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    try:
        await runner.boot()
        await runner.live()
    except (Fatal, RuntimeError, psycopg.Error, VenueError, BrokerError) as problem:
        text = server_text(problem) if isinstance(problem, psycopg.Error) else str(problem)
        await runner.fatal(text)
        raise SystemExit(1) from None
    except asyncio.CancelledError:  # the machine is being stopped: the row keeps its status
        _say("live-runner: signal received; draining")
    finally:
        await runner.store.close()


def main() -> None:
    """Run a runner as the main process of its machine."""
    try:
        settings = Settings.read(os.environ)
    except Fatal as problem:
        _say(str(problem))
        raise SystemExit(1) from None
    asyncio.run(run(settings))


def _say(text: str) -> None:
    """Write a line to the runner's output, which goes into the machine's log."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
