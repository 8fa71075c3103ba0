"""E-mail addresses as profiles hold them: trimmed, checked once, none where there is nothing. Pure.

Syntax is the standard library's and idna's to judge; whether somebody reads what is sent there only sending tells.
"""

import hashlib
import re
import unicodedata
from email.errors import MessageError
from email.headerregistry import Address
from functools import lru_cache

LONGEST, LONGEST_LOCAL = 254, 64  # RFC 5321
_LOCAL = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")

_FULL_WIDTH = re.compile("[\uff01-\uff5e]")  # as some keyboards write Latin letters and the @


class BadAddress(ValueError):
    """An address nothing can be sent to. The message holds none of it."""


@lru_cache(maxsize=1024)
def address(value: str | None) -> str | None:
    """The address to send to, its domain in the form of the network; None for blank. Raises BadAddress."""
    bare = "".join(letter for letter in value or "" if unicodedata.category(letter) != "Cf").strip()
    bare = _FULL_WIDTH.sub(lambda found: unicodedata.normalize("NFKC", found[0]), bare)
    bare = re.sub(r"^mailto:\s*", "", bare, flags=re.IGNORECASE)
    if not bare:
        return None
    if len(bare) > LONGEST:
        raise BadAddress("longer than an address can be")
    try:
        parsed = Address(addr_spec=bare)
    except (MessageError, ValueError, IndexError) as error:
        raise BadAddress("not an address") from error
    if f"{parsed.username}@{parsed.domain}" != bare or not _LOCAL.fullmatch(parsed.username):
        raise BadAddress("a name before the @ that no provider takes")
    if len(parsed.username) > LONGEST_LOCAL:
        raise BadAddress("a name before the @ that is too long")
    return f"{parsed.username}@{_domain(parsed.domain)}"


def usable(value: str | None) -> str | None:
    """The same, None for a bad one too."""
    try:
        return address(value)
    except BadAddress:
        return None


def mailbox(checked: str) -> str:
    """The mailbox an address reaches; `litgo.mailbox` in the database. What follows a + is its owner's own, and Gmail
    reads no dots. An address that begins with a + is a telephone's number."""
    plain = checked.strip().lower()
    name, _, domain = plain.rpartition("@")
    if name.startswith("+"):
        return plain
    name = name.partition("+")[0]
    return f"{name.replace('.', '')}@gmail.com" if domain in ("gmail.com", "googlemail.com") else f"{name}@{domain}"


def digest(checked: str) -> str:
    """What an address is known by where it must not be kept; `litgo.address_digest` in the database."""
    return hashlib.sha256(checked.strip().lower().encode()).hexdigest()


def forms(sent_to: str) -> set[str]:
    """An address as the network has it, and as a profile may: its domain in letters."""
    import idna

    name, at, domain = sent_to.strip().rpartition("@")
    try:
        return {f"{name}{at}{domain}", f"{name}{at}{idna.decode(domain)}"}
    except idna.IDNAError:
        return {sent_to}


@lru_cache(1000)  # most people's domain is one of a few
def _domain(domain: str) -> str:
    import idna

    try:
        encoded = idna.encode(domain, uts46=True).decode()
    except idna.IDNAError as error:
        raise BadAddress("a domain that cannot be") from error
    *labels, last = encoded.split(".")
    if not labels or not re.fullmatch(r"[a-z]{2,63}|xn--[a-z0-9-]+", last):
        raise BadAddress("a domain without an ending")
    return encoded
