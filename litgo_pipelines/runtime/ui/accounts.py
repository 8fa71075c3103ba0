"""Pure: accounts of the web pages, their password hashes, signed sessions and the limit on tries.

One account is `NAME:ROLE:HASH`, several are separated by white space; `litgo ui-user NAME` makes one.
"""

import base64
import hashlib
import hmac
import re
import secrets
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from litgo_pipelines.settings import SettingsError

Role = Literal["operator", "viewer"]
ROLES: tuple[Role, ...] = ("operator", "viewer")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}")
COST, BLOCK, PARALLEL = 15, 8, 1  # scrypt: 2¹⁵ blocks of 1 kB, 32 MB and about .1 s
SHORTEST = 12  # characters of a password


@dataclass(frozen=True)
class Identity:
    """Who asks. `operator` may change things; others may look."""

    name: str
    operator: bool


@dataclass(frozen=True)
class Account:
    name: str
    role: Role
    password_hash: str = field(repr=False)

    @property
    def identity(self) -> Identity:
        return Identity(self.name, self.role == "operator")


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _scrypt(password: str, salt: bytes, cost: int, block: int, parallel: int) -> bytes:
    room = 256 * 2**cost * block
    return hashlib.scrypt(password.encode(), salt=salt, n=2**cost, r=block, p=parallel, maxmem=room, dklen=32)


def hashed(password: str) -> str:
    """`scrypt.COST.BLOCK.PARALLEL.SALT.KEY`: nothing in it that a shell or Compose would read."""
    salt = secrets.token_bytes(16)
    return f"scrypt.{COST}.{BLOCK}.{PARALLEL}.{_text(salt)}.{_text(_scrypt(password, salt, COST, BLOCK, PARALLEL))}"


def _parts(password_hash: str) -> tuple[int, int, int, bytes, bytes]:
    kind, cost, block, parallel, salt, key = password_hash.split(".")
    numbers = int(cost), int(block), int(parallel)
    if kind != "scrypt" or not (14 <= numbers[0] <= 20 and 1 <= numbers[1] <= 32 and 1 <= numbers[2] <= 16):
        raise ValueError(kind)
    raw = _bytes(salt), _bytes(key)
    if len(raw[0]) < 16 or len(raw[1]) != 32:
        raise ValueError("length")
    return *numbers, *raw


def matches(password: str, password_hash: str) -> bool:
    cost, block, parallel, salt, key = _parts(password_hash)
    return hmac.compare_digest(_scrypt(password, salt, cost, block, parallel), key)


def read_accounts(text: str) -> dict[str, Account]:
    """Accounts by name. Raises SettingsError, without the hash, for an entry that cannot be used."""
    accounts: dict[str, Account] = {}
    for number, entry in enumerate(text.split(), 1):
        name, _, rest = entry.partition(":")
        role, _, password_hash = rest.partition(":")
        try:
            _parts(password_hash)
        except ValueError:
            password_hash = ""
        if not NAME.fullmatch(name) or role not in ROLES or not password_hash or name in accounts:
            raise SettingsError(
                f"entry {number} of LITGO_UI_USERS cannot be used: each is NAME:operator:HASH or NAME:viewer:HASH as "
                "`litgo ui-user NAME` prints it, and each name occurs once"
            )
        accounts[name] = Account(name, "operator" if role == "operator" else "viewer", password_hash)
    return accounts


class Sessions:
    """Signed `name.expiry.signature`. A changed password or key, or an account that is gone, ends its sessions."""

    def __init__(self, key: bytes, accounts: Mapping[str, Account], seconds: float) -> None:
        self.key, self.accounts, self.seconds = key, accounts, seconds
        self._nobody = hashed(secrets.token_hex(16))

    def _signature(self, account: Account, expires: int) -> str:
        of_account = hmac.digest(self.key, account.password_hash.encode(), "sha256")
        return hmac.new(of_account, f"{account.name}|{expires}".encode(), hashlib.sha256).hexdigest()

    def issue(self, account: Account, now: float) -> str:
        expires = int(now + self.seconds)
        return f"{_text(account.name.encode())}.{expires}.{self._signature(account, expires)}"

    def read(self, value: str, now: float) -> Identity | None:
        """Who the cookie's value names, if it is one of ours and still good."""
        try:
            name, until, signature = value.split(".")
            account, expires = self.accounts.get(_bytes(name).decode()), int(until)
        except ValueError:
            return None
        if account is None or expires < now or not signature.isascii():
            return None
        return account.identity if hmac.compare_digest(signature, self._signature(account, expires)) else None

    def enter(self, name: str, password: str) -> Account | None:
        """The account whose password this is; takes the same time whether the name exists or not."""
        account = self.accounts.get(name)
        good = matches(password, account.password_hash if account else self._nobody)
        return account if account and good else None


class Tries:
    """Failed tries by key within a window; beyond `limit` the next ones wait. Bounded in memory."""

    def __init__(self, limit: int, seconds: float, keys: int = 10_000) -> None:
        self.limit, self.seconds, self.keys = limit, seconds, keys
        self._failed: dict[str, deque[float]] = {}

    def wait(self, key: str, now: float) -> float:
        """Seconds until the next try is heard; 0: now."""
        times = self._failed.get(key)
        while times and times[0] <= now - self.seconds:
            times.popleft()
        return max(times[0] + self.seconds - now, 0.0) if times and len(times) >= self.limit else 0.0

    def count(self, key: str, now: float) -> None:
        """A try is counted before its password is looked at, so that many at once do not slip through."""
        times = self._failed.pop(key, None) or deque(maxlen=self.limit)
        times.append(now)
        self._failed[key] = times  # newest key last
        while len(self._failed) > self.keys:
            self._failed.pop(next(iter(self._failed)))

    def forget(self, key: str) -> None:
        self._failed.pop(key, None)
