"""Ids as a person types them. Pure."""

import re
from uuid import UUID

# Python reads more: digits of any script; a sign or an underscore in place of a digit, which makes it another's id.
_WRITTEN = re.compile(r"[0-9a-fA-F]{8}(-?)[0-9a-fA-F]{4}\1[0-9a-fA-F]{4}\1[0-9a-fA-F]{4}\1[0-9a-fA-F]{12}")


def identifier(given: str) -> str:
    """The id as the database writes it, blanks around it aside. Raises ValueError."""
    text = given.strip()
    if not _WRITTEN.fullmatch(text):
        raise ValueError("no id, which looks like 123e4567-e89b-12d3-a456-426614174000")
    return str(UUID(text))
