"""Delivery of the outbox: a person's waiting messages go out as one push or e-mail, in order, at least once.

One attempt is three steps: a transaction that says by which channel it may arrive from now on, one HTTP request, a
transaction with what came of it and its metrics; attempts beside each other share transactions. Killed in between, the
row stays in doubt: a push is repeated under its idempotency key and arrives once, an e-mail is sent again and counted
as a possible duplicate. A lease per row, on the database's clock, keeps deliverers that run beside each other apart.
Words are `messages`', requests the resources'.
"""

import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from litgo_pipelines.database import Connection, Cursor, advisory_lock, in_transaction, sql
from litgo_pipelines.marketplace.names import for_header
from litgo_pipelines.marketplace.usable import PUSH_TOKEN, has_shape
from litgo_pipelines.notifications.addresses import BadAddress, address, digest, usable
from litgo_pipelines.notifications.messages import Item, Words, ttl_seconds, words
from litgo_pipelines.notifications.outbox import TEAM, TEAMS, Message, put
from litgo_pipelines.notifications.zones import of_reader
from litgo_pipelines.observability.metrics import Delta, add, count, observe
from litgo_pipelines.resources.external_service import LONGEST_PAUSE, CircuitOpen, PermanentFailure, ServiceFailure
from litgo_pipelines.resources.onesignal import OneSignal
from litgo_pipelines.resources.sendgrid import SendGrid

PACKAGE = "litgo_pipelines.notifications"
LIFETIME = timedelta(days=1)  # of a message: the first attempt that fails after it is the last
IN_DOUBT = timedelta(minutes=10)  # that long a push nobody knows of is repeated as a push, then it becomes an e-mail
LONGEST_WAIT = 900.0  # seconds between two attempts, unless the service asks for more
NO_ADDRESS = "an e-mail address in the profile that is none"
SHORT_WAIT = 10.0  # seconds per run stays for the next attempt
LEASE = 60.0  # seconds, beyond the deadline of the call that is under way
WORKERS = 16  # requests under way
TOGETHER = 0.01  # seconds an answer waits for others to share its transaction with
BATCH = 64


@dataclass(frozen=True)
class Delivery:
    """A claimed row of litgo.deliveries with its messages; `in_doubt`: the channel it may have arrived by before."""

    id: str
    recipient_id: str
    attempts: int
    in_doubt: str | None
    in_doubt_since: datetime | None
    push_token: str | None
    token_shared: bool  # with another profile: whose device it is now, nobody knows
    email: str | None
    name: str | None
    lat: float | None  # of the reader, whose clock is meant
    lng: float | None
    oab: str | None
    push_key: str  # a push is sent once under it
    message_ids: list[int]
    created: list[datetime]
    messages: list[dict[str, Any]]

    @property
    def items(self) -> list[Item]:
        return [Item(**message) for message in self.messages]

    def only(self, places: Sequence[int]) -> "Delivery":
        """With some of its messages alone."""
        return replace(
            self,
            message_ids=[self.message_ids[place] for place in places],
            created=[self.created[place] for place in places],
            messages=[self.messages[place] for place in places],
        )

    @property
    def to_team(self) -> bool:
        return self.recipient_id == TEAM or self.recipient_id in TEAMS.values()

    @property
    def contract_id(self) -> str | None:
        """Of the contract whose PDF goes with it."""
        first = self.messages[0]
        return first["payload"]["contract_id"] if first["kind"] == "contract_manual" else None


@dataclass(frozen=True)
class Attempt:
    """A delivery by the first of the `channels` left to try; `deltas`: of the attempt by another one before it."""

    delivery: Delivery
    channels: list[str]
    said: Words
    deltas: tuple[Delta, ...] = ()


@dataclass(frozen=True)
class Sent:
    """Accepted by the channel's provider."""

    delivery: Delivery
    channel: str
    provider_id: str


@dataclass(frozen=True)
class Failed:
    """To be tried again after `at_least` seconds; `channel`: None, no attempt could be made."""

    delivery: Delivery
    channel: str | None
    reason: str
    at_least: float
    deltas: tuple[Delta, ...] = ()


class NotSubscribed(Exception):
    """The push token belongs to nobody who wants pushes: nothing was sent."""


class NotReady(Exception):
    """No attempt can be made now; the message says what is missing."""


@dataclass
class Deliverer:
    """`connection`: for this alone; its caller closes it. `clock` and `pause` are for tests.

    `team_emails`: owner, like "team:marketplace" → address; who has none is told at `team_email`.
    """

    connection: Connection
    onesignal: OneSignal
    sendgrid: SendGrid
    team_email: str | None = None
    cooldown_minutes: int = 5
    seconds: float = 300.0
    team_emails: Mapping[str, str] = field(default_factory=dict)
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    pause: Callable[[float], None] = time.sleep
    statuses: Counter[tuple[str, str]] = field(default_factory=Counter)  # (channel, status) → as in the metrics
    _token: str = field(default_factory=lambda: str(uuid.uuid4()))
    _suppressed: dict[str, str] = field(default_factory=dict)  # digest of an address of this run → the list it is on

    def __post_init__(self) -> None:
        # made here, before threads race for them
        self._services = {"push": self.onesignal.service, "email": self.sendgrid.service}

    def run(self) -> None:
        """Until nothing is due within SHORT_WAIT or the time is up; calls under way are waited for."""
        until = time.monotonic() + self.seconds
        with ThreadPoolExecutor(WORKERS) as pool:
            while time.monotonic() < until:
                if self._deliver(pool, until):
                    continue
                if (seconds := in_transaction(self.connection, self._until_next)) is None:
                    break
                self.pause(seconds)

    def _claim(self, cursor: Cursor) -> list[Delivery]:
        advisory_lock(cursor, "notifications")  # two that open deliveries at once would both see none
        parameters = {
            "as_of": self.clock(),
            "cooldown": self.cooldown_minutes,
            "limit": BATCH,
            "token": self._token,
            "lease": LEASE,
        }
        cursor.execute(sql(PACKAGE, "claim.sql"), parameters)
        ids = [identifier for (identifier,) in cursor.fetchall()]
        if not ids:  # the end of every run: planning what reads them takes longer than all the rest
            return []
        cursor.execute(sql(PACKAGE, "facts.sql"), {"ids": ids})
        claimed = [Delivery(*row) for row in cursor.fetchall()]
        digests = [digest(known) for delivery in claimed if (known := self._address(delivery)[0])]
        cursor.execute(
            "SELECT digest, max(list) FROM litgo.mail_suppressions WHERE digest = ANY(%s) GROUP BY 1", (digests,)
        )
        self._suppressed.update(cursor.fetchall())
        self._tell_of_addresses(cursor, claimed)
        return claimed

    def _tell_of_addresses(self, cursor: Cursor, claimed: list[Delivery]) -> None:
        """The team hears once of each address that is none; of suppressed ones it heard when they were found."""
        bad = [each for each in claimed if not each.to_team and self._address(each)[1] == NO_ADDRESS]
        messages = [
            Message(
                "address_bad",
                TEAM,
                f"address_bad:{each.recipient_id}:not_an_address:{digest(each.email or '')}",
                {"person_id": each.recipient_id, "why": "not_an_address"},
            )
            for each in bad
        ]
        put(cursor, messages, self.clock())

    def _until_next(self, cursor: Cursor) -> float | None:
        """Seconds to the next attempt that is worth staying for."""
        cursor.execute(
            "SELECT min(next_attempt_at) FROM litgo.deliveries "
            "WHERE status = 'open' AND (lease_until IS NULL OR lease_until <= clock_timestamp())"
        )
        (at,) = cursor.fetchone()
        seconds = (at - self.clock()).total_seconds() if at else SHORT_WAIT + 1
        return max(0.05, seconds) if seconds <= SHORT_WAIT else None

    def _deliver(self, pool: ThreadPoolExecutor, until: float) -> bool:
        """Turns of one transaction each, with all that was answered and all that can start. False: nothing was due."""
        waiting = deque(in_transaction(self.connection, self._claim))
        if not waiting:
            return False
        more = len(waiting) == BATCH
        running: dict[Future[str], Attempt] = {}
        done, attempts = list[Sent | Failed](), list[Attempt]()
        while running or done or attempts or (waiting and time.monotonic() < until):
            while waiting and len(running) + len(attempts) < WORKERS and time.monotonic() < until:
                attempts += self._first(waiting.popleft(), done)
                if more and len(waiting) < WORKERS:  # before the last ones are answered, or nobody would work meanwhile
                    waiting += (claimed := in_transaction(self.connection, self._claim))
                    more = len(claimed) == BATCH
            for attempt, pdfs in self._turn(done, attempts):
                send = self._push if attempt.channels[0] == "push" else self._mail
                running[pool.submit(send, attempt.delivery, attempt.said, pdfs)] = attempt
            done, attempts = [], []
            wait(running, return_when=FIRST_COMPLETED)
            for call in wait(running, TOGETHER).done:
                outcome = self._outcome(running.pop(call), call)
                if isinstance(outcome, Attempt):
                    attempts.append(outcome)
                else:
                    done.append(outcome)
        if waiting:
            in_transaction(self.connection, self._release)
        return True

    def _release(self, cursor: Cursor) -> None:
        cursor.execute(
            "UPDATE litgo.deliveries SET claimed_by = NULL, lease_until = NULL "
            "WHERE status = 'open' AND claimed_by = %s",
            (self._token,),
        )

    def _first(self, delivery: Delivery, done: list[Sent | Failed]) -> list[Attempt]:
        """Its attempt; none, and why among what is done, when there can be none now."""
        try:
            delivery, said = self._said(delivery)
            return [Attempt(delivery, self._channels(delivery), said)]
        except NotReady as error:
            done.append(self._not_ready(delivery, error))
            return []

    def _not_ready(self, delivery: Delivery, error: NotReady) -> Failed:
        # What waits for the same setting is looked at again together: one run for all, not one after the other.
        return Failed(delivery, None, str(error), LONGEST_WAIT - self.clock().timestamp() % LONGEST_WAIT)

    def _turn(self, done: list[Sent | Failed], attempts: list[Attempt]) -> list[tuple[Attempt, Mapping[str, bytes]]]:
        """Write what came of attempts, and that these may arrive from now on: those that may go, with their PDFs."""
        if not done and not attempts:
            return []

        def work(cursor: Cursor) -> tuple[Counter[tuple[str, str]], list[tuple[Attempt, Mapping[str, bytes]]]]:
            deltas: list[Delta] = []
            found = self._sent(cursor, [each for each in done if isinstance(each, Sent)], deltas)
            for failed in (each for each in done if isinstance(each, Failed)):
                found += self._failed(cursor, failed, deltas)
            ready: list[tuple[Attempt, Mapping[str, bytes]]] = []
            for attempt in attempts:
                try:
                    ready.append((attempt, _pdfs(cursor, attempt.delivery, self.clock())))
                except NotReady as error:
                    found += self._failed(cursor, self._not_ready(attempt.delivery, error), deltas)
            begun = self._begin(cursor, [attempt for attempt, _ in ready], deltas)
            add(cursor, deltas)
            return found, [(attempt, pdfs) for attempt, pdfs in ready if attempt.delivery.id in begun]

        found, ready = in_transaction(self.connection, work)
        self.statuses.update(found)
        return ready

    def _begin(self, cursor: Cursor, attempts: list[Attempt], deltas: list[Delta]) -> set[str]:
        """The deliveries among them whose lease is still ours: another one's somebody else has."""
        if not attempts:
            return set()
        rows = [
            (each.delivery.id, each.channels[0], each.delivery.push_key, self._services[each.channels[0]])
            for each in attempts
        ]
        cursor.execute(
            sql(PACKAGE, "begin.sql"),
            {
                "at": self.clock(),
                "ids": [identifier for identifier, *_ in rows],
                "channels": [channel for _, channel, *_ in rows],
                "keys": [key for *_, key, _ in rows],
                "leases": [service.deadline_seconds + LEASE for *_, service in rows],
                "token": self._token,
            },
        )
        begun = {identifier for (identifier,) in cursor.fetchall()}
        for each in attempts:
            doubt, channel = each.delivery.in_doubt, each.channels[0]
            if each.delivery.id in begun:
                deltas += each.deltas
                if doubt and not doubt == channel == "push":
                    deltas.append(count("notifications_possible_duplicates_total", type=channel))
        return begun

    def _channels(self, delivery: Delivery) -> list[str]:
        """By what to try, in this order. Raises NotReady when there is no way to the person."""
        team, (mail, mail_missing) = delivery.to_team, self._address(delivery)
        push_missing = _token_missing(delivery) or (self.onesignal.missing and f"{self.onesignal.missing} is not set")
        suppressed = self._suppressed.get(digest(mail)) if mail else None
        if mail:
            mail_missing = self.sendgrid.missing and f"{self.sendgrid.missing} is not set"
            if suppressed and (not push_missing or suppressed != "blocks"):  # a block may pass
                mail_missing = f"the e-mail address is on SendGrid's list of {suppressed}"
        usable = [c for c, missing in (("push", push_missing), ("email", mail_missing)) if not missing]
        if not usable:
            raise NotReady("; ".join(filter(None, [None if team else push_missing, mail_missing])))
        if delivery.contract_id:
            usable.reverse()  # only an e-mail carries the PDF
        doubt, since = delivery.in_doubt, delivery.in_doubt_since
        if doubt == "push" and since and self.clock() - since > IN_DOUBT:
            doubt = "email"
        return [doubt] if doubt in usable else usable

    def _address(self, delivery: Delivery) -> tuple[str | None, str | None]:
        """(the address, None), or (None, what is wrong with it)."""
        written, missing, bad = delivery.email, "no e-mail address in the profile", NO_ADDRESS
        if delivery.to_team:
            owner = next((owner for owner, recipient in TEAMS.items() if recipient == delivery.recipient_id), None)
            written = self.team_emails.get(owner, self.team_email) if owner else self.team_email
            missing, bad = "TEAM_EMAIL is not set", "TEAM_EMAIL is not an address"
        try:
            checked = address(written)
        except BadAddress:
            return None, bad
        return checked, None if checked else missing

    def _said(self, delivery: Delivery) -> tuple[Delivery, Words]:
        """What to say. A message without words waits for a delivery of its own. Raises NotReady where none has any."""
        try:
            return delivery, self._words(delivery)
        except NotReady:
            delivery = delivery.only(
                [place for place in range(len(delivery.messages)) if self._has_words(delivery, place)]
            )
            if not delivery.messages:
                raise
            return delivery, self._words(delivery)

    def _has_words(self, delivery: Delivery, place: int) -> bool:
        try:
            return bool(self._words(delivery.only([place])))
        except NotReady:
            return False

    def _words(self, delivery: Delivery) -> Words:
        try:
            zone = of_reader(delivery.lat, delivery.lng, delivery.oab)
            return words(delivery.items, delivery.name, team=delivery.to_team, zone=zone)
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            raise NotReady(f"cannot be put into words ({type(error).__name__})") from error

    def _push(self, delivery: Delivery, said: Words, _: Mapping[str, bytes]) -> str:
        identifier = self.onesignal.push(
            subscription=delivery.push_token or "",
            title=said.title,
            text=said.push,
            idempotency_key=delivery.push_key,
            ttl_seconds=ttl_seconds(delivery.items, self.clock()),
        )
        if identifier is None:
            raise NotSubscribed
        return identifier

    def _mail(self, delivery: Delivery, said: Words, pdfs: Mapping[str, bytes]) -> str:
        team = delivery.to_team
        return self.sendgrid.mail(
            to=self._address(delivery)[0] or "",
            name=None if team else for_header(delivery.name),
            subject=said.subject,
            text=said.text,
            html=said.html,
            reference=delivery.id,
            reply_to=usable(self.team_email) if pdfs and not team else None,  # a bad one would refuse the message
            pdfs=pdfs,
        )

    def _outcome(self, attempt: Attempt, call: Future[str]) -> Sent | Failed | Attempt:
        """What an attempt came to; the next one, where another channel is to be tried at once."""
        delivery, (channel, *rest) = attempt.delivery, attempt.channels
        deltas = [count("notifications_sent_total", type=channel, status="failed")]
        try:
            return Sent(delivery, channel, call.result())
        except NotSubscribed:  # the answer of the first attempt, too: nothing is in doubt any more
            # Under the old key OneSignal would say the same again, whoever has subscribed since.
            delivery = replace(delivery, in_doubt=None, in_doubt_since=None, push_key=str(uuid.uuid4()))
            reason, seconds, arrived = "the push token is not subscribed any more", LONGEST_WAIT, False
            rest = [c for c in self._channels(delivery) if c != channel]
        except ServiceFailure as failure:
            reason, arrived = str(failure), not never_arrived(failure)
            seconds = min(failure.retry_after or 0.0, LONGEST_PAUSE)
            if isinstance(failure, PermanentFailure):
                seconds = LONGEST_WAIT
            if arrived or not self.onesignal.fallback_enabled:
                rest = []
            if rest:
                service = self._services[channel].service
                deltas.append(count("fallback_usage_total", service=service, reason=failure.reason))
        except ValueError as error:
            reason, seconds, arrived = f"a request that cannot be sent ({type(error).__name__})", LONGEST_WAIT, False
        self.statuses[channel, "failed"] += 1
        if rest:
            return Attempt(delivery, rest, attempt.said, tuple(deltas))
        if arrived:
            delivery = replace(delivery, in_doubt=channel, in_doubt_since=delivery.in_doubt_since or self.clock())
        return Failed(delivery, channel, reason, seconds, tuple(deltas))

    def _is_suppressed(self, delivery: Delivery) -> bool:
        mail, _ = self._address(delivery)
        return mail is not None and digest(mail) in self._suppressed

    def _sent(self, cursor: Cursor, sent: list[Sent], deltas: list[Delta]) -> Counter[tuple[str, str]]:
        """Those whose lease is still ours are accepted."""
        found: Counter[tuple[str, str]] = Counter()
        if not sent:
            return found
        at = self.clock()
        messages = [
            (message, each.delivery.id, "merged" if place else "accepted")
            for each in sent
            for place, message in enumerate(each.delivery.message_ids)
        ]
        cursor.execute(
            sql(PACKAGE, "accepted.sql"),
            {
                "at": at,
                "ids": [each.delivery.id for each in sent],
                "provider_ids": [each.provider_id for each in sent],
                "token": self._token,
                "messages": [message for message, *_ in messages],
                "of": [delivery for _, delivery, _ in messages],
                "statuses": [status for *_, status in messages],
            },
        )
        ours = {identifier for (identifier,) in cursor.fetchall()}
        accepted = [each for each in sent if each.delivery.id in ours]
        for delivery, channel in ((each.delivery, each.channel) for each in accepted):
            others = len(delivery.message_ids) - 1
            found += Counter({(channel, "accepted"): 1, (channel, "merged"): others})
            deltas.append(count("notifications_sent_total", type=channel, status="accepted"))
            if channel == "push" and self._is_suppressed(delivery):
                deltas.append(count("notifications_suppressed_total", len(delivery.message_ids), instead="push"))
            if others:
                deltas.append(count("notifications_sent_total", others, type=channel, status="merged"))
            for created in delivery.created:
                deltas += observe("notification_duration_seconds", (at - created).total_seconds(), type=channel)
        return found

    def _failed(self, cursor: Cursor, failed: Failed, deltas: list[Delta]) -> Counter[tuple[str, str]]:
        """Wait for the next attempt; what is older than a day is dead."""
        at, delivery, found = self.clock(), failed.delivery, Counter[tuple[str, str]]()
        seconds = max(failed.at_least, min(LONGEST_WAIT, 2.0 ** min(delivery.attempts + 1, 12)))
        cursor.execute(
            "UPDATE litgo.deliveries SET next_attempt_at = %s, reason = %s, in_doubt = %s, in_doubt_since = %s, "
            "push_key = %s, claimed_by = NULL, lease_until = NULL WHERE delivery_id = %s AND claimed_by = %s",
            (
                at + timedelta(seconds=seconds),
                failed.reason,
                delivery.in_doubt,
                delivery.in_doubt_since,
                delivery.push_key,
                delivery.id,
                self._token,
            ),
        )
        if not cursor.rowcount:
            return found
        deltas += failed.deltas
        cursor.execute(
            "UPDATE litgo.outbox SET status = 'dead', settled_at = %s, reason = %s "
            "WHERE message_id = ANY(%s) AND coalesce(retried_at, created_at) <= %s",
            (at, failed.reason, delivery.message_ids, at - LIFETIME),
        )
        if dead := cursor.rowcount:
            by = failed.channel or ("push" if delivery.push_token else "email")
            deltas.append(count("notifications_sent_total", dead, type=by, status="dead"))
            found[by, "dead"] = dead
            if self._is_suppressed(delivery):
                deltas.append(count("notifications_suppressed_total", dead, instead="none"))
        if dead == len(delivery.message_ids):
            cursor.execute(
                "UPDATE litgo.deliveries SET status = 'dead', finished_at = %s WHERE delivery_id = %s",
                (at, delivery.id),
            )
        return found


def _token_missing(delivery: Delivery) -> str | None:
    if not delivery.push_token:
        return "no push token in the profile"
    if not has_shape(PUSH_TOKEN, delivery.push_token):
        return "a push token in the profile that is none of OneSignal's"
    return "a push token that another profile has as well" if delivery.token_shared else None


def never_arrived(failure: ServiceFailure) -> bool:
    """The one request of this call was not sent, or answered in a way that says it was not taken."""
    if isinstance(failure, CircuitOpen | PermanentFailure) or failure.reason == "rate_limited":
        return True
    return isinstance(failure.__cause__, ConnectionError) and str(failure.__cause__) == "ConnectError"


def _pdfs(cursor: Cursor, delivery: Delivery, at: datetime) -> dict[str, bytes]:
    """What goes with a message; that a document is read for it is kept with the contract."""
    if delivery.contract_id is None:
        return {}
    cursor.execute(
        "INSERT INTO litgo.contract_events (contract_id, event, at, actor, details) "
        "SELECT contract_id, %s, %s, 'pipelines', '{}' FROM litgo.contract_documents WHERE contract_id = %s "
        "ON CONFLICT (contract_id, event) DO NOTHING",
        (f"document_sent:{delivery.id}", at, delivery.contract_id),
    )
    cursor.execute("SELECT pdf FROM litgo.contract_documents WHERE contract_id = %s", (delivery.contract_id,))
    row = cursor.fetchone()
    if row is None:
        raise NotReady("the contract's PDF is not in litgo.contract_documents")
    return {"contrato.pdf": bytes(row[0])}
