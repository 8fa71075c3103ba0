from datetime import UTC, datetime

AS_OF = datetime(2026, 6, 1, tzinfo=UTC)
