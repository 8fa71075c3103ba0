"""Puts hand-written rows into the tables of a test's marketplace, with defaults for the rest."""

import json
import uuid
from datetime import datetime, timedelta
from typing import Any

from psycopg2.extras import execute_values

from litgo_pipelines.database import Connection


class Marketplace:
    """Inserts as attributes named after the tables; each returns the new row's id as text."""

    def __init__(self, connection: Connection, now: datetime) -> None:
        self.connection, self.now = connection, now

    def _insert(self, table: str, **values: Any) -> str:
        row = {"id": str(uuid.uuid4()), **values}
        if table == "case_matches":
            row.pop("id")
        adapted = {k: json.dumps(v) if isinstance(v, dict) else v for k, v in row.items()}
        with self.connection.cursor() as cursor:
            statement = f"INSERT INTO public.{table} ({', '.join(row)}) VALUES %s"
            execute_values(cursor, statement, [tuple(adapted.values())])
        return str(row.get("id", ""))

    def lawyer(self, **values: Any) -> str:
        defaults = {
            "name": "Ana",
            "primary_area": "Civil",
            "tags_expertise": ["Civil"],
            "geo_latlon": "(-46.63,-23.55)",
            "created_at": self.now - timedelta(days=400),
        }
        return self._insert("lawyers", **{**defaults, **values})

    def case(self, **values: Any) -> str:
        client = values.pop("client_id", None) or self._insert("profiles")
        defaults = {
            "client_id": client,
            "area": "Civil",
            "coords": "(-46.63,-23.55)",
            "created_at": self.now - timedelta(days=10),
        }
        return self._insert("cases", **{**defaults, **values})

    def everyone_consents(self) -> None:
        """Clients and lawyers let OpenAI see their texts."""
        with self.connection.cursor() as cursor:
            cursor.execute("UPDATE public.profiles SET ai_consent = true")
            cursor.execute(
                "INSERT INTO public.profiles (id, ai_consent) SELECT id, true FROM public.lawyers "
                "ON CONFLICT (id) DO UPDATE SET ai_consent = true"
            )

    def offer(self, case: str, lawyer: str, **values: Any) -> str:
        sent = values.pop("sent_at", self.now - timedelta(days=9))
        defaults = {"case_id": case, "lawyer_id": lawyer, "sent_at": sent, "expires_at": sent + timedelta(hours=24)}
        return self._insert("offers", **{**defaults, **values})

    def match(self, case: str, lawyer: str, **values: Any) -> None:
        defaults = {
            "case_id": case,
            "lawyer_id": lawyer,
            "created_at": self.now - timedelta(days=9, hours=1),
            "features": dict.fromkeys("ASTGQURC", 0.5),
        }
        self._insert("case_matches", **{**defaults, **values})

    def contract(self, case: str, lawyer: str, **values: Any) -> str:
        client = self._insert("profiles")
        defaults = {
            "case_id": case,
            "lawyer_id": lawyer,
            "client_id": client,
            "status": "active",
            "created_at": self.now - timedelta(days=8),
        }
        if values.get("status") == "closed":  # it was in force
            defaults |= dict.fromkeys(
                ("signed_client", "signed_lawyer"), values.get("created_at", defaults["created_at"])
            )
        return self._insert("contracts", **{**defaults, **values})

    def review(self, contract: str, lawyer: str, **values: Any) -> str:
        client = self._insert("profiles")
        defaults = {
            "contract_id": contract,
            "lawyer_id": lawyer,
            "client_id": client,
            "rating": 5,
            "outcome": "won",
            "created_at": self.now - timedelta(days=1),
        }
        return self._insert("reviews", **{**defaults, **values})
