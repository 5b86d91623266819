"""Every failure that the checklist and its corrections name has a case, or a reason why nothing can be injected."""

from __future__ import annotations

import pytest

from runbook_lib.runs.drills.cases import cases_of, notebooks

LEAST = 90  # cases
# Part of the checklist, and the cases of what it says can go wrong there.
CHECKLIST = {
    "0.1 missing table": ["audit table missing"],
    "0.1 missing Vault": ["Vault missing"],
    "0.1 pending migration": ["migration pending", "migration that breaks", "migration unknown to the checkout"],
    "0.2 permission denied": ["permission denied on the Vault", "function is not security definer"],
    "0.2 wrong owner": ["function has another owner"],
    "0.2 getter joins wrongly": ["getter joins wrongly", "getter gives everything away"],
    "0.2 anon may execute": ["anon may execute"],
    "0.3 missing secret": ["secret missing"],
    "0.3 build from the wrong folder": ["build from the wrong folder"],
    "0.3 tag moved": ["the tag was moved after its digest was pinned"],
    "0.4 each variable missing": [
        *(
            f"{name} is missing"
            for name in (
                "FLY_API_TOKEN",
                "FLY_LIVE_RUNNER_APP",
                "FLY_LIVE_RUNNER_IMAGE",
                "FLY_LIVE_RUNNER_REGION",
                "HYPERLIQUID_LIVE_ENABLED",
                "DEPLOYMENTS_DISABLED",
                "CRON_SECRET",
                "NEXT_PUBLIC_THIRDWEB_CLIENT_ID",
                "SUPABASE_URL",
                "SUPABASE_SERVICE_ROLE_KEY",
                "OPENROUTER_API_KEY",
            )
        ),
        "the database password is under neither name",
    ],
    "0.4 each readable variable wrong": ["another region", "another app", "live trading is off", "deployments are off"],
    "0.4 a secret of the wrong shape": ["weak cron secret"],
    "0.4 image not pinned": ["the image is not pinned"],
    "0.4 env newer than deployment": ["a variable is newer than the deployment"],
    "0.4 cron missing": ["cron missing", "cron schedule that never runs"],
    "0.4 crons disabled": ["crons disabled", "the crons are switched off"],
    "0.4 daily sweep before phase 2": ["the sweep runs once a day", "the sweep stays at once a day"],
    "0.5 401": ["cron endpoint answers 401", "cron endpoint is open to everybody"],
    "0.5 500": ["cron endpoint answers 500"],
    "0.5 slow": ["cron endpoint is slow"],
    "0.5 garbage": ["cron endpoint answers garbage"],
    "1.1 version row missing": ["a Skill without its version"],
    "1.2 degenerate backtest": ["a degenerate Skill", "the backtest breaks"],
    "1.3 DEPLOYMENT_ID not injected": ["DEPLOYMENT_ID is not injected", "the machine does not know its deployment"],
    "1.3 service role key wrong": [
        "another project's service role key on Fly",
        "the service role key is another project's",
    ],
    "1.3 migration not applied": ["the wallets' migration is missing"],
    "1.3 stuck in provisioning": ["DEPLOYMENT_ID is not injected", "no machine", "no boot line"],
    "1.4 starting balance": ["the paper broker is not fresh"],
    "1.4 unpriced model": ["ticks without a price", "the model has no rate", "the catalogue does not know the model"],
    "1.4 late ticks": ["the ticks are late", "no ticks"],
    "1.4 missing reconcile": ["the reconciliation is missing"],
    "1.5 each command unacknowledged": [
        "the runner does not hear",
        "Resume is not heard",
        "Pause is not heard",
        "Snapshot is not heard",
        "Flatten is not heard",
        "Stop is not heard",
    ],
    "1.5 acknowledged late": ["the runner acknowledges late", "Stop is acknowledged late"],
    "1.5 acknowledged without effect": [
        "Pause is acknowledged without effect",
        "Resume is acknowledged without effect",
        "Snapshot is acknowledged without effect",
        "a position is left",
        "Stop is acknowledged without effect",
    ],
    "1.5 machine that does not exit": ["the machine is left stopped"],
    "1.6 getDefaultConfig": ["wallet configuration in a server bundle"],
    "1.6 use server": ["a constant in a server-action file"],
    "1.6 no database URL": ["the database password is missing on Fly", "no database password on Fly"],
    "1.6 password authentication failed": ["the database password is another project's"],
    "1.6 no mark price": ["no mark price for a symbol"],
    "1.6 allMids": ["the venue's mids begin to fail"],
    "1.7 each step passed over": [
        "the reset is passed over",
        "the staging on Fly is passed over",
        "the mirror to Vercel is passed over",
        "the update of a machine is passed over",
        "the redeploy is passed over",
        "the local files are forgotten",
    ],
    "2.1 unified account": ["a unified account, whose perpetual side says 0"],
    "2.1 wrong amount": ["another amount arrived", "nothing arrived on the wallet that is named"],
    "2.2 unverified pairing": ["the pairing is not verified", "no trace of the pairing's signature is kept"],
    "2.3 each cap wrong": [
        "maxPositionPct is looser",
        "maxTotalExposurePct is looser",
        "maxOrdersPerDay is looser",
        "maxLeverage is looser",
        "minOrderUsd is under the venue's",
        "more symbols are allowed",
        "maxMonthlyCostUsd is looser",
        "dailyLossHaltPct is missing",
    ],
    "2.3 Skill that cannot trade": ["the checklist's own sheet, which can never trade", "the backtest is degenerate"],
    "2.4 wrong agent in the typed data": ["the wallet shows another agent than the platform made"],
    "2.4 Vault row missing": ["the Vault's row is missing"],
    "2.4 agent of another master": ["the agent belongs to another wallet"],
    "2.4 shared margin": ["another deployment trades with this wallet", "the page warns of a shared margin"],
    "2.5 stub broker": ["the broker of the image is a stub"],
    "2.5 no reconcile": ["the runner does not reconcile"],
    "2.5 equity mismatch": ["the runner counts another equity than the venue"],
    "2.5 webData2": ["the image subscribes to webData2"],
    "2.6 cloid mismatch": ["the log names another cloid"],
    "2.6 log without order": ["a log without its order"],
    "2.6 order without log": ["an order without its log"],
    "2.6 fill without row": ["a fill that nobody tells of"],
    "2.6 wrong fee": ["another fee than the venue took"],
    "3.1 does not fire": ["the guard does not fire", "the guard does not fire, for nobody ticks"],
    "3.1 fires late": ["the guard fires late"],
    "3.1 fires for another deployment": ["the guard fires for another deployment"],
    "3.2 does not fire": ["the sweep does not fire"],
    "3.2 fires late": ["the sweep fires late"],
    "3.2 fires for another deployment": ["the sweep fires for another deployment"],
    "3.3 does not fire": ["revoke does not fire", "revoke queues a stop that is not heard"],
    "3.3 fires late": ["revoke fires late"],
    "3.3 fires for another deployment": ["revoke fires for another deployment too"],
    "4 decisions at every tick": ["no decisions for a while, but for one that failed"],
    "4 reconciled every five minutes": ["the books are not compared"],
    "4 cost per tick consistent": ["a tick that costs ten times as much", "a tick without a price"],
    "4 cron runs without failures": ["the cron jobs are switched off", "a cron call fails"],
    "4 failed ticks": ["two failed ticks in an hour", "one failed tick in an hour"],
    "4 state_drift": ["drift"],
    "4 liquidation": ["a liquidation"],
    "4 cost guard": ["the cost guard"],
    "4 sweeper marks a deployment": ["a heart that stopped"],
    "4 freshness and spending": ["nobody to watch", "spending that nobody wrote down"],
    "4 recent orders": ["fills that no row tells of"],
    "incident: rapid orders": ["rapid orders", "a runner that does not hear"],
    "incident: wrong size": ["wrong size"],
    "incident: big loss": ["big loss"],
    "incident: WS keeps disconnecting": ["the socket"],
    "incident: cron secret leaked": ["the cron secret"],
    "incident: agent key compromised": ["the agent's key"],
    "incident: stop everything": ["everything"],
}
# Corrections of the checklist: cases, or why there is nothing to inject.
CORRECTIONS: dict[str, list[str] | str] = {
    "C1": "the push names its target in a way both versions of the tool take: there is no silent local push to inject",
    "C2": "every clean run: the rehearsal's database has no pgsodium",
    "C3": ["Vault missing"],
    "C4": ["getter joins wrongly", "function has no pinned search path", "Vault function has another signature"],
    "C5": "nothing is left to delete: the trial is rolled back",
    "C6": "every clean run: without a machine the secrets are Staged",
    "C7": ["registry answers without a digest", "tag is gone from the registry"],
    "C8": ["a variable is newer than the deployment"],
    "C9": ["the sweep runs once a day", "crons disabled"],
    "C10": "a person notes the date",
    "C11": ["the sweep marks somebody", "cron endpoint answers 401", "cron endpoint answers 500"],
    "C12": "words only",
    "C13": ["a position is left", "the machine survives the halt"],
    "C14": ["the machine is left stopped", "the second machine is left"],
    "C15": ["the restart brings the new value", "the update of a machine is passed over"],
    "C16": ["a unified account, whose perpetual side says 0"],
    "C17": ["the checklist's own sheet, which can never trade"],
    "C18": ["the cost cap is gone within an hour", "the cap is gone within hours"],
    "C19": ["the image subscribes to webData2", "the venue refuses its sockets"],
    "C20": ["the first proposal is rejected", "the venue refuses every order"],
    "C21": ["a log without its order", "an order without its log", "a fill that nobody tells of"],
    "C22": [
        "somebody saves the row between look and change",
        "the guard does not fire",
        "the payload is not what it was",
    ],
    "C23": ["the venue still has a position", "somebody trades while nobody looks", "the machine does not stop"],
    "C24": ["the agent is not removed at the venue"],
    "C25": ["the machine survives the halt"],
    "C26": ["a switch of the halt does not take"],
    "C27": "every session sets its own zone; the suite runs in zones on both sides of UTC",
    "C28": "the stand-in has no pooler; the tests of the services refuse its port",
    "C29": "both shapes of the key are told, neither is a failure",
    "C30": [
        "platform_config names another image",
        "the database names another image",
        "the machine runs another image",
    ],
    "C31": ["a heart that stopped"],
    "C32": ["the second agent has the first one's name", "the agent is gone"],
    "C33": ["the sweep says something else"],
    "C34": "the profile says where the sweep runs; the tests of the settings cover both",
    "C35": ["the machine does not know its deployment"],
    "C36": ["the deployment does not resume", "it is resumed and does not tick"],
    "C37": ["another deployment shares the wallet", "somebody else's deployment runs"],
    "C38": ["no machine"],
    "C39": ["two triggers announce a command"],
}
NAMES = {one.name for notebook in notebooks() for one in cases_of(notebook)}


@pytest.mark.parametrize("part", CHECKLIST)
def test_what_the_checklist_names_has_cases(part):
    assert set(CHECKLIST[part]) - NAMES == set()


@pytest.mark.parametrize("correction", CORRECTIONS)
def test_a_correction_has_cases_or_a_reason_why_not(correction):
    told = CORRECTIONS[correction]

    assert told and (isinstance(told, str) or set(told) - NAMES == set())


def test_no_correction_is_passed_over():
    assert list(CORRECTIONS) == [f"C{number}" for number in range(1, 40)]


def test_there_are_enough_of_them():
    assert len(NAMES) >= LEAST
