"""Pure: which hosts, origins, proxies and GraphQL documents are let through."""

import ipaddress
import json
from collections.abc import Iterable

from graphql import GraphQLError, OperationDefinitionNode, OperationType, parse

from litgo_pipelines.observability.hosts import AUTHORITY
from litgo_pipelines.settings import SettingsError

LONGEST = 20_000  # tokens of a GraphQL document; the longest of Dagster's pages has a tenth
JSON_TYPES = ("application/json", "application/graphql")
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def same_origin(origin: str, host: str) -> bool:
    """Whether a page of `origin` was served under `host`: scheme http or https, name and port the same."""
    scheme, separator, authority = origin.lower().partition("://")
    usual = {"http": "80", "https": "443"}.get(scheme)
    theirs, ours = AUTHORITY.fullmatch(authority), AUTHORITY.fullmatch(host.lower())
    if not separator or usual is None or theirs is None or ours is None:
        return False
    return theirs["host"] == ours["host"] and (theirs["port"] or usual) == (ours["port"] or usual)


def only_reads(document: object) -> bool:
    """Whether no operation of a GraphQL document changes anything; False for what cannot be parsed."""
    if not isinstance(document, str):
        return False
    try:
        parsed = parse(document, no_location=True, max_tokens=LONGEST)
    except (GraphQLError, RecursionError):
        return False
    return not any(
        isinstance(part, OperationDefinitionNode) and part.operation is OperationType.MUTATION
        for part in parsed.definitions
    )


def frame_only_reads(frame: str | bytes | None) -> bool:
    """The same for a message of the WebSocket protocol `graphql-ws`."""
    try:
        message = json.loads(frame or "")
    except (ValueError, RecursionError):
        return False
    if not isinstance(message, dict):
        return False
    payload = message.get("payload")
    asks = isinstance(payload, dict) and "query" in payload
    if message.get("type") == "start" or asks:
        return isinstance(payload, dict) and only_reads(payload.get("query"))
    return True


def as_pages_send(content_type: str) -> bool:
    """Whether a body is of a type that no form of another site can send."""
    return content_type.partition(";")[0].strip(" \t").lower() in JSON_TYPES


def networks(text: str, setting: str) -> tuple[Network, ...]:
    """Addresses and networks from a list with commas. Raises SettingsError for what is none."""
    try:
        return tuple(ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise SettingsError(f"{setting} is a list of addresses or networks like 10.0.0.5,10.1.0.0/16") from error


def within(address: str, trusted: Iterable[Network]) -> bool:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(found in network for network in trusted)


def local_path(path: str) -> str:
    """Where to go after the login: a path of this site, whatever was asked for."""
    safe = path.startswith("/") and not path.startswith("//") and "\\" not in path and path.isprintable()
    return path if safe else "/"
