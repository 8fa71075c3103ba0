"""Database URLs as people paste them: understood, or refused by the name of what is wrong. Connects to nothing."""

import re
from urllib.parse import quote

# Parameters that other programs read, and libpq would refuse.
_FOREIGN = (
    "pgbouncer",
    "connection_limit",
    "pool_timeout",
    "pool_mode",
    "prepared_statements",
    "statement_cache_size",
    "supa",
    "workaround",
)
_PARTS = re.compile(r"^(?P<scheme>[a-z0-9]+(?:\+\w+)?)://(?:(?P<user>[^:@/]*)(?::(?P<password>.*))?@)?(?P<rest>[^@]*)$")


class DatabaseRefused(ValueError):
    """A URL or a database that cannot be used as it is; the message says what to do."""


def normalise(url: str, database: str | None = None) -> str:
    """The URL with psycopg2's name, else as libpq reads it. Raises DatabaseRefused, without the password."""
    from sqlalchemy.engine import make_url  # an eighth of the code location's start-up

    understood = _escaped(_unwrapped(url))
    try:
        parsed = make_url(understood)
    except Exception:  # its message would hold the password
        raise DatabaseRefused("not a database URL: expected postgresql://user:password@host:port/database") from None
    if parsed.get_backend_name() not in ("postgresql", "postgres"):
        raise DatabaseRefused(f"only Postgres is supported, not {parsed.get_backend_name()!r}")
    if parsed.query.get("schema", "public") != "public":
        raise DatabaseRefused(
            "?schema= is not read: a marketplace's mapping names its schemas (LITGO_MARKETPLACE_MAPPING)"
        )
    if parsed.query.get("options"):
        raise DatabaseRefused(
            "?options= is not read, for poolers ignore it: take it out of the URL; limits and the search_path are set "
            "after connecting"
        )
    if (parsed.host and "," in parsed.host) or "," in str(parsed.query.get("host", "")):
        raise DatabaseRefused(
            "several hosts in the URL: name the one that takes writes, or a pooler's address in front of them"
        )
    parsed = parsed.difference_update_query([*_FOREIGN, "schema"])
    parsed = parsed.set(drivername="postgresql+psycopg2", database=database or parsed.database)
    return parsed.render_as_string(hide_password=False)


def _unwrapped(url: str) -> str:
    """Without blanks, line ends and quotation marks around it, and a variable's name before it."""
    text = re.sub(r"^\s*(export\s+)?[A-Z_]+=", "", url).strip().strip("\"'").strip()
    if re.search(r"\s", text):
        raise DatabaseRefused("the database URL has blanks or line ends inside: paste it as one line, a blank as %20")
    return text


def _escaped(url: str) -> str:
    """A password as it is typed: what has a meaning in URLs is escaped, what is escaped stays."""
    scheme, mark, rest = url.partition("://")
    found = _PARTS.match(url) if mark else None
    if found is None or not found["password"]:
        if mark and rest.count(",") and "@" not in rest and "/" in rest and "," in rest.split("/")[0]:
            raise DatabaseRefused("several hosts in the URL: name the one that takes writes")
        return url
    if "," in found["rest"].split("/")[0]:
        raise DatabaseRefused("several hosts in the URL: name the one that takes writes, or a pooler's address")
    password = quote(re.sub(r"%(?![0-9A-Fa-f]{2})", "%25", found["password"]), safe="%")
    return f"{scheme}://{found['user']}:{password}@{found['rest']}"
