"""Pure: names under which a service of ours is asked. A page that rebinds its own name to this machine has none."""

import ipaddress
import re
from dataclasses import dataclass

from litgo_pipelines.settings import SettingsError

AUTHORITY = re.compile(r"(?P<host>\[[0-9a-f:.]+\]|[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?)(?::(?P<port>[0-9]{1,5}))?")


@dataclass(frozen=True)
class Hosts:
    """Names under which the pages may be asked for; one without a port stands for any port."""

    allowed: frozenset[tuple[str, str | None]]

    @classmethod
    def read(cls, text: str, *more: str, setting: str = "DAGSTER_ALLOWED_HOSTS") -> "Hosts":
        """From a list with commas. Raises SettingsError for a name that no browser would send."""
        names = [name.strip().lower() for name in [*text.split(","), *more] if name.strip()]
        found = [AUTHORITY.fullmatch(name) for name in names]
        if not names or None in found:
            raise SettingsError(f"{setting} is a list like localhost,127.0.0.1,dagster.example.com:8443")
        return cls(frozenset((match["host"], match["port"]) for match in found if match))

    def allow(self, host: str) -> bool:
        match = AUTHORITY.fullmatch(host.lower())
        return match is not None and not self.allowed.isdisjoint(
            {(match["host"], None), (match["host"], match["port"])}
        )


def is_address(host: str) -> bool:
    """Whether a Host header is an address: nobody can rebind one."""
    match = AUTHORITY.fullmatch(host.lower())
    try:
        return match is not None and bool(ipaddress.ip_address(match["host"].strip("[]")))
    except ValueError:
        return False
