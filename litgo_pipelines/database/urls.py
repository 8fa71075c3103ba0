"""Database URLs as people paste them: understood, or refused by the name of what is wrong. Connects to nothing."""

import re
import shlex
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, unquote, urlencode

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

# Parameters that other programs read, and libpq would refuse.
_FOREIGN = (
    "pgbouncer",
    "connection_limit",
    "pool",
    "pool_timeout",
    "pool_mode",
    "pool_max_conns",
    "socket_timeout",
    "prepared_statements",
    "prepared_statement_cache_size",
    "prepareThreshold",
    "default_query_exec_mode",
    "statement_cache_size",
    "statement_cache_capacity",
    "sslaccept",
    "uselibpqcompat",
    "ApplicationName",
    "reWriteBatchedInserts",
    "conn_max_age",
    "charset",
    "encoding",
    "serverVersion",
    "timezone",
    "supa",
    "workaround",
)
_SCHEMA = ("schema", "currentSchema", "search_path")
_SSL = {"true": "require", "1": "require", "require": "require", "false": "disable", "0": "disable"}
_NAMED = r"^\s*(?:export\s+)?[A-Za-z_][A-Za-z0-9_]*\s*[=:]\s*(?=[\"'“‘`]?\s*(?:jdbc:)?[a-z0-9+]+://)"
_AROUND = " \t\r\n\"'`“”‘’«»\ufeff\u200b"
_PARTS = r"^(?P<scheme>[a-z0-9]+(?:\+\w+)?)://(?:(?P<user>[^:@/]*)(?::(?P<password>.*))?@)?(?P<rest>[^@]*)$"
# The same with an @ in the parameters, which a password may hold as well.
_WITH_AT = (
    r"^(?P<scheme>[a-z0-9]+(?:\+\w+)?)://(?P<user>[^:@/]*):(?P<password>.*?)@(?P<rest>[\w.,:\[\]-]*/[^/?@#]*\?"
    r"(?:\w+=[^&]*&)*\w+=[^&]*@[^&]*(?:&\w+=[^&]*)*)$"
)
_PLACEHOLDER = r"\[[A-Z][A-Z_ -]*\]|<[a-z][a-z_ -]*>|\$\{?[A-Z_]+\}?"
# Of libpq's variables, those that are not PG and the parameter's name.
_VARIABLES = {"dbname": "PGDATABASE", "application_name": "PGAPPNAME", "connect_timeout": "PGCONNECT_TIMEOUT"}
_STANDBY = ("read-only", "standby", "prefer-standby")


_CREDENTIALS = r"(?i)\b([a-z][a-z0-9+.-]*://)[^\s/?#'\"]*(?::[^\s'\"]*)?@(?=[^\s@])"
_PASSWORD = r"(?i)\b(password|passwd|pwd|token|secret|api_?key)=[^\s&'\";]+"


def without_credentials(text: str) -> str:
    """A message in which no URL holds a user or password, and no parameter a password."""
    return re.sub(_PASSWORD, r"\1=***", re.sub(_CREDENTIALS, r"\1***@", text))


def passfile_lines(url: str) -> tuple[str, str] | None:
    """(the URL without its password, lines of a PGPASSFILE); None for a URL that has none, or names no host.

    libpq looks for each of several hosts by itself, and for its own folder of sockets by the name localhost.
    """
    from sqlalchemy.engine import URL, make_url

    parsed = make_url(url)
    host = parsed.host or parsed.query.get("host")  # a folder of sockets stands in the query
    if not parsed.password or not isinstance(host, str):
        return None
    plain = URL.create(
        parsed.drivername, parsed.username, None, parsed.host, parsed.port, parsed.database, parsed.query
    )
    hosts = [*host.split(","), *(["localhost"] if "/" in host else [])]
    who = (str(parsed.port or "*"), "*", parsed.username or "*", str(parsed.password))
    lines = [":".join(re.sub(r"([\\:])", r"\\\1", part) for part in (one, *who)) for one in hosts]
    return plain.render_as_string(hide_password=False), "\n".join(lines)


class DatabaseRefused(ValueError):
    """A URL or a database that cannot be used as it is; the message says what to do."""


def normalise(url: str, database: str | None = None) -> str:
    """The URL with psycopg2's name, else as libpq reads it. Raises DatabaseRefused, without the password."""
    from sqlalchemy.engine import make_url  # an eighth of the code location's start-up

    understood = _one_authority(_escaped(_from_words(_unwrapped(url))))
    try:
        parsed = make_url(understood)
    except Exception:  # its message would hold the password
        raise DatabaseRefused("not a database URL: expected postgresql://user:password@host:port/database") from None
    if parsed.get_backend_name() not in ("postgresql", "postgres"):
        raise DatabaseRefused(f"only Postgres is supported, not {parsed.get_backend_name()!r}")
    parsed = _hosts(_parameters(parsed))
    parsed = parsed.set(drivername="postgresql+psycopg2", database=database or parsed.database)
    base, mark, query = parsed.render_as_string(hide_password=False).partition("?")
    made = base.replace(" ", "%20") + mark + query  # read again as it is
    _read_by_libpq(made)
    return made


def libpq(normalised: str) -> str:
    """A normalised URL as libpq reads it: there a plus sign among the parameters is no blank."""
    base, mark, query = normalised.replace("postgresql+psycopg2://", "postgresql://", 1).partition("?")
    return f"{base}?{urlencode(parse_qsl(query), quote_via=quote)}" if mark else base


def psql_variables(normalised: str) -> dict[str, str]:
    """The variables by which psql, pg_dump and the like find a database that no argument names, and no other one."""
    from psycopg2.extensions import parse_dsn

    return {
        _VARIABLES.get(name, f"PG{name.replace('_', '').upper()}"): str(value)
        for name, value in parse_dsn(libpq(normalised)).items()
    }


def role_of(normalised: str) -> str | None:
    """The role that `options` asks for, which a pooler may ignore."""
    from sqlalchemy.engine import make_url

    return dict(_settings(str(make_url(normalised).query.get("options", "")))).get("role")


def _unwrapped(url: str) -> str:
    """Without blanks, line ends and quotation marks around it, a variable's name or `psql` before it."""
    text = re.sub(r"^\s*psql\s+", "", re.sub(_NAMED, "", url)).strip(_AROUND)
    text = re.sub(r"[\"'`”’][;,]$", "", text).strip(_AROUND).removeprefix("jdbc:")
    if re.search(r"\s", text) and "://" in text:
        raise DatabaseRefused("the database URL has blanks or line ends inside: paste it as one line, a blank as %20")
    scheme, mark, rest = text.partition("://")
    return scheme.lower() + mark + rest if mark else text


def _from_words(text: str) -> str:
    """libpq's other form, `host=… user=… dbname=…`, as a URL."""
    if "://" in text or not re.search(r"(^|\s)(host|dbname|service)\s*=", text):
        return text
    import psycopg2
    from psycopg2.extensions import parse_dsn

    try:
        found: dict[str, str] = parse_dsn(text)
    except psycopg2.Error:
        raise DatabaseRefused("not a database URL: expected postgresql://user:password@host:port/database") from None
    user, password, name = (quote(found.pop(key, ""), safe="") for key in ("user", "password", "dbname"))
    who = f"{user}{':' if password else ''}{password}@" if user or password else ""
    return f"postgresql://{who}/{name}" + (f"?{urlencode(found, quote_via=quote)}" if found else "")


def _escaped(url: str) -> str:
    """A password as it is typed: what has a meaning in URLs is escaped, what is escaped stays."""
    scheme, mark, _ = url.partition("://")
    found = (re.match(_WITH_AT, url) or re.match(_PARTS, url)) if mark else None
    if found is None or not found["password"]:
        return url
    if re.fullmatch(_PLACEHOLDER, found["password"]):
        raise DatabaseRefused("the database URL still has a placeholder where the password belongs")
    password = quote(re.sub(r"%(?![0-9A-Fa-f]{2})", "%25", found["password"]), safe="%")
    return f"{scheme}://{found['user']}:{password}@{found['rest']}"


def _one_authority(url: str) -> str:
    """Several hosts before the path, libpq's way, as parameters, which SQLAlchemy reads too."""
    found = re.match(r"^(?P<before>[a-z0-9+]+://(?:[^@/]*@)?)(?P<hosts>[^@/?]*,[^@/?]*)(?P<after>.*)$", url)
    if found is None:
        return url
    pairs = [re.fullmatch(r"(\[[^\]]*\]|[^:]*)(?::(\d*))?", one) for one in found["hosts"].split(",")]
    if not all(pairs):
        raise DatabaseRefused("several hosts in the database URL that are not host:port,host:port")
    hosts = ",".join(pair[1].strip("[]") for pair in pairs if pair)
    ports = ",".join(pair[2] or "5432" for pair in pairs if pair)
    path, _, query = found["after"].partition("?")
    more = [(key, value) for key, value in parse_qsl(query, keep_blank_values=True) if key not in ("host", "port")]
    parameters = urlencode([("host", hosts), ("port", ports), *more], quote_via=quote)
    return f"{found['before']}{path or '/'}?{parameters}"


def _parameters(parsed: "URL") -> "URL":
    """Those of other programs left out, those that ask for something we cannot give refused by name."""
    for name in _SCHEMA:
        if parsed.query.get(name, "public") != "public":
            raise DatabaseRefused(
                f"?{name}= is not read: a marketplace's mapping names its schemas (LITGO_MARKETPLACE_MAPPING)"
            )
    if "search_path" in dict(_settings(str(parsed.query.get("options", "")))):
        raise DatabaseRefused(
            "?options= with a search_path is not read: it is set after connecting, and a marketplace's mapping names "
            "its schemas (LITGO_MARKETPLACE_MAPPING): take it out of the URL"
        )
    if "ssl" in parsed.query and "sslmode" not in parsed.query:
        mode = _SSL.get(str(parsed.query["ssl"]).lower())
        if mode is None:
            raise DatabaseRefused("?ssl= is true or false: or name sslmode as libpq does (require, verify-full)")
        parsed = parsed.update_query_dict({"sslmode": mode})
    if parsed.query.get("sslmode") == "no-verify":
        parsed = parsed.update_query_dict({"sslmode": "require"})
    who = {key: str(parsed.query[key]) for key in ("user", "password") if key in parsed.query}
    parsed = parsed.set(username=who.get("user", parsed.username), password=who.get("password", parsed.password))
    return parsed.difference_update_query([*_FOREIGN, *_SCHEMA, "ssl", *who])


def _settings(options: str) -> list[tuple[str, str]]:
    """(name, value) of each `-c name=value` or `--name=value`."""
    try:
        words = shlex.split(unquote(options))
    except ValueError:
        raise DatabaseRefused("?options= cannot be read: expected -c name=value") from None
    joined = re.sub(r"(^| )-c ", r"\1-c", " ".join(words)).split(" ")
    pairs = [re.sub(r"^(-c|--)", "", word).partition("=") for word in joined if word.startswith(("-c", "--"))]
    return [(name.replace("-", "_").lower(), value) for name, _, value in pairs]


def _hosts(parsed: "URL") -> "URL":
    """Of several hosts the one that takes writes, unless the URL says so already."""
    wanted = str(parsed.query.get("target_session_attrs", ""))
    if wanted in _STANDBY:
        raise DatabaseRefused(
            f"?target_session_attrs={wanted} leads to a replica, and the pipelines write: use read-write"
        )
    hosts = parsed.query.get("host", "")
    if isinstance(hosts, tuple):  # SQLAlchemy's own way to name several
        pairs = [host.rpartition(":") if re.search(r":\d+$", host) else (host, "", "5432") for host in hosts]
        named = {"host": ",".join(pair[0] for pair in pairs), "port": ",".join(pair[2] for pair in pairs)}
        parsed = parsed.update_query_dict(named)
        hosts = named["host"]
    if "," in hosts and wanted in ("", "any"):
        parsed = parsed.update_query_dict({"target_session_attrs": "read-write"})
    return parsed


def _read_by_libpq(url: str) -> None:
    """A parameter that libpq does not know is refused by its name, before anything is tried."""
    import psycopg2
    from psycopg2.extensions import parse_dsn

    try:
        parse_dsn(libpq(url))
    except psycopg2.Error as error:
        found = re.search(r'parameter: "(\w+)"', str(error))
        if found:
            raise DatabaseRefused(
                f"?{found[1]}= in the database URL is no parameter that libpq knows: take it out"
            ) from None
        raise DatabaseRefused("not a database URL: expected postgresql://user:password@host:port/database") from None
