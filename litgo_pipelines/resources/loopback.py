"""Services on the loopback, ours among them, are reached directly, whatever proxy the environment names."""

import ipaddress
import os
from collections.abc import Mapping
from urllib.parse import urlsplit

HOSTS = ("127.0.0.1", "localhost", "::1")


def without_proxy(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that say so, beside what they say already; programs read one spelling or the other."""
    excepted = [environment.get(name, "").split(",") for name in ("no_proxy", "NO_PROXY")]
    hosts = dict.fromkeys([*filter(None, (host.strip() for each in excepted for host in each)), *HOSTS])
    return dict.fromkeys(("NO_PROXY", "no_proxy"), ",".join(hosts))


def reach_directly(url: str) -> None:
    """For this process, when the URL leads to this machine."""
    host = urlsplit(url).hostname or ""
    try:
        here = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        here = False
    if here:
        found = without_proxy(os.environ)
        if host not in found["no_proxy"].split(","):
            found = dict.fromkeys(found, f"{found['no_proxy']},{host}")
        os.environ.update(found)
