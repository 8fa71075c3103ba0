"""Accounts, sessions, tries, hosts and origins, as pure functions; and who a proxy may speak for."""

import pytest
from starlette.datastructures import Headers
from typer.testing import CliRunner

from litgo_pipelines.cli import app
from litgo_pipelines.observability.hosts import Hosts
from litgo_pipelines.runtime.ui.accounts import Sessions, Tries, hashed, matches, read_accounts
from litgo_pipelines.runtime.ui.doors import Access
from litgo_pipelines.runtime.ui.rules import as_pages_send, local_path, only_reads, same_origin
from litgo_pipelines.settings import Settings, SettingsError

HASH, OTHER = (f"scrypt.15.8.1.{letter * 22}.{letter * 43}" for letter in "AE")  # of no password


def test_a_hash_belongs_to_one_password() -> None:
    own = hashed("a long password")
    assert len(own) == len(HASH)
    assert matches("a long password", own)
    assert not matches("A long password", own)
    assert not matches("", own)
    assert hashed("a long password") != own, "each has its own salt"
    assert not set(own) & set("$:;, \\\"'#")


@pytest.mark.parametrize(
    "entry",
    [
        "ana",
        "ana:operator",
        f"ana:admin:{HASH}",
        f":operator:{HASH}",
        f"an|a:operator:{HASH}",
        "ana:operator:secret-in-clear",
        f"ana:operator:{HASH}x",
        f"ana:operator:{HASH.replace('scrypt.15', 'scrypt.1')}",
        f"ana:operator:{HASH} ana:viewer:{OTHER}",
    ],
    ids=range(9),
)
def test_an_account_that_cannot_be_used_stops_the_start_without_its_hash(entry: str) -> None:
    with pytest.raises(SettingsError, match="LITGO_UI_USERS") as refused:
        read_accounts(entry)
    assert HASH not in str(refused.value)
    assert "secret-in-clear" not in str(refused.value)


def test_a_session_ends_with_its_time_its_password_and_its_account() -> None:
    accounts = read_accounts(f"ana:operator:{HASH} olga:viewer:{HASH}")
    sessions = Sessions(b"k" * 32, accounts, seconds=60)
    value = sessions.issue(accounts["ana"], now=1000)
    found = sessions.read(value, now=1059)
    assert found is not None
    assert (found.name, found.operator) == ("ana", True)
    assert sessions.read(value, now=1061) is None
    name, expires, signature = value.split(".")
    other_name = sessions.issue(accounts["olga"], now=1000).split(".")[0]
    for forged in (
        f"{other_name}.{expires}.{signature}",
        f"{name}.{int(expires) + 1}.{signature}",
        f"{name}.{expires}.{signature[:-1]}",
        f"{name}.{expires}.é",
        f"{name}.{expires}",
        "",
        "...",
        "\x00.1.a",
    ):
        assert sessions.read(forged, now=1000) is None, forged
    for key, changed in (
        (b"j" * 32, accounts),
        (b"k" * 32, read_accounts(f"ana:operator:{OTHER}")),
        (b"k" * 32, read_accounts(f"olga:viewer:{HASH}")),
    ):
        assert Sessions(key, changed, 60).read(value, now=1000) is None


def test_tries_wait_for_the_window_and_are_bounded() -> None:
    tries = Tries(limit=3, seconds=60, keys=5)
    for at in (0, 10, 20):
        assert tries.wait("a", at) == 0
        tries.count("a", at)
    assert tries.wait("a", 21) == pytest.approx(39)
    assert tries.wait("b", 21) == 0
    assert tries.wait("a", 61) == 0
    for number in range(50):
        tries.count(f"key {number}", 100)
    assert len(tries._failed) == 5


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("localhost", True),
        ("LOCALHOST:3000", True),
        ("[::1]:8080", True),
        ("dagster.example:8443", True),
        ("dagster.example", False),
        ("localhost.evil.example", False),
        ("evil.example:localhost", False),
        ("localhost@evil.example", False),
        ("localhost:3000:4000", False),
        ("localhost\\evil", False),
        ("localhost ", False),
        ("", False),
    ],
)
def test_hosts_are_matched_whole(host: str, allowed: bool) -> None:
    assert Hosts.read("localhost, 127.0.0.1,[::1],dagster.example:8443").allow(host) == allowed


@pytest.mark.parametrize("text", ["", " , ", "http://localhost", "*", "a b", "local/host"])
def test_a_list_of_hosts_that_cannot_be_meant_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="DAGSTER_ALLOWED_HOSTS"):
        Hosts.read(text)


@pytest.mark.parametrize(
    ("origin", "host", "same"),
    [
        ("http://localhost:3000", "localhost:3000", True),
        ("http://LOCALHOST:3000", "localhost:3000", True),
        ("https://dagster.example", "dagster.example", True),
        ("https://dagster.example", "dagster.example:443", True),
        ("http://localhost:3001", "localhost:3000", False),
        ("https://dagster.example", "dagster.example:80", False),
        ("https://dagster.example.evil", "dagster.example", False),
        ("file://localhost", "localhost", False),
        ("null", "null", False),
        ("", "localhost", False),
        ("localhost", "localhost", False),
    ],
)
def test_an_origin_is_the_page_s_own(origin: str, host: str, same: bool) -> None:
    assert same_origin(origin, host) == same


@pytest.mark.parametrize(
    ("document", "reads"),
    [
        ("{a}", True),
        ("query Q {a} query R {b}", True),
        ("subscription {a}", True),
        ("fragment F on T {a} query {...F}", True),
        ("mutation {a}", False),
        ("query Q {a} mutation M {b}", False),
        ("#query\nmutation{a}", False),
        (",,,mutation{a}", False),
        ("\ufeffmutation {a}", False),
        ('query Q {a} # mutation\nmutation M @x(a: "query") {b}', False),
        ("", False),
        ("{", False),
        ("{a" * 5000, False),
        ("{" + "a " * 30_000 + "}", False),
        (None, False),
        (["mutation {a}"], False),
    ],
)
def test_a_document_that_changes_or_cannot_be_read_is_seen(document: object, reads: bool) -> None:
    assert only_reads(document) == reads


def test_types_that_forms_can_send_are_told_apart() -> None:
    assert as_pages_send("application/json")
    assert as_pages_send("Application/JSON; charset=utf-8")
    for other in (
        "",
        "text/plain",
        "text/plain;application/json",
        "application/x-www-form-urlencoded; application/json",
        "multipart/form-data; boundary=application/json",
        "application/jsonp",
    ):
        assert not as_pages_send(other)


@pytest.mark.parametrize(
    "path", ["//evil.example", "https://evil.example", "/\\evil.example", "\\\\e", "", "x", "/a\nb"]
)
def test_the_login_leads_to_this_site_only(path: str) -> None:
    assert local_path(path) == "/"
    assert local_path("/runs?a=/b") == "/runs?a=/b"


def scope(address: str) -> dict:
    return {"type": "http", "client": (address, 1)}


def test_a_proxy_speaks_for_people_from_its_own_address_only() -> None:
    access = Access.read(
        Settings(
            litgo_ui_proxy_header="X-Forwarded-User",
            litgo_ui_proxies="10.0.0.5, fd00::/8",
            litgo_ui_proxy_operators="ana",
        )
    )
    named = Headers({"x-forwarded-user": "ana"})
    found = access.identity(scope("10.0.0.5"), named, 0)
    assert found is not None
    assert found.operator
    viewer = access.identity(scope("fd00::1"), Headers({"x-forwarded-user": "olga"}), 0)
    assert viewer is not None
    assert not viewer.operator
    twice = Headers(raw=[(b"x-forwarded-user", b"olga"), (b"x-forwarded-user", b"ana")])
    assert access.identity(scope("10.0.0.5"), twice, 0) is None
    assert access.identity(scope("10.0.0.6"), named, 0) is None, "somebody else's header"
    assert access.identity(scope("10.0.0.5"), Headers({}), 0) is None
    assert access.identity(scope("10.0.0.5"), Headers({"x-forwarded-user": "unauthenticated"}), 0) is None
    assert access.identity({"type": "http", "client": None}, named, 0) is None


def test_the_address_behind_a_proxy_is_believed_from_the_proxy_only() -> None:
    access = Access.read(Settings(litgo_ui_proxies="10.0.0.5"))
    forwarded = Headers({"x-forwarded-for": "6.6.6.6, 9.9.9.9"})
    assert access.address(scope("10.0.0.5"), forwarded) == "9.9.9.9"
    assert access.address(scope("10.0.0.7"), forwarded) == "10.0.0.7"


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"litgo_ui_proxy_header": "X-User"}, "LITGO_UI_PROXIES"),
        ({"litgo_ui_proxies": "everywhere"}, "LITGO_UI_PROXIES"),
        ({"litgo_ui_session_key": "short"}, "LITGO_UI_SESSION_KEY"),
    ],
)
def test_settings_that_open_a_door_by_mistake_stop_the_start(given: dict[str, str], named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        Access.read(Settings.model_validate(given))


def test_the_public_address_is_a_name_it_is_reached_under() -> None:
    access = Access.read(Settings(dagster_url="https://dagster.example/ui"))
    assert access.hosts.allow("dagster.example")
    assert access.secure
    assert not access.hosts.allow("other.example")


def test_the_command_prints_an_account_that_works() -> None:
    asked = CliRunner().invoke(app, ["ui-user", "ana", "--viewer"], input="a long password\na long password\n")
    assert asked.exit_code == 0, asked.output
    account = read_accounts(asked.stdout.splitlines()[-1])["ana"]
    assert account.role == "viewer"
    assert matches("a long password", account.password_hash)
    assert CliRunner().invoke(app, ["ui-user", "ana"], input="short\nshort\n").exit_code == 2
    assert CliRunner().invoke(app, ["ui-user", "a:b"]).exit_code == 2
