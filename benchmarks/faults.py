"""Faults under `litgo up`, one after the other: each heals within a minute, or somebody is told within three.

    python -m benchmarks.faults [--only full_disk idle_sessions …] [--dry]

`litgo demo` fills a fresh LITGO_HOME, `litgo up` runs it, the vendors are stand-ins on loopback, Prometheus and
Alertmanager run with the deployed rules and routes. A fault is made, then a row written as a person would: it heals
when what that row waits for is done, while the fault lasts. Told is who was sent the first message about this fault: a
receiver of Alertmanager's, or the team by e-mail. Then the fault is taken away, and a case is waited for once more.
What is killed outright is in `benchmarks.soak`; here is what lasts.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import psycopg2

from benchmarks import PROJECT, soak, soak_page, soak_vendors
from benchmarks.latency import Receipts, Rows
from litgo_pipelines.contracts.requests import transaction_id
from litgo_pipelines.database import Connection, DatabaseUnavailable, libpq, open_connection
from litgo_pipelines.notifications.outbox import TEAM
from litgo_pipelines.runtime.supervisor import HOST

HEALS, TOLD = 60.0, 180.0  # seconds, at most
SERVED = 300.0  # seconds after a fault in which a case is to have its offers
MARKETPLACE = ["--lawyers", "300", "--cases", "900", "--days", "31"]
DISK = "1g"
ROWS = "INSERT INTO public.filler SELECT repeat(md5(n::text), 99) FROM generate_series(1, 20000) n"
ALERT_TIME = 30  # seconds that Prometheus' evaluation may lie behind


class OneConnection(Rows):
    """Rows by a connection that was open before the fault; a new one where that one broke."""

    kept: Connection | None = None

    def ask(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        if self.kept is None or self.kept.closed:
            self.kept = open_connection(self.url)
            self.kept.autocommit = True
        try:
            with self.kept.cursor() as cursor:
                cursor.execute(query, parameters)
                return cursor.fetchall() if cursor.description else []
        except psycopg2.OperationalError:
            self.kept.close()
            raise


@dataclass
class Scene:
    stage: soak.Stage
    vendors: soak_vendors.Vendors
    watch: soak.Watch
    rows: OneConnection
    receipts: Receipts
    short: list[subprocess.Popen[bytes]]
    notes: list[str] = field(default_factory=list)
    killed: str = ""  # the case whose run was killed


Done = Callable[[], bool]


@dataclass(frozen=True)
class Fault:
    """`make`: the fault, taken away at the end of the block; `write`: what waits meanwhile, and whether it is done;
    `alerts`, `mails`: those that tell of it, the second by kind of message to the team."""

    name: str
    what: str
    make: Callable[[Scene], Any]
    write: Callable[[Scene], Done]
    alerts: tuple[str, ...] = ()
    mails: tuple[str, ...] = ()


@dataclass(frozen=True)
class Row:
    """Seconds since the fault was made, and since it was taken away; None: not within the time that is waited."""

    what: str
    healed: float | None
    told: float | None
    by: str
    afterwards: float | None

    @property
    def good(self) -> bool:
        def within(seconds: float | None, most: float) -> bool:
            return seconds is not None and seconds <= most

        return (within(self.healed, HEALS) or within(self.told, TOLD)) and self.afterwards is not None


def a_case(scene: Scene, already: str = "") -> Done:
    case = already or scene.rows.case(labelled=True)
    return lambda: bool(scene.rows.ask("SELECT 1 FROM public.offers WHERE case_id = %s LIMIT 1", case))


def a_case_to_sort(scene: Scene) -> Done:
    """A case that needs triage: its area found, or a person asked for it."""
    case = scene.rows.case(labelled=False)
    return lambda: bool(scene.rows.ask("SELECT 1 FROM litgo.triage WHERE case_id = %s", case))


def an_offer_told(scene: Scene) -> Done:
    """Offers of a new case, and every lawyer's message about them gone out by some channel."""
    case = scene.rows.case(labelled=True)
    query = (
        "SELECT count(*) > 0 AND bool_and(coalesce(m.status IN ('accepted', 'merged'), false)) FROM public.offers o "
        "LEFT JOIN litgo.outbox m ON m.recipient_id = o.lawyer_id AND m.payload ->> 'case_id' = o.case_id::text "
        "WHERE o.case_id = %s"
    )
    return lambda: bool(scene.rows.ask(query, case)[0][0])


def messages(scene: Scene) -> Done:
    """As many as a short while brings."""
    addresses = [scene.rows.message() for _ in range(10)]
    return lambda: all(each in scene.receipts.at for each in addresses)


def a_contract(scene: Scene) -> Done:
    """A document to sign, by DocuSign or on paper."""
    transaction = scene.rows.contract()
    contracts = scene.rows.ask("SELECT id::text FROM public.contracts ORDER BY created_at DESC LIMIT 20")
    (contract,) = (each for (each,) in contracts if transaction_id(each) == transaction)
    query = "SELECT 1 FROM litgo.contract_requests WHERE contract_id = %s AND status IN ('sent', 'manual')"
    return lambda: bool(scene.rows.ask(query, contract))


@contextmanager
def short_commands_end(scene: Scene) -> Iterator[None]:
    """Both were open when `litgo up` began, so that the server was theirs: one ends, one is killed."""
    for command, number in zip(scene.short, (signal.SIGTERM, signal.SIGKILL), strict=True):
        command.send_signal(number)
        command.wait(60)
    yield


@contextmanager
def second_supervisor(scene: Scene) -> Iterator[None]:
    """`litgo up` once more, with other ports."""
    others = {name: str(soak.free_port()) for name in scene.stage.ports}
    done = subprocess.run(
        [*soak.LITGO, "up"], env=scene.stage.environment | others, cwd=PROJECT, capture_output=True, text=True
    )
    if not done.returncode:
        raise RuntimeError("a second litgo up ran beside the first")
    said = done.stderr.strip().splitlines()[-1]
    scene.notes.append(f"The second `litgo up` ended: {said.replace(str(scene.stage.home), '…')}")
    yield


@contextmanager
def idle_sessions(scene: Scene) -> Iterator[None]:
    opened: list[Connection] = []
    try:
        with suppress(psycopg2.OperationalError):  # no slot is left
            while len(opened) < 95:
                opened.append(psycopg2.connect(libpq(scene.stage.urls["LITGO_DATABASE_URL"])))
        scene.notes.append(f"Idle sessions: {len(opened)}, then the server refused or it was enough.")
        yield
    finally:
        for connection in opened:
            connection.close()


@contextmanager
def retry_without_connection(scene: Scene) -> Iterator[None]:
    """A run is killed; for half a minute no connection is free, so that its retry cannot begin."""
    scene.killed = scene.rows.case(labelled=True)
    killer = soak.Killer(scene.stage, soak.Processes(scene.stage.home), 0, 1)
    victim = killer._run_worker()
    if victim is None:
        raise RuntimeError("no run was at work")
    victim.kill()
    with idle_sessions(scene):
        time.sleep(30)
    scene.notes.pop()
    yield


@contextmanager
def full_disk(scene: Scene) -> Iterator[None]:
    ballast = scene.stage.home / "ballast"
    scene.rows.ask("CREATE TABLE IF NOT EXISTS public.filler (content text)")
    try:
        with suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        with suppress(psycopg2.Error, DatabaseUnavailable):
            while True:
                scene.rows.ask(ROWS)
        yield
    finally:
        ballast.unlink()


@contextmanager
def truncated_model(scene: Scene) -> Iterator[None]:
    """Every file of every version, where MLflow keeps them and where what serves is kept a copy of, cut in half."""
    home = scene.stage.home
    files = [path for folder in ("mlflow-artifacts", "models/served") for path in (home / folder).rglob("*")]
    whole = {path: path.read_bytes() for path in files if path.is_file()}
    try:
        for path, content in whole.items():
            path.write_bytes(content[: len(content) // 2])
        yield
        ((ranker,),) = scene.rows.ask("SELECT ranker FROM litgo.matching_batches ORDER BY batch_id DESC LIMIT 1")
        scene.notes.append(f"With {len(whole)} files of models cut in half, cases were ranked by `{ranker}`.")
    finally:
        for path, content in whole.items():
            path.write_bytes(content)


@contextmanager
def hanging(*roles: str, scene: Scene) -> Iterator[None]:
    """All processes of these roles stop where they are, and neither end nor answer: SIGSTOP."""
    found = [process for name, process in soak.Processes(scene.stage.home).look().values() if name in roles]
    for process in found:
        process.suspend()
    try:
        yield
    finally:
        for process in found:
            with suppress(psutil.NoSuchProcess):
                process.resume()


def hangs(*roles: str) -> Callable[[Scene], Any]:
    return lambda scene: hanging(*roles, scene=scene)


def a_page(port: str, path: str) -> Callable[[Scene], Done]:
    """A page of one of the services, as soon as it is answered."""
    return lambda scene: lambda: soak.get(f"http://{HOST}:{scene.stage.ports[port]}/{path}", 2) is not None


def black_hole(vendor: str) -> Callable[[Scene], Any]:
    return lambda scene: scene.vendors.silent(vendor)


OUTAGE = (
    "DatabaseDown",
    "DatabaseReadOnly",
    "MatchingStopped",
    "DagsterStorageDown",
    "DagsterDaemonDown",
    "ExporterDown",
)
FAULTS = (
    Fault(
        "short_command",
        "Postgres begun by short commands, which end while `litgo up` runs: one by SIGTERM, one by SIGKILL",
        short_commands_end,
        a_case,
        OUTAGE,
    ),
    Fault("two_supervisors", "a second `litgo up` on the same LITGO_HOME", second_supervisor, a_case, OUTAGE),
    Fault(
        "retry_without_connection",
        "a run is killed, and for 30 s no connection is free for its retry",
        retry_without_connection,
        lambda scene: a_case(scene, scene.killed),
        OUTAGE,
    ),
    Fault("idle_sessions", "95 idle sessions, or as many as the server takes", idle_sessions, a_case, OUTAGE),
    Fault(
        "openai",
        "OpenAI takes requests and says nothing; a case that needs triage",
        black_hole("openai"),
        a_case_to_sort,
        ("CircuitBreakerOpen",),
    ),
    Fault(
        "onesignal",
        "OneSignal takes requests and says nothing; offers to tell lawyers of",
        black_hole("onesignal"),
        an_offer_told,
        ("CircuitBreakerOpen",),
    ),
    Fault(
        "docusign",
        "DocuSign takes requests and says nothing; a contract to sign",
        black_hole("docusign"),
        a_contract,
        ("CircuitBreakerOpen",),
        ("contract_manual",),
    ),
    Fault(
        "sendgrid",
        "SendGrid takes requests and says nothing; e-mails",
        black_hole("sendgrid"),
        messages,
        ("CircuitBreakerOpen",),
    ),
    Fault(
        "truncated_model",
        "every file of every model, and of the copy that serves, cut in half",
        truncated_model,
        a_case,
        ("ChampionNotUsed",),
    ),
    Fault("daemon_hangs", "the daemon hangs", hangs("daemon"), a_case, OUTAGE),
    Fault("code_server_hangs", "the code server hangs", hangs("code server"), a_case, OUTAGE),
    Fault("warm_process_hangs", "the process that runs are forked from hangs", hangs("warm process"), a_case, OUTAGE),
    Fault("exporter_hangs", "the exporter hangs", hangs("exporter"), a_page("EXPORTER_PORT", "metrics"), OUTAGE),
    Fault("webserver_hangs", "the webserver hangs", hangs("webserver"), a_page("DAGSTER_PORT", "server_info"), OUTAGE),
    Fault("mlflow_hangs", "MLflow hangs; a case", hangs("MLflow"), a_case, OUTAGE),
    Fault("postgres_hangs", "Postgres hangs", hangs("Postgres", "Postgres session"), a_case, OUTAGE),
    Fault("full_disk", "not one byte free on the disk", full_disk, a_case, (*OUTAGE, "DiskAlmostFull")),
)


class Asking:
    """Writes what waits and asks whether it is done, in a thread: a server that hangs holds up nobody else."""

    def __init__(self, write: Callable[[], Done]) -> None:
        self.write, self.pool = write, ThreadPoolExecutor(1)
        self.written: Done | None = None
        self.question: Future[bool] | None = None

    def _ask(self) -> bool:
        with suppress(psycopg2.Error, DatabaseUnavailable):
            self.written = self.written or self.write()
            return self.written()
        return False

    def done(self) -> bool:
        self.question = self.question or self.pool.submit(self._ask)
        try:
            found = self.question.result(timeout=2)
        except TimeoutError:
            return False
        self.question = None
        return found

    def end(self) -> None:
        """The last question, which may have hung, is answered."""
        self.pool.shutdown()


def tried(scene: Scene, fault: Fault) -> Row:
    print(f"{fault.name} …", file=sys.stderr, flush=True)
    began, since = time.monotonic(), datetime.now(UTC)
    healed = told = None
    by, asking = "", Asking(partial(fault.write, scene))
    with fault.make(scene):
        while (passed := time.monotonic() - began) < TOLD + ALERT_TIME:
            if healed is None and asking.done():
                healed = passed
            if told is None and (by := who_was_told(scene, fault, since)):
                told = passed
            if healed is not None and (healed <= HEALS or told is not None):
                break
            time.sleep(0.5)
    asking.end()
    afterwards = served(scene)
    row = Row(fault.what, healed, told, by, afterwards)
    print(row, file=sys.stderr, flush=True)
    return row


def who_was_told(scene: Scene, fault: Fault, since: datetime) -> str:
    """The first of them and by what; empty while nobody was."""
    for each in scene.watch.told:
        ours = each.alert in fault.alerts and each.service in ("", fault.name)
        if ours and each.began >= since and each.status == "firing":
            return f"{each.receiver}: {each.alert}"
    query = (
        "SELECT min(kind) FROM litgo.outbox WHERE kind = ANY(%s) AND recipient_id = %s AND created_at >= %s "
        "AND status = 'accepted'"
    )
    if fault.mails:
        with suppress(psycopg2.Error, DatabaseUnavailable):
            ((kind,),) = scene.rows.ask(query, list(fault.mails), TEAM, since)
            return f"team by e-mail: {kind}" if kind else ""
    return ""


def served(scene: Scene) -> float | None:
    """Seconds until a new case has its offers; None: not in time."""
    began, asking = time.monotonic(), Asking(partial(a_case, scene))
    while (passed := time.monotonic() - began) < SERVED:
        if asking.done():
            return passed
        time.sleep(0.5)
    return None


@contextmanager
def short_commands(stage: soak.Stage) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Two that hold the server open, from before `litgo up`."""
    sleeps = [*soak.LITGO, "exec", "--", sys.executable, "-c", "import time; print(flush=True); time.sleep(86400)"]
    started = [
        subprocess.Popen(sleeps, env=stage.environment, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        for _ in range(2)
    ]
    try:
        for each in started:
            assert each.stdout is not None
            if not each.stdout.readline():
                raise RuntimeError("litgo exec ended")
        yield started
    finally:
        for each in started:
            each.terminate()
            each.wait(60)


@contextmanager
def disk(folder: Path) -> Iterator[bool]:
    """`folder` on a file system of its own; False where this user may not mount one."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "none", str(folder)]
    mounted = not subprocess.run(mount, capture_output=True).returncode
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", folder], check=True)


def run(home: Path, names: Sequence[str]) -> tuple[list[Row], list[str]]:
    with ExitStack() as stack:
        faults = [fault for fault in FAULTS if not names or fault.name in names]
        if not stack.enter_context(disk(home)):
            faults = [fault for fault in faults if fault.name != "full_disk"]
        vendors = stack.enter_context(soak_vendors.serving(0.0, 1))
        receipts = Receipts(vendors)
        print("litgo demo …", file=sys.stderr, flush=True)
        stage = soak.prepare(home, vendors, MARKETPLACE)
        elsewhere = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="litgo-watch-")))  # no full disk there
        watch = stack.enter_context(soak.watching(elsewhere / "watch", stage.ports["EXPORTER_PORT"]))
        if watch is None:
            sys.exit("Prometheus and Alertmanager are not installed: who is told cannot be seen")
        short = stack.enter_context(short_commands(stage))
        stack.enter_context(soak.up(stage))
        soak.progress(soak.SETTLES_SECONDS, "settle", lambda: soak.settled(stage), dict)
        rows = OneConnection(stage.urls["LITGO_DATABASE_URL"], random.Random(1))
        scene = Scene(stage, vendors, watch, rows, receipts, short)
        if served(scene) is None:
            raise RuntimeError("without any fault a case has no offers")
        return [tried(scene, fault) for fault in faults], scene.notes


def text(rows: Sequence[Row], notes: Sequence[str]) -> str:
    def shown(seconds: float | None) -> str:
        return "not" if seconds is None else f"{seconds:.0f}"

    table = "\n".join(
        f"| {row.what} | {shown(row.healed)} | {shown(row.told) + ', ' + row.by if row.by else '–'} | "
        f"{shown(row.afterwards)} | {'yes' if row.good else '**no**'} |"
        for row in rows
    )
    said = "".join(f"\n- {note}" for note in notes)
    return f"""Written by `python -m benchmarks.faults`. Machine: {soak_page.machine()}; load {os.getloadavg()[2]:.1f}.

| fault | heals after | told after, whom | a case served after its end | holds |
|---|--:|---|--:|---|
{table}
{said}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[], choices=[fault.name for fault in FAULTS])
    parser.add_argument("--dry", action="store_true", help="print only, leave docs/soak.md as it is")
    arguments = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="litgo-faults-")).resolve()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        rows, notes = run(home, arguments.only)
    finally:
        for name, left in soak.Processes(home).look().values():
            print(f"left behind: {name}, process {left.pid}", file=sys.stderr)
            with suppress(psutil.NoSuchProcess):
                left.kill()
        shutil.rmtree(home, ignore_errors=True)
    page = text(rows, notes)
    print(page)
    if not arguments.dry and not arguments.only:
        soak_page.write(page, mark="faults")
    sys.exit(0 if all(row.good for row in rows) else 1)


if __name__ == "__main__":
    main()
