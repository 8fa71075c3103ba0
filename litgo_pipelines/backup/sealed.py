"""Encryption of a backup's parts: AES-256-GCM in blocks, under a key that scrypt makes of a passphrase. Pure.

A block is bound to its part, its place and whether it is the last, so that nothing can be cut off or put elsewhere.
"""

import hashlib
import hmac
import os
import struct
from collections.abc import Iterator
from typing import BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

BLOCK = 1 << 20  # bytes of plain text
TAG = 16
_N, _R, _P = 1 << 15, 8, 1  # scrypt: 32 MB, a tenth of a second


class Unreadable(ValueError):
    """A part that does not open: damaged, or under another passphrase."""


def key_of(passphrase: str, salt: bytes) -> bytes:
    """32 bytes."""
    return hashlib.scrypt(passphrase.encode(), salt=salt, n=_N, r=_R, p=_P, maxmem=1 << 27, dklen=32)


def seal(key: bytes, part: str, source: BinaryIO, target: BinaryIO) -> tuple[int, str]:
    """Encrypt to the end of `source`: (bytes, SHA-256) of what was written."""
    prefix, digest, size, number = os.urandom(8), hashlib.sha256(), 0, 0

    def put(data: bytes) -> None:
        nonlocal size
        target.write(data)
        digest.update(data)
        size += len(data)

    put(prefix)
    block = source.read(BLOCK)
    while True:
        following = source.read(BLOCK) if len(block) == BLOCK else b""
        put(AESGCM(key).encrypt(prefix + struct.pack(">I", number), block, _bound(part, number, last=not following)))
        if not following:
            return size, digest.hexdigest()
        block, number = following, number + 1


def opened(key: bytes, part: str, source: BinaryIO) -> Iterator[bytes]:
    """The plain text block by block. Raises Unreadable."""
    prefix, number = source.read(8), 0
    block = source.read(BLOCK + TAG)
    while True:
        following = source.read(BLOCK + TAG)
        try:
            nonce = prefix + struct.pack(">I", number)
            yield AESGCM(key).decrypt(nonce, block, _bound(part, number, last=not following))
        except (InvalidTag, ValueError) as error:
            raise Unreadable(f"{part} is damaged, or was encrypted with another passphrase") from error
        if not following:
            return
        block, number = following, number + 1


def signature(key: bytes, text: bytes) -> str:
    """Of the manifest, by whoever knows the passphrase."""
    return hmac.new(key, b"litgo manifest" + text, hashlib.sha256).hexdigest()


def _bound(part: str, number: int, *, last: bool) -> bytes:
    return f"{part}:{number}:{last}".encode()
