"""Indexes on the marketplace's tables: theirs are good enough, ours are made beside its work."""

import threading
import time
from contextlib import closing

import psycopg2
import pytest

from litgo_pipelines.database import libpq
from litgo_pipelines.marketplace import indexes
from litgo_pipelines.marketplace.migrate import MigrationError, migrate
from litgo_pipelines_tests.support import HERE, execute, until
from litgo_pipelines_tests.worlds.live_schema import LiveMarketplace
from litgo_pipelines_tests.worlds.sessions import ask

OURS = "SELECT relname FROM pg_class WHERE relkind = 'i' AND relname ^@ 'litgo_' ORDER BY 1"


def test_an_index_of_theirs_that_serves_is_good_enough(live: LiveMarketplace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITGO_MARKETPLACE_MAPPING", "litgo")
    execute(
        live.url,
        "CREATE INDEX mine ON public.cases (client_id, created_at, area)",
        "CREATE INDEX half ON public.offers (sent_at)",
        "CREATE INDEX other ON public.contracts (created_at) WHERE status = 'active'",
    )
    done = migrate(live.url)
    assert "the index offers_expires_at_idx serves as litgo_offers_pending" in done
    assert "the index mine serves as litgo_cases_client" in done
    assert "the index idx_contracts_created_at serves as litgo_contracts_pending" in done
    assert "the index idx_contracts_lawyer_id serves as litgo_contracts_open" in done
    assert "made the index litgo_offers_sent" in done
    made = {name for (name,) in ask(live.url, OURS)}
    assert made & {"litgo_offers_pending", "litgo_cases_client", "litgo_contracts_pending"} == set()
    assert migrate(live.url) == []


@pytest.mark.parametrize(
    "change",
    [
        "DROP INDEX public.litgo_offers_sent",
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'public.litgo_offers_sent'::regclass",
        "DROP INDEX public.litgo_offers_sent; CREATE INDEX litgo_offers_sent ON public.offers (lawyer_id)",
        "ALTER INDEX public.litgo_offers_sent RENAME TO x; DROP INDEX public.x",
    ],
)
def test_an_index_that_is_gone_broken_or_another_is_made_again(database_url: str, change: str) -> None:
    execute(database_url, *change.split("; "))
    assert migrate(database_url) == ["made the index litgo_offers_sent"]
    assert ask(
        database_url,
        "SELECT pg_get_indexdef(i.indexrelid), indisvalid FROM pg_index i "
        "WHERE indexrelid = 'public.litgo_offers_sent'::regclass",
    ) == [("CREATE INDEX litgo_offers_sent ON public.offers USING btree (sent_at, lawyer_id)", True)]
    assert migrate(database_url) == []


def test_an_idle_transaction_delays_an_index_and_stops_no_writer(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexes, "BUILD_TIMEOUT", "300ms")
    monkeypatch.setattr(indexes, "PAUSE", 0.1)
    execute(database_url, "DROP INDEX public.litgo_offers_sent")
    with closing(psycopg2.connect(libpq(database_url))) as idle:
        idle.cursor().execute("UPDATE public.offers SET status = status")
        (line,) = migrate(database_url)
        assert line.startswith("the index litgo_offers_sent is not made: an open transaction of somebody else")
        assert "idle in transaction" in line
    assert ask(
        database_url,
        "SELECT count(*) FROM pg_index WHERE indisvalid AND indexrelid = to_regclass('public.litgo_offers_sent')",
    ) == [(0,)]
    assert migrate(database_url) == ["made the index litgo_offers_sent"]


def test_alter_never_makes_readers_wait_behind_an_idle_transaction(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexes, "LOCK_TIMEOUT", "300ms")
    monkeypatch.setattr(indexes, "PAUSE", 0.1)
    execute(database_url, "DROP SCHEMA litgo_source CASCADE", "ALTER TABLE public.lawyers DROP COLUMN cases_30d")
    waited: list[float] = []
    over = threading.Event()

    def read() -> None:
        with closing(psycopg2.connect(libpq(database_url))) as reader:
            reader.autocommit = True
            while not over.is_set():
                began = time.monotonic()
                reader.cursor().execute("SELECT count(*) FROM public.lawyers")
                waited.append(time.monotonic() - began)

    with closing(psycopg2.connect(libpq(database_url))) as idle:
        idle.cursor().execute("SELECT count(*) FROM public.lawyers")
        readers = threading.Thread(target=read)
        readers.start()
        try:
            with pytest.raises(MigrationError, match=r"open transactions keep the tables .* idle in transaction"):
                migrate(database_url)
        finally:
            over.set()
            readers.join()
    assert max(waited) < 2
    assert "existing marketplace: added lawyers.cases_30d (int)" in migrate(database_url)


def test_of_a_reader_and_a_migration_that_wait_for_each_other_the_migration_gives_way(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexes, "PAUSE", 0.1)
    execute(database_url, "UPDATE litgo.source_mapping SET rendering_sha256 = 'of another version'")
    waits = f"SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock' AND {HERE}"
    done: list[list[str]] = []
    migration = threading.Thread(target=lambda: done.append(migrate(database_url)))
    with closing(psycopg2.connect(libpq(database_url))) as reader, reader.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM litgo_source.reviews")  # whose view is dropped last
        migration.start()
        until(lambda: ask(database_url, waits) != [(0,)], 10, "the migration waits for the reader")
        cursor.execute("SELECT count(*) FROM litgo_source.lawyers")  # whose view it has dropped by now
        reader.commit()
    migration.join(30)
    assert done
    assert migrate(database_url) == []
