"""Who is told: the routes, and an alert's way from a broken thing to a person, through the real programs."""

import json
import shutil
import socketserver
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email import message_from_string, policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast
from urllib.request import Request, urlopen

import pytest
import yaml

from litgo_pipelines.observability.exporter import Exporter, serving
from litgo_pipelines_tests.support import execute, free_port

DEPLOY = Path(__file__).parents[2] / "deploy"
ALERTMANAGER = DEPLOY / "alertmanager" / "alertmanager.yml"
PROGRAMS = ("prometheus", "prometheus-alertmanager", "amtool")
pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, PROGRAMS)), reason="no Prometheus or Alertmanager (Debian: prometheus, its alertmanager)"
)
OPEN = (
    "UPDATE litgo.circuit_breakers SET opened_at = now(), retry_at = now() + interval '1 hour' WHERE service = 'openai'"
)
CLOSED = "UPDATE litgo.circuit_breakers SET opened_at = NULL, retry_at = NULL WHERE service = 'openai'"


def amtool(*arguments: object) -> str:
    done = subprocess.run(["amtool", *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_amtool_accepts_the_configuration() -> None:
    assert "11 inhibit rules" in amtool("check-config", ALERTMANAGER)


@pytest.mark.parametrize(
    ("labels", "receivers"),
    [
        (["severity=critical", "owner=machine-learning"], "on-call,machine-learning"),
        (["severity=warning", "owner=marketplace"], "marketplace"),
        (["severity=info", "owner=data-engineering"], "data-engineering"),
        (["severity=warning", "owner=nobody"], "operations"),
    ],
)
def test_severity_and_owner_decide_who_is_told(labels: list[str], receivers: str) -> None:
    assert amtool("config", "routes", "test", "--config.file", ALERTMANAGER, *labels).strip() == receivers


class Mail(socketserver.StreamRequestHandler):
    """As much of SMTP (RFC 5321) as a sender needs; each message goes to the server's list."""

    def handle(self) -> None:
        self.wfile.write(b"220 local\r\n")
        while line := self.rfile.readline().decode():
            verb = line[:4].upper()
            if verb == "DATA":
                self.wfile.write(b"354 go on\r\n")
                lines = []
                while (text := self.rfile.readline().decode()) != ".\r\n":
                    lines.append(text)
                cast(Any, self.server).messages.append("".join(lines))
            self.wfile.write(b"221 bye\r\n" if verb == "QUIT" else b"250 ok\r\n")
            if verb == "QUIT":
                return


class Hook(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        cast(Any, self.server).messages.append((self.headers["Authorization"], body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """A line a request tells nobody anything."""


class MailServer(socketserver.ThreadingTCPServer):
    daemon_threads = True


@contextmanager
def listening(server: Any) -> Iterator[Any]:
    server.messages = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def process(folder: Path, environment: dict[str, str], *command: str) -> Iterator[None]:
    with (folder / f"{command[0]}.log").open("wb") as log:
        started = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=folder)
    try:
        yield
    finally:
        started.terminate()
        started.wait(timeout=20)


def wait_for(what: str, found: Callable[[], Any], seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.1)
    return value


def rendered(folder: Path, exporter: int, prometheus: int, alertmanager: int, mail: int, hook: int) -> None:
    """The deployed configuration with short intervals and this machine's addresses; nothing else is changed."""
    rules = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())
    for group in rules["groups"]:
        group["interval"] = "1s"
        for rule in group["rules"]:
            if "for" in rule:
                rule["for"] = "1s"
    (folder / "alerts.yml").write_text(yaml.safe_dump(rules))
    shutil.copy(DEPLOY / "prometheus" / "recording.yml", folder)
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    config["global"] |= {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    ports = {"exporter:9108": exporter, "alertmanager:9093": alertmanager, "localhost:9090": prometheus}
    for part in (*config["scrape_configs"], *config["alerting"]["alertmanagers"]):
        for static in part["static_configs"]:
            static["targets"] = [f"127.0.0.1:{ports[target]}" for target in static["targets"]]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))

    told = yaml.safe_load(ALERTMANAGER.read_text())
    (folder / "secret").write_text("a-token")
    told["global"] |= {
        "smtp_smarthost": f"127.0.0.1:{mail}",
        "smtp_require_tls": False,
        "smtp_auth_password_file": str(folder / "secret"),
    }
    for route in (told["route"], *told["route"]["routes"]):
        route |= {"group_wait": "1s", "group_interval": "1s"}
    for receiver in told["receivers"]:
        for webhook in receiver.get("webhook_configs", ()):
            webhook["url"] = f"http://127.0.0.1:{hook}/"
            if "http_config" in webhook:
                webhook["http_config"]["authorization"]["credentials_file"] = str(folder / "secret")
    (folder / "alertmanager.yml").write_text(yaml.safe_dump(told))
    shutil.copy(DEPLOY / "alertmanager" / "litgo.tmpl", folder)


@pytest.mark.slow
def test_what_breaks_is_told_within_a_minute_and_its_end_too(database_url: str, tmp_path: Path) -> None:
    exporter, prometheus, alertmanager = free_port(), free_port(), free_port()
    environment = {"PATH": "/usr/bin:/bin", "TZ": "America/Sao_Paulo", "RUNBOOKS_URL": "https://example.org/litgo/"}

    def serve() -> Any:
        return serving(Exporter(database_url), "127.0.0.1", exporter, 0.5)

    with (
        listening(MailServer(("127.0.0.1", 0), Mail)) as mail,
        listening(ThreadingHTTPServer(("127.0.0.1", 0), Hook)) as hook,
    ):
        rendered(tmp_path, exporter, prometheus, alertmanager, mail.server_address[1], hook.server_address[1])

        def mails(subject: str) -> list[Any]:
            parsed = [message_from_string(text, policy=policy.default) for text in list(mail.messages)]
            return [m for m in parsed if m["Subject"] == subject]

        def hooks(name: str, status: str) -> list[Any]:
            sent = [(token, a) for token, body in list(hook.messages) for a in body["alerts"]]
            return [pair for pair in sent if (pair[1]["labels"]["alertname"], pair[1]["status"]) == (name, status)]

        with (
            process(
                tmp_path,
                environment,
                "prometheus-alertmanager",
                "--config.file=alertmanager.yml",
                "--storage.path=am",
                f"--web.listen-address=127.0.0.1:{alertmanager}",
                "--cluster.listen-address=",
            ),
            process(
                tmp_path,
                environment,
                "prometheus",
                "--config.file=prometheus.yml",
                "--storage.tsdb.path=data",
                f"--web.listen-address=127.0.0.1:{prometheus}",
                "--enable-feature=expand-external-labels",
            ),
        ):
            with serve():
                execute(database_url, OPEN)
                (first, *_) = wait_for("the warning", lambda: mails("LITGO – Aviso: O disjuntor de openai está aberto"))
                assert first["To"] == "dados@litgo.example"
                text = first.get_body(("plain",)).get_content()
                assert "openai falhou várias vezes seguidas" in text
                assert "https://example.org/litgo/docs/runbooks/CircuitBreakerOpen.md" in text
                assert "-0300" in text  # the reader's zone
                execute(database_url, CLOSED)
                wait_for("its end", lambda: mails("LITGO – Resolvido: O disjuntor de openai está aberto"))
                assert hooks("CircuitBreakerOpen", "firing") == []
            ((token, alert), *_) = wait_for("the alarm", lambda: hooks("ExporterDown", "firing"))
            assert token == "Bearer a-token"
            assert alert["annotations"]["runbook_url"].endswith("docs/runbooks/ExporterDown.md")
            with serve():
                wait_for("its end", lambda: hooks("ExporterDown", "resolved"))
            consequences_are_silent(alertmanager)


def consequences_are_silent(port: int) -> None:
    """While the database is down nobody hears that messages wait; that the disk is full is told, for it may be why."""
    url = f"http://127.0.0.1:{port}/api/v2/alerts"
    alerts = [
        {"labels": {"alertname": name, "severity": severity, "owner": "operations", "test": "inhibition"}}
        for name, severity in (("DatabaseDown", "critical"), ("OutboxOld", "warning"), ("DiskAlmostFull", "critical"))
    ]
    headers = {"Content-Type": "application/json"}
    with urlopen(Request(url, json.dumps(alerts).encode(), headers), timeout=10) as answer:
        assert answer.status == 200

    def states() -> dict[str, str]:
        with urlopen(f'{url}?filter=test="inhibition"', timeout=10) as answer:
            return {a["labels"]["alertname"]: a["status"]["state"] for a in json.load(answer)}

    expected = {"DatabaseDown": "active", "OutboxOld": "suppressed", "DiskAlmostFull": "active"}
    wait_for("the inhibition", lambda: states() == expected, 20)
