"""Addresses that are none, addresses nobody reads, and a push subscription that comes back."""

import json
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest

from litgo_pipelines.database import open_connection
from litgo_pipelines.notifications.addresses import BadAddress, address, digest
from litgo_pipelines.notifications.suppressions import Polled, poll
from litgo_pipelines.resources import sendgrid
from litgo_pipelines.resources.external_service import PermanentFailure, ServiceFailure
from litgo_pipelines.resources.sendgrid import LISTS, SendGrid
from litgo_pipelines.simulation import faults
from litgo_pipelines.simulation.faults import FaultServer
from litgo_pipelines_tests.worlds.notifications import PUSHED, START, World, subscription

NOT_SUBSCRIBED = faults.json_answer({"id": "", "errors": ["All included players are not subscribed"]})


@pytest.mark.parametrize(
    ("written", "sent_to"),
    [
        ("ana@example.com", "ana@example.com"),
        ("  ana@example.com \n", "ana@example.com"),
        ("\u200bana@example.com\ufeff", "ana@example.com"),
        ("\xa0Ana.Souza+litgo@Example.COM.br", "Ana.Souza+litgo@example.com.br"),
        ("ana@advocacia-são-paulo.com.br", "ana@xn--advocacia-so-paulo-ctb.com.br"),
        ("ａｎａ＠example.com", "ana@example.com"),
        ("ana＠example.com", "ana@example.com"),
        ("mailto:ana@example.com", "ana@example.com"),
        ("MAILTO: ana@example.com", "ana@example.com"),
        ("ana@example。com", "ana@example.com"),
        ("ana@XN--Advocacia-so-paulo-ctb.com.br", "ana@xn--advocacia-so-paulo-ctb.com.br"),
        ("o'brien@example.com", "o'brien@example.com"),
        ("", None),
        ("   ", None),
        ("\u200b", None),
        (None, None),
    ],
)
def test_an_address_is_trimmed_and_blank_is_none(written: str | None, sent_to: str | None) -> None:
    assert address(written) == sent_to


@pytest.mark.parametrize(
    "written",
    [
        "ana",
        "ana@",
        "@example.com",
        "ana@example",
        "ana@@example.com",
        "ana souza@example.com",
        "ana@exa mple.com",
        "ana@example..com",
        ".ana@example.com",
        "ana.@example.com",
        "a..b@example.com",
        "ana@example.com, bia@example.com",
        "Ana <ana@example.com>",
        "ana@[127.0.0.1]",
        "ana@127.0.0.1",
        "ana@-example.com",
        "josé@example.com",
        f"{'a' * 65}@example.com",
        f"ana@{'a' * 250}.com",
        "não tem",
        "ana@example.com;",
        "ana\n@example.com",
        '"a b"@example.com',
        "ana@example,com",
        "ana@exam_ple.com",
        "ana@xn--a.com",
        "ana@😀.com",
        "ana@example.c0m",
        "ana[at]example.com",
        "ana@example.com (trabalho)",
        "ana@example.com/bia@example.com",
        "ana@example.com\r\nBcc: bia@example.com",
        "ana@example.com\x00",
    ],
)
def test_what_is_no_address_is_said_to_be_none(written: str) -> None:
    with pytest.raises(BadAddress) as caught:
        address(written)
    assert written not in str(caught.value)


@pytest.mark.parametrize("written", ["ana at example", "ana@example", "Ana <ana@example.com>"])
def test_a_bad_address_tells_the_team_once_and_the_push_still_goes(world: World, written: str) -> None:
    person = world.person(email=written)
    world.offer(person)
    world.offer(person)
    world.deliver()
    assert [request.json()["app_id"] for request in world.push.requests] == ["app"]
    world.deliver(later=timedelta(hours=1))
    told = world.ask("SELECT recipient_id::text, payload FROM litgo.outbox WHERE kind = 'address_bad'")
    assert told == [("00000000-0000-0000-0000-000000000000", {"person_id": person, "why": "not_an_address"})]
    assert [request.json()["personalizations"][0]["to"] for request in world.mail.requests] == [
        [{"email": "equipe@example.com"}]
    ]


@pytest.mark.parametrize("written", ["", "   ", "\t"])
def test_a_blank_address_is_none_and_nothing_to_tell(world: World, written: str) -> None:
    world.offer(world.person(token=" ", email=written))
    world.deliver()
    assert world.ask("SELECT reason FROM litgo.deliveries") == [
        ("no push token in the profile; no e-mail address in the profile",)
    ]
    assert world.ask("SELECT count(*) FROM litgo.outbox WHERE kind = 'address_bad'") == [(0,)]
    assert not world.mail.requests


def lists(**found: list[str]) -> Callable[[faults.Request], faults.Fault]:
    """SendGrid's lists by name, in pages of at most the limit asked for."""

    def answer(request: faults.Request) -> faults.Fault:
        path, _, query = request.path.partition("?")
        asked = dict(part.split("=") for part in query.split("&"))
        rows = found.get(path.rsplit("/", 1)[1], [])
        start, size = int(asked["offset"]), int(asked["limit"])
        assert request.method == "GET"
        assert 0 < size <= 500
        created = int(START.timestamp())
        return faults.json_answer(
            [
                {"created": created, "email": each, "reason": "550", "status": "5.1.1"}
                for each in rows[start : start + size]
            ]
        )

    return answer


def answering(server: FaultServer, answer: Callable[[faults.Request], faults.Fault]) -> None:
    def next_fault(request: faults.Request) -> faults.Fault:
        server.requests.append(request)
        return answer(request)

    server._server.next_fault = next_fault  # type: ignore[method-assign]


def polled(world: World, answer: Callable[[faults.Request], faults.Fault]) -> Polled:
    with FaultServer() as server, closing(open_connection(world.url)) as connection:
        answering(server, answer)
        sendgrid = SendGrid(base_url=server.url, timeout_seconds=5, deadline_seconds=10, database_url=world.url)
        return poll(connection, sendgrid, world.now)


def test_lists_are_read_to_their_end(world: World) -> None:
    many = [f"a{number}@example.com" for number in range(1_001)]
    found = polled(world, lists(bounces=many, spam_reports=["Bia@Example.com"]))
    others = {"blocks": 0, "invalid_emails": 0, "unsubscribes": 0}
    assert found.known == {"bounces": 1_001, "spam_reports": 1} | others
    assert (found.fresh, world.metric("mail_suppressions_total", list="bounces")) == (1_002, 1_001)
    assert world.ask("SELECT count(*) FROM litgo.mail_suppressions") == [(1_002,)]
    assert world.ask(
        "SELECT count(*) FROM litgo.mail_suppressions WHERE digest = %s", (digest("bia@example.com"),)
    ) == [(1,)]
    again = polled(world, lists(bounces=many[:1_000], spam_reports=["bia@example.com"]))
    assert again.fresh == 0
    assert world.ask("SELECT count(*) FROM litgo.mail_suppressions") == [(1_001,)]


def test_an_address_that_cannot_be_one_hides_no_other(world: World) -> None:
    found = polled(world, lists(bounces=["a\x00@example.com", "\ud83d@example.com", "ana@example.com"]))
    assert found.known["bounces"] == 3
    assert (digest("ana@example.com"),) in world.ask("SELECT digest FROM litgo.mail_suppressions")


@pytest.mark.parametrize(
    "fault", [faults.status(500), faults.status(401), faults.html, faults.json_answer({"errors": []})]
)
def test_a_list_that_cannot_be_read_stays_as_it_was(world: World, fault: faults.Fault) -> None:
    polled(world, lists(bounces=["ana@example.com"]))
    full = [f"a{number}@example.com" for number in range(500)]

    def broken(request: faults.Request) -> faults.Fault:
        return fault if "offset=500" in request.path else lists(bounces=full)(request)

    with pytest.raises(ServiceFailure):
        polled(world, broken)
    assert world.ask("SELECT digest FROM litgo.mail_suppressions") == [(digest("ana@example.com"),)]


@pytest.mark.parametrize("name", LISTS)
def test_a_message_to_a_suppressed_address_goes_by_push_and_is_counted(world: World, name: str) -> None:
    with_contract = world.person(email=" Ana@Example.com ")
    world.ask(
        "INSERT INTO litgo.mail_suppressions (list, digest, since) VALUES (%s, %s, %s)",
        (name, digest("ana@example.com"), START),
    )
    world.manual(with_contract, world.contract())
    world.deliver()
    assert (len(world.push.requests), len(world.mail.requests)) == (1, 0)
    assert world.metric("notifications_suppressed_total", instead="push") == 1


def test_without_a_push_a_bounced_address_waits_and_a_block_is_tried(world: World) -> None:
    for name, email in (("bounces", "ana@example.com"), ("blocks", "bia@example.com")):
        world.ask(
            "INSERT INTO litgo.mail_suppressions (list, digest, since) VALUES (%s, %s, %s)",
            (name, digest(email), START),
        )
        world.offer(world.person(token=None, email=email))
    world.deliver()
    assert [request.json()["personalizations"][0]["to"][0]["email"] for request in world.mail.requests] == [
        "bia@example.com"
    ]
    (reason,) = world.ask("SELECT reason FROM litgo.deliveries WHERE status = 'open'")
    assert reason == ("no push token in the profile; the e-mail address is on SendGrid's list of bounces",)


def test_what_was_accepted_and_bounced_goes_another_way(world: World) -> None:
    person = world.person(token=None)
    world.offer(person)
    world.deliver()
    assert world.statuses() == ["accepted"]
    world.ask("UPDATE profiles SET push_token = %s WHERE id = %s", (subscription("token"), person))
    found = polled(world, lists(bounces=["ANA@example.com"]))
    assert (found.fresh, found.again) == (1, 1)
    told = world.ask("SELECT payload FROM litgo.outbox WHERE kind = 'address_bad'")
    assert told == [({"person_id": person, "why": "bounces"},)]
    world.deliver(later=timedelta(minutes=10))
    assert len(world.push.requests) == 1
    assert polled(world, lists(bounces=["ana@example.com"])).again == 0
    for name in ("spam_reports", "unsubscribes"):
        assert polled(world, lists(**{name: ["ana@example.com"]})).again == 0  # it had arrived


@pytest.mark.parametrize(
    "email",
    [
        "Ana@Advocacia-São-Paulo.com.br",
        "mailto:ana@example.com",
        "\u200bana@example.com\ufeff",
        "ana＠example.com",
        "\tana@example.com\n",
        "\u2066ana@example.com\u2069",
    ],
)
def test_a_bounce_is_its_persons_however_the_profile_writes_the_address(world: World, email: str) -> None:
    person = world.person(token=None, email=email)
    world.offer(person)
    world.deliver()
    (request,) = world.mail.requests
    (sent_to,) = request.json()["personalizations"][0]["to"]
    assert polled(world, lists(bounces=[sent_to["email"]])).again == 1
    assert world.ask("SELECT payload FROM litgo.outbox WHERE kind = 'address_bad'") == [
        ({"person_id": person, "why": "bounces"},)
    ]


@pytest.mark.parametrize(
    ("name", "to", "greeting"),
    [
        ("Silva, Ana", "Silva Ana", "Silva"),
        ("Ana; Bia <bia@example.com>", "Ana Bia bia example.com", "Ana"),
        ("O'Neil <Ana>", "O'Neil Ana", "O'Neil"),
        ("Dra. Ana Souza", "Dra. Ana Souza", "Ana"),
        ("Ana\r\nBcc: bia@example.com", "Ana Bcc bia example.com", "Ana"),
        ("\u202e\u200bAna", "Ana", "Ana"),
        ("𝓐𝓷𝓪 🌹", "Ana", "Ana"),
        ("JosÃ©", "José", "José"),
        ("A" * 500, "A" * 100, "A" * 100),
        ("Dr.Ana Souza", "Dr.Ana Souza", "Ana"),
        ("D'Ávila-", "D'Ávila-", "D'Ávila"),
        ("नमिता शर्मा", "नमिता शर्मा", "नमिता"),
        # what a mail program would make a link of
        ("https://ganhe.example/x", None, None),
        ("Clique https://ganhe.example Ana", "Clique https //ganhe.example Ana", "Clique"),
        ("www.ganhe.example", None, None),
        ("ganhe.example", "ganhe.example", "ganhe"),
        ("Clique_aqui@.https.www.ganhe.example", None, None),
        ("ana@example.com", None, None),
        (" - ", None, None),
        ("null", None, None),
        ("<b>Ana</b>", None, None),
        ("{{ user.name }}", None, None),
    ],
)
def test_a_name_beside_an_address_is_never_read_as_another_one(
    world: World, name: str, to: str | None, greeting: str | None
) -> None:
    """SendGrid takes what follows a comma or a semicolon in a name for an address, and drops the message."""
    person = world.person(token=None)
    world.ask("UPDATE public.profiles SET full_name = %s WHERE id = %s", (name, person))
    world.offer(person)
    world.deliver()
    (request,) = world.mail.requests
    assert request.json()["personalizations"][0]["to"] == [{"email": "ana@example.com", **({"name": to} if to else {})}]
    assert request.json()["content"][0]["value"].splitlines()[0] == (f"Olá, {greeting}!" if greeting else "Olá!")


def test_after_not_subscribed_another_key_for_a_subscription_that_came_back(world: World) -> None:
    world.push.faults = (NOT_SUBSCRIBED, PUSHED)
    world.offer(world.person(email=None))
    world.deliver()
    world.deliver(later=timedelta(minutes=20))
    first, second = [json.loads(request.body)["idempotency_key"] for request in world.push.requests]
    assert first != second
    assert world.statuses() == ["accepted"]


def test_a_push_in_doubt_keeps_its_key(world: World) -> None:
    world.push.faults = (faults.reset, faults.status(503), PUSHED)
    world.offer(world.person(email=None))
    for _ in range(3):
        world.deliver(later=timedelta(minutes=1))
    keys: set[Any] = {json.loads(request.body)["idempotency_key"] for request in world.push.requests}
    assert (len(world.push.requests), len(keys)) == (3, 1)


def test_a_list_without_an_end_is_an_error(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sendgrid.PAGE * sendgrid.MOST_PAGES == 200_000
    monkeypatch.setattr(sendgrid, "MOST_PAGES", 40)
    page = [{"created": 1, "email": "a@example.com"}] * 500
    with pytest.raises(PermanentFailure, match="clear the list"):
        polled(world, lambda request: faults.json_answer(page))
