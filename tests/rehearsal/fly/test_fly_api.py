"""The Fly stand-in over HTTP, with real processes as machines."""

import asyncio
import base64
import hashlib
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from runbook_lib.rehearsal.fly import fly_api, logs_api, registry_api
from runbook_lib.rehearsal.fly.apps import Fly
from runbook_lib.rehearsal.fly.runner_forks import RunnerForks
from runbook_lib.rehearsal.world import http_server

APP = "agentic-live-runner"
TOKEN = "fo1_operator"
SERVICES = ("fly", "registry", "fly_logs")


async def shell(environment, output):
    """Launch the machine's process: the shell command in its COMMAND variable."""
    return await asyncio.create_subprocess_exec(
        "sh", "-c", environment["COMMAND"], env=environment | {"PATH": os.defpath}, stdout=output, stderr=output
    )


class Served:
    """A Fly stand-in on loopback with a client for its API."""

    def __init__(self, fly, sockets, loop):
        self.fly, self.loop = fly, loop
        self.address, self.registry, self.logs = (http_server.address(sockets[name]) for name in SERVICES)
        self.api = httpx.Client(base_url=self.address, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=120)

    def machines(self, path="", *, method="GET", **options):
        return self.api.request(method, f"/v1/apps/{APP}/machines{path}", **options)

    def create(self, command, *, secrets=None, **config):
        digest = self.fly.push(APP, "test", b"{}")
        config = {"image": f"registry.fly.io/{APP}@{digest}", "env": {"COMMAND": command}} | config
        made = self.machines(method="POST", json={"config": config})
        assert made.status_code == 200, made.text
        return made.json()["id"]

    def wait(self, machine, state, timeout=20):
        return self.machines(f"/{machine}/wait", params={"state": state, "timeout": timeout})

    def log(self, machine):
        return [line["attributes"]["message"] for line in self.page(instance=machine)["data"]]

    def page(self, **query):
        """A page of the app's log, from the host that has it and under the scheme that it takes."""
        url = f"{self.logs}/api/v1/apps/{APP}/logs"
        return httpx.get(url, params=query, headers={"Authorization": f"FlyV1 {TOKEN}"}).raise_for_status().json()


@contextmanager
def serving_fly(folder):
    fly = Fly(launch=shell, folder=folder, tokens=[TOKEN], deploy_tokens={"fm2_deploy": APP})
    sockets = http_server.bind(SERVICES)
    for bound in sockets.values():
        bound.listen()
    apps = {"fly": fly_api.app(fly), "registry": registry_api.app(fly), "fly_logs": logs_api.app(fly)}
    loop, ended = asyncio.new_event_loop(), asyncio.Event()

    async def until():
        await ended.wait()
        await fly.close()

    thread = threading.Thread(target=loop.run_until_complete, args=(http_server.serve(apps, sockets, until),))
    thread.start()
    served = Served(fly, sockets, loop)
    try:
        yield served
    finally:
        served.api.close()
        loop.call_soon_threadsafe(ended.set)
        thread.join(30)
        loop.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving_fly(tmp_path_factory.mktemp("logs")) as served:
        yield served


@pytest.fixture
def served(server):
    """The server with one empty app, as new."""
    server.api.post("/v1/apps", json={"name": APP, "org_slug": "rehearsal"}).raise_for_status()
    server.fly.restart_takes_new_secrets = server.fly.limited = False
    server.fly.restart_delay = 0.2
    yield server
    asyncio.run_coroutine_threadsafe(server.fly.close(), server.loop).result(20)
    server.fly.apps.clear()


def until(condition, timeout=15):
    deadline = time.monotonic() + timeout
    while not (found := condition()):
        assert time.monotonic() < deadline, "condition did not come true in time"
        time.sleep(0.02)
    return found


def test_an_app_is_made_once(served):
    again = served.api.post("/v1/apps", json={"name": APP, "org_slug": "rehearsal"})

    assert (again.status_code, again.json()["status"]) == (422, "name_taken")
    assert served.api.get(f"/v1/apps/{APP}").json()["status"] == "pending"
    assert served.api.get("/v1/apps", params={"org_slug": "rehearsal"}).json()["total_apps"] == 1
    assert served.api.get("/v1/apps/other").status_code == 404
    assert served.machines().json() == []


def test_every_reply_needs_a_good_token_and_names_its_request(served):
    for header in ("", "Bearer wrong", "FlyV1 wrong"):
        assert served.api.get("/v1/apps", headers={"Authorization": header}).status_code == 401
    for header in (f"FlyV1 {TOKEN}", f"Bearer {TOKEN}"):
        assert served.api.get("/v1/tokens/current", headers={"Authorization": header}).status_code == 200
    assert served.api.get("/v1/apps").headers["fly-request-id"]


def test_a_deploy_token_is_good_for_its_app_alone(served):
    served.fly.create_app("other")
    token = {"Authorization": "FlyV1 fm2_deploy"}

    assert served.api.get(f"/v1/apps/{APP}", headers=token).status_code == 200
    assert served.api.get("/v1/apps/other", headers=token).status_code == 401


def test_secrets_have_digests_that_change_with_the_value_and_are_never_shown(served):
    def put(**values):
        return served.api.post(f"/v1/apps/{APP}/secrets", json={"values": values}).json()

    first, second, third = put(A="one", B="two"), put(A="other"), put(B=None)

    assert [reply["version"] for reply in (first, second, third)] == [1, 2, 3]
    digest = {reply["version"]: reply["secrets"][0]["digest"] for reply in (first, second, third)}
    assert digest[1] != digest[2] == digest[3]
    listed = served.api.get(f"/v1/apps/{APP}/secrets")
    assert [one["name"] for one in listed.json()["secrets"]] == ["A"]
    assert "other" not in listed.text
    assert served.api.get(f"/v1/apps/{APP}/secrets/A").json()["digest"] == digest[3]
    assert served.api.get(f"/v1/apps/{APP}/secrets/B").status_code == 404


def test_a_manifest_is_found_by_tag_with_its_digest(served):
    digest = served.fly.push(APP, "deployment-1", b'{"layers": []}')
    basic = {"Authorization": "Basic " + base64.b64encode(f"x:{TOKEN}".encode()).decode()}

    def head(reference, **headers):
        return httpx.head(f"{served.registry}/v2/{APP}/manifests/{reference}", headers=headers)

    assert head("deployment-1", **basic).headers["docker-content-digest"] == digest
    assert head(digest, **basic).headers["docker-content-digest"] == digest
    assert head("deployment-2", **basic).status_code == 404
    assert head("deployment-1").status_code == 401


def test_an_unknown_route_says_which(served):
    reply = served.api.get("/v1/volumes")

    assert (reply.status_code, reply.json()) == (
        404,
        {"error": "the rehearsal's api.machines.dev knows no GET /v1/volumes"},
    )


def test_a_machine_is_its_process(served):
    machine = served.create("echo booting; exec sleep 60")

    assert served.wait(machine, "started").json()["ok"]
    view = served.machines(f"/{machine}").json()
    assert view["image_ref"]["digest"] == "sha256:" + hashlib.sha256(b"{}").hexdigest()
    assert [event["type"] for event in view["events"]] == ["start", "launch"]
    pid = served.fly.machine(APP, machine).process.pid
    os.kill(pid, 0)

    served.machines(f"/{machine}/stop", method="POST", json={"signal": "SIGTERM"}).raise_for_status()
    assert served.wait(machine, "stopped").status_code == 200
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert [one["state"] for one in served.machines().json()] == ["stopped"], "a stopped machine stays listed"

    served.machines(f"/{machine}", method="DELETE").raise_for_status()
    assert served.machines().json() == []
    assert served.machines(f"/{machine}").json()["state"] == "destroyed"
    assert [one["id"] for one in served.machines(params={"include_deleted": "true"}).json()] == [machine]


def test_a_wait_that_is_not_fulfilled_is_a_408(served):
    machine = served.create("exec sleep 60")

    reply = served.wait(machine, "stopped", timeout=0.2)

    assert reply.status_code == 408
    assert "failed to reach desired state" in reply.json()["error"]


def test_what_the_state_forbids_is_a_412(served):
    machine = served.create("trap '' INT; while true; do sleep 0.1; done")
    served.wait(machine, "started")

    assert served.machines(f"/{machine}", method="DELETE").status_code == 412
    served.machines(f"/{machine}/stop", method="POST", json={"timeout": "30s"})
    refused = served.machines(f"/{machine}/start", method="POST")
    assert refused.status_code == 412
    assert refused.json()["error"].endswith("unable to start machine from current state: 'stopping'")
    served.machines(f"/{machine}", method="DELETE", params={"force": "true"}).raise_for_status()
    assert served.machines(f"/{machine}/exec", method="POST", json={"command": ["env"]}).status_code == 412


def test_a_machine_that_ignores_the_signal_is_killed(served):
    machine = served.create("trap '' INT TERM; while true; do sleep 0.1; done")
    served.wait(machine, "started")

    served.machines(f"/{machine}/stop", method="POST", json={"timeout": "200ms"})

    assert served.wait(machine, "stopped").status_code == 200
    assert served.machines(f"/{machine}/events").json()[0]["request"]["exit_event"]["signal"] == 9


def test_a_crash_is_restarted_until_the_policy_gives_up(served):
    served.fly.restart_delay = 0.01
    machine = served.create("exit 3", restart={"policy": "on-failure", "max_retries": 3})

    assert served.wait(machine, "stopped").status_code == 200
    exits = [event for event in served.machines(f"/{machine}/events").json() if event["type"] == "exit"]
    assert [event["request"]["exit_event"]["exit_code"] for event in exits] == [3, 3, 3, 3]
    assert "max restart count of 3" in served.log(machine)[-1]


def test_a_stop_between_two_crashes_is_final(served):
    served.fly.restart_delay = 0.3
    machine = served.create("exit 1")
    until(lambda: served.machines(f"/{machine}/events").json()[0]["type"] == "exit")

    served.machines(f"/{machine}/stop", method="POST")

    assert served.wait(machine, "stopped").status_code == 200
    with pytest.raises(AssertionError):
        until(lambda: served.machines(f"/{machine}").json()["state"] != "stopped", timeout=0.5)


def test_a_clean_exit_ends_the_machine_and_auto_destroy_removes_it(served):
    kept, removed = served.create("exit 0"), served.create("exit 0", auto_destroy=True)

    assert served.wait(kept, "stopped").status_code == 200
    assert served.wait(removed, "destroyed").status_code == 200
    assert [one["id"] for one in served.machines().json()] == [kept]


def test_a_stop_that_was_asked_for_keeps_even_an_auto_destroyed_machine_listed(served):
    machine = served.create("exec sleep 60", auto_destroy=True)
    served.wait(machine, "started")

    served.machines(f"/{machine}/stop", method="POST")

    assert served.wait(machine, "stopped").status_code == 200


def secret_in(served, machine):
    reply = served.machines(f"/{machine}/exec", method="POST", json={"cmd": "printenv PASSWORD"})
    return reply.json()["stdout"].strip()


@pytest.mark.parametrize("switched", [False, True])
def test_a_restart_takes_new_secrets_only_if_switched_and_an_update_always(served, switched):
    served.fly.restart_takes_new_secrets = switched
    served.fly.set_secrets(APP, {"PASSWORD": "old"})
    machine = served.create("exec sleep 60")
    served.wait(machine, "started")
    before = served.machines(f"/{machine}").json()

    served.fly.set_secrets(APP, {"PASSWORD": "new"})
    assert secret_in(served, machine) == "old"
    served.machines(f"/{machine}/restart", method="POST").raise_for_status()
    served.wait(machine, "started")
    assert secret_in(served, machine) == ("new" if switched else "old")
    assert served.machines(f"/{machine}").json()["instance_id"] == before["instance_id"]

    served.machines(f"/{machine}", method="POST", json={"config": before["config"]}).raise_for_status()
    served.wait(machine, "started")
    assert secret_in(served, machine) == "new"
    assert served.machines(f"/{machine}").json()["instance_id"] != before["instance_id"]


def test_exec_runs_in_the_machine_and_reports_as_the_vendor_does(served):
    served.fly.set_secrets(APP, {"PASSWORD": "hunter2"})
    machine = served.create("exec sleep 60")
    served.wait(machine, "started")

    def run(*command, **options):
        return served.machines(f"/{machine}/exec", method="POST", json={"command": command} | options)

    hashed = run("sh", "-c", 'printf %s "nonce$PASSWORD" | sha256sum').json()
    assert hashed["stdout"].split()[0] == hashlib.sha256(b"noncehunter2").hexdigest()
    assert run("sh", "-c", "echo no >&2; exit 4").json() == {
        "exit_code": 4, "exit_signal": 0, "stdout": "", "stderr": "no\n"
    }  # fmt: skip
    assert run("no-such-program").status_code == 400
    assert run("sleep", "9", timeout=0.1).status_code == 408


def test_logs_are_polled_with_the_token_of_the_page_before(served):
    machine = served.create("echo one; echo two; exec sleep 60")
    until(lambda: len(served.log(machine)) == 2)

    first = served.page(instance=machine)
    token = first["meta"]["next_token"]
    after = served.page(instance=machine, next_token=token)

    assert [one["attributes"]["message"] for one in first["data"]] == ["one", "two"]
    assert int(token) == int(first["data"][-1]["id"])
    assert (after["data"], after["meta"]["next_token"]) == ([], token)


def test_limits_answer_429_only_when_a_fault_switches_them_on(served):
    machine = served.create("exec sleep 60")
    served.wait(machine, "started")

    def statuses():  # all at once: one after the other they may be slow enough for the limit on a busy machine
        with ThreadPoolExecutor() as pool:
            asked = [pool.submit(served.machines, f"/{machine}/restart", method="POST") for _ in range(8)]
        return {one.result().status_code for one in asked}

    assert 429 not in statuses()
    served.fly.limited = True
    assert 429 in statuses()


def test_machines_are_selected_by_state_and_metadata(served):
    first = served.create("exec sleep 60", metadata={"deployment": "a"})
    second = served.create("exec sleep 60", metadata={"deployment": "b"})
    served.wait(first, "started")
    served.machines(f"/{first}/stop", method="POST")
    served.wait(first, "stopped")
    served.wait(second, "started")

    assert [one["id"] for one in served.machines(params={"state": "stopped,failed"}).json()] == [first]
    assert [one["id"] for one in served.machines(params={"metadata.deployment": "b"}).json()] == [second]


def test_an_image_that_was_never_pushed_is_refused(served):
    reply = served.machines(method="POST", json={"config": {"image": f"registry.fly.io/{APP}:nothing"}})

    assert reply.status_code == 400
    assert "manifest unknown" in reply.json()["error"]


def test_the_fork_server_runs_many_and_reports_how_each_ended():
    parents = []

    async def run():
        server = RunnerForks("os:abort", started=parents.append)
        read, write = os.pipe()
        processes = [await server.launch({"N": str(number)}, write) for number in range(20)]
        os.close(write)
        os.close(read)
        codes = [await process.wait() for process in processes]
        server.close()
        return codes

    assert asyncio.run(run()) == [-6] * 20
    with pytest.raises(ProcessLookupError):
        os.kill(parents[0], 0)


def test_a_runner_that_cannot_be_imported_says_so_and_hangs_nobody(tmp_path):
    async def run():
        server = RunnerForks("no_such_module:main")
        with (tmp_path / "log").open("wb") as log:
            code = await (await server.launch({}, log.fileno())).wait()
        server.close()
        return code

    assert asyncio.run(run()) == 1
    assert "No module named 'no_such_module'" in (tmp_path / "log").read_text()


def test_forked_processes_end_with_their_parent():
    async def run():
        parents = []
        server = RunnerForks("signal:pause", started=parents.append)
        processes = [await server.launch({}, 2) for _ in range(3)]
        os.kill(parents[0], 9)
        codes = [await process.wait() for process in processes]
        server.close()
        return codes, [process.pid for process in processes]

    codes, pids = asyncio.run(run())
    assert codes == [-9] * 3
    until(lambda: not any(Path("/proc", str(pid)).exists() for pid in pids))


# -- another host, another scheme


@pytest.mark.parametrize("header", [f"Bearer {TOKEN}", f"Bearer FlyV1 {TOKEN}", TOKEN, ""])
def test_logs_take_a_token_as_it_was_issued_and_no_other_scheme(served, header):
    url = f"{served.logs}/api/v1/apps/{APP}/logs"
    assert httpx.get(url, headers={"Authorization": header}).status_code == 401
    assert served.page()["data"] == []


def test_logs_are_not_where_the_machines_are(served):
    reply = served.api.get(f"/api/v1/apps/{APP}/logs")
    assert (reply.status_code, "api.machines.dev knows no GET /api/v1/apps" in reply.text) == (404, True)


# -- leases, metadata, waiting


def test_who_holds_no_lease_is_refused_until_it_ends(served):
    machine = served.create("sleep 60")
    assert served.wait(machine, "started").status_code == 200
    lease = served.machines(f"/{machine}/lease", method="POST", json={"ttl": 30, "description": "a deploy"})
    nonce = lease.json()["data"]["nonce"]
    refused = served.machines(f"/{machine}/stop", method="POST", json={})
    assert (refused.status_code, "lease currently held" in refused.json()["error"]) == (409, True)
    assert served.machines(f"/{machine}").status_code == 200
    holder = {"fly-machine-lease-nonce": nonce}
    assert served.machines(f"/{machine}/lease", method="POST", headers=holder, params={"ttl": 1}).status_code == 201
    until(lambda: served.machines(f"/{machine}/stop", method="POST", json={}).status_code == 200)
    assert served.machines(f"/{machine}/lease").status_code == 404


def test_metadata_can_be_set_read_and_removed(served):
    machine = served.create("sleep 60")
    assert served.machines(f"/{machine}/metadata/role", method="POST", json={"value": "x"}).status_code == 204
    assert served.machines(f"/{machine}/metadata").json() == {"role": "x"}
    assert [found["id"] for found in served.machines("", params={"metadata.role": "x"}).json()] == [machine]
    assert served.machines(f"/{machine}/metadata/role", method="DELETE").status_code == 204
    assert served.machines(f"/{machine}/metadata").json() == {}


def test_a_state_there_is_not_cannot_be_waited_for(served):
    machine = served.create("sleep 60")
    reply = served.machines(f"/{machine}/wait", params={"state": "started,runing"})
    assert (reply.status_code, "'runing' is no state" in reply.json()["error"]) == (400, True)
