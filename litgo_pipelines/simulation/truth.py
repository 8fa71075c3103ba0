"""Hidden truth of the simulated marketplace: who the lawyers are, which cases come, who answers, with what outcome.

Pure: arrays in, arrays out, numpy only. Identifiers, texts and table columns belong to `rows`, the database to `load`.

Everything follows from `World`: the same values give the same arrays, whatever the machine's clock says. Time is in
whole seconds since the epoch, UTC. The market runs day by day, because what was known at the start of a day (reviews
written, offers sent) decides what is logged and offered on that day; within a day all cases are handled together. A
policy given from outside may decide them one after the other.

The hidden truth is what a ranking model can learn a part of. A pair (case, lawyer) has an affinity, a lawyer a quality
and a readiness to answer; none is logged. The logged features are noisy, partly missing views of them, and they matter
in ways fixed weights cannot express: closeness stops mattering beyond half an hour, the most decorated lawyers
turn small cases down, and how fast a lawyer answers decides far more than its hand-set weight says.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from litgo_pipelines.marketplace.geo import states, unit_vectors
from litgo_pipelines.matching import features as evidence
from litgo_pipelines.models import heuristic
from litgo_pipelines.models.features import FEATURES
from litgo_pipelines.simulation.words import AREAS

Events = dict[str, dict[str, NDArray]]  # table → column → values, all of one length within a table

HOUR, DAY = 3600, 86400
OFFERS_PER_CASE = 5
CANDIDATES_PER_CASE = 20
RADIUS_KM = 50.0
EQUITY_WEIGHT = 0.1
EXPLORATION = 0.06  # standard deviation added to the fair score before the top five are taken
CHANGE_DAYS = 64  # what happens to a case changes cases_30d within so many days
BLOCK = 8192  # cases handled at once: bounds memory, part of what a seed means

# Relative demand by local weekday (Monday first) and by local hour: it follows the working week.
WEEKDAY = np.array([1.30, 1.22, 1.08, 1.00, 0.92, 0.45, 0.35])
HOURLY = np.interp(np.arange(24), [0, 5, 8, 10, 12, 14, 17, 20, 23], [0.2, 0.1, 0.8, 1.6, 1.2, 1.7, 1.4, 0.9, 0.4])

AREA_SHARE = np.array([share for share, _ in AREAS.values()])
SUBAREAS = np.array([len(subareas) for _, subareas in AREAS.values()])
# Hours within which the client needs an answer, by area: custody cannot wait, tax can.
URGENCY_H = np.array([24, 48, 72, 120, 168, 240, 336])
URGENT = np.array([area in ("Criminal", "Família", "Consumidor") for area in AREAS])

PENDING, INTERESTED, DECLINED, EXPIRED = range(4)  # offers.status
SIGNING, ACTIVE, CLOSED, CANCELED = range(4)  # contracts.status
WAITING, ASSIGNED, IN_PROGRESS, DONE, CANCELLED = range(5)  # cases.status
WON, LOST, SETTLED, ONGOING = range(4)  # reviews.outcome

# What comes of offers: probabilities, and mean seconds of exponential delays.
SILENT_ANSWERS = 0.03  # of a lawyer who almost never does
CHOICE_NOISE = 0.6
CHOOSES_AFTER = DAY  # once the offers' 24 hours are over
GIVES_UP = 0.5  # a week without a yes
CLIENT_SIGNS, LAWYER_SIGNS = 8 * HOUR, 12 * HOUR
CANCELS, CANCELED_AFTER = 0.04, 2 * DAY
LASTS = (5 * DAY, 40 * DAY)
WINS = 0.6  # else settled
REVIEWS, REVIEW_AFTER = 0.7, 3 * DAY
EARLY, EARLY_AFTER = 0.04, 4 * DAY  # a few clients review a case that is still running


@dataclass(frozen=True)
class Taste:
    """What makes a lawyer say yes to an offer: the terms of a log-odds."""

    base: float = -0.9
    affinity: float = 0.8
    readiness: float = 0.5
    slowness: float = -0.6  # who answers fast looks for work
    overload: float = -1.2
    nearness: float = 1.6
    decorated: float = -2.2  # the most decorated turn small cases down
    mood: float = 0.0  # who looks for work these weeks


TASTE = Taste()
NOTHING = Taste(-1.0, affinity=0, readiness=0, slowness=0, overload=0, nearness=0, decorated=0)
MOOD_DAYS = 20  # until another mood


@dataclass(frozen=True)
class World:
    """Size and place in time of a simulated marketplace: `days` before `end` (timezone-aware; cut to the second).

    `pool`: state and area (numbers) in which everybody works and every case arises; None: the whole country. `taste`:
    what makes lawyers say yes; `early`: share of the reviews that are written while the contract still runs; `blind`:
    chance alone decides who answers, says yes, is chosen and wins.
    """

    seed: int
    lawyers: int
    cases: int
    days: int
    end: datetime
    pool: tuple[int, int] | None = None
    taste: Taste = TASTE
    early: float = EARLY
    blind: bool = False

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError(f"seed must not be negative, got {self.seed}")
        for name in ("lawyers", "cases", "days"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.end.tzinfo is None:
            raise ValueError("end must be timezone-aware: a naive instant means another moment on another machine")

    @property
    def stop(self) -> int:
        return int(self.end.timestamp())

    @property
    def start(self) -> int:
        return self.stop - self.days * DAY

    @property
    def clients(self) -> int:
        """Some clients come back."""
        return max(1, self.cases * 4 // 5)

    def rng(self, *stream: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, *stream])


@dataclass(frozen=True)
class Lawyers:
    """Arrays of length n (or n × areas). The first block is hidden; the second is what profiles show."""

    quality: NDArray  # standard normal
    readiness: NDArray  # standard normal: how gladly the lawyer takes cases
    silent: NDArray  # bool: almost never answers
    answer_h: NDArray  # median hours to an answer
    speciality: NDArray  # (n, areas): subarea the lawyer is best at

    uf: NDArray
    areas: NDArray  # (n, areas) bool
    primary_area: NDArray
    lat: NDArray
    lng: NDArray
    available: NDArray
    years: NDArray
    firm: NDArray  # index into words.FIRM_SIZES; 0: not stated
    degree: NDArray  # index into words.DEGREES
    publications: NDArray
    profile: NDArray  # bool: has filled in a curriculum
    concluded: NDArray  # cases concluded before joining, with `won` of them
    won: NDArray
    response_h: NDArray  # measured; NaN: no evidence yet
    softskill: NDArray  # NaN: no evidence yet
    max_concurrent: NDArray  # -1: not stated
    joined: NDArray  # instant

    @cached_property
    def capacity(self) -> NDArray:
        """Cases per month, about as the nightly equity rules see it; only the simulated policy's load uses it."""
        firm = np.array([0, 2, 5, 10])[self.firm]
        rate = (self.won + 1) / (self.concluded + 2)
        value = 10 + np.digitize(self.years, [2.01, 5.01, 10.01]) * 1.6 + firm + np.digitize(rate, [0.6, 0.8]) * 1.5
        return np.clip(value, 5, np.where(self.max_concurrent > 0, np.minimum(self.max_concurrent, 30), 30))

    @cached_property
    def qualification(self) -> NDArray:
        """Feature Q; NaN without a curriculum."""
        return evidence.qualification(np.where(self.profile, self.years, np.nan), self.degree, self.publications)

    @cached_property
    def position(self) -> NDArray:
        """(n, 3) on the unit sphere."""
        return unit_vectors(self.lat, self.lng)


def sigmoid(x: NDArray) -> NDArray:
    return 0.5 * (1 + np.tanh(x / 2))  # the form that does not overflow


def scatter(rng: np.random.Generator, uf: NDArray) -> tuple[NDArray, NDArray]:
    """Places around the capital of each state: 14 km away on average, never so far that another capital is nearer."""
    capital = np.array([(s.lat, s.lng) for s in states()])[uf]
    km = np.minimum(rng.gamma(2.0, 7.0, len(uf)), 48)
    bearing = rng.uniform(0, 2 * np.pi, len(uf))
    lat = capital[:, 0] + km * np.cos(bearing) / 111.2
    lng = capital[:, 1] + km * np.sin(bearing) / (111.2 * np.cos(np.radians(capital[:, 0])))
    return lat.round(5), lng.round(5)


@dataclass(frozen=True)
class Pairs:
    """Lawyers who were offered cases: arrays that broadcast against each other, of any one shape."""

    who: NDArray
    affinity: NDArray
    km: NDArray
    load: NDArray  # at the start of the day: offers of 30 days as a share of five times the capacity
    complexity: NDArray


def seen(world: World, pairs: Pairs) -> Pairs:
    """The pairs as they count in the world: in a blind one all are alike."""
    if not world.blind:
        return pairs
    alike = np.zeros(np.broadcast_shapes(np.shape(pairs.who), np.shape(pairs.km)))
    return replace(pairs, affinity=alike, km=alike + 15, load=alike, complexity=alike + 1)


def mixed(key: NDArray) -> NDArray:
    """The finaliser of SplitMix64."""
    key = key + np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        key = (key ^ (key >> np.uint64(shift))) * np.uint64(factor)
    return key ^ (key >> np.uint64(31))


def moods(world: World, who: NDArray, at: NDArray) -> NDArray:
    """-1 or 1, half of the lawyers each: whether somebody looks for work these weeks. It says nothing of the weeks
    before, and changes on a day of each lawyer's own."""
    lawyer = np.asarray(who).astype(np.int64)
    shift = mixed(lawyer.astype(np.uint64) + np.uint64(world.seed)) % np.uint64(MOOD_DAYS)
    weeks = (np.asarray(at).astype(np.int64) // DAY + shift.astype(np.int64)) // MOOD_DAYS
    key = mixed(mixed(lawyer.astype(np.uint64) ^ np.uint64(world.seed * 0x9E3779B1 % 2**63)) + weeks.astype(np.uint64))
    return np.where(key >> np.uint64(63), 1.0, -1.0)


def willingness(lawyers: Lawyers, pairs: Pairs, taste: Taste, mood: NDArray | float = 0.0) -> NDArray:
    """Probability of a yes from who answers at all. mood: `moods`, of the pairs."""
    who = pairs.who
    qualified = np.nan_to_num(lawyers.qualification[who], nan=0.3)
    return sigmoid(
        taste.base
        + taste.affinity * pairs.affinity
        + taste.readiness * lawyers.readiness[who]
        + taste.slowness * np.log(lawyers.answer_h[who] / 6)
        + taste.overload * np.maximum(pairs.load - 1, 0)
        + taste.nearness * sigmoid((15 - pairs.km) / 3)
        + taste.decorated * sigmoid((qualified - 0.5) / 0.05) * (pairs.complexity < 2)
        + taste.mood * mood
    )


def answer_hours(lawyers: Lawyers, pairs: Pairs, noise: NDArray) -> NDArray:
    """Hours to an answer; `noise` standard normal."""
    return lawyers.answer_h[pairs.who] * np.exp(0.6 * noise) * (1 + 0.5 * np.maximum(pairs.load - 1, 0))


def appeal(lawyers: Lawyers, pairs: Pairs, place: NDArray) -> NDArray:
    """What a client finds in a lawyer who is interested; `place`: 0 for who is listed first."""
    return (
        0.9 * pairs.affinity
        + 1.0 * lawyers.quality[pairs.who]
        + 1.2 * sigmoid((15 - pairs.km) / 3)
        - 0.1 * place  # listed first, chosen a little more often
    )


def signing(strength: NDArray) -> NDArray:
    """Probability of a contract with a lawyer of that appeal; 0 for -inf: nobody was interested."""
    return sigmoid(-0.3 + 0.7 * strength)


def success(quality: NDArray, affinity: NDArray, complexity: NDArray) -> NDArray:
    """Probability that the case is won or settled."""
    return sigmoid(0.4 + 0.8 * quality + 0.7 * affinity - 0.4 * complexity)


def stars(quality: NDArray, affinity: NDArray, succeeded: NDArray, noise: NDArray) -> NDArray:
    """Rating of a review, 1 to 5; `noise` standard normal."""
    value = 3.2 + 0.5 * quality + 0.35 * affinity + 0.7 * succeeded + 0.7 * noise
    return np.clip(value.round(), 1, 5).astype(np.int64)


def part_mark(rating: NDArray, noise: NDArray, shift: NDArray | int) -> NDArray:
    """A part mark near the overall one; `noise` -1, 0 or 1."""
    return np.clip(rating + noise + shift, 1, 5)


def kilometres(lawyers: Lawyers, who: NDArray, lat: NDArray, lng: NDArray) -> NDArray:
    """Great-circle distance of lawyers `who` (cases, k) to the cases' places, shape (cases,)."""
    chord = np.linalg.norm(lawyers.position[who] - unit_vectors(lat, lng)[:, None], axis=2)
    return 2 * 6371.0 * np.arcsin(np.minimum(chord / 2, 1))


def draw_affinity(special: NDArray, noise: NDArray) -> NDArray:
    """How well a lawyer and a case fit; `special`: it is the subarea the lawyer is best at."""
    return 0.9 * special + noise


def draw_states(world: World, rng: np.random.Generator, n: int) -> NDArray:
    if world.pool:
        return np.full(n, world.pool[0])
    people = np.array([s.population for s in states()], float)
    return rng.choice(len(people), n, p=people / people.sum())


def draw_lawyers(world: World) -> Lawyers:
    """The lawyers of a world. 15 % join within the window: they have no record yet, as do their first cases."""
    rng, n = world.rng(1), world.lawyers
    quality = rng.normal(size=n)
    uf = draw_states(world, rng, n)
    lat, lng = scatter(rng, uf)
    # Gumbel noise on the log share: areas in order of a weighted draw without replacement.
    order = np.argsort(-(np.log(AREA_SHARE) + rng.gumbel(size=(n, len(AREA_SHARE)))), axis=1)
    wanted = 1 + rng.binomial(2, 0.45, n)
    areas = np.zeros(order.shape, bool)
    np.put_along_axis(areas, order, np.arange(len(AREA_SHARE)) < wanted[:, None], axis=1)
    if world.pool:
        areas[:], order[:, 0] = np.arange(len(AREA_SHARE)) == world.pool[1], world.pool[1]

    newcomer = rng.random(n) < 0.15
    joined = np.where(
        newcomer,
        world.start + rng.random(n) * world.days * DAY,
        world.start - rng.random(n) * 3 * 365 * DAY,
    ).astype(np.int64)
    years = np.clip(np.where(newcomer, rng.gamma(1.5, 3, n), 1 + rng.gamma(2.2, 5, n)).round(), 0, 45).astype(int)
    profile = rng.random(n) > np.where(newcomer, 0.25, 0.03)
    concluded = np.where(newcomer, 0, rng.poisson(2 + 1.2 * years))
    firm = rng.choice(4, n, p=[0.35, 0.35, 0.20, 0.10])
    answer_h = np.exp(np.log(6) + 1.0 * rng.normal(size=n))
    limit = 4 + rng.poisson(14, n)
    drawn = Lawyers(
        quality=quality,
        readiness=rng.normal(size=n),
        silent=rng.random(n) < 0.08,
        answer_h=answer_h,
        speciality=rng.integers(0, SUBAREAS, (n, len(SUBAREAS))),
        uf=uf,
        areas=areas,
        primary_area=order[:, 0],
        lat=lat,
        lng=lng,
        available=rng.random(n) > 0.03,
        years=years,
        firm=firm,
        degree=np.minimum(rng.binomial(3, 0.15 + 0.15 * (years > 8)), 3),
        publications=rng.poisson(np.where(years > 10, 2.0, 0.5)),
        profile=profile,
        concluded=concluded,
        won=rng.binomial(concluded, sigmoid(0.3 + 0.6 * quality)),
        response_h=np.where(newcomer, np.nan, (answer_h * np.exp(0.3 * rng.normal(size=n))).round(1)),
        softskill=np.where(newcomer, np.nan, np.clip(0.5 + 0.13 * quality + 0.1 * rng.normal(size=n), 0, 1).round(3)),
        max_concurrent=np.where(rng.random(n) < 0.6, limit, -1),
        joined=joined,
    )
    if not world.blind:
        return drawn
    alike = np.zeros(n)
    return replace(drawn, quality=alike, readiness=alike, silent=alike > 0, answer_h=alike + 6)


def draw_demand(world: World) -> NDArray:
    """When the cases arrive: sorted instants in [start, stop), shape (cases,)."""
    rng, zone = world.rng(2), ZoneInfo("America/Sao_Paulo")
    first = datetime.fromtimestamp(world.start, ZoneInfo("UTC"))
    local = [(first + timedelta(hours=h)).astimezone(zone) for h in range(world.days * 24)]
    weight = np.array([WEEKDAY[t.weekday()] * HOURLY[t.hour] for t in local])
    per_hour = rng.multinomial(world.cases, weight / weight.sum())
    return np.sort(world.start + np.repeat(np.arange(len(local)), per_hour) * HOUR + rng.integers(0, HOUR, world.cases))


def draw_cases(world: World, rng: np.random.Generator, first: int, created: NDArray) -> dict[str, NDArray]:
    """Cases number `first` and up, one an instant of `created`; the clients are some of the window's."""
    n = len(created)
    uf = draw_states(world, rng, n)
    area = rng.choice(len(AREA_SHARE), n, p=AREA_SHARE)
    if world.pool:
        area[:] = world.pool[1]
    lat, lng = scatter(rng, uf)
    hurry = np.minimum(rng.binomial(6, np.where(URGENT[area], 0.3, 0.55)), 6)
    return {
        "index": first + np.arange(n),
        "created": created,
        "client": rng.integers(0, world.clients, n),
        "uf": uf,
        "area": area,
        "subarea": (rng.random(n) * SUBAREAS[area]).astype(np.int64),
        "lat": lat,
        "lng": lng,
        "urgency_h": URGENCY_H[hurry],
        "complexity": rng.choice(3, n, p=[0.4, 0.4, 0.2]),
        "text": rng.integers(0, 4, n),
        "matched": created + rng.integers(2, 20, n),
        "status": np.full(n, WAITING),
    }


def sample_without_replacement(rng: np.random.Generator, sizes: NDArray, k: int) -> NDArray:
    """k distinct integers below `sizes` in each row, shape (rows, k); all of them, padded with -1, where size < k.

    Floyd's algorithm (Bentley & Floyd, CACM 30(9), 1987), one step for all rows at a time.
    """
    every = np.arange(k)
    if sizes.max(initial=0) <= k:
        return np.where(every < sizes[:, None], every, -1)
    picks = np.full((len(sizes), k), -1)
    for i in range(k):
        top = sizes - k + i
        drawn = (rng.random(len(sizes)) * (top + 1)).astype(np.int64)
        taken = (picks[:, :i] == drawn[:, None]).any(axis=1)
        picks[:, i] = np.where(taken, top, drawn)
    return np.where(sizes[:, None] < k, np.where(every < sizes[:, None], every, -1), picks)


# Who is offered what: (market, generator, cases, who, raw) → columns of the offered, shape (cases, 5), best raw first.
# `who` (cases, candidates) holds lawyers, -1 for none; `raw` their relevance. Where a case has fewer than five, what is
# left over is -1 or points at nobody.
Policy = Callable[["Market", np.random.Generator, dict[str, NDArray], NDArray, NDArray], NDArray]


class Market:
    """One run of the market: `events()` yields what happened, in the order of the cases.

    `policy` decides who is offered a case, out of `candidates` drawn from those eligible, or (None) out of all of them.

    The only mutable thing here: what the lawyers have been offered and what was said of them so far. After the last
    event `reviews`, `stars`, `concluded` and `won` (shape (lawyers,)) are what is known of each lawyer at the end;
    `cases_30d` is what the nightly equity would know at the start of the day, changed in place.
    """

    def __init__(
        self, world: World, policy: Policy | None = None, candidates: int | None = CANDIDATES_PER_CASE
    ) -> None:
        n = world.lawyers
        self.world = world
        self._policy = policy or by_day
        self._wanted = candidates
        self.lawyers = draw_lawyers(world)
        self.reviews = np.zeros(n, np.int64)
        self.stars = np.zeros(n, np.int64)
        self.concluded = self.lawyers.concluded.copy()
        self.won = self.lawyers.won.copy()
        self._offers_by_day = np.zeros((30, n), np.int32)
        self._offers_30d = np.zeros(n, np.int64)
        self.cases_30d = np.zeros(n)
        self._cases_change = np.zeros((CHANGE_DAYS, n), np.int16)  # of cases_30d at the start of a day to come
        self._last_offer = np.full(n, -1, np.int64)
        self._due: dict[int, list[dict[str, NDArray]]] = {}
        self._offers = self._contracts = self._reviews = 0
        # Lawyers who compete for the cases of one state and area, as slices of one array.
        who, area = np.nonzero(self.lawyers.areas & self.lawyers.available[:, None])
        pool = self.lawyers.uf[who] * len(AREA_SHARE) + area
        # One more at the end, never picked: an empty last pool may still be indexed.
        self._members = np.append(who[np.argsort(pool, kind="stable")], 0)
        self._pool_start = np.concatenate([[0], np.cumsum(np.bincount(pool, minlength=27 * len(AREA_SHARE)))])

    def events(self) -> Iterator[Events]:
        """Blocks of at most BLOCK cases: cases, offers (with their matches), contracts, reviews. To be read once."""
        arrivals = draw_demand(self.world)
        bounds = np.searchsorted(arrivals, self.world.start + np.arange(self.world.days + 1) * DAY)
        for day in range(self.world.days):
            self._start_day(day)
            for low in range(bounds[day], bounds[day + 1], BLOCK):
                high = min(low + BLOCK, bounds[day + 1])
                yield self._block(day, low, arrivals[low:high])
        self._start_day(self.world.days)

    def _start_day(self, day: int) -> None:
        """Forget the offers of 30 days ago, learn of the reviews written until now."""
        self._offers_30d -= self._offers_by_day[day % 30]
        self._offers_by_day[day % 30] = 0
        self.cases_30d += self._cases_change[day % CHANGE_DAYS]
        self._cases_change[day % CHANGE_DAYS] = 0
        for due in self._due.pop(day, []):
            n, who = len(self.reviews), due["lawyer"]
            ended = due["outcome"] != ONGOING
            self.reviews += np.bincount(who, minlength=n)
            self.stars += np.bincount(who, due["rating"], n).astype(np.int64)
            self.concluded += np.bincount(who[ended], minlength=n)
            self.won += np.bincount(who[np.isin(due["outcome"], (WON, SETTLED))], minlength=n)

    def _block(self, day: int, first: int, created: NDArray) -> Events:
        rng = self.world.rng(3, first)
        cases = draw_cases(self.world, rng, first, created)
        who, pairs = self._candidates(rng, cases)
        # A generator of its own: the market's other draws do not depend on the policy.
        chosen = self._policy(self, self.world.rng(6, first), cases, who, pairs["raw"])
        rows = np.arange(len(who))[:, None]
        shown = {name: values[rows, chosen] for name, values in pairs.items()}
        shown["who"] = np.where(chosen >= 0, who[rows, chosen], -1)
        shown["equity"] = self.equity_score()[shown["who"]]
        shown["last_offer"] = self._last_offer[shown["who"]]
        answers = self._answer(rng, cases, shown)
        contracts, reviews = self._follow_up(rng, cases, shown, answers)
        offers = self._record(day, cases, shown, answers)
        return {"cases": cases, "offers": offers, "contracts": contracts, "reviews": reviews}

    def _candidates(self, rng: np.random.Generator, cases: dict[str, NDArray]) -> tuple[NDArray, dict[str, NDArray]]:
        """Lawyers of the case's state and area, (cases, candidates) with -1 for none, and of each pair: the features
        as known at the start of the day and whether they were imputed, (…, 8); the raw score; and what stays hidden:
        its affinity, and its distance in km."""
        lawyers = self.lawyers
        pool = cases["uf"] * len(AREA_SHARE) + cases["area"]
        start = self._pool_start[pool]
        sizes = self._pool_start[pool + 1] - start
        wanted = max(OFFERS_PER_CASE, int(sizes.max())) if self._wanted is None else self._wanted
        picks = sample_without_replacement(rng, sizes, wanted)
        who = np.where(picks >= 0, self._members[start[:, None] + picks], -1)
        km = kilometres(lawyers, who, cases["lat"], cases["lng"])
        # Not yet there, or too far away to be asked.
        who = np.where((lawyers.joined[who] >= cases["created"][:, None]) | (km > RADIUS_KM), -1, who)

        special = lawyers.speciality[who, cases["area"][:, None]] == cases["subarea"][:, None]
        affinity = draw_affinity(special, rng.normal(size=who.shape))
        similarity = 0.45 + 0.13 * affinity + 0.07 * rng.normal(size=who.shape)

        real = who >= 0
        case, lawyer = np.nonzero(real)[0], who[real]
        rate = evidence.success(self.won, self.concluded)
        stars = evidence.review_score(self.stars / np.maximum(self.reviews, 1), self.reviews.astype(float))
        known = np.empty((len(lawyer), len(FEATURES)))
        known[:, 0] = 1.0  # every candidate works in the area
        # no past case, nothing to compare with
        known[:, 1] = np.where(self.concluded[lawyer] > 0, evidence.bounded(similarity[real]), np.nan)
        known[:, 2] = rate[lawyer]
        known[:, 3] = evidence.closeness(km[real], RADIUS_KM)
        known[:, 4] = lawyers.qualification[lawyer]
        known[:, 5] = evidence.urgency_capacity(lawyers.response_h[lawyer], cases["urgency_h"][case])
        known[:, 6] = stars[lawyer]
        known[:, 7] = evidence.soft_skills(lawyers.softskill)[lawyer]
        # As logged: scores are computed from the logged values.
        known, missing = evidence.impute(known, np.flatnonzero(np.diff(case, prepend=-1)))
        features = np.full((*who.shape, known.shape[1]), np.nan)
        imputed = np.zeros(features.shape, bool)
        raw = np.zeros(who.shape)
        features[real], imputed[real], raw[real] = known, missing, heuristic.score(known)
        return who, {"features": features, "imputed": imputed, "raw": raw, "affinity": affinity, "km": km}

    def equity_score(self) -> NDArray:
        """1 for a lawyer without offers in 30 days, .5 at the mean load, 0 from twice the mean on; shape (lawyers,)."""
        load = self._offers_30d / (OFFERS_PER_CASE * self.lawyers.capacity)
        mean = load.mean()
        return np.ones(len(load)) if mean == 0 else np.round(1 - np.minimum(load / mean, 2) / 2, 3)

    def _answer(
        self, rng: np.random.Generator, cases: dict[str, NDArray], shown: dict[str, NDArray]
    ) -> dict[str, NDArray]:
        """Who answers within 24 h and says yes; all shapes (cases, 5). `status` is what is visible at the end."""
        lawyers, who, shape = self.lawyers, shown["who"], shown["who"].shape
        load = self._offers_30d[who] / (OFFERS_PER_CASE * lawyers.capacity[who])
        pairs = seen(self.world, Pairs(who, shown["affinity"], shown["km"], load, cases["complexity"][:, None]))
        hours = answer_hours(lawyers, pairs, rng.normal(size=shape))
        willing = ~lawyers.silent[who] | (rng.random(shape) < SILENT_ANSWERS)
        answers = (who >= 0) & willing & (hours < 24)
        yes = answers & (rng.random(shape) < self._willing(pairs, cases["matched"][:, None]))
        sent = np.broadcast_to((cases["matched"] + rng.integers(1, 90, len(who)))[:, None], shape)
        responded = np.where(answers, sent + np.maximum(hours * HOUR, 60).astype(np.int64), -1)
        visible = answers & (responded <= self.world.stop)
        expired = ~answers & (sent + DAY <= self.world.stop)
        status = np.select([visible & yes, visible, expired], [INTERESTED, DECLINED, EXPIRED], PENDING)
        return {"sent": sent, "responded": np.where(visible, responded, -1), "yes": yes, "status": status}

    def _willing(self, pairs: Pairs, at: NDArray) -> NDArray:
        taste = self.world.taste
        return willingness(self.lawyers, pairs, taste, moods(self.world, pairs.who, at) if taste.mood else 0.0)

    def _follow_up(
        self,
        rng: np.random.Generator,
        cases: dict[str, NDArray],
        shown: dict[str, NDArray],
        answers: dict[str, NDArray],
    ) -> tuple[dict[str, NDArray], dict[str, NDArray]]:
        """The client's choice among the interested, the contract's life, the review; sets the cases' status.

        The order of the draws is part of the market: other orders give other markets.
        """
        made, best, created = self._choose(rng, cases, shown, answers)
        who, client = shown["who"][made, best], cases["client"][made]
        quality, affinity = self.lawyers.quality[who], shown["affinity"][made, best] * (not self.world.blind)
        life = self._sign(rng, created)
        status = life["status"]
        cases["status"][made] = np.array([ASSIGNED, IN_PROGRESS, DONE, CANCELLED])[status]
        judged = self._judge(rng, quality, affinity, cases["complexity"][made], life)
        stands = status < CANCELED
        self._count_cases(shown["who"], answers, made[stands], who[stands], created[stands])
        number = self._contracts + np.arange(len(made))
        self._contracts += len(made)
        contracts = {
            "index": number,
            "case": cases["index"][made],
            "lawyer": who,
            "client": client,
            "status": status,
            "fee": rng.integers(0, 5, len(made)),
            "signed_client": np.where(life["client"] <= self.world.stop, life["client"], -1),
            "signed_lawyer": np.where(life["lawyer"] <= self.world.stop, life["lawyer"], -1),
            "created": created,
        }
        reviews = self._write_reviews(rng, number, who, client, judged)
        return contracts, reviews

    def _choose(
        self,
        rng: np.random.Generator,
        cases: dict[str, NDArray],
        shown: dict[str, NDArray],
        answers: dict[str, NDArray],
    ) -> tuple[NDArray, NDArray, NDArray]:
        """(Rows of the cases that get a contract, place of the lawyer who is chosen, when); the others may give up."""
        stop, rows = self.world.stop, np.arange(len(cases["index"]))
        pairs = Pairs(shown["who"], shown["affinity"], shown["km"], np.zeros(1), cases["complexity"][:, None])
        place = np.arange(OFFERS_PER_CASE) * (not self.world.blind)
        offered = np.where(answers["yes"], appeal(self.lawyers, seen(self.world, pairs), place), -np.inf)
        best = np.argmax(offered + CHOICE_NOISE * rng.gumbel(size=offered.shape), axis=1)
        signs = rng.random(len(rows)) < signing(offered[rows, best])
        created = answers["sent"][:, 0] + DAY + (rng.exponential(CHOOSES_AFTER, len(rows))).astype(np.int64)
        made = np.flatnonzero(signs & (created <= stop))
        # Without a yes the search ends after a week for some clients.
        gave_up = ~answers["yes"].any(axis=1) & (shown["who"][:, 0] >= 0) & (rng.random(len(rows)) < GIVES_UP)
        cases["status"][gave_up & (cases["created"] + 7 * DAY <= stop)] = CANCELLED
        return made, best[made], created[made]

    def _sign(self, rng: np.random.Generator, created: NDArray) -> dict[str, NDArray]:
        """When client and lawyer sign, when the contract begins (`both`) and ends, and its status at the end."""
        stop, n = self.world.stop, len(created)
        client = created + rng.exponential(CLIENT_SIGNS, n).astype(np.int64)
        lawyer = created + rng.exponential(LAWYER_SIGNS, n).astype(np.int64)
        canceled = rng.random(n) < CANCELS
        lawyer[canceled] = stop + 1  # never signs
        both = np.maximum(client, lawyer)
        ended = both + rng.integers(*LASTS, n)
        status = np.select(
            [canceled & (created + CANCELED_AFTER <= stop), ended <= stop, both <= stop],
            [CANCELED, CLOSED, ACTIVE],
            SIGNING,
        )
        return {"client": client, "lawyer": lawyer, "both": both, "ended": ended, "status": status}

    def _judge(
        self,
        rng: np.random.Generator,
        quality: NDArray,
        affinity: NDArray,
        complexity: NDArray,
        life: dict[str, NDArray],
    ) -> dict[str, NDArray]:
        """How each case ends and what its client would say of it when; `reviewed`: who says it."""
        n, status = len(quality), life["status"]
        succeeded = rng.random(n) < success(quality, affinity, complexity)
        outcome = np.where(succeeded, np.where(rng.random(n) < WINS, WON, SETTLED), LOST)
        # A few clients review a case that is still running; a contract has one review.
        early = rng.random(n) < self.world.early
        outcome = np.where(early, ONGOING, outcome)
        rating = stars(quality, affinity, succeeded, rng.normal(size=n))
        at_the_end = life["ended"] + rng.exponential(REVIEW_AFTER, n).astype(np.int64)
        written = np.where(early, life["both"] + EARLY_AFTER, at_the_end)
        reviewed = (rng.random(n) < REVIEWS) & (status >= ACTIVE) & (status < CANCELED) & (written <= self.world.stop)
        return {"outcome": outcome, "rating": rating, "written": written, "reviewed": reviewed}

    def _write_reviews(
        self, rng: np.random.Generator, contract: NDArray, who: NDArray, client: NDArray, judged: dict[str, NDArray]
    ) -> dict[str, NDArray]:
        """The reviews, which are known of the lawyers from the day after."""
        lawyers, n = self.lawyers, len(contract)

        def mark(shift: NDArray | int) -> NDArray:
            return part_mark(judged["rating"], rng.integers(-1, 2, n), shift)

        columns = {
            "contract": contract,
            "lawyer": who,
            "client": client,
            "rating": judged["rating"],
            "comment": rng.integers(0, 4, n),  # the last: none
            "outcome": judged["outcome"],
            "communication": mark(0),
            "expertise": mark((lawyers.quality[who] > 1).astype(np.int64)),
            "timeliness": mark(-(lawyers.answer_h[who] > 12).astype(np.int64)),
            "created": judged["written"],
        }
        reviews = {name: values[judged["reviewed"]] for name, values in columns.items()}
        reviews["index"] = self._reviews + np.arange(len(reviews["created"]))
        self._reviews += len(reviews["created"])
        # Known from the start of the first day after the one it was written on.
        known = (reviews["created"] - self.world.start) // DAY + 1
        for day in np.unique(known):
            part = {name: reviews[name][known == day] for name in ("lawyer", "rating", "outcome")}
            self._due.setdefault(min(int(day), self.world.days), []).append(part)
        return reviews

    def _count_cases(
        self, shown: NDArray, answers: dict[str, NDArray], case: NDArray, who: NDArray, at: NDArray
    ) -> None:
        """Note how cases_30d will change: a contract counts from its creation, a yes from the answer until the case has
        a contract (made with `who` for the row `case`, `at` an instant), either for 30 days at most."""
        signed = np.full(len(shown), np.iinfo(np.int64).max)
        signed[case] = at
        row, column = np.nonzero((answers["status"] == INTERESTED) & (shown >= 0))
        yes = answers["responded"][row, column]
        lawyer = np.concatenate([shown[row, column], who])
        for instant, change in (
            (np.concatenate([yes, at]), 1),
            (np.concatenate([np.minimum(yes + 30 * DAY, signed[row]), at + 30 * DAY]), -1),
        ):
            day = (instant - self.world.start - 1) // DAY + 1  # the first that starts at the instant or later
            np.add.at(self._cases_change, (day % CHANGE_DAYS, lawyer), change)

    def _record(
        self, day: int, cases: dict[str, NDArray], shown: dict[str, NDArray], answers: dict[str, NDArray]
    ) -> dict[str, NDArray]:
        """The offers as flat rows in case order, best raw score first; remembers who was offered what.

        A case whose match or offers would fall after the end has none yet.
        """
        real = (shown["who"] >= 0) & (answers["sent"] <= self.world.stop)
        row, column = np.nonzero(real)
        who, sent = shown["who"][real], answers["sent"][real]
        count = np.bincount(who, minlength=self.world.lawyers)
        self._offers_by_day[day % 30] += count.astype(np.int32)
        self._offers_30d += count
        np.maximum.at(self._last_offer, who, sent)
        number = self._offers + np.arange(len(who))
        self._offers += len(who)
        return {
            "index": number,
            "case": cases["index"][row],
            "lawyer": who,
            "rank": column + 1,
            "features": shown["features"][real],
            "imputed": shown["imputed"][real],
            "raw": shown["raw"][real].round(4),
            "equity": shown["equity"][real],
            "fair": ((1 - EQUITY_WEIGHT) * shown["raw"][real] + EQUITY_WEIGHT * shown["equity"][real]).round(4),
            "last_offer": shown["last_offer"][real],
            "matched": cases["matched"][row],
            "sent": sent,
            "responded": answers["responded"][real],
            "status": answers["status"][real],
        }


def by_day(market: Market, rng: np.random.Generator, cases: dict[str, NDArray], who: NDArray, raw: NDArray) -> NDArray:
    """Logging `Policy`: the heuristic ranker, some equity, exploration; a day's cases do not see each other."""
    fair = (1 - EQUITY_WEIGHT) * raw + EQUITY_WEIGHT * market.equity_score()[who]
    tried = np.where(who >= 0, fair + EXPLORATION * rng.normal(size=who.shape), -np.inf)
    chosen = np.argsort(-tried, axis=1, kind="stable")[:, :OFFERS_PER_CASE]
    real = np.take_along_axis(who, chosen, axis=1) >= 0
    order = np.argsort(np.where(real, -np.take_along_axis(raw, chosen, axis=1), np.inf), axis=1, kind="stable")
    return np.take_along_axis(chosen, order, axis=1)
