"""Seconds somebody waits under `litgo up`: case → offers, message → vendor, contract → envelope; and until it stops.

    python -m benchmarks.latency [--each 20] [--lawyers 300] [--seed 1]

`litgo demo` fills a fresh LITGO_HOME, `litgo up` runs it, the vendors are stand-ins on loopback that fail never.
Cases, messages and contracts come one at a time, three to twelve seconds apart, as copies of rows the marketplace has;
half of the cases do not say which area they are of. Measured from the row's commit: to the offers' commit, and to the
vendor's receipt of the request. Printed: the distribution of each, and of the parts of the first.
"""

import argparse
import os
import random
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks import soak, soak_vendors
from litgo_pipelines.contracts.requests import transaction_id
from litgo_pipelines.database import connect
from litgo_pipelines.simulation.faults import Fault, Request

PATIENCE = 120.0  # seconds, then it counts as so many
BETWEEN = (3.0, 12.0)  # seconds between two rows
# Columns of a copy that are not the original's; SQL.
CASE = {"created_at": "now()", "updated_at": "now()", "status": "'pending_assignment'"}
COMMITS = (
    "SELECT c.created_at, min(o.created_at) FROM public.cases c JOIN public.offers o ON o.case_id = c.id "
    "WHERE c.id = ANY(%s::uuid[]) GROUP BY c.id"
)
EVENTS = (
    "SELECT e.dagster_event_type, e.timestamp FROM public.event_logs e JOIN (SELECT run_id FROM public.runs "
    "WHERE pipeline_name = 'matching' AND start_time <= extract(epoch FROM %s::timestamptz) "
    "ORDER BY start_time DESC LIMIT 1) r USING (run_id) WHERE e.dagster_event_type LIKE 'PIPELINE_%%'"
)
# Event of a run → the part of the wait that it ends. A case that came during a run skips the first three.
PARTS = {
    "PIPELINE_ENQUEUED": "… commit → run requested",
    "PIPELINE_STARTING": "… requested → taken from the queue",
    "PIPELINE_START": "… taken → its process works",
    "": "… works → offers",
}
UNLABELLED = dict.fromkeys(("area", "subarea", "urgency_h", "complexity"), "NULL")


class Receipts:
    """When each vendor received what: key of the request → monotonic seconds."""

    def __init__(self, vendors: soak_vendors.Vendors) -> None:
        self.at: dict[str, float] = {}
        mails, envelopes = vendors.sendgrid.reply, vendors.docusign._answer

        def mail(request: Request) -> Fault:
            if request.method == "POST":
                for person in request.json()["personalizations"]:
                    self.at.setdefault(person["to"][0]["email"], time.monotonic())
            return mails(request)

        def envelope(operation: str, request: Request) -> Fault:
            if operation == "create_envelope":
                self.at.setdefault(request.json()["transactionId"], time.monotonic())
            return envelopes(operation, request)

        vendors.sendgrid.reply = mail  # type: ignore[method-assign]
        vendors.docusign._answer = envelope  # type: ignore[method-assign]


class Rows:
    """Writes what people would, each in a transaction of its own."""

    def __init__(self, url: str, rng: random.Random) -> None:
        self.url, self.rng = url, rng
        self.clients: list[str] = []  # whose case was copied: a second one in the same words would be a duplicate

    def ask(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        with connect(self.url) as connection, connection.cursor() as cursor:
            cursor.execute(query, parameters)
            return cursor.fetchall() if cursor.description else []

    def _copy(self, table: str, where: str, **changes: str) -> str:
        """A statement that copies one row with another id and these columns."""
        columns = [
            name
            for (name,) in self.ask(
                "SELECT column_name FROM information_schema.columns WHERE table_schema = 'public' AND table_name = %s",
                table,
            )
        ]
        values = ", ".join(changes.get(name, f'"{name}"') for name in columns)
        names = ", ".join(f'"{name}"' for name in columns)
        return f"INSERT INTO public.{table} ({names}) SELECT {values} FROM public.{table} WHERE {where} LIMIT 1;"

    def case(self, labelled: bool) -> str:
        new = str(uuid.uuid4())
        ((old, client),) = self.ask(
            "SELECT id::text, client_id::text FROM public.cases WHERE created_at < now() - interval '1 day' "
            "AND client_id <> ALL(%s::uuid[]) ORDER BY md5(id::text || %s) LIMIT 1",
            *(self.clients, str(self.rng.random())),
        )
        self.clients.append(client)
        changes = {"id": f"'{new}'", **CASE, **({} if labelled else UNLABELLED)}
        self.ask(self._copy("cases", f"id = '{old}'", **changes))
        return new

    def message(self) -> str:
        """The address it is to reach."""
        person = str(uuid.uuid4())
        email = f"{person}@example.com"
        self.ask(
            "INSERT INTO public.profiles (id, full_name, email) VALUES (%s, 'Ana Souza', %s); "
            "INSERT INTO litgo.outbox (kind, recipient_id, dedup_key, payload, created_at) "
            "VALUES ('lawyers_interested', %s, %s, jsonb_build_object('case_id', %s::text), now())",
            *(person, email, person, f"latency:{person}", str(uuid.uuid4())),
        )
        return email

    def contract(self) -> str:
        """The transaction of the envelope it is to become: a lawyer accepts, the client chooses them."""
        case, offer, contract = (str(uuid.uuid4()) for _ in range(3))
        ((old_case, old_contract, old_offer),) = self.ask(
            "SELECT c.case_id::text, c.id::text, o.id::text FROM public.contracts c "
            "JOIN public.offers o ON o.case_id = c.case_id AND o.lawyer_id = c.lawyer_id AND o.status = 'interested' "
            "JOIN litgo.contract_requests r ON r.contract_id = c.id AND r.status <> 'refused' "
            "ORDER BY md5(c.id::text || %s) LIMIT 1",
            str(self.rng.random()),
        )
        statements = (
            self._copy("cases", f"id = '{old_case}'", **{**CASE, "id": f"'{case}'", "status": "'assigned'"}),
            self._copy(
                "offers",
                f"id = '{old_offer}'",
                id=f"'{offer}'",
                case_id=f"'{case}'",
                sent_at="now() - interval '1 hour'",
                responded_at="now()",
                expires_at="now() + interval '1 day'",
                created_at="now()",
            ),
            self._copy(
                "contracts",
                f"id = '{old_contract}'",
                id=f"'{contract}'",
                case_id=f"'{case}'",
                status="'pending-signature'",
                created_at="now()",
                updated_at="now()",
                signed_client="NULL",
                signed_lawyer="NULL",
                doc_url="NULL",
            ),
        )
        self.ask(" ".join(statements))
        return transaction_id(contract)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--each", type=int, default=20, help="cases, messages and contracts")
    parser.add_argument("--lawyers", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    marketplace = ["--lawyers", str(arguments.lawyers), "--cases", str(arguments.lawyers * 3), "--days", "31"]
    with tempfile.TemporaryDirectory(prefix="litgo-latency-") as folder, soak_vendors.serving(0.0, 1) as vendors:
        receipts = Receipts(vendors)
        print("litgo demo …", file=sys.stderr, flush=True)
        stage = soak.prepare(Path(folder), vendors, marketplace)
        with stopping(stage):
            measure(stage, receipts, arguments.each, random.Random(arguments.seed))


def measure(stage: soak.Stage, receipts: Receipts, each: int, rng: random.Random) -> None:
    rows = Rows(stage.urls["LITGO_DATABASE_URL"], rng)
    found: dict[str, list[float]] = {"case → offers": [], "message → vendor": [], "contract → envelope": []}
    cases: list[str] = []
    for number in range(each):
        cases.append(rows.case(labelled=number % 2 == 0))
        found["case → offers"].append(until(partial(offered, rows, cases[-1])))
        pause(rng)
        for kind, write in (("message → vendor", rows.message), ("contract → envelope", rows.contract)):
            key = write()
            began = time.monotonic()
            until(partial(receipts.at.__contains__, key))
            found[kind].append(receipts.at.get(key, began + PATIENCE) - began)
            pause(rng)
        print(number + 1, {kind: round(values[-1], 1) for kind, values in found.items()}, file=sys.stderr, flush=True)
    found |= parts(stage, rows, cases)
    print(f"load average {os.getloadavg()[1]:.1f} on {os.cpu_count()} processors")
    print("| seconds | n | least | p50 | p95 | most |\n|---|--:|--:|--:|--:|--:|")
    for kind, values in found.items():
        print(f"| {kind} | {distribution(values)} |")


def offered(rows: Rows, case: str) -> bool:
    return bool(rows.ask("SELECT 1 FROM public.offers WHERE case_id = %s LIMIT 1", case))


def parts(stage: soak.Stage, rows: Rows, cases: Sequence[str]) -> dict[str, list[float]]:
    """Seconds from one event of the run that matched a case to the next, in the order of `PARTS`."""
    found: dict[str, list[float]] = {name: [] for name in PARTS.values()}
    for commit, offers in rows.ask(COMMITS, list(cases)):
        events = dict(stage.dagster(EVENTS, offers))
        instants = [commit, *(events[name].replace(tzinfo=UTC) for name in list(PARTS)[:-1]), offers]
        for name, (before, after) in zip(PARTS.values(), pairwise(instants), strict=True):
            found[name].append((after - before).total_seconds())
    return found


def until(done: Callable[[], bool]) -> float:
    began = time.monotonic()
    while not done() and time.monotonic() - began < PATIENCE:
        time.sleep(0.1)
    return time.monotonic() - began


def pause(rng: random.Random) -> None:
    time.sleep(rng.uniform(*BETWEEN))


def distribution(values: Sequence[float]) -> str:
    ordered = sorted(values)
    if not ordered:
        return "0 | – | – | – | –"
    p95 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))]
    shown = (ordered[0], statistics.median(ordered), p95, ordered[-1])
    return " | ".join([str(len(ordered)), *(f"{value:.1f}" for value in shown)])


@contextmanager
def stopping(stage: soak.Stage) -> Iterator[None]:
    """`litgo up`, and how long it took to stop."""
    with soak.up(stage):
        yield
        began = time.monotonic()
    print(f"litgo up has stopped after {time.monotonic() - began:.1f} s")


if __name__ == "__main__":
    main()
