"""The rule: whatever happens, what is open has a next instant or a person told. Random lives, real statements."""

import random
import re
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from litgo_pipelines.contracts.requests import request_signatures
from litgo_pipelines.contracts.signatures import look_at_envelopes
from litgo_pipelines.database import Connection, open_connection, sql
from litgo_pipelines.equity import availability
from litgo_pipelines.intake.batch import triage_pending
from litgo_pipelines.intake.classifier import Model
from litgo_pipelines.marketplace.schema import TABLES as SOURCE_TABLES
from litgo_pipelines.matching import waits
from litgo_pipelines.matching.batch import match_pending
from litgo_pipelines.matching.claim import waiting_cases
from litgo_pipelines.matching.plan import Arms, Plan
from litgo_pipelines.models.ranking import Ranker
from litgo_pipelines.notifications import queue
from litgo_pipelines.notifications.delivery import Deliverer
from litgo_pipelines.observability import unattended
from litgo_pipelines.resources.docusign import DocuSign
from litgo_pipelines.resources.onesignal import OneSignal
from litgo_pipelines.resources.sendgrid import SendGrid
from litgo_pipelines_tests.support import execute
from litgo_pipelines_tests.worlds.intake import model  # noqa: F401
from litgo_pipelines_tests.worlds.matching import AS_OF, MINUTE, fill, match
from litgo_pipelines_tests.worlds.sessions import kept

PLAN = Plan(rounds=2, round_days=3, offer_burst_days=0)  # the limit per day bites
TICK = timedelta(minutes=90)
AREAS = ("Civil", "familia", "Marítimo", "Outros", " ", None)
TEXTS = ("", "Comprei uma geladeira com defeito e a loja não troca o produto.")
PLACES = ("(-46.63,-23.55)", "(-23.55,-46.63)", "(0,0)", "('NaN',1)", None)


class Life:
    """A marketplace whose services are all switched off, and what a person could do in it."""

    def __init__(self, connection: Connection, triage: Model, seed: int) -> None:
        self.connection, self.model = connection, triage
        self.now, self.chance = AS_OF, random.Random(seed)

    def ask(self, query: str, parameters: Any = None) -> list[tuple[Any, ...]]:
        with self.connection, self.connection.cursor() as cursor:
            cursor.execute(query, parameters)
            return cursor.fetchall() if cursor.description else []

    def pass_time(self, hours: float) -> None:
        """Everything that runs by itself, every 90 minutes."""
        until = self.now + timedelta(hours=hours)
        while self.now < until:
            self.now = min(self.now + TICK, until)
            self.run()
            self.check()

    def run(self) -> None:
        at = self.now
        self.ask(sql("litgo_pipelines.matching", "expiry.sql"), {"as_of": at, "ids": None})
        triage_pending(self.connection, at, limit=100, threshold=0.65, version="test", model=self.model)
        for _ in match_pending(self.connection, PLAN, lambda *_: Arms.alone(Ranker()), at, "life"):
            pass
        request_signatures(self.connection, DocuSign(), at, limit=100, signing_days=7)
        look_at_envelopes(self.connection, DocuSign(), at, limit=100, signing_days=7)
        with self.connection, self.connection.cursor() as cursor:
            waits.park(cursor, PLAN, at)
            waits.notify(cursor, at)
            availability.record(cursor, at)
        deliverer = Deliverer(self.connection, OneSignal(), SendGrid(), clock=lambda: self.now, pause=lambda _: None)
        deliverer.run()

    def check(self) -> None:
        with self.connection, self.connection.cursor() as cursor:
            assert unattended.find(cursor, self.now) == []

    # what people do

    def a_case_comes(self) -> None:
        client = str(uuid.UUID(int=self.chance.getrandbits(128)))
        place = self.chance.choice(PLACES)
        self.ask("INSERT INTO profiles (id, full_name) VALUES (%s, 'Cliente')", (client,))
        self.ask(
            "INSERT INTO cases (client_id, area, urgency_h, description, coords, created_at) "
            f"VALUES (%s, %s, %s, %s, {'point' + place if place else 'NULL'}, %s)",
            (client, self.chance.choice(AREAS), self.chance.choice((4, 72, None)), self.chance.choice(TEXTS), self.now),
        )

    def lawyers_answer(self) -> None:
        for (offer,) in self.ask("SELECT id::text FROM offers WHERE status = 'pending' ORDER BY id"):
            answer = self.chance.choices((None, "declined", "interested"), (3, 5, 1))[0]
            if answer:
                self.ask("UPDATE offers SET status = %s, responded_at = %s WHERE id = %s", (answer, self.now, offer))

    def lawyers_leave(self) -> None:
        self.ask("UPDATE lawyers SET is_available = false WHERE random() < 0.9")

    def lawyers_return(self) -> None:
        self.ask("UPDATE lawyers SET is_available = true")

    def lawyers_are_full(self) -> None:
        self.ask("UPDATE lawyers SET max_concurrent_cases = 1")

    def a_client_chooses(self) -> None:
        self.ask(
            "WITH chosen AS (SELECT DISTINCT ON (c.id) c.id, o.lawyer_id, c.client_id FROM cases c JOIN offers o "
            "ON o.case_id = c.id AND o.status = 'interested' WHERE c.status = 'pending_assignment' AND NOT EXISTS "
            "(SELECT FROM contracts k WHERE k.case_id = c.id) ORDER BY c.id), made AS (INSERT INTO contracts (case_id, "
            "lawyer_id, client_id, fee_model, created_at) SELECT id, lawyer_id, client_id, %s, %s FROM chosen) "
            "UPDATE cases SET status = %s WHERE id IN (SELECT id FROM chosen)",
            (
                self.chance.choice(('{"type": "fixed", "value": 5000}', "{}")),
                self.now,
                self.chance.choice(("assigned", "pending_assignment")),
            ),
        )

    def a_contract_is_canceled(self) -> None:
        self.ask("UPDATE contracts SET status = 'canceled' WHERE status = 'pending-signature'")

    def offers_are_closed_and_the_case_is_open_again(self) -> None:
        self.ask(
            "UPDATE offers SET status = 'closed' WHERE status = 'interested' AND case_id IN "
            "(SELECT case_id FROM contracts WHERE status = 'canceled')"
        )
        self.ask(
            "UPDATE cases SET status = 'pending_assignment' WHERE status = 'assigned' AND id IN "
            "(SELECT case_id FROM contracts WHERE status = 'canceled')"
        )

    def a_case_is_edited(self) -> None:
        self.ask("UPDATE cases SET area = %s WHERE status = 'pending_assignment'", (self.chance.choice(AREAS),))

    def clients_give_up(self) -> None:
        self.ask("UPDATE cases SET status = 'cancelled' WHERE status = 'pending_assignment' AND random() < 0.3")


ACTIONS: list[Callable[[Life], None]] = [
    Life.a_case_comes,
    Life.a_case_comes,
    Life.lawyers_answer,
    Life.lawyers_answer,
    Life.lawyers_leave,
    Life.lawyers_return,
    Life.lawyers_are_full,
    Life.a_client_chooses,
    Life.a_contract_is_canceled,
    Life.offers_are_closed_and_the_case_is_open_again,
    Life.a_case_is_edited,
    Life.clients_give_up,
]
OURS_AND_THEIRS = (
    "SELECT c.oid::regclass::text FROM pg_class c WHERE c.relkind IN ('r', 'p') "
    "AND c.relnamespace = ANY ('{litgo,public}'::regnamespace[]) ORDER BY 1"
)
_written: dict[str, list[str]] = {}  # database → tables that a fresh one has empty


def written(life: Life, url: str) -> list[str]:
    """Every table that a life may write: all but those that a fresh database has rows in."""
    if url not in _written:
        tables = [table for (table,) in life.ask(OURS_AND_THEIRS)]
        _written[url] = [table for table in tables if life.ask(f"SELECT count(*) FROM {table}") == [(0,)]]
    return _written[url]


def test_every_table_that_may_hold_something_open_is_listed_or_says_why_not(database_url: str) -> None:
    """A state, or an instant that may be missing: by the columns' names and types, whatever tables there are."""
    with kept(database_url) as connection, connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 "
            "WHERE c.relkind IN ('r', 'p') AND NOT a.attisdropped AND (c.relnamespace = 'litgo'::regnamespace "
            "OR c.relnamespace = 'public'::regnamespace AND c.relname = ANY (%s)) AND (a.attname ~ "
            "'(status|state|retry|next_|dead|claimed|due|lease|pending)' OR (NOT a.attnotnull AND a.attname !~ "
            "'^(created_at|updated_at)$' AND a.atttypid IN ('timestamptz'::regtype, 'date'::regtype)))",
            (list(SOURCE_TABLES),),
        )
        found = {table for (table,) in cursor.fetchall()}
        assert found - set(unattended.OPEN) == set()
        cursor.execute("SELECT relname FROM pg_class WHERE relname = ANY (%s)", (list(unattended.OPEN),))
        assert {table for (table,) in cursor.fetchall()} == set(unattended.OPEN)
    kinds = {kind for kind in unattended.OPEN.values() if " " not in kind}
    assert kinds == set(unattended.KINDS)
    for kind in kinds:  # and its statement reads them
        statement = sql("litgo_pipelines.observability", f"unattended_{kind}.sql")
        for table in (table for table, of in unattended.OPEN.items() if of == kind):
            assert re.search(rf"\b(exported_)?{table}\b", statement), (kind, table)


@settings(
    max_examples=6,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=True,
    phases=[Phase.generate],  # a failing life says its seed and story; to make it shorter takes minutes
)
@given(
    seed=st.integers(0, 2**32),
    story=st.lists(st.tuples(st.sampled_from(ACTIONS), st.sampled_from((0.2, 1, 3, 25))), min_size=8, max_size=14),
)
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_random_life_leaves_nothing_unseen(
    database_url: str,
    model: Model,  # noqa: F811
    seed: int,
    story: list[tuple[Callable[[Life], None], float]],
) -> None:
    with kept(database_url) as connection:
        life = Life(connection, model, seed)
        life.ask("SET session_replication_role = replica")  # the contracts' history refuses to be emptied
        life.ask(f"TRUNCATE {', '.join(written(life, database_url))} CASCADE")
        life.ask("SET session_replication_role = DEFAULT")
        fill(database_url, lawyers=12, cases=2)
        for act, hours in story:
            act(life)
            life.pass_time(hours)
        life.pass_time(30)


HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("kind", "statement"),
    [
        ("case", "INSERT INTO cases (client_id, area, created_at) SELECT id, 'Civil', %(at)s FROM profiles LIMIT 1"),
        ("case", "INSERT INTO cases (client_id, created_at) SELECT id, %(at)s FROM profiles LIMIT 1"),
        (
            "case",
            "INSERT INTO cases (client_id, area, created_at, status) SELECT id, 'Civil', %(at)s, 'assigned' "
            "FROM profiles LIMIT 1",
        ),
        (
            "contract",
            "INSERT INTO contracts (case_id, lawyer_id, client_id, created_at) SELECT c.id, l.id, c.client_id, %(at)s "
            "FROM cases c, lawyers l LIMIT 1",
        ),
        (
            "message",
            "INSERT INTO litgo.outbox (kind, recipient_id, dedup_key, payload, created_at) "
            "SELECT 'offer', id, 'x', '{}', %(at)s FROM profiles LIMIT 1",
        ),
        (
            "message",
            "INSERT INTO litgo.outbox (kind, recipient_id, dedup_key, payload, created_at, status, settled_at) "
            "SELECT 'offer', id, 'x', '{}', %(at)s, 'dead', %(at)s FROM profiles LIMIT 1",
        ),
        (
            "batch",
            "INSERT INTO litgo.matching_batches (as_of, case_ids, rounds, parameters, ranker, run_id) "
            "VALUES (%(at)s, '{}', '{}', '{}', 'hand_weights', 'r')",
        ),
        (
            "review",
            "INSERT INTO litgo.triage (case_id, as_of, status, urgency_h, urgency_source, complexity, sources, "
            "alternatives, reason) SELECT id, %(at)s, 'review', 72, 'default', 'LOW', '{}', '[]', 'failed' FROM cases",
        ),
    ],
)
def test_what_is_forgotten_is_found(database_url: str, kind: str, statement: str) -> None:
    fill(database_url, lawyers=1, cases=1)
    connection = open_connection(database_url)
    with connection, connection.cursor() as cursor:
        cursor.execute(
            "UPDATE cases SET status = 'closed'"
            if kind != "review"
            else "INSERT INTO offers (case_id, lawyer_id, expires_at) SELECT c.id, l.id, %s FROM cases c, lawyers l",
            (AS_OF + 99 * HOUR,),
        )
        cursor.execute(statement, {"at": AS_OF})
        assert unattended.find(cursor, AS_OF + HOUR) == []
        found = unattended.find(cursor, AS_OF + 3 * HOUR)
        cursor.execute(unattended.gauge_query())
        gauge = dict(cursor.fetchall())
    connection.close()
    assert [(each.kind, each.due_at) for each in found] == [(kind, AS_OF)]
    assert set(gauge) == set(unattended.KINDS)


def test_of_many_the_longest_overdue_are_listed_and_all_counted(database_url: str) -> None:
    fill(database_url, lawyers=0, cases=4)
    with kept(database_url) as connection, connection.cursor() as cursor:
        cursor.execute("UPDATE cases SET created_at = %s - interval '1 hour' WHERE id = md5('case 2')::uuid", (AS_OF,))
        every = unattended.find(cursor, AS_OF + 24 * HOUR)
        counts, found = unattended.examine(cursor, AS_OF + 24 * HOUR, 2)
    assert len(every) == 4
    assert found == every[:2]
    assert counts == {**dict.fromkeys(unattended.KINDS, 0), "case": 4}


def at_the_desk(at: datetime) -> str:
    return f"{at - 3 * HOUR:%d/%m/%Y %H:%M} (horário de Brasília)"


def test_the_list_names_the_case_its_reason_and_who_knows(database_url: str) -> None:
    fill(database_url, lawyers=0, cases=2)
    connection = open_connection(database_url)
    for at in (AS_OF, AS_OF + 8 * HOUR):
        list(match_pending(connection, Plan(), lambda *_: Arms.alone(Ranker()), at, "run"))
    with connection, connection.cursor() as cursor:
        cursor.execute("UPDATE cases SET urgency_h = 4 WHERE id = md5('case 2')::uuid")
        shown = waits.markdown(waits.parked(cursor)).splitlines()
        cursor.execute("SELECT md5('case 2')::uuid::text")
        urgent = cursor.fetchone()
    connection.close()
    assert urgent is not None
    assert len(shown) == 4
    assert shown[2].startswith(f"| {urgent[0]} | 4 h | Civil | nenhum(a) advogado(a) disponível | {at_the_desk(AS_OF)}")
    assert shown[2].endswith("| equipe |")


LOOSE = (
    "ALTER TABLE public.{table} DROP CONSTRAINT IF EXISTS {table}_status_check, ALTER status DROP NOT NULL, "
    "ALTER created_at DROP NOT NULL"
)
A_CONTRACT = (
    "INSERT INTO contracts (case_id, lawyer_id, client_id, created_at, {columns}) "
    "SELECT c.id, l.id, c.client_id, '{at}', {values} FROM cases c, lawyers l LIMIT 1; "
    "UPDATE cases SET status = 'assigned'"
)


def everything_told(url: str, at: datetime) -> tuple[list[str], list[str], list[str]]:
    """(kinds that were unseen before, after, messages) of a run of what tells people."""
    with kept(url) as connection:
        with connection, connection.cursor() as cursor:
            before = [each.kind for each in unattended.find(cursor, at)]
        with connection, connection.cursor() as cursor:
            cursor.execute(sql("litgo_pipelines.matching", "expiry.sql"), {"as_of": at, "ids": None})
            waits.put_aside(cursor, at)
            waits.notify_unknown_states(cursor, at)
            waits.notify(cursor, at)
        request_signatures(connection, DocuSign(), at, limit=100, signing_days=7)
        for _ in match_pending(connection, PLAN, lambda *_: Arms.alone(Ranker()), at, "life"):
            pass
        with connection, connection.cursor() as cursor:
            waits.notify(cursor, at)
            after = [each.kind for each in unattended.find(cursor, at)]
            cursor.execute("SELECT DISTINCT kind FROM litgo.outbox WHERE kind <> 'offer' ORDER BY 1")
            return before, after, [kind for (kind,) in cursor.fetchall()]


@pytest.mark.parametrize(
    ("change", "kind", "told"),
    [
        ("UPDATE public.cases SET status = NULL", "case", "state_unknown"),
        ("UPDATE public.cases SET status = 'on hold'", "case", "state_unknown"),
        ("UPDATE public.cases SET status = 'Pending_Assignment', created_at = NULL", "case", "state_unknown"),
        ("UPDATE public.cases SET created_at = NULL", "case", "case_failed"),
        ("UPDATE public.cases SET created_at = 'infinity'", "case", "case_failed"),
        ("UPDATE public.cases SET created_at = '2062-01-01 00:00Z'", "case", "case_failed"),
        ("UPDATE public.cases SET created_at = '-infinity', status = 'in_progress'", "case", "case_without_contract"),
        (A_CONTRACT.format(columns="status", values="'pending_signature'", at=AS_OF), "contract", "state_unknown"),
        (A_CONTRACT.format(columns="status", values="NULL", at=AS_OF), "contract", "state_unknown"),
        (A_CONTRACT.format(columns="doc_url", values="' '", at=AS_OF), "contract", "contract_refused"),
        (A_CONTRACT.format(columns="doc_url", values="NULL", at="2062-01-01 00:00Z"), "contract", "contract_refused"),
        (
            "INSERT INTO offers (case_id, lawyer_id, sent_at, expires_at) SELECT c.id, l.id, '2026-06-29 00:00Z', "
            "'9999-12-31 00:00Z' FROM cases c, lawyers l",
            "case",
            "case_waits",
        ),
        (
            "INSERT INTO offers (case_id, lawyer_id, sent_at, expires_at) SELECT c.id, l.id, '2062-01-01 00:00Z', NULL "
            "FROM cases c, lawyers l; UPDATE public.offers SET created_at = 'infinity'",
            "case",
            "case_waits",
        ),
        (
            "INSERT INTO offers (case_id, lawyer_id, sent_at, created_at, expires_at) SELECT c.id, l.id, at, at, "
            "at + interval '1 day' FROM cases c, lawyers l, (VALUES ('2026-09-30 00:00Z'::timestamptz)) AS ahead (at)",
            "case",
            "case_waits",
        ),
        (
            "INSERT INTO offers (case_id, lawyer_id, status, sent_at, responded_at, expires_at) SELECT c.id, l.id, "
            "'interested', '2026-06-01 00:00Z', '2062-01-01 00:00Z', '2026-06-02 00:00Z' FROM cases c, lawyers l; "
            "UPDATE cases SET status = 'assigned'",
            "case",
            "case_without_contract",
        ),
    ],
)
def test_an_odd_row_is_seen_until_somebody_was_told(database_url: str, change: str, kind: str, told: str) -> None:
    fill(database_url, lawyers=1, cases=1)
    with kept(database_url) as connection, connection, connection.cursor() as cursor:
        for table in ("cases", "contracts"):
            cursor.execute(LOOSE.format(table=table))
        cursor.execute("ALTER TABLE public.offers ALTER expires_at DROP NOT NULL")
        cursor.execute(change)
    before, after, messages = everything_told(database_url, AS_OF + 30 * HOUR)
    assert kind in before
    assert after == []
    if told != "case_waits":
        assert told in messages


def test_an_answer_in_a_word_that_came_later_is_told_once(database_url: str) -> None:
    fill(database_url, lawyers=1, cases=1)
    with kept(database_url) as connection, connection, connection.cursor() as cursor:
        cursor.execute(LOOSE.format(table="offers"))
        cursor.execute(
            "INSERT INTO offers (case_id, lawyer_id, status, sent_at, expires_at) "
            "SELECT c.id, l.id, 'accepted', %(at)s, %(at)s::timestamptz + interval '1 day' FROM cases c, lawyers l",
            {"at": AS_OF},
        )
        assert [waits.notify_unknown_states(cursor, AS_OF + HOUR) for _ in range(2)] == [1, 0]
        cursor.execute("SELECT payload FROM litgo.outbox WHERE kind = 'state_unknown'")
        assert cursor.fetchall() == [({"table": "offers", "rows": 1, "state": "accepted"},)]
        again = []
        for hours, status in enumerate(("declined", "accepted", "accepted"), 2):  # mended, and it happens again
            cursor.execute("UPDATE offers SET status = %s", (status,))
            again.append(waits.notify_unknown_states(cursor, AS_OF + hours * HOUR))
        assert again == [0, 1, 0]


@pytest.mark.parametrize(
    ("change", "matched", "told"),
    [
        ("DELETE FROM public.cases WHERE id = md5('case 1')::uuid", True, []),
        ("UPDATE cases SET description = 'Agora é outra coisa.' WHERE id = md5('again')::uuid", True, []),
        ("UPDATE cases SET client_id = md5('client 9')::uuid WHERE id = md5('case 1')::uuid", True, []),
        ("UPDATE cases SET status = 'closed' WHERE id = md5('case 1')::uuid", False, ["case_repeats"]),
    ],
)
def test_a_case_that_repeats_another_does_not_wait_for_what_is_gone(
    database_url: str, change: str, matched: bool, told: list[str]
) -> None:
    fill(database_url, lawyers=6, cases=1)
    with kept(database_url) as connection, connection, connection.cursor() as cursor:
        cursor.execute("UPDATE cases SET description = 'Quero me separar.', area = 'Civil'")
        cursor.execute(
            "INSERT INTO cases (id, client_id, area, description, created_at) SELECT md5('again')::uuid, client_id, "
            "area, description, created_at + interval '5 minutes' FROM cases"
        )
        waits.mark_duplicates(cursor, PLAN, AS_OF)
        cursor.execute("SELECT count(*) FROM litgo.case_duplicates")
        assert cursor.fetchone() == (1,)
        cursor.execute(change)
    everything_told(database_url, AS_OF + HOUR)
    _, after, messages = everything_told(database_url, AS_OF + 2 * HOUR)
    assert (after, messages) == ([], told)
    with kept(database_url) as connection, connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM offers WHERE case_id = md5('again')::uuid")
        assert cursor.fetchone() == ((5,) if matched else (0,))


@pytest.mark.parametrize("answer", [None, "interested", "declined"])
def test_cases_whose_clients_deleted_their_accounts_stop_nobody_elses(database_url: str, answer: str | None) -> None:
    """`client_id uuid REFERENCES auth.users ON DELETE SET NULL`; `answer`: of the lawyers, before that."""
    fill(database_url, lawyers=30, cases=6)
    at = AS_OF + HOUR
    with kept(database_url) as connection:
        if answer:
            list(match_pending(connection, PLAN, lambda *_: Arms.alone(Ranker()), AS_OF, "life"))
        with connection, connection.cursor() as cursor:
            cursor.execute("UPDATE offers SET status = %s, responded_at = %s", (answer, at))
            cursor.execute("ALTER TABLE public.cases ALTER client_id DROP NOT NULL")
            cursor.execute("UPDATE cases SET client_id = NULL WHERE id IN (md5('case 1')::uuid, md5('case 2')::uuid)")
        matched = sum(r.matched for r in match_pending(connection, PLAN, lambda *_: Arms.alone(Ranker()), at, "life"))
    assert matched == (0 if answer == "interested" else 4)
    _, after, messages = everything_told(database_url, at + HOUR)
    assert after == []
    assert "case_failed" in messages
    assert ("lawyers_interested" in messages) == (answer == "interested")


@pytest.mark.parametrize("change", ["UPDATE public.lawyers SET status = 'deactivated'", "DELETE FROM public.offers"])
def test_an_interested_lawyer_who_has_left_is_nobody_to_choose(database_url: str, change: str) -> None:
    fill(database_url, lawyers=6, cases=1)
    at = AS_OF + HOUR
    with kept(database_url) as connection:
        list(match_pending(connection, PLAN, lambda *_: Arms.alone(Ranker()), AS_OF, "life"))
        with connection, connection.cursor() as cursor:
            cursor.execute("UPDATE offers SET status = 'declined', responded_at = %s", (at,))
            cursor.execute(
                "UPDATE offers SET status = 'interested' WHERE lawyer_id = "
                "(SELECT min(lawyer_id::text)::uuid FROM offers) RETURNING lawyer_id"
            )
            (lawyer,) = cursor.fetchone() or (None,)
            assert waits.notify(cursor, at) == 1
            cursor.execute(f"{change} WHERE {'id' if 'lawyers' in change else 'lawyer_id'} = %s", (lawyer,))
        (result,) = match_pending(connection, PLAN, lambda *_: Arms.alone(Ranker()), at + HOUR, "life")
        assert (result.matched, result.failures) == (1, {})
        assert result.offers == (1 if "lawyers" in change else 2)  # without the row he was never asked


def test_who_was_told_before_a_contract_came_to_nothing_is_told_again(database_url: str) -> None:
    fill(database_url, lawyers=2, cases=1)
    with kept(database_url) as connection, connection, connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO offers (case_id, lawyer_id, status, sent_at, responded_at, expires_at) "
            "SELECT c.id, l.id, 'interested', %(at)s, %(at)s, %(at)s FROM cases c, lawyers l",
            {"at": AS_OF - 2 * HOUR},
        )
        assert [waits.notify(cursor, AS_OF + n * HOUR) for n in range(3)] == [1, 0, 0]
        cursor.execute(A_CONTRACT.format(columns="status", values="'canceled'", at=AS_OF + 3 * HOUR))
        cursor.execute("UPDATE cases SET status = 'pending_assignment'")
        assert "case" in {each.kind for each in unattended.find(cursor, AS_OF + 6 * HOUR)}
        cursor.execute("UPDATE litgo.told SET told_at = told_at + interval '300 days'")  # by a clock that was ahead
        assert [waits.notify(cursor, AS_OF + n * HOUR) for n in (6, 7)] == [1, 0]
        assert "case" not in {each.kind for each in unattended.find(cursor, AS_OF + 9 * HOUR)}
        cursor.execute("SELECT count(*) FROM litgo.outbox WHERE kind = 'lawyers_interested'")
        assert cursor.fetchone() == (2,)


@pytest.mark.parametrize(
    ("status", "kind", "later"),
    [("pending_assignment", "lawyers_interested", 1), ("assigned", "case_without_contract", 73)],
)
def test_who_was_told_of_one_lawyer_is_told_of_the_next_when_that_one_is_gone(
    database_url: str, status: str, kind: str, later: int
) -> None:
    fill(database_url, lawyers=2, cases=1)
    with kept(database_url) as connection, connection, connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO offers (case_id, lawyer_id, status, sent_at, responded_at, expires_at) SELECT c.id, l.id, "
            "'interested', %(at)s, CASE WHEN l.id = md5('lawyer 1')::uuid THEN %(at)s::timestamptz END, %(at)s "
            "FROM cases c, lawyers l",
            {"at": AS_OF - 80 * HOUR},
        )
        cursor.execute("UPDATE cases SET status = %s", (status,))
        assert [waits.notify(cursor, AS_OF + n * HOUR) for n in range(2)] == [1, 0]
        cursor.execute("UPDATE offers SET status = 'declined' WHERE responded_at IS NOT NULL")
        assert waits.notify(cursor, AS_OF + 2 * HOUR) == 0  # of the other one the first message told as well
        cursor.execute(
            "UPDATE offers SET responded_at = %s WHERE lawyer_id = md5('lawyer 2')::uuid", (AS_OF + 3 * HOUR,)
        )
        at = AS_OF + (3 + later) * HOUR
        assert "case" in {each.kind for each in unattended.find(cursor, at + 2 * HOUR)}
        assert [waits.notify(cursor, at + n * HOUR) for n in range(2)] == [1, 0]
        assert "case" not in {each.kind for each in unattended.find(cursor, at + 9 * HOUR)}
        cursor.execute("SELECT count(*) FROM litgo.outbox WHERE kind = %s", (kind,))
        assert cursor.fetchone() == (2,)


def test_a_message_let_go_again_that_nobody_gets_is_told_again(database_url: str) -> None:
    fill(database_url, lawyers=1, cases=0)
    with kept(database_url) as connection, connection, connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO litgo.outbox (kind, recipient_id, dedup_key, payload, created_at) "
            "SELECT 'contract_signed', id, 'x', '{}', %s FROM profiles LIMIT 1 RETURNING message_id",
            (AS_OF,),
        )
        (message,) = cursor.fetchone() or (0,)
        told = []
        for days in (1, 3):
            at = AS_OF + days * 24 * HOUR
            cursor.execute(
                "UPDATE litgo.outbox SET status = 'dead', settled_at = %s WHERE kind = 'contract_signed'", (at,)
            )
            assert "message" in {each.kind for each in unattended.find(cursor, at + 3 * HOUR)}
            told += [waits.notify(cursor, at + n * HOUR) for n in (1, 2)]
            cursor.execute("UPDATE litgo.outbox SET status = 'accepted' WHERE kind = 'message_dead'")
            assert "message" not in {each.kind for each in unattended.find(cursor, at + 3 * HOUR)}
            assert queue.retry(cursor, message, at + 3 * HOUR)
        assert told == [1, 0, 1, 0]
        cursor.execute("SELECT count(*) FROM litgo.outbox WHERE kind = 'message_dead'")
        assert cursor.fetchone() == (2,)


def test_a_batch_of_a_clock_that_was_wrong_holds_up_nobody(database_url: str) -> None:
    fill(database_url, lawyers=6, cases=2)
    with kept(database_url) as connection:
        with connection, connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO litgo.matching_batches (as_of, case_ids, rounds, parameters, ranker, run_id) "
                "SELECT %s, array_agg(id), '{1,1}', '{}', 'hand_weights', 'r' FROM cases",
                (AS_OF + 9999 * HOUR,),
            )
            assert [each.kind for each in unattended.find(cursor, AS_OF)] == ["batch"]
        (result,) = match_pending(connection, PLAN, lambda *_: Arms.alone(Ranker()), AS_OF, "life")
        assert (result.matched, result.as_of, result.resumed) == (2, AS_OF, False)
        with connection, connection.cursor() as cursor:
            assert unattended.find(cursor, AS_OF + HOUR) == []


def test_what_an_area_is_called_is_not_read_of_cases_with_open_offers(database_url: str) -> None:
    """Of thousands of them, at every look: nothing would follow from it."""
    fill(database_url)
    match(database_url)
    execute(
        database_url,
        "UPDATE cases SET area = 'unread'",
        "CREATE OR REPLACE FUNCTION litgo.chosen(value text) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT AS "
        "$$ BEGIN IF value = 'unread' THEN RAISE 'it was read'; END IF; RETURN value; END $$",
    )
    with kept(database_url) as connection, connection, connection.cursor() as cursor:
        assert unattended.find(cursor, AS_OF + MINUTE) == []
        assert waits.over(cursor, Plan(), AS_OF + MINUTE) == 0
        assert waiting_cases(cursor, Plan(), AS_OF + MINUTE) == []
