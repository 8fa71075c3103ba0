"""What a person's rows are found by: the ids of cases, contracts, offers and reviews, and the hashes of texts.

Knows the database, not Dagster. Asked of the marketplace and of our own rows, so that somebody who is gone from the
marketplace is still found.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from uuid import UUID

from litgo_pipelines.database import Cursor, sql
from litgo_pipelines.marketplace.ids import identifier
from litgo_pipelines.notifications import addresses
from litgo_pipelines.notifications.outbox import TEAM, TEAMS
from litgo_pipelines.persons.held import KNOWN

PACKAGE = "litgo_pipelines.persons"
LOCK = "persons"  # held by whoever erases or exports
OURSELVES = frozenset({TEAM, *TEAMS.values()})  # recipients that are no person of the marketplace


class NoPerson(ValueError):
    """An id that is none, or the team's own; the message says so in Portuguese."""


@dataclass(frozen=True)
class Keys:
    """Ids as text, hashes as bytes; each sorted."""

    persons: tuple[str, ...] = ()
    cases: tuple[str, ...] = ()
    contracts: tuple[str, ...] = ()
    offers: tuple[str, ...] = ()
    reviews: tuple[str, ...] = ()
    texts: tuple[bytes, ...] = ()
    addresses: tuple[str, ...] = ()

    @property
    def ids(self) -> tuple[str, ...]:
        return (*self.persons, *self.cases, *self.contracts, *self.offers, *self.reviews)

    def __bool__(self) -> bool:
        return any(getattr(self, field.name) for field in fields(self))

    def parameters(self) -> Mapping[str, object]:
        """As the conditions of `held` name them."""
        lawyers = " || ".join(f'@.lawyer_id == "{person}"' for person in self.persons)
        return {
            **{field.name: list(getattr(self, field.name)) for field in fields(self)},
            "mentions": list(self.ids),
            "pattern": "|".join(self.ids) or "(?!)",
            "considered": f"$[*] ? ({lawyers or '1 == 0'})",
        }

    def digests(self) -> Iterator[tuple[str, bytes]]:
        """(kind, digest) of everything that is erased with them."""
        for kind, ids in (
            ("person", self.persons),
            ("case", self.cases),
            ("contract", self.contracts),
            ("offer", self.offers),
            ("review", self.reviews),
        ):
            yield from ((kind, digest(one)) for one in ids)
        yield from (("text", hashlib.sha256(hashed).digest()) for hashed in self.texts)
        # As suppressed.sql compares them.
        yield from (("address", hashlib.sha256(address.encode()).digest()) for address in self.addresses)


def digest(subject: str) -> bytes:
    """As litgo.subject_digest."""
    return hashlib.sha256(UUID(subject).bytes).digest()


def person(given: str) -> str:
    """The id as the database writes it. Raises NoPerson."""
    try:
        found = identifier(given)
    except ValueError as error:
        raise NoPerson(f"{given!r} não é o identificador de um cliente ou advogado(a)") from error
    if found in OURSELVES:
        raise NoPerson(f"{found} é a própria equipe, não um titular")
    return found


def of_person(cursor: Cursor, person_id: str) -> Keys:
    """Everything of one client or lawyer."""
    return grown(cursor, [person_id], [], [], [])


def grown(
    cursor: Cursor, persons: Sequence[str], cases: Iterable[str], contracts: Iterable[str], reviews: Iterable[str]
) -> Keys:
    """With what belongs to them: a client's cases, a case's contracts and offers, their reviews, their texts."""
    given = {"persons": list(persons), "cases": list(cases), "contracts": list(contracts), "reviews": list(reviews)}
    cursor.execute(
        "SELECT id::text FROM cases WHERE client_id = ANY(%(persons)s::uuid[]) "
        "UNION SELECT case_id::text FROM litgo.exposures WHERE client_id = ANY(%(persons)s::uuid[]) "
        "UNION SELECT case_id::text FROM litgo.experiment_arms WHERE client_id = ANY(%(persons)s::uuid[]) "
        "UNION SELECT unnest(%(cases)s::text[])",
        given,
    )
    given["cases"] = _column(cursor)
    cursor.execute(
        sql("litgo_pipelines.persons", "contracts.sql"),
        given,
    )
    given["contracts"] = _column(cursor)
    cursor.execute(
        "SELECT id::text FROM offers WHERE lawyer_id = ANY(%(persons)s::uuid[]) OR case_id = ANY(%(cases)s::uuid[])",
        given,
    )
    offers = _column(cursor)
    cursor.execute(
        "SELECT id::text FROM reviews WHERE contract_id = ANY(%(contracts)s::uuid[]) "
        "UNION SELECT unnest(%(reviews)s::text[])",
        given,
    )
    reviews = _column(cursor)
    return Keys(
        tuple(sorted(given["persons"])),
        tuple(given["cases"]),
        tuple(given["contracts"]),
        tuple(offers),
        tuple(reviews),
        _texts(cursor, given),
        _addresses(cursor, given),
    )


def _texts(cursor: Cursor, given: Mapping[str, object]) -> tuple[bytes, ...]:
    cursor.execute(
        f"SELECT DISTINCT text_hash FROM ({sql(PACKAGE, 'texts.sql')}) s WHERE owner_id = ANY(%(persons)s::uuid[]) "
        "OR case_id = ANY(%(cases)s::uuid[])",
        given,
    )
    return tuple(sorted(bytes(hashed) for (hashed,) in cursor.fetchall()))


def _addresses(cursor: Cursor, given: Mapping[str, object]) -> tuple[str, ...]:
    """As the profiles write them, and as they were written to and a list of SendGrid's may name them."""
    cursor.execute(
        "SELECT email, litgo.address_digest(email) FROM profiles WHERE id = ANY(%(persons)s::uuid[]) "
        "AND email IS NOT NULL",
        given,
    )
    rows = cursor.fetchall()
    sent_to = {form for email, _ in rows if (known := addresses.usable(email)) for form in addresses.forms(known)}
    return tuple(sorted({written for _, written in rows} | set(map(addresses.digest, sent_to))))


def erased_before(cursor: Cursor) -> tuple[Keys, list[str]]:
    """(what is held again of what was erased, persons among them the marketplace still shows): after a restore, or
    when a run was in the middle of its work."""
    found: dict[str, list[str]] = {}
    for kind, places in KNOWN.items():
        union = " UNION ".join(f"SELECT {expression} AS id FROM litgo.{table}" for table, expression in places)
        cursor.execute(
            f"SELECT id::text FROM ({union}) k WHERE id IS NOT NULL AND EXISTS (SELECT FROM litgo.tombstones s "
            "WHERE s.kind <> 'pseudonym' AND s.digest = litgo.subject_digest(k.id)) ORDER BY 1"
        )
        found[kind] = _column(cursor)
    cursor.execute(
        "SELECT id::text FROM (SELECT id FROM profiles UNION SELECT id FROM lawyers UNION "
        "SELECT client_id FROM cases) p WHERE id IS NOT NULL AND EXISTS (SELECT FROM litgo.tombstones s "
        "WHERE s.digest = litgo.subject_digest(p.id)) ORDER BY 1"
    )
    shown = _column(cursor)
    persons = sorted({*found["person"], *shown})
    return grown(cursor, persons, found["case"], found["contract"], found["review"]), shown


def _column(cursor: Cursor) -> list[str]:
    return sorted(value for (value,) in cursor.fetchall() if value is not None)
