"""Rate limits: how long a service wants us to wait, as headers say it. Pure.

Services write it as seconds, with decimals or not, as Unix time in any unit, as a duration (6m0s), as an HTTP date or
as ISO 8601. An instant counts from the answer's own Date, so that our clock may be wrong.
"""

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

LONGEST = 3600.0  # seconds to the end of a limit
DAY = 86_400
_NUMBER = re.compile(r"[0-9]{1,19}(\.[0-9]{1,9})?")
_PART = r"([0-9]{1,9}(?:\.[0-9]{1,9})?) ?(ns|us|µs|ms|s|m|h|d)"
_DURATION = re.compile(rf"(?:{_PART} ?)+")
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_UNIX = (1e9, 1e10)  # seconds, from 2001 to 2286
_RESETS = ("x-ratelimit-reset", "x-ratelimit-reset-after", "x-rate-limit-reset", "ratelimit-reset")
_IN_ONE = re.compile(r"(?:^|[,;\s])(?:reset|t)=([0-9]+)")  # RateLimit: "default";r=0;t=30
_KINDS = ("requests", "tokens")  # OpenAI's, each with a limit of its own


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds of a Retry-After header, or of OpenAI's retry-after-ms; None without one that can be read."""
    for name in ("retry-after-ms", "x-ms-retry-after-ms"):
        milliseconds = headers.get(name, "").strip()
        if re.fullmatch(r"[0-9]+(\.[0-9]+)?", milliseconds):
            return float(math.ceil(min(float(milliseconds), 1e12) / 1000))
    value, sent = headers.get("retry-after", "").strip(), _sent(headers)
    seconds = _seconds(value, sent)
    if seconds is None and value.isascii() and value.isdigit():
        return float(value[:9])
    return None if seconds is None else float(max(0, math.ceil(min(seconds, 999_999_999))))


def until_reset(headers: Mapping[str, str]) -> float | None:
    """Seconds to the end of a limit, from 1 to an hour; None without a header that can be read."""
    sent = _sent(headers)
    told = next((headers[name] for name in _RESETS if headers.get(name, "").strip()), "")
    if not told and (found := _IN_ONE.search(headers.get("ratelimit", ""))):
        told = found[1]
    seconds = _seconds(told, sent) if told else _of_kinds(headers, sent)
    return None if seconds is None else float(min(LONGEST, max(1, math.ceil(seconds))))


def _of_kinds(headers: Mapping[str, str], sent: datetime) -> float | None:
    """Of the limits that are reached the last end; where none says so, the first."""
    ends = {kind: _seconds(headers.get(f"x-ratelimit-reset-{kind}", ""), sent) for kind in _KINDS}
    known = {kind: end for kind, end in ends.items() if end is not None}
    reached = [end for kind, end in known.items() if headers.get(f"x-ratelimit-remaining-{kind}", "").strip() == "0"]
    return max(reached) if reached else min(known.values(), default=None)


def _seconds(value: str, sent: datetime) -> float | None:
    """From `sent`, negative for an instant before; None for what is none of the forms."""
    value = value.strip()
    if _NUMBER.fullmatch(value):
        number = float(value)
        units = (number / unit for unit in (1, 1e3, 1e6, 1e9))
        instant = next((found for found in units if _UNIX[0] <= found < _UNIX[1]), None)
        if instant is not None:
            return instant - sent.timestamp()
        return number if number <= DAY else None
    if _DURATION.fullmatch(value):
        return sum(float(number) * _UNITS[unit] for number, unit in re.findall(_PART, value))
    until = _date(value)
    return None if until is None else (until - sent).total_seconds()


def _sent(headers: Mapping[str, str]) -> datetime:
    return _date(headers.get("date", "")) or datetime.now(UTC)


def _date(value: str) -> datetime | None:
    """An HTTP date, or ISO 8601; without a zone it is UTC."""
    for read in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            found = read(value)
            return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
        except (ValueError, TypeError, OverflowError):
            continue
    return None
