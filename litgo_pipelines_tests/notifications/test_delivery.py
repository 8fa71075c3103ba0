"""Delivery on a real Postgres and over real HTTP: who gets what, when, how often, and what a kill or a rival leaves."""

import base64
import signal
import threading
import time
import uuid
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from litgo_pipelines.notifications import delivery, queue
from litgo_pipelines.notifications.delivery import WORKERS, Deliverer
from litgo_pipelines.notifications.outbox import TEAM
from litgo_pipelines.resources.onesignal import OneSignal
from litgo_pipelines.resources.sendgrid import SendGrid
from litgo_pipelines.simulation import faults
from litgo_pipelines_tests.support import until
from litgo_pipelines_tests.worlds.notifications import KEYS, MAILED, PUSHED, START, World, subscription
from litgo_pipelines_tests.worlds.processes import Child
from litgo_pipelines_tests.worlds.sessions import kept

MINUTES = timedelta(minutes=1)
NOT_SUBSCRIBED = faults.json_answer({"id": "", "errors": ["All included players are not subscribed"]})


def test_a_push(world: World) -> None:
    person = world.person()
    world.offer(person)
    assert world.deliver().statuses[("push", "accepted")] == 1
    (request,) = world.push.requests
    assert request.headers["authorization"] == "Key secret-push-key"
    body = request.json()
    assert body["include_subscription_ids"] == [subscription(person)]
    assert body["contents"]["pt"].startswith("Um caso espera sua resposta. Área: Família (Guarda).")
    assert world.mail.requests == []
    row = "SELECT status, delivery_id::text, provider_id, attempts, in_doubt, lease_until FROM litgo.deliveries"
    key = body["idempotency_key"]
    assert world.ask(row) == [("accepted", key, "b98881cc-1e94-4366-bbd9-db8f3429292b", 1, None, None)]
    assert world.metric("notifications_sent_total", type="push", status="accepted") == 1
    assert world.metric("notification_duration_seconds_sum", type="push") == 30
    assert world.deliver(later=10 * MINUTES).statuses == Counter()  # once


def test_without_a_token_an_email(world: World) -> None:
    world.offer(world.person(token=None))
    assert world.deliver().statuses[("email", "accepted")] == 1
    assert world.push.requests == []
    (request,) = world.mail.requests
    to = request.json()["personalizations"][0]
    assert to["to"] == [{"email": "ana@example.com", "name": "Ana Souza"}]
    assert world.ask("SELECT delivery_id::text, provider_id FROM litgo.deliveries") == [
        (to["custom_args"]["delivery_id"], "mail-1")
    ]


@pytest.mark.parametrize(
    "token",
    [
        "ExponentPushToken[xxxxxxxxxxxxxxxxxxxxxx]",
        "fcm-device:APA91bHun4MxP5egoKMwt2KZFBaFUH",
        "740f4707bebcf74f9b7c25d48e3358945f6aa01da5ddb387462c7eaf61bb78ad",
        "[object Object]",
        "undefined",
        "{b98881cc-1e94-4366-bbd9-db8f3429292b}",
    ],
)
def test_a_token_of_another_service_is_not_asked_for(world: World, token: str) -> None:
    """OneSignal refuses the whole request: each message would be a failure of the service."""
    person, silent = world.person(), world.person(email=None)
    world.ask("UPDATE profiles SET push_token = %s", (token,))
    world.offer(person)
    world.offer(silent)
    assert world.deliver().statuses[("email", "accepted")] == 1
    assert world.push.requests == []
    missing = "a push token in the profile that is none of OneSignal's; no e-mail address in the profile"
    assert world.ask("SELECT reason FROM litgo.deliveries WHERE status = 'open'") == [(missing,)]
    assert world.metric("api_requests_total", service="onesignal") == 0
    listed = "SELECT found FROM litgo_source.unusable WHERE column_name = 'push_token'"
    assert world.ask(listed) == [(2,)]


def test_a_device_that_two_people_logged_in_on_shows_neither_the_others_messages(world: World) -> None:
    ana, bia = world.person(token="office"), world.person(token="office", email="bia@example.com")
    world.ask("UPDATE profiles SET push_token = ' ' || upper(push_token) WHERE id = %s", (bia,))
    world.person(token=None), world.person(token=None)  # who has none shares none
    world.offer(ana)
    assert world.deliver().statuses == {("email", "accepted"): 1}
    world.ask("UPDATE profiles SET push_token = NULL WHERE id = %s", (ana,))  # at her logout
    world.offer(bia)
    assert world.deliver(later=10 * MINUTES).statuses == {("push", "accepted"): 1}


@pytest.mark.parametrize(
    ("area", "subarea", "said"),
    [
        ("familia", "guarda", "Área: Família (Guarda)."),
        ("familia", "de Maria", "Área: Família."),
        ("de Maria", "x", ""),
    ],
)
def test_an_offer_names_areas_of_the_taxonomy_only(world: World, area: str, subarea: str, said: str) -> None:
    world.offer(world.person())
    world.ask("UPDATE cases SET area = %s, subarea = %s", (area, subarea))
    assert world.deliver().statuses[("push", "accepted")] == 1
    (request,) = world.push.requests
    text = request.json()["contents"]["pt"]
    assert said in text
    assert "Maria" not in text


def test_what_waited_goes_as_one_without_what_nobody_needs_to_hear(world: World) -> None:
    person = world.person()
    for values in ({}, {"status": "declined"}, {"expires_at": START}, {}, {}):
        world.offer(person, **values)
    found = world.deliver().statuses
    assert found == Counter({("push", "accepted"): 1, ("push", "merged"): 2})
    assert [request.json()["headings"]["pt"] for request in world.push.requests] == ["3 novas ofertas de casos"]
    assert world.statuses() == ["accepted", "superseded", "superseded", "merged", "merged"]
    assert world.metric("notifications_sent_total", status="merged") == 2
    assert world.metric("notification_duration_seconds_bucket") == 3


@pytest.mark.parametrize("failed", [False, True])
def test_whose_life_may_be_at_risk_waits_neither_behind_others_nor_for_a_pause(
    world: World, monkeypatch: pytest.MonkeyPatch, failed: bool
) -> None:
    monkeypatch.setattr(delivery, "BATCH", 2)
    monkeypatch.setattr(delivery, "WORKERS", 2)
    person = world.person(token="in danger")
    world.put("lawyers_interested", person, {"case_id": str(uuid.uuid4())})
    world.deliver()
    for i in range(8):
        world.offer(world.person(token=f"token-{i}", email=None))
    if failed:  # all of them are due again, and have been for longer
        world.push.faults = (faults.status(503),)
        world.deliver()
        world.push.faults = (PUSHED,)
        world.ask("UPDATE litgo.circuit_breakers SET failures = 0, opened_at = NULL, retry_at = NULL, probe = NULL")
    before = len(world.push.requests)
    world.put("public_numbers", person, {"case_id": str(uuid.uuid4())})
    world.deliver(later=MINUTES)
    asked = [request.json()["include_subscription_ids"][0] for request in world.push.requests[before:]]
    assert len(set(asked)) == 9
    assert subscription("in danger") in asked[:2]


@pytest.mark.parametrize("status", ["assigned", "closed", "cancelled"])
def test_nobody_hears_of_an_offer_of_a_case_that_waits_for_nobody(world: World, status: str) -> None:
    world.offer(world.person())
    world.ask("UPDATE cases SET status = %s", (status,))
    world.deliver()
    assert (world.statuses(), world.push.requests) == (["superseded"], [])


def test_cooldown(world: World) -> None:
    person, other = world.person(), world.person(token="other")
    world.offer(person)
    world.deliver()
    world.offer(person)
    world.offer(person)
    world.offer(other)
    world.deliver(later=4 * MINUTES)
    asked = [r.json()["include_subscription_ids"] for r in world.push.requests]
    assert asked == [[subscription(person)], [subscription("other")]]
    assert due(world, 4 * MINUTES) == 0
    world.now = START + 5 * MINUTES
    assert due(world, 5 * MINUTES) == 1
    world.deliver()
    assert world.push.requests[-1].json()["headings"]["pt"] == "2 novas ofertas de casos"


def test_what_was_written_while_a_clock_was_ahead_keeps_nobody_waiting(world: World) -> None:
    told, failed, held = (world.person(token=name, email=None) for name in ("told", "failed", "held"))
    for person, answer in ((told, PUSHED), (failed, faults.too_many_requests(600))):
        world.offer(person, expires_at=START + timedelta(days=9))
        world.push.faults = (answer,)
        world.deliver(later=timedelta(hours=10))
    world.offer(held)
    world.ask(
        "INSERT INTO litgo.deliveries (recipient_id, opened_at, next_attempt_at, claimed_by, lease_until) "
        "VALUES (%s, %s, %s, gen_random_uuid(), clock_timestamp() + interval '2 days')",
        (held, START, START),
    )
    world.ask("UPDATE litgo.circuit_breakers SET failures = 0, opened_at = NULL, retry_at = NULL, probe = NULL")
    world.offer(told)
    world.push.faults, world.now = (PUSHED,), START
    assert due(world, timedelta(0)) == 3
    world.deliver()
    assert world.statuses() == ["accepted"] * 4


def test_what_was_written_while_a_clock_was_ahead_is_dead_after_a_day_too(world: World) -> None:
    world.put("contract_signed", world.person(token=None, email=None), {}, START + timedelta(days=300))
    for hours, status in ((0, "pending"), (23, "pending"), (1, "dead")):
        world.deliver(later=timedelta(hours=hours))
        assert world.statuses() == [status]


def due(world: World, after: timedelta) -> int:
    with kept(world.url) as connection, connection, connection.cursor() as cursor:
        return queue.due(cursor, START + after)


def test_a_contract_to_sign_by_hand_goes_alone_with_its_pdf_and_in_its_turn(world: World) -> None:
    person, contract = world.person(), world.contract()
    world.offer(person)
    world.manual(person, contract)
    world.offer(person)
    world.manual(TEAM, contract)
    for _ in range(3):
        world.deliver(later=6 * MINUTES)
    assert world.statuses() == ["accepted"] * 4
    assert len(world.push.requests) == 2
    to = {r.json()["personalizations"][0]["to"][0]["email"]: r.json() for r in world.mail.requests}
    assert set(to) == {"ana@example.com", "equipe@example.com"}
    for mail in to.values():
        assert [base64.b64decode(file["content"]) for file in mail["attachments"]] == [b"%PDF-1.7 contract"]
    assert to["ana@example.com"]["reply_to"] == {"email": "equipe@example.com"}
    assert contract in to["equipe@example.com"]["content"][0]["value"]
    finished = world.ask("SELECT channel FROM litgo.deliveries WHERE recipient_id = %s ORDER BY finished_at", (person,))
    assert finished == [("push",), ("email",), ("push",)]


@pytest.mark.parametrize("team", ["Equipe LITGO <equipe@example.com>", "equipe@example", ""])
def test_a_team_address_that_is_none_does_not_hold_up_a_contract(world: World, team: str) -> None:
    """SendGrid refuses a whole message for its reply_to."""
    world.manual(world.person(), world.contract())
    assert world.deliver(team_email=team).statuses[("email", "accepted")] == 1
    assert "reply_to" not in world.mail.requests[0].json()


def test_a_contract_without_its_pdf_waits_for_it(world: World) -> None:
    world.manual(world.person(), world.contract(pdf=None))
    world.deliver()
    assert (world.statuses(), world.mail.requests) == (["pending"], [])
    assert "contract_documents" in world.ask("SELECT reason FROM litgo.deliveries")[0][0]


def test_a_contract_to_sign_by_hand_is_at_least_pushed_when_it_cannot_be_mailed(world: World) -> None:
    world.manual(world.person(), world.contract())
    world.mail.faults = (faults.status(401),)
    assert world.deliver().statuses == Counter({("email", "failed"): 1, ("push", "accepted"): 1})
    assert "Assine o documento" in world.push.requests[0].json()["contents"]["pt"]
    assert world.metric("fallback_usage_total", service="sendgrid", reason="rejected") == 1


@pytest.mark.parametrize(
    ("fault", "fallback"),
    [
        (NOT_SUBSCRIBED, None),
        (faults.json_answer({"id": "b98881cc", "errors": {"invalid_player_ids": ["token"]}}), None),
        (faults.status(400), "rejected"),
        (faults.status(401), "rejected"),
        (faults.too_many_requests(60), "rate_limited"),
        ("refuses", "unavailable"),
        ("breaker", "circuit_open"),
    ],
)
def test_a_push_that_cannot_have_arrived_becomes_an_email_at_once(world: World, fault: Any, fallback: str) -> None:
    world.offer(world.person())
    if fault == "refuses":
        world.push = type("Nobody", (), {"url": faults.refusing_url(), "requests": []})()
    elif fault == "breaker":
        world.ask(
            "UPDATE litgo.circuit_breakers SET failures = 5, opened_at = clock_timestamp(), "
            "retry_at = clock_timestamp() + interval '1 hour' WHERE service = 'onesignal'"
        )
    else:
        world.push.faults = (fault,)
    found = world.deliver().statuses
    assert found == Counter({("push", "failed"): 1, ("email", "accepted"): 1})
    assert len(world.mail.requests) == 1
    assert len(world.push.requests) == (0 if isinstance(fault, str) else 1)
    assert world.metric("fallback_usage_total") == bool(fallback)
    assert not fallback or world.metric("fallback_usage_total", service="onesignal", reason=fallback) == 1
    assert world.metric("notifications_possible_duplicates_total") == 0


IN_DOUBT = [
    faults.hang,
    faults.drip,
    faults.endless,
    faults.status(500),
    faults.status(503),
    faults.status(408),
    faults.reset,
    faults.hang_up,
    faults.cut_short,
    faults.not_http,
    faults.truncated_json,
    faults.not_a_number,
    faults.html,
    faults.json_answer([]),
    faults.json_answer({"other": 1}),
    faults.compressed,
]


def seconds_for(fault: faults.Fault) -> float:
    return 1.0 if fault in (faults.hang, faults.drip) else 5.0


def test_a_push_that_may_have_arrived_is_repeated_under_its_key(world: World) -> None:
    for fault in IN_DOUBT:
        world.offer(world.person())
        world.push.faults, world.waits = (fault, PUSHED), []
        started = time.monotonic()
        found = world.deliver(staying=True, timeout=seconds_for(fault)).statuses
        assert time.monotonic() - started < 10
        assert found == Counter({("push", "failed"): 1, ("push", "accepted"): 1}), fault
        first, second = world.push.requests
        assert first.json()["idempotency_key"] == second.json()["idempotency_key"]
        assert world.waits == [pytest.approx(2, abs=0.1)]
    assert world.mail.requests == []
    assert world.statuses() == ["accepted"] * len(IN_DOUBT)
    assert world.metric("notifications_possible_duplicates_total") == 0


def test_an_email_that_may_have_arrived_is_sent_again_and_counted(world: World) -> None:
    for fault in IN_DOUBT:
        world.offer(world.person(token=None))
        world.mail.faults = (fault, MAILED)
        found = world.deliver(staying=True, timeout=seconds_for(fault)).statuses
        assert found == Counter({("email", "failed"): 1, ("email", "accepted"): 1}), fault
        assert len(world.mail.requests) == 2
    assert world.statuses() == ["accepted"] * len(IN_DOUBT)
    assert world.metric("notifications_possible_duplicates_total", type="email") == len(IN_DOUBT)


@pytest.mark.parametrize("fault", [faults.status(403), faults.too_many_requests(5)])
def test_an_email_that_was_not_taken_is_no_duplicate(world: World, fault: Any) -> None:
    world.offer(world.person(token=None))
    world.mail.faults = (fault, MAILED)
    world.deliver()
    assert world.statuses() == ["pending"]
    world.deliver(later=16 * MINUTES)
    assert world.statuses() == ["accepted"]
    assert world.metric("notifications_possible_duplicates_total") == 0


def test_a_service_that_asks_for_a_year_is_asked_again_within_the_hour(world: World) -> None:
    world.offer(world.person(email=None))
    world.push.faults = (faults.too_many_requests(365 * 86400), PUSHED)
    world.deliver()
    assert due(world, 50 * MINUTES) == 0
    world.ask("UPDATE litgo.circuit_breakers SET failures = 0, opened_at = NULL, retry_at = NULL, probe = NULL")
    world.deliver(later=61 * MINUTES)
    assert world.statuses() == ["accepted"]


def test_a_push_in_doubt_for_long_becomes_an_email_and_is_counted(world: World) -> None:
    world.offer(world.person())
    world.push.faults = (faults.status(500),)
    world.deliver()
    world.deliver(later=MINUTES)
    assert len(world.push.requests) == 2
    world.deliver(later=15 * MINUTES)
    assert (len(world.push.requests), len(world.mail.requests)) == (2, 1)
    assert world.metric("notifications_possible_duplicates_total", type="email") == 1
    assert world.statuses() == ["accepted"]


def test_a_later_message_waits_for_one_in_doubt_and_stays_out_of_it(world: World) -> None:
    person = world.person()
    world.offer(person)
    world.push.faults = (faults.status(500), faults.status(500), PUSHED)
    world.deliver()
    world.offer(person)
    world.deliver(later=MINUTES)
    world.deliver(later=MINUTES)
    assert world.statuses() == ["accepted", "pending"]
    assert len({request.json()["idempotency_key"] for request in world.push.requests}) == 1
    world.deliver(later=5 * MINUTES)
    assert world.statuses() == ["accepted", "accepted"]


def test_with_fallbacks_off_a_failing_push_stays_a_push(world: World) -> None:
    world.offer(world.person())
    world.push.faults = (faults.status(401), PUSHED)
    world.deliver(fallback_enabled=False)
    assert world.statuses() == ["pending"]
    world.deliver(later=16 * MINUTES, fallback_enabled=False)
    assert (world.statuses(), world.mail.requests) == (["accepted"], [])
    assert world.metric("fallback_usage_total") == 0


def test_nothing_is_configured(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """No call; after a day it is dead and says what to set; once it is set, a person lets it go again."""
    for name in KEYS:
        monkeypatch.delenv(name)
    contract = world.contract()
    people = [world.person(), world.person(token=None), world.person(token=None, email=None), TEAM]
    messages = [world.put("contract_signed", person, {"contract_id": contract}) for person in people]
    world.deliver(team_email=None)
    assert world.statuses() == ["pending"] * 4
    assert due(world, 10 * MINUTES) == 0  # no busy loop
    world.deliver(later=timedelta(hours=23), team_email=None)
    assert world.statuses() == ["pending"] * 4
    world.deliver(later=timedelta(hours=1), team_email=None)
    world.put("contract_voided", people[0], {"contract_id": contract})
    with kept(world.url) as connection, connection, connection.cursor() as cursor:
        dead = queue.dead(cursor)
        assert [letter.message_id for letter in dead] == messages
        assert [letter.reason for letter in dead] == [
            "ONESIGNAL_API_KEY is not set; SENDGRID_API_KEY is not set",
            "no push token in the profile; SENDGRID_API_KEY is not set",
            "no push token in the profile; no e-mail address in the profile",
            "TEAM_EMAIL is not set",
        ]
        assert queue.waiting(cursor, world.now) == (1, 0, 4)
        assert queue.retry(cursor, messages[0], world.now)
        assert not queue.retry(cursor, messages[0], world.now)
    assert world.metric("notifications_sent_total", status="dead") == 4
    assert world.push.requests == world.mail.requests == []
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    world.deliver()
    assert world.statuses() == ["accepted", "dead", "dead", "dead", "merged"]  # the old one first


def test_a_message_without_words_harms_no_other(world: World) -> None:
    broken, person = world.person(token="broken"), world.person()
    world.put("model_promoted", broken, {})
    world.offer(person)
    world.deliver()
    assert world.statuses() == ["pending", "accepted"]
    world.deliver(later=timedelta(days=1))
    assert world.ask("SELECT status, reason FROM litgo.outbox WHERE recipient_id = %s", (broken,)) == [
        ("dead", "cannot be put into words (KeyError)")
    ]


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        ("model_promoted", {}),
        ("message_dead", {"message_id": 7, "about": "a kind of before"}),
        ("case_waits_no_more", {"case_id": None}),
        ("address_bad", {"person_id": None, "why": "quota"}),
        ("rows_gone", {"table": "cases", "rows": "7", "before": 70, "counted_at": "ontem"}),
    ],
)
def test_a_message_without_words_holds_up_no_other_to_the_same_person(
    world: World, kind: Any, payload: dict[str, Any]
) -> None:
    world.put(kind, TEAM, payload)
    for model in "12":
        world.put("model_promoted", TEAM, {"version": model, "reason": "é melhor"})
    world.deliver()
    assert world.statuses() == ["pending", "accepted", "merged"]
    world.put("promotion_frozen", TEAM, {"reason": "duas reversões"})
    world.deliver(later=30 * MINUTES)
    assert world.statuses() == ["pending", "accepted", "merged", "accepted"]
    world.deliver(later=timedelta(days=1))
    assert world.statuses() == ["dead", "accepted", "merged", "accepted"]


@pytest.mark.parametrize(
    "change",
    [
        'UPDATE public.contracts SET fee_model = \'{"type": "fixed", "value": 1e400}\'',
        'UPDATE public.contracts SET fee_model = \'{"type": "success", "percent": -1e400}\'',
        "UPDATE public.contracts SET fee_model = '\"x\"'",
        "UPDATE public.contracts SET fee_model = (repeat('[', 3000) || repeat(']', 3000))::jsonb",
        "UPDATE public.contracts SET fee_model = (repeat('[', 500) || repeat(']', 500))::jsonb",
        "UPDATE public.lawyers SET geo_latlon = NULL, lat = 1e400, lng = 'NaN'",
        "UPDATE public.lawyers SET geo_latlon = NULL, lat = -1e400, lng = 1e-400",
        "UPDATE public.cases SET coords = NULL, lat = 1e400, lng = 1e400",
    ],
)
def test_a_row_with_a_number_that_is_none_harms_no_message(world: World, change: str) -> None:
    first, second = world.person(token=None, email="bia@example.com"), world.person(token="t")
    world.manual(first, world.contract())
    world.offer(second)
    world.ask(change)
    world.deliver()
    assert world.statuses() == ["accepted", "accepted"]


def test_two_deliverers_at_once_and_a_hundred_people(world: World) -> None:
    for i in range(100):
        world.offer(world.person(token=f"token-{i}" if i % 2 else None, email=f"{i}@example.com"))
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(world.deliver())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2
    assert set(world.statuses()) == {"accepted"}
    assert len({r.json()["include_subscription_ids"][0] for r in world.push.requests}) == 50 == len(world.push.requests)
    to = [r.json()["personalizations"][0]["to"][0]["email"] for r in world.mail.requests]
    assert len(set(to)) == 50 == len(to)
    assert world.metric("notifications_sent_total", status="accepted") == 100
    assert world.metric("notifications_possible_duplicates_total") == 0


def test_a_slow_answer_holds_up_no_other(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """More are claimed while it is under way, and it is not claimed with them."""
    monkeypatch.setattr(delivery, "BATCH", 2)
    for i in range(WORKERS + 1):
        world.offer(world.person(token=f"token-{i}"))
    asked: list[int] = []

    def slowest(handler: faults.Handler) -> None:
        while len(world.push.requests) <= WORKERS and handler.pause(0.05):
            pass
        asked.append(len(world.push.requests))
        PUSHED(handler)

    world.push.faults = (slowest, PUSHED)
    assert world.deliver().statuses == {("push", "accepted"): WORKERS + 1}
    assert asked == [WORKERS + 1] == [len(world.push.requests)]


def test_what_there_is_no_time_for_is_let_go(world: World) -> None:
    """WORKERS are under way when the time is up and are waited for; the others are nobody's."""

    def slowly(handler: faults.Handler) -> None:
        handler.pause(0.6)
        PUSHED(handler)

    many = WORKERS + 4
    for i in range(many):
        world.offer(world.person(token=f"token-{i}"))
    world.push.faults = (slowly,)
    world.deliver(seconds=0.5)
    assert world.let_leases_pass() == 0
    assert len(world.push.requests) == world.statuses().count("accepted") <= WORKERS
    world.deliver()
    assert world.statuses() == ["accepted"] * many
    assert len({request.json()["idempotency_key"] for request in world.push.requests}) == many


def test_a_dead_letter_that_is_let_go_again_comes_first(world: World) -> None:
    """And alone, with its PDF, although a later message had its delivery already."""
    person, contract = world.person(token=None, email=None), world.contract()
    dead = world.manual(person, contract)
    world.deliver(later=timedelta(days=1))
    world.put("contract_signed", person, {"contract_id": contract})
    world.deliver()
    assert world.statuses() == ["dead", "pending"]
    with kept(world.url) as connection, connection, connection.cursor() as cursor:
        assert queue.retry(cursor, dead, world.now)
    world.ask("UPDATE profiles SET email = 'ana@example.com' WHERE id = %s", (person,))
    world.deliver(later=16 * MINUTES)
    assert world.statuses() == ["accepted", "pending"]
    world.deliver(later=6 * MINUTES)
    assert world.statuses() == ["accepted", "accepted"]
    assert ["attachments" in request.json() for request in world.mail.requests] == [True, False]


def test_no_log_line_holds_a_name_an_address_or_a_key(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.offer(world.person(email="ana@example.com\n"))
    world.push.faults, world.mail.faults = (faults.status(401),), (faults.status(400),)
    world.deliver()
    told = caplog.text + str(world.ask("SELECT reason FROM litgo.deliveries UNION SELECT reason FROM litgo.outbox"))
    assert "HTTP 400" in told
    for secret in ("Ana", "example.com", "token", "secret"):
        assert secret not in told


def deliver_patiently(url: str, push: str, mail: str) -> None:
    onesignal = OneSignal(app_id="app", base_url=push, database_url=url, timeout_seconds=60, deadline_seconds=60)
    sendgrid = SendGrid(base_url=mail, database_url=url, timeout_seconds=60, deadline_seconds=60)
    with kept(url) as connection:
        Deliverer(connection, onesignal, sendgrid, clock=lambda: START).run()


@pytest.mark.slow
def test_killed_in_the_middle_everything_arrives_and_only_emails_twice(world: World) -> None:
    """The first ones of each provider are taken and never answered: what a process sees that is killed right then."""
    for i in range(30):
        world.offer(world.person(token=f"token-{i}" if i % 2 else None, email=f"{i}@example.com"))
    world.push.faults = (PUSHED, PUSHED, *[faults.hang] * 28)
    world.mail.faults = (MAILED, MAILED, *[faults.hang] * 28)
    child = Child(deliver_patiently, world.url, world.push.url, world.mail.url)
    until(lambda: len(world.push.requests) + len(world.mail.requests) >= 4 + WORKERS, 120, "requests to be killed in")
    child.kill()
    assert child.wait() == -signal.SIGKILL
    pushed, mailed = [list(server.requests) for server in (world.push, world.mail)]
    assert len(pushed) + len(mailed) == 4 + WORKERS  # answered, and under way
    assert Counter(world.statuses()) == {"accepted": 4, "pending": 26}
    world.push.faults, world.mail.faults = (PUSHED,), (MAILED,)
    world.deliver()
    assert Counter(world.statuses()) == {"accepted": 4, "pending": 26}  # another's lease is respected
    assert world.let_leases_pass() == 26
    world.deliver()
    assert set(world.statuses()) == {"accepted"}
    keys = Counter(r.json()["idempotency_key"] for r in [*pushed, *world.push.requests])
    assert len(keys) == 15
    mails = Counter(r.json()["personalizations"][0]["to"][0]["email"] for r in [*mailed, *world.mail.requests])
    assert len(mails) == 15
    twice = sum(n == 2 for n in mails.values())
    assert twice == len(mailed) - 2
    assert max(mails.values()) == 2
    assert world.metric("notifications_possible_duplicates_total", type="email") == twice
    assert world.metric("notifications_possible_duplicates_total", type="push") == 0
    assert world.metric("notifications_sent_total", status="accepted") == 30
