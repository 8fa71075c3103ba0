"""Requests that Dagster's own webserver obeys and ours refuses; each is tried on both. Then what must go on working."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from litgo_pipelines.jobs import JOBS, run_tags
from litgo_pipelines.runtime.ui.accounts import hashed
from litgo_pipelines_tests.support import PROJECT, free_port, until

SELECTOR = 'repositoryLocationName: "here", repositoryName: "__repository__"'
LAUNCH = (
    f'mutation {{launchRun(executionParams: {{selector: {{{SELECTOR}, jobName: "plain_job"}}, '
    'executionMetadata: {tags: [{key: "litgo/actor", value: "somebody-else"}]}}) '
    "{__typename ... on LaunchRunSuccess {run {runId}} ... on PythonError {message}}}"
)
RUNS = "{runsOrError {... on Runs {results {runId tags {key value}}}}}"
OPERATOR, VIEWER, PASSWORD = "ana", "olga", "a long password, with ç"
FOREIGN = {"Origin": "https://evil.example"}


@dataclass
class Server:
    url: str
    home: Path

    @property
    def graphql(self) -> str:
        return f"{self.url}/graphql"

    def ask(self, query: str, session: requests.Session | None = None, **variables: Any) -> Any:
        answer = (session or requests).post(self.graphql, json={"query": query, "variables": variables}, timeout=60)
        return answer.json()

    def runs(self, session: requests.Session | None = None) -> dict[str, dict[str, str]]:
        found = self.ask(RUNS, session)["data"]["runsOrError"]["results"]
        return {run["runId"]: {tag["key"]: tag["value"] for tag in run["tags"]} for run in found}

    def socket(self, **headers: str) -> ClientConnection:
        address = self.graphql.replace("http", "ws", 1)
        return connect(address, subprotocols=["graphql-ws"], additional_headers=headers, proxy=None, open_timeout=20)  # type: ignore[list-item]


@contextmanager
def served(home: Path, module: str, **environment: str) -> Iterator[Server]:
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    port = free_port()
    location = ["-m", "litgo_pipelines_tests.runtime.guarded_location"]
    workspace = home / "workspace.yaml"
    workspace.write_text(f"load_from: [{{python_module: {{module_name: {location[1]}, location_name: here}}}}]\n")
    command = [sys.executable, "-m", module, "-h", "127.0.0.1", "-p", str(port), "-w", str(workspace)]
    variables = {**os.environ, "DAGSTER_HOME": str(home), **environment}
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=PROJECT, env=variables, stdout=log, stderr=log, start_new_session=True)
    try:
        until(lambda: _answers(port, process, home), 90, "the webserver")
        yield Server(f"http://127.0.0.1:{port}", home)
    finally:
        for number, patience in ((signal.SIGTERM, 5), (signal.SIGKILL, 20)):
            with suppress(ProcessLookupError, subprocess.TimeoutExpired):
                os.killpg(process.pid, number)
                process.wait(patience)


def _answers(port: int, process: subprocess.Popen, home: Path) -> bool:
    assert process.poll() is None, (home / "log").read_text()
    try:
        return requests.get(f"http://127.0.0.1:{port}/server_info", timeout=5).ok
    except requests.ConnectionError:
        return False


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Server]]:
    folder = tmp_path_factory.mktemp("webservers")
    accounts = f"{OPERATOR}:operator:{hashed(PASSWORD)} {VIEWER}:viewer:{hashed(PASSWORD)}"
    ours = "litgo_pipelines.runtime.webserver"
    with ExitStack() as stack:
        yield {
            "dagster": stack.enter_context(served(folder / "dagster", "dagster_webserver")),
            "ours": stack.enter_context(served(folder / "ours", ours)),
            "login": stack.enter_context(served(folder / "login", ours, LITGO_UI_USERS=accounts)),
        }


pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


# --- what another site's page, or a link in a mail, can make a browser send

HIDDEN = "query harmless {version} " + LAUNCH.replace("mutation ", "mutation hidden ", 1)
EXPLOITS: dict[str, dict[str, Any]] = {
    "a link": {"method": "GET", "params": {"query": LAUNCH}},
    "a link among other operations": {"method": "GET", "params": {"query": HIDDEN, "operationName": "hidden"}},
    "a link that says query twice": {"method": "GET", "params": [("query", "{version}"), ("query", LAUNCH)]},
    "a link from another host's name": {
        "method": "GET",
        "params": {"query": LAUNCH},
        "headers": {"Host": "rebound.example"},
    },
    "a form, the document in its address": {
        "method": "POST",
        "params": {"query": LAUNCH},
        "headers": {**FOREIGN, "Content-Type": "application/x-www-form-urlencoded"},
    },
    "a form without an Origin": {
        "method": "POST",
        "params": {"query": LAUNCH},
        "headers": {"Content-Type": "application/x-www-form-urlencoded"},
    },
    "a multipart form": {"method": "POST", "params": {"query": LAUNCH}, "files": {"a": b"b"}, "headers": FOREIGN},
    "text that names JSON": {
        "method": "POST",
        "data": json.dumps({"query": LAUNCH}),
        "headers": {**FOREIGN, "Content-Type": "text/plain; charset=application/json"},
    },
    "text that names JSON, from a sandbox": {
        "method": "POST",
        "data": json.dumps({"query": LAUNCH}),
        "headers": {"Origin": "null", "Content-Type": "text/plain; a=application/json"},
    },
    "text that names JSON, no Origin": {
        "method": "POST",
        "data": json.dumps({"query": LAUNCH}),
        "headers": {"Content-Type": "text/plain; a=application/json"},
    },
    "JSON of another site": {"method": "POST", "json": {"query": LAUNCH}, "headers": FOREIGN},
    "JSON of the same machine's other port": {
        "method": "POST",
        "json": {"query": LAUNCH},
        "headers": {"Origin": "http://127.0.0.1:9"},
    },
    "JSON, as the browser says, of another site": {
        "method": "POST",
        "json": {"query": LAUNCH},
        "headers": {"Sec-Fetch-Site": "cross-site"},
    },
    "JSON under another name": {
        "method": "POST",
        "json": {"query": LAUNCH},
        "headers": {"Host": "rebound.example", "Origin": "http://rebound.example"},
    },
}


@pytest.mark.parametrize("exploit", EXPLOITS)
def test_what_dagster_obeys_is_refused(servers: dict[str, Server], exploit: str) -> None:
    request = EXPLOITS[exploit]
    launched = {}
    for name in ("dagster", "ours"):
        server = servers[name]
        before = set(server.runs())
        answer = requests.request(url=server.graphql, timeout=60, **request)
        launched[name] = len(set(server.runs()) - before)
        assert name == "dagster" or answer.status_code in (403, 405, 415), answer.text
    assert launched == {"dagster": 1, "ours": 0}


def test_a_report_of_another_site_is_refused(servers: dict[str, Server]) -> None:
    accepted = {}
    for name in ("dagster", "ours"):
        url = f"{servers[name].url}/report_asset_materialization/reported"
        accepted[name] = requests.post(url, headers=FOREIGN, timeout=30).ok  # a body without a type
    assert accepted == {"dagster": True, "ours": False}


def test_a_socket_of_another_site_is_refused(servers: dict[str, Server]) -> None:
    with servers["dagster"].socket(**FOREIGN):
        pass
    with pytest.raises(InvalidStatus):
        servers["ours"].socket(**FOREIGN)
    with pytest.raises(InvalidStatus):
        servers["ours"].socket(Origin="null")


def test_a_page_may_not_be_framed(servers: dict[str, Server]) -> None:
    headers = {name: requests.get(f"{servers[name].url}/", timeout=30).headers for name in ("dagster", "ours")}
    assert "X-Frame-Options" not in headers["dagster"]
    assert headers["ours"]["X-Frame-Options"] == "DENY"
    assert "frame-ancestors 'none'" in headers["ours"]["Content-Security-Policy"]
    assert "nonce-" in headers["ours"]["Content-Security-Policy"], "Dagster's own policy stays"


@pytest.mark.parametrize(
    "frame",
    [
        json.dumps({"id": "1", "type": "start", "payload": {"query": LAUNCH}}),
        json.dumps({"id": "1", "type": "start", "payload": {"query": HIDDEN, "operation_name": "harmless"}}),
        json.dumps({"id": "1", "type": "start", "payload": {"query": "{"}}),
        json.dumps({"id": "1", "type": "start", "payload": {"query": ["a"]}}),
        json.dumps({"id": "1", "type": "start"}),
        json.dumps([LAUNCH]),
        "no JSON",
    ],
)
def test_a_socket_carries_no_mutation(servers: dict[str, Server], frame: str) -> None:
    with servers["ours"].socket() as socket:
        socket.send(frame)
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=20)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1008
    assert not any("somebody-else" in tags.values() for tags in servers["ours"].runs().values())


# --- what must go on working


def test_pages_are_read_by_get_and_by_post(servers: dict[str, Server]) -> None:
    server = servers["ours"]
    got = requests.get(server.graphql, params={"query": "{version}"}, timeout=30)
    assert got.json()["data"]["version"]
    own = requests.post(server.graphql, json={"query": "{version}"}, headers={"Origin": server.url}, timeout=30)
    assert own.json()["data"]["version"]
    page = requests.get(f"{server.url}/graphql", headers={"Accept": "text/html"}, timeout=30)
    assert page.ok
    assert requests.get(f"{server.url}/runs", headers={"Accept": "text/html"}, timeout=30).ok
    assert requests.get(f"{server.url}/server_info", headers={"Host": "10.2.3.4:3000"}, timeout=30).ok
    assert requests.options(server.graphql, timeout=30).status_code == 405
    office = requests.get(f"{server.url}/escritorio", timeout=30)
    assert (office.status_code, "LITGO_DATABASE_URL" in office.text) == (503, True), "it was told of no database"


def launched(answer: Any) -> str:
    return answer["data"]["launchRun"]["run"]["runId"]


def test_without_a_login_the_run_says_so(servers: dict[str, Server]) -> None:
    run = launched(servers["ours"].ask(LAUNCH))
    assert servers["ours"].runs()[run]["litgo/actor"] == "unauthenticated"


def test_live_logs_come_over_the_socket(servers: dict[str, Server]) -> None:
    server = servers["ours"]
    run = launched(server.ask(LAUNCH))
    query = (
        "subscription ($run: ID!) {pipelineRunLogs(runId: $run) {... on PipelineRunLogsSubscriptionSuccess "
        "{messages {__typename ... on MessageEvent {message}}}}}"
    )
    seen: set[str] = set()
    with server.socket(Origin=server.url) as socket:
        socket.send(json.dumps({"type": "connection_init", "payload": {}}))
        socket.send(json.dumps({"id": "1", "type": "start", "payload": {"query": query, "variables": {"run": run}}}))
        while "RunCanceledEvent" not in seen:
            message = json.loads(socket.recv(timeout=30))
            new = message.get("payload", {}).get("data", {}).get("pipelineRunLogs", {}).get("messages", [])
            if new and not seen:
                server.ask("mutation ($run: String!) {terminateRun(runId: $run) {__typename}}", run=run)
            seen |= {each["__typename"] for each in new}
    assert "RunEnqueuedEvent" in seen


# --- accounts


@pytest.fixture(scope="module")
def entered(servers: dict[str, Server]) -> dict[str, requests.Session]:
    sessions = {}
    for name in (OPERATOR, VIEWER):
        sessions[name] = session = requests.Session()
        form = {"name": name, "password": PASSWORD, "next": "/runs?page=2"}
        origin = {"Origin": servers["login"].url}
        answer = session.post(
            f"{servers['login'].url}/litgo/login", form, headers=origin, timeout=30, allow_redirects=False
        )
        assert (answer.status_code, answer.headers["Location"]) == (303, "/runs?page=2")
        cookie = answer.headers["Set-Cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=lax" in cookie
    return sessions


def test_nobody_gets_in_without_a_login(servers: dict[str, Server]) -> None:
    server = servers["login"]
    assert requests.post(server.graphql, json={"query": "{version}"}, timeout=30).status_code == 401
    assert requests.get(f"{server.url}/logs/a/b.out", timeout=30).status_code == 401
    asked = requests.get(f"{server.url}/runs?x=1", headers={"Accept": "text/html"}, timeout=30, allow_redirects=False)
    assert asked.headers["Location"] == "/litgo/login?next=%2Fruns%3Fx%3D1"
    form = requests.get(f"{server.url}{asked.headers['Location']}", timeout=30)
    assert 'value="/runs?x=1"' in form.text
    assert 'value="/"' in requests.get(f"{server.url}/litgo/login?next=//evil.example", timeout=30).text
    with pytest.raises(InvalidStatus):
        server.socket()
    for forged in ("x", "YW5h.9999999999.00", f"YW5h.{int(time.time()) + 99}.{'0' * 64}"):
        cookies = {"litgo_session": forged}
        answer = requests.post(server.graphql, json={"query": "{version}"}, cookies=cookies, timeout=30)
        assert answer.status_code == 401


def test_a_login_of_another_site_is_refused(servers: dict[str, Server]) -> None:
    form = {"name": OPERATOR, "password": PASSWORD}
    answer = requests.post(f"{servers['login'].url}/litgo/login", form, headers=FOREIGN, timeout=30)
    assert answer.status_code == 403
    assert "Set-Cookie" not in answer.headers


def test_viewers_look_and_change_nothing(servers: dict[str, Server], entered: dict[str, requests.Session]) -> None:
    server, session = servers["login"], entered[VIEWER]
    assert server.ask("{version}", session)["data"]["version"]
    permissions = server.ask("{permissions {permission value}}", session)["data"]["permissions"]
    assert not any(each["value"] for each in permissions)
    for mutation in (
        LAUNCH,
        "mutation {reloadWorkspace {__typename}}",
        "mutation {setAutoMaterializePaused(paused: true)}",
        'mutation {deleteRun(runId: "x") {__typename}}',
    ):
        answer = server.ask(mutation, session)
        assert "may look" in answer["errors"][0]["message"], answer
    telemetry = 'mutation {logTelemetry(action: "a", clientTime: "1", clientId: "c", metadata: "{}") {__typename}}'
    assert "errors" not in server.ask(telemetry, session)
    assert session.post(f"{server.url}/report_asset_materialization/a", json={}, timeout=30).status_code == 403
    assert not server.runs(session)


BACKFILL = (
    f"mutation {{launchPartitionBackfill(backfillParams: {{selector: {{partitionSetName: "
    f'"partitioned_job_partition_set", repositorySelector: {{{SELECTOR}}}}}, partitionNames: ["one"], '
    'tags: [{key: "litgo/actor", value: "somebody-else"}]%s}) '
    "{__typename ... on LaunchBackfillSuccess {backfillId launchedRunIds} ... on PythonError {message}}}"
)


def test_what_is_launched_names_who_asked(servers: dict[str, Server], entered: dict[str, requests.Session]) -> None:
    """Launchpad, re-execution of a run, backfill, and a backfill that is run again or resumed."""
    server, session = servers["login"], entered[OPERATOR]

    def actor_of(run: str) -> str:
        return server.runs(session)[run]["litgo/actor"]

    first = launched(server.ask(LAUNCH, session))
    assert actor_of(first) == OPERATOR
    again = (
        "mutation ($run: String!) {launchRunReexecution(reexecutionParams: {parentRunId: $run, strategy: ALL_STEPS, "
        'extraTags: [{key: "litgo/actor", value: "somebody-else"}]}) {__typename ... on LaunchRunSuccess '
        "{run {runId}} ... on PythonError {message}}}"
    )
    answer = server.ask(again, session, run=first)["data"]["launchRunReexecution"]
    assert actor_of(answer["run"]["runId"]) == OPERATOR
    both = LAUNCH.replace("launchRun(executionParams: {", "launchMultipleRuns(executionParamsList: [{", 1)
    both = both.replace(
        "}}) {__typename", "}}]) {... on LaunchMultipleRunsResult {launchMultipleRunsResult {__typename", 1
    )
    many = server.ask(both + "}}", session)["data"]["launchMultipleRuns"]["launchMultipleRunsResult"]
    assert [actor_of(each["run"]["runId"]) for each in many] == [OPERATOR]
    filled = server.ask(BACKFILL % ", forceSynchronousSubmission: true", session)["data"]["launchPartitionBackfill"]
    assert [actor_of(run) for run in filled["launchedRunIds"]] == [OPERATOR]
    waiting = server.ask(BACKFILL % "", session)["data"]["launchPartitionBackfill"]["backfillId"]
    server.ask("mutation ($id: String!) {cancelPartitionBackfill(backfillId: $id) {__typename}}", session, id=waiting)
    server.ask("mutation ($id: String!) {resumePartitionBackfill(backfillId: $id) {__typename}}", session, id=waiting)
    tags = (
        "query ($id: String!) {partitionBackfillOrError(backfillId: $id) {... on PartitionBackfill {tags {key value}}}}"
    )
    kept = server.ask(tags, session, id=waiting)["data"]["partitionBackfillOrError"]["tags"]
    assert {"key": "litgo/actor", "value": OPERATOR} in kept
    assert f"{OPERATOR}: launchRun" in (server.home / "log").read_text()


def test_an_asset_s_backfill_and_run_have_the_limits_of_its_job(servers: dict[str, Server]) -> None:
    server, limits = servers["ours"], run_tags(JOBS["nightly_equity"])
    backfill = (
        'mutation {launchPartitionBackfill(backfillParams: {assetSelection: [{path: ["lawyer_load"]}], '
        'partitionNames: ["one", "two"], tags: [%s]}) {... on LaunchBackfillSuccess {backfillId} '
        "... on PythonError {message}}}"
    )
    tags = (
        "query ($id: String!) {partitionBackfillOrError(backfillId: $id) {... on PartitionBackfill {tags {key value}}}}"
    )

    def started(given: str) -> dict[str, str]:
        made = server.ask(backfill % given)["data"]["launchPartitionBackfill"]["backfillId"]
        found = server.ask(tags, id=made)["data"]["partitionBackfillOrError"]["tags"]
        return {tag["key"]: tag["value"] for tag in found}

    nights = str(2 * JOBS["nightly_equity"].max_minutes * 60)
    assert started("").items() >= {**limits, "dagster/max_runtime": nights}.items()
    assert started('{key: "dagster/max_runtime", value: "60"}')["dagster/max_runtime"] == "60"
    one = LAUNCH.replace('jobName: "plain_job"', 'jobName: "__ASSET_JOB", assetSelection: [{path: ["lawyer_load"]}]')
    one = one.replace("tags: [{", 'tags: [{key: "dagster/partition", value: "one"}, {', 1)
    run = launched(server.ask(one))
    assert server.runs()[run].items() >= limits.items()
    of_no_asset = launched(server.ask(LAUNCH))
    assert "dagster/max_runtime" not in server.runs()[of_no_asset]


def test_tries_are_limited(servers: dict[str, Server]) -> None:
    url, origin = f"{servers['login'].url}/litgo/login", {"Origin": servers["login"].url}
    for name in ("nobody", VIEWER):
        form = {"name": name, "password": "wrong"}
        assert requests.post(url, form, headers=origin, timeout=30).status_code == 401
    statuses = [
        requests.post(url, {"name": "x", "password": str(n)}, headers=origin, timeout=30).status_code for n in range(12)
    ]
    assert statuses[-1] == 429
    answer = requests.post(url, {"name": VIEWER, "password": PASSWORD}, headers=origin, timeout=30)
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) > 0


def test_leaving_forgets_the_session(servers: dict[str, Server], entered: dict[str, requests.Session]) -> None:
    server, session = servers["login"], entered[VIEWER]
    assert "Olga" in session.get(f"{server.url}/litgo/logout", timeout=30).text.replace(VIEWER, "Olga")
    session.post(f"{server.url}/litgo/logout", headers={"Origin": server.url}, timeout=30)
    assert session.post(server.graphql, json={"query": "{version}"}, timeout=30).status_code == 401
