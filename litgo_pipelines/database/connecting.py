"""Connections that cannot be had: what to do about what the server, a pooler or the network said. Pure.

What they say has no SQLSTATE for the client; a sentence in a language that is not known here gets the general advice.
"""

import re

SEVERITY = ":  "  # libpq's sign behind what a server calls an error, FATAL or ВАЖНО; its own messages have one blank
_UNREACHED = "is it running? `litgo up` starts the embedded one; LITGO_DATABASE_URL names another."
_REFUSED = "the server answers and refuses: check user, password and database of LITGO_DATABASE_URL."
# In this order; each with what the sentence holds.
_ADVICE = (
    (
        r"too many (clients|connections)|connection slots are reserved|max_client_conn|no more connections allowed"
        r"|max clients reached|Max client connections|EMAXCONN|MaxClientsIn|query_wait_timeout|muitas conexões",
        "there is no place left for a connection: end some that are idle, or raise max_connections, or the "
        "pooler's pool size. It is tried again.",
    ),
    (
        r"Tenant (or user )?not found|ENOTFOUND\) tenant|ENOIDENTIFIER|no tenant identifier",
        "the pooler does not know the project: its user is postgres.PROJECT (or ROLE.PROJECT), and its host is copied "
        "from the project's page, for it cannot be guessed.",
    ),
    (
        r"starting up|shutting down|recovery mode|not yet accepting|starting the database",
        "it starts or stops just now, and is tried again.",
    ),
    (
        r"database .* does not exist|banco de dados .* não existe",
        "there is no such database on that server: create it, or correct the URL.",
    ),
    (
        r"pg_hba\.conf",
        "the server lets this user in from elsewhere, or by TLS only: see its pg_hba.conf and ?sslmode=.",
    ),
    (
        r"certificate|(does not support|requires?) SSL|SSL connection is required|no encryption",
        "the TLS of server and URL do not fit: see ?sslmode= and ?sslrootcert= of LITGO_DATABASE_URL.",
    ),
)
_SUPABASE = r"\bdb\.[a-z0-9]+\.supabase\.(co|in|red)$"
_NO_ROUTE = r"Network is unreachable|No route to host|could not translate host name|Cannot assign requested address"


def advice(said: str, host: str) -> str:
    """One or two sentences for a connection to `host` that ended with `said`."""
    if re.search(_NO_ROUTE, said):
        if re.search(_SUPABASE, host):
            return (
                "Supabase's direct address is reached by IPv6 only, which this network lacks: take the pooler's "
                "address in session mode (port 5432), or its IPv4 add-on."
            )
        return "is the host's name right, and is it reached from here? LITGO_DATABASE_URL names it."
    for words, to_do in _ADVICE:
        if re.search(words, said, re.IGNORECASE):
            return to_do
    return _REFUSED if SEVERITY in said else _UNREACHED
