"""Transactions that are tried again, and those that are not."""

from contextlib import closing
from typing import Any

import psycopg2
import pytest

from litgo_pipelines.database import in_transaction, open_connection

FAIL = "DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '{code}'; END $$"


@pytest.mark.parametrize(
    ("code", "failures", "tries"), [("40P01", 2, 3), ("40001", 1, 2), ("23505", 1, 1), ("40P01", 9, 3)]
)
def test_only_what_is_nobodys_fault_is_tried_again(database_url: str, code: str, failures: int, tries: int) -> None:
    done: list[int] = []

    def work(cursor: Any) -> str:
        done.append(1)
        cursor.execute("INSERT INTO profiles DEFAULT VALUES")
        if len(done) <= failures:
            cursor.execute(FAIL.format(code=code))
        return "done"

    with closing(open_connection(database_url)) as connection:
        if tries > failures:
            assert in_transaction(connection, work) == "done"
        else:
            with pytest.raises(psycopg2.Error):
                in_transaction(connection, work)
        with connection, connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM profiles")
            assert cursor.fetchone() == (1 if tries > failures else 0,)
    assert len(done) == tries
