"""Live simulation: what clients and lawyers do between two instants, written to a database.

Here: who comes, who answers what is pending, what comes of it, by the formulas of `truth`. What the pipelines do
(matching, expiry, equity …) is theirs: an offer is answered whoever made it. Steps follow one another without a gap.

Whatever is drawn follows from the seed and the ids of what it is about, never from how the time is cut into steps or
from what was drawn before. So a step that was killed or is repeated writes the same rows, or none.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
from numpy.typing import NDArray
from psycopg2.extras import execute_values

from litgo_pipelines.database import Connection, Cursor, advisory_lock, in_transaction, sql
from litgo_pipelines.simulation import rows, truth, words
from litgo_pipelines.simulation.truth import DAY, HOUR, Pairs, Taste, World

_SUBAREA = {
    (area, subarea): (number, place)
    for number, (area, (_, subareas)) in enumerate(words.AREAS.items())
    for place, subarea in enumerate(subareas)
}
_COMPLEXITY = {"LOW": 0, "MEDIUM": 1, "HIGH": 2}
_CASES_AN_HOUR = 1 << 16  # room for their numbers
_RETURNS = 0.2  # share of cases of clients who had one in the loaded window


@dataclass(frozen=True)
class Change:
    """From an instant on, offers that are sent find lawyers of another taste."""

    at: datetime
    taste: Taste


@dataclass(frozen=True)
class Fate:
    """Random numbers that belong to things: the same key gives the same numbers, whenever they are asked for.

    SplitMix64 (Steele, Lea & Flood, OOPSLA 2014) of key, seed and stream.
    """

    seed: int

    def uniform(self, key: NDArray, stream: int) -> NDArray:
        """In (0, 1), shape of `key` (uint64)."""
        offset = np.uint64((self.seed * 0x9E3779B97F4A7C15 + stream * 0xD1342543DE82EF95) % 2**64)
        return ((truth.mixed(truth.mixed(key) + offset) >> np.uint64(11)) + 0.5) / 2**53

    def normal(self, key: NDArray, stream: int) -> NDArray:
        """Standard normal (Box & Muller, 1958); takes the streams `stream` and `stream` + 1."""
        radius = np.sqrt(-2 * np.log(self.uniform(key, stream)))
        return radius * np.cos(2 * np.pi * self.uniform(key, stream + 1))

    def exponential(self, key: NDArray, stream: int, mean: float) -> NDArray:
        """Whole seconds."""
        return (-mean * np.log(self.uniform(key, stream))).astype(np.int64)

    def integers(self, key: NDArray, stream: int, low: int, high: int) -> NDArray:
        """In [low, high)."""
        return low + (self.uniform(key, stream) * (high - low)).astype(np.int64)


# What each stream of `Fate` decides, two numbers apart for the normal ones.
(
    AFFINITY,
    ANSWERS,
    HOURS,
    YES,
    CHOSEN,
    SIGNS,
    CHOOSES,
    GIVES_UP,
    CLIENT_SIGNS,
    LAWYER_SIGNS,
    CANCELS,
    LASTS,
    REST,
    FEE,
    SUCCEEDS,
    WON,
    EARLY,
    STARS,
    REVIEWS,
    WRITTEN,
    COMMENT,
    MARK_C,
    MARK_E,
    MARK_T,
) = range(0, 48, 2)


def step(
    connection: Connection,
    world: World,
    start: datetime,
    stop: datetime,
    *,
    change: Change | None = None,
    demand: float = 1.0,
) -> dict[str, int]:
    """Let the marketplace of `simulate` with the values of `world` live from `start` (exclusive) to `stop` (inclusive).

    One transaction; `connection`: in none. demand: cases per day, as a multiple of the loaded window's. Returns what
    was written: clients, cases, answers, contracts, signed, closed, canceled, reviews, given_up. Raises ValueError for
    instants without a zone, before the world's end, or in the wrong order.
    """
    if start.tzinfo is None or stop.tzinfo is None:
        raise ValueError("start and stop must be timezone-aware")
    if not world.end <= start < stop:
        raise ValueError(f"a step goes forward from the world's end or later: {start.isoformat()} → {stop.isoformat()}")
    if demand < 0:
        raise ValueError(f"demand must not be negative, got {demand}")

    def work(cursor: Cursor) -> dict[str, int]:
        advisory_lock(cursor, "simulate")
        cursor.execute("SET LOCAL search_path = pg_catalog, public, pg_temp")  # it writes what a marketplace writes
        alive = _Step(cursor, world, int(start.timestamp()), int(stop.timestamp()), change)
        return {
            **alive.arrive(demand),
            **alive.answer(),
            **alive.choose(),
            **alive.work(),
            **alive.review(),
            **alive.give_up(),
        }

    return in_transaction(connection, work)


def arrivals(world: World, start: int, stop: int, demand: float = 1.0) -> tuple[dict[str, NDArray], pa.Table]:
    """The cases created in (start, stop], as `truth.draw_cases` has them, with numbers never used before; the profiles
    of the clients who are new."""
    blocks, profiles = [], []
    for hour in range(start // HOUR, stop // HOUR + 1):
        rng = world.rng(8, hour)
        local = datetime.fromtimestamp(hour * HOUR, UTC).astimezone(ZoneInfo("America/Sao_Paulo"))
        busy = truth.WEEKDAY[local.weekday()] / truth.WEEKDAY.mean() * truth.HOURLY[local.hour] / truth.HOURLY.mean()
        n = min(rng.poisson(busy * demand * world.cases / world.days / 24), _CASES_AN_HOUR)
        created = np.sort(hour * HOUR + rng.integers(0, HOUR, n))
        drawn = truth.draw_cases(world, rng, hour * _CASES_AN_HOUR, created)
        drawn["client"] = np.where(rng.random(n) < _RETURNS, drawn["client"], drawn["index"])
        now = (created > start) & (created <= stop)
        blocks.append({name: values[now] for name, values in drawn.items()})
        people = rows.people(rng, drawn["index"], created - 60, world.seed)
        profiles.append(people.filter(pa.array(now & (drawn["client"] == drawn["index"]))))
    cases = {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}
    return cases, pa.concat_tables(profiles).combine_chunks()


class _Step:
    """What happens in one step, part by part in the order of `step`."""

    def __init__(self, cursor: Cursor, world: World, start: int, stop: int, change: Change | None) -> None:
        self.cursor, self.world, self.start, self.stop = cursor, world, start, stop
        self.change = change
        self.fate = Fate(world.seed)
        self.lawyers, self._sorted, self._number = _lawyers(world)

    def arrive(self, demand: float) -> dict[str, int]:
        cases, profiles = arrivals(self.world, self.start, self.stop, demand)
        return {
            "clients": self._insert("profiles", profiles),
            "cases": self._insert("cases", rows.cases(cases, self.world.seed)),
        }

    def answer(self) -> dict[str, int]:
        """Answers to pending offers, as long as they are open; what is not answered is left to expire."""
        found = self._read(
            "SELECT o.id::text, o.case_id::text, o.lawyer_id::text, extract(epoch FROM o.sent_at)::float8, "
            f"extract(epoch FROM o.expires_at)::float8, {_CASE} FROM offers o JOIN cases c ON c.id = o.case_id "
            "WHERE o.status = 'pending' AND o.sent_at <= %(stop)s AND c.area IS NOT NULL ORDER BY o.id",
            ("id", "case_id", "lawyer_id", "sent", "expires", *_CASE_COLUMNS),
        )
        found, key, pairs = self._pairs(found)
        sent, load = found["sent"], self._load(found["sent"], pairs.who)
        pairs = truth.seen(self.world, Pairs(pairs.who, pairs.affinity, pairs.km, load, pairs.complexity))
        hours = truth.answer_hours(self.lawyers, pairs, self.fate.normal(key, HOURS))
        # What was sent before this step without its answer being due is answered within it.
        at = np.maximum(sent + np.maximum(hours * HOUR, 60), self.start + 1)
        willing = ~self.lawyers.silent[pairs.who] | (self.fate.uniform(key, ANSWERS) < truth.SILENT_ANSWERS)
        due = willing & (hours < 24) & (at < found["expires"]) & (at <= self.stop)
        agrees = self._willing(pairs, sent, self.world.taste)
        if self.change:
            later = sent >= self.change.at.timestamp()
            agrees = np.where(later, self._willing(pairs, sent, self.change.taste), agrees)
        yes = self.fate.uniform(key, YES) < agrees
        status = np.where(yes, "interested", "declined")
        written = self._update(
            "UPDATE offers o SET status = v.status, responded_at = to_timestamp(v.at) FROM (VALUES %s) AS v "
            "(id, status, at) WHERE o.id = v.id::uuid AND o.status = 'pending'",
            (found["id"][due], status[due], at[due]),
        )
        return {"answers": written}

    def _willing(self, pairs: Pairs, sent: NDArray, taste: Taste) -> NDArray:
        mood = truth.moods(self.world, pairs.who, sent) if taste.mood else 0.0
        return truth.willingness(self.lawyers, pairs, taste, mood)

    def choose(self) -> dict[str, int]:
        """A day and more after the offers, clients choose among the interested, or nobody."""
        found = self._read(
            sql("litgo_pipelines.simulation", "interested.sql").replace("{case}", _CASE),
            ("case_id", "lawyer_id", "client_id", "sent", "place", *_CASE_COLUMNS),
            yesterday=self.stop - DAY,
        )
        found, key, pairs = self._pairs(found)
        case_key = _keys(found["case_id"])
        offered = truth.appeal(self.lawyers, pairs, found["place"] * (not self.world.blind))
        tried = offered - truth.CHOICE_NOISE * np.log(-np.log(self.fate.uniform(key, CHOSEN)))  # Gumbel
        order = np.lexsort((-tried, found["case_id"]))
        _, first = np.unique(found["case_id"][order], return_index=True)
        best = order[first]
        created = found["sent"][best] + DAY + self.fate.exponential(case_key[best], CHOOSES, truth.CHOOSES_AFTER)
        signs = self.fate.uniform(case_key[best], SIGNS) < truth.signing(offered[best])
        made = signs & (created > self.start) & (created <= self.stop)
        best, created = best[made], created[made].astype(np.int64)
        none = np.full(len(best), -1)
        table = rows.contract_table(
            {
                "status": np.full(len(best), truth.SIGNING),
                "fee": self.fate.integers(case_key[best], FEE, 0, len(words.FEE_MODELS)),
                "signed_client": none,
                "signed_lawyer": none,
                "created": created,
            },
            rows.uuids(rows.CONTRACT, case_key[best], self.world.seed),
            *(pa.array(found[name][best].tolist(), pa.string()) for name in ("case_id", "lawyer_id", "client_id")),
        )
        written = self._insert("contracts", table)
        self._set_cases(found["case_id"][best], np.full(len(best), "assigned"))
        return {"contracts": written}

    def work(self) -> dict[str, int]:
        """Signatures, and the end of what was signed. What somebody else signed or canceled stays so."""
        found = self._contracts("k.status IN ('pending-signature', 'active')")
        found, key, _ = self._pairs(found)
        client, lawyer, ended, canceled = self._life(found, key)
        both = np.maximum(client, lawyer)
        dead = canceled & (found["created"] + truth.CANCELED_AFTER <= self.stop) & (found["status"] != "active")
        status = np.select(
            [dead, ended <= self.stop, both <= self.stop], ["canceled", "closed", "active"], found["status"]
        )
        news = (status != found["status"]) | _news(found["signed_client"], client, self.stop)
        news |= _news(found["signed_lawyer"], lawyer, self.stop)
        signed = [np.where(at <= self.stop, at, np.nan) for at in (client, lawyer)]
        self._update(
            sql("litgo_pipelines.simulation", "contract_life.sql"),
            (found["id"][news], status[news], signed[0][news], signed[1][news]),
            "(%s, %s, %s::float8, %s::float8)",
        )
        changed = status != found["status"]
        of_case = {"active": "in_progress", "closed": "closed", "canceled": "cancelled"}
        self._set_cases(found["case_id"][changed], np.array([of_case[s] for s in status[changed]], dtype=object))
        return {name: int((changed & (status == name)).sum()) for name in of_case}

    def review(self) -> dict[str, int]:
        """Reviews of closed contracts; a few of running ones."""
        found = self._contracts(
            "k.status IN ('active', 'closed') AND k.created_at > %(start)s - interval '120 days' "
            "AND NOT EXISTS (SELECT FROM reviews r WHERE r.contract_id = k.id)"
        )
        found, key, pairs = self._pairs(found)
        fate = self.fate
        client, lawyer, ended, _ = self._life(found, key)
        early = fate.uniform(key, EARLY) < self.world.early
        written = np.where(
            early,
            np.maximum(client, lawyer) + truth.EARLY_AFTER,
            ended + fate.exponential(key, WRITTEN, truth.REVIEW_AFTER),
        )
        now = (fate.uniform(key, REVIEWS) < truth.REVIEWS) & (written > self.start) & (written <= self.stop)
        now &= early | (found["status"] == "closed")
        who, key, affinity = pairs.who[now], key[now], pairs.affinity[now]
        quality = self.lawyers.quality[who]
        succeeded = fate.uniform(key, SUCCEEDS) < truth.success(quality, affinity, pairs.complexity[now])
        outcome = np.where(
            succeeded, np.where(fate.uniform(key, WON) < truth.WINS, truth.WON, truth.SETTLED), truth.LOST
        )
        rating = truth.stars(quality, affinity, succeeded, fate.normal(key, STARS))

        def mark(stream: int, shift: NDArray | int = 0) -> NDArray:
            return truth.part_mark(rating, fate.integers(key, stream, -1, 2), shift)

        table = rows.review_table(
            {
                "rating": rating,
                "comment": fate.integers(key, COMMENT, 0, 4),
                "outcome": np.where(early[now], truth.ONGOING, outcome),
                "communication": mark(MARK_C),
                "expertise": mark(MARK_E, (quality > 1).astype(np.int64)),
                "timeliness": mark(MARK_T, -(self.lawyers.answer_h[who] > 12).astype(np.int64)),
                "created": written[now].astype(np.int64),
            },
            rows.uuids(rows.REVIEW, _keys(found["case_id"][now]), self.world.seed),
            *(pa.array(found[name][now].tolist(), pa.string()) for name in ("id", "lawyer_id", "client_id")),
        )
        new = self._insert("reviews", table)
        if new:
            self.cursor.execute(
                "UPDATE lawyers l SET rating = round(r.mean, 2), review_count = r.reviews FROM (SELECT lawyer_id, "
                "avg(rating) AS mean, count(*) AS reviews FROM reviews WHERE lawyer_id IN "
                "(SELECT lawyer_id::uuid FROM new_reviews) GROUP BY lawyer_id) r WHERE l.id = r.lawyer_id"
            )
        return {"reviews": new}

    def give_up(self) -> dict[str, int]:
        """Some clients end the search after a week without a yes."""
        found = self._read(
            sql("litgo_pipelines.simulation", "hopeless.sql"),
            ("case_id",),
        )["case_id"]
        found = found[self.fate.uniform(_keys(found), GIVES_UP) < truth.GIVES_UP]
        return {"given_up": self._set_cases(found, np.full(len(found), "cancelled"))}

    def _contracts(self, which: str) -> dict[str, NDArray]:
        return self._read(
            sql("litgo_pipelines.simulation", "contracts.sql").replace("{case}", _CASE).replace("{which}", which),
            (
                "id",
                "case_id",
                "lawyer_id",
                "client_id",
                "status",
                "created",
                "signed_client",
                "signed_lawyer",
                *_CASE_COLUMNS,
            ),
        )

    def _life(self, found: Mapping[str, NDArray], key: NDArray) -> tuple[NDArray, NDArray, NDArray, NDArray]:
        """When client and lawyer sign (infinite: never) and the contract ends; whether it is canceled."""
        fate, created = self.fate, found["created"]
        client = created + fate.exponential(key, CLIENT_SIGNS, truth.CLIENT_SIGNS)
        lawyer = created + fate.exponential(key, LAWYER_SIGNS, truth.LAWYER_SIGNS)
        canceled = (fate.uniform(key, CANCELS) < truth.CANCELS) & np.isnan(found["signed_lawyer"])
        client = np.where(np.isnan(found["signed_client"]), client, found["signed_client"])
        lawyer = np.where(canceled, np.inf, lawyer)
        lawyer = np.where(np.isnan(found["signed_lawyer"]), lawyer, found["signed_lawyer"])
        ended = np.maximum(client, lawyer) + fate.integers(key, LASTS, *truth.LASTS)
        # What the loaded window left running ends bit by bit, not all at once.
        left = (created <= self.world.stop) & (ended <= self.world.stop)
        rest = self.world.stop + fate.integers(key, REST, *truth.LASTS)
        return client, lawyer, np.where(left, rest, ended), canceled

    def _pairs(self, found: dict[str, NDArray]) -> tuple[dict[str, NDArray], NDArray, Pairs]:
        """The rows whose lawyer is one of the simulation's, their keys, and what is hidden in them; load unknown."""
        keys = _keys(found["lawyer_id"])
        place = np.minimum(np.searchsorted(self._sorted, keys), len(self._sorted) - 1)
        ours = self._sorted[place] == keys
        found = {name: values[ours] for name, values in found.items()}
        who = self._number[place[ours]]
        key = truth.mixed(_keys(found["case_id"])) ^ keys[ours]
        pair = list(zip(found["area"], found["subarea"], strict=True))
        area, subarea = np.array([_SUBAREA.get(names, (0, -1)) for names in pair], int).reshape(-1, 2).T
        special = self.lawyers.speciality[who, area] == subarea
        place_of = [found[name].astype(float) for name in ("lat", "lng")]
        km = truth.kilometres(self.lawyers, who[:, None], *place_of)[:, 0]
        complexity = np.array([_COMPLEXITY.get(name, 1) for name in found["complexity"]], int)
        affinity = truth.draw_affinity(special, self.fate.normal(key, AFFINITY))
        # A case without a place is far from nobody.
        pairs = Pairs(who, affinity, np.nan_to_num(km, nan=truth.RADIUS_KM / 2), np.zeros(1), complexity)
        return found, key, truth.seen(self.world, pairs)

    def _load(self, sent: NDArray, who: NDArray) -> NDArray:
        """What was offered to lawyers in the 30 days before the day of the offer, by five times their capacity."""
        day = (sent // DAY).astype(int)
        days, row = np.unique(day, return_inverse=True)
        counts = np.zeros((len(days), self.world.lawyers))
        found = self._read(
            "SELECT d.day::float8, o.lawyer_id::text, count(*)::float8 FROM unnest(%(days)s::int[]) AS d (day) "
            "JOIN offers o ON o.sent_at > to_timestamp(d.day * 86400.0) - interval '30 days' "
            "AND o.sent_at <= to_timestamp(d.day * 86400.0) GROUP BY 1, 2",
            ("day", "lawyer_id", "offers"),
            days=days.tolist(),
        )
        keys = _keys(found["lawyer_id"])
        place = np.minimum(np.searchsorted(self._sorted, keys), len(self._sorted) - 1)
        ours = self._sorted[place] == keys
        counts[np.searchsorted(days, found["day"][ours].astype(int)), self._number[place[ours]]] = found["offers"][ours]
        return counts[row, who] / (truth.OFFERS_PER_CASE * self.lawyers.capacity[who])

    def _read(
        self, query: str, columns: tuple[str, ...], **more: float | list[float] | list[str]
    ) -> dict[str, NDArray]:
        """Columns; numbers are floats with NaN for null. In `more`, floats and ints are instants, lists are lists."""
        bounds = {"start": self.start, "stop": self.stop, **more}
        parameters = {n: v if isinstance(v, list) else datetime.fromtimestamp(v, UTC) for n, v in bounds.items()}
        self.cursor.execute(query, parameters)
        values = self.cursor.fetchall()
        types = [description.type_code for description in self.cursor.description]
        filled = zip(*values, strict=True) if values else [()] * len(columns)
        return {
            name: np.array(column, float if kind == _FLOAT8 else object)
            for name, column, kind in zip(columns, filled, types, strict=True)
        }

    def _insert(self, table: str, data: pa.Table) -> int:
        """Rows that are not there yet; their number."""
        if not len(data):
            return 0
        sink = pa.BufferOutputStream()
        pacsv.write_csv(data, sink, pacsv.WriteOptions(include_header=False))
        columns = ", ".join(data.column_names)
        self.cursor.execute(
            f"CREATE TEMPORARY TABLE new_{table} ON COMMIT DROP AS SELECT {columns} FROM {table} LIMIT 0"
        )
        self.cursor.copy_expert(
            f"COPY new_{table} ({columns}) FROM STDIN (FORMAT csv)", pa.BufferReader(sink.getvalue())
        )
        self.cursor.execute(f"INSERT INTO {table} ({columns}) SELECT {columns} FROM new_{table} ON CONFLICT DO NOTHING")
        return int(self.cursor.rowcount)

    def _update(self, statement: str, columns: tuple[NDArray, ...], template: str | None = None) -> int:
        """Rows of `columns` as the VALUES of one statement; how many rows it changed. NaN becomes null."""
        values = list(zip(*(_nulls(column) for column in columns), strict=True))
        if not values:
            return 0
        execute_values(self.cursor, statement, values, template, page_size=len(values))
        return int(self.cursor.rowcount)

    def _set_cases(self, ids: NDArray, status: NDArray) -> int:
        return self._update(
            "UPDATE cases c SET status = v.status FROM (VALUES %s) AS v (id, status) WHERE c.id = v.id::uuid",
            (ids, status),
        )


_FLOAT8 = 701
_CASE = "c.area, c.subarea, c.complexity, c.coords[1], c.coords[0]"
_CASE_COLUMNS = ("area", "subarea", "complexity", "lat", "lng")


@cache
def _lawyers(world: World) -> tuple[truth.Lawyers, NDArray, NDArray]:
    """The world's lawyers, the keys of their ids in order, and the number of each."""
    keys = _keys(np.array(rows.uuids(rows.LAWYER, np.arange(world.lawyers), world.seed).to_pylist()))
    order = np.argsort(keys)
    return truth.draw_lawyers(world), keys[order], order


def _keys(ids: NDArray) -> NDArray:
    """A number (uint64) of each id, from all of its bits."""
    parts = np.frombuffer(bytes.fromhex("".join(ids).replace("-", "")), ">u8").reshape(-1, 2).astype(np.uint64)
    return truth.mixed(parts[:, 0]) ^ parts[:, 1]


def _news(stored: NDArray, at: NDArray, stop: int) -> NDArray:
    return np.isnan(stored) & (at <= stop)


def _nulls(column: NDArray) -> list[object]:
    if column.dtype.kind == "f":
        return [None if np.isnan(value) else value for value in column.tolist()]
    return column.tolist()
