"""Triage of the pending cases, one transaction per case. Knows the database, not Dagster.

Belongs here: reading, writing, failures, the choice between OpenAI and the local classifier. What decides a case is
`triage`'s.
"""

import hashlib
import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from litgo_pipelines.database import Connection, Cursor, error_kind, in_transaction, of_the_database, session_lock, sql
from litgo_pipelines.database.values import as_json
from litgo_pipelines.intake import remote, sensitive, taxonomy
from litgo_pipelines.intake.classifier import VERSION, Model, keep, train
from litgo_pipelines.intake.masking import mask
from litgo_pipelines.intake.rules import COMPLEXITY, URGENCY_H
from litgo_pipelines.intake.taxonomy import Subarea
from litgo_pipelines.intake.text import LONGEST, clean
from litgo_pipelines.intake.triage import Case, Decision, Opinion, decide, local_opinion, possible_subareas, spelled
from litgo_pipelines.observability.metrics import Delta, add, count, observe
from litgo_pipelines.resources.external_service import ServiceFailure
from litgo_pipelines.resources.openai import OpenAIFailed

log = logging.getLogger(__name__)

PACKAGE = "litgo_pipelines.intake"
LOCK = "triage"
MODEL_LOCK = "classifier"  # while one is trained and kept
ATTEMPTS = 3  # then a person looks
RETRY = timedelta(minutes=5)  # times the number of failed attempts
OPENAI_FAILURES = 3  # one after the other, then the rest of the run does without it
CAP = 30  # the marketplace's own texts a subarea, at most
KEPT_MODELS = 3


class Structured(Protocol):
    """What triage needs of `resources.openai.OpenAI`."""

    @property
    def configured(self) -> bool: ...

    @property
    def fallback_enabled(self) -> bool: ...

    def structured(self, *, instructions: str, text: str, name: str, schema: dict[str, object]) -> str: ...


@dataclass
class TriageResult:
    """What a run came to. `confidence`: of each area a classifier gave or did not dare to."""

    as_of: datetime
    classifier: str
    statuses: Counter[str] = field(default_factory=Counter)  # classified, review, failed, changed
    sources: Counter[str] = field(default_factory=Counter)
    areas: Counter[tuple[str, str]] = field(default_factory=Counter)  # (status, area)
    fallbacks: Counter[str] = field(default_factory=Counter)  # why OpenAI did not decide
    withheld: Counter[str] = field(default_factory=Counter)  # why it was not asked
    confidence: list[float] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)  # case → kind of error
    seconds: float = 0.0

    def figures(self) -> dict[str, object]:
        """For logs: numbers only."""
        return {
            "as_of": self.as_of.isoformat(),
            "classifier": self.classifier,
            **{name: self.statuses[name] for name in ("classified", "review", "failed", "changed")},
            "sources": dict(self.sources),
            "openai_fallbacks": dict(self.fallbacks),
            "openai_withheld": dict(self.withheld),
            "seconds": round(self.seconds, 3),
        }


def local_model(connection: Connection, directory: Path, as_of: datetime) -> tuple[str, Model]:
    """(version, model) of the instant's day: the saved one, or trained now on what was chosen before that day (UTC).

    A file whose content is not what its name says is replaced before it is read. The newest KEPT_MODELS stay.
    """
    day = as_of.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    version = f"{VERSION}-{taxonomy.digest()}-{day:%Y%m%d}"
    for path in directory.glob(f"triage-{version}-*.npz"):
        try:
            content = path.read_bytes()
            if path.stem.rpartition("-")[2] == hashlib.sha256(content).hexdigest():
                return version, Model.read(content)
        except (OSError, ValueError, KeyError, EOFError):  # half a disk, or none of our files
            pass
        log.warning("the kept classifier %s was changed: it is trained anew", path.name)
        path.unlink(missing_ok=True)
    with session_lock(connection, MODEL_LOCK):  # an erasure that waits for it then removes what was kept
        with connection, connection.cursor() as cursor:
            cursor.execute(sql(PACKAGE, "training.sql"), {"as_of": day, "cap": CAP, "longest": LONGEST})
            labelled = [
                (Subarea(area, subarea), clean(title, text)) for area, subarea, title, text in cursor.fetchall()
            ]
        model = train(labelled)
        try:
            content = model.content()
            keep(directory / f"triage-{version}-{hashlib.sha256(content).hexdigest()}.npz", content)
        except OSError as error:  # a full disk: it is trained anew by the next run
            log.warning("the classifier of the day is not kept: %s", error)
    for old in sorted(directory.glob("triage-*.npz"), key=lambda file: file.stat().st_mtime)[:-KEPT_MODELS]:
        old.unlink(missing_ok=True)
    return version, model


def pending(
    cursor: Cursor, as_of: datetime, limit: int, *, names: bool = False, minute: int | None = None
) -> list[Case]:
    """The cases whose turn it is, oldest first; with their clients' names only where a text is to be masked.

    `minute`: of a look that compares the words of one in sixteen texts; None: those of all.
    """
    cursor.execute(sql(PACKAGE, "pending.sql"), {"as_of": as_of, "limit": limit, "names": names, "minute": minute})
    return [Case(*row) for row in cursor.fetchall()]


def triage_pending(
    connection: Connection,
    as_of: datetime,
    *,
    limit: int,
    threshold: float,
    version: str,
    model: Model,
    openai: Structured | None = None,
    warn: Callable[[str], None] = lambda message: None,
    progress: Callable[[int], None] = lambda cases: None,
) -> TriageResult:
    """Triage what is pending as of the instant, at most `limit` cases. `connection`: in no transaction.

    One run works at a time, others wait. A case that raises is put aside and does not hold up the others. Raises
    ValueError for a naive instant, and what the database raised when the connection is gone.
    """
    if as_of.tzinfo is None:
        raise ValueError(f"as_of must name its zone or offset: {as_of.isoformat()}")
    started = time.monotonic()
    work = _Work(connection, TriageResult(as_of, version), threshold, model, openai, warn)
    with session_lock(connection, LOCK):
        with connection, connection.cursor() as cursor:
            cases = pending(cursor, as_of, limit, names=work.remote)
        for case in cases:
            work.case(case)
            progress(1)
    work.result.seconds = time.monotonic() - started
    return work.result


@dataclass
class _Work:
    connection: Any
    result: TriageResult
    threshold: float
    model: Model
    openai: Structured | None
    warn: Callable[[str], None]
    failed_in_a_row: int = 0

    @property
    def remote(self) -> bool:
        return self.openai is not None and self.openai.configured

    def case(self, case: Case) -> None:
        started = time.monotonic()
        deltas: list[Delta] = []
        try:
            local_only = self._local_only(case)
            decision = decide(case, self._classifier(case, local_only, deltas), self.threshold)
            source = decision.classified_by or ("client" if decision.status == "classified" else None)
            deltas.append(count("triage_requests_total", status=decision.status))
            if source in ("openai", "local", "client"):
                deltas.append(count("triage_source_total", source=source))
            deltas += observe("triage_duration_seconds", time.monotonic() - started)
            written = self._write(case, decision, local_only, deltas)
        except Exception as error:  # whatever a text brings about is that case's affair
            if self.connection.closed or of_the_database(error):
                raise
            self._fail(case, error_kind(error))
            return
        result = self.result
        result.statuses[decision.status if written else "changed"] += 1
        if written:
            known = decision.area if decision.area in taxonomy.areas() else "outra"
            result.areas[decision.status, known if decision.area else "–"] += 1
            if source:
                result.sources[source] += 1
            if decision.area_confidence is not None:
                result.confidence.append(decision.area_confidence)

    def _local_only(self, case: Case) -> str | None:
        """Why the case's text stays here, whoever consents."""
        case = spelled(case)
        text = clean(case.title, case.description)
        possible = possible_subareas(case) or taxonomy.subareas()
        opinion = local_opinion(self.model.probabilities(text), possible)
        return sensitive.reason(case.area, case.subarea, text, opinion.probabilities)

    def _classifier(
        self, case: Case, local_only: str | None, deltas: list[Delta]
    ) -> Callable[[str, list[Subarea]], Opinion]:
        def classify(text: str, possible: list[Subarea]) -> Opinion:
            found = None
            if self.remote and (withheld := local_only if case.consents else "no_consent"):
                deltas.append(count("openai_withheld_total", use="triage", reason=withheld))
                self.result.withheld[withheld] += 1
            elif self.remote:
                found = self._ask(case, text, possible, deltas)
            return found or local_opinion(self.model.probabilities(text), possible)

        return classify

    def _ask(self, case: Case, text: str, possible: list[Subarea], deltas: list[Delta]) -> Opinion | None:
        """OpenAI's opinion; None, counted and told, where it has none that can be used."""
        assert self.openai is not None
        if self.failed_in_a_row >= OPENAI_FAILURES:
            reason = "skipped"
        else:
            try:
                answer = self.openai.structured(
                    instructions=remote.INSTRUCTIONS,
                    text=mask(text, [case.client_name])[: remote.LONGEST],
                    name=remote.NAME,
                    schema=remote.schema(possible),
                )
                opinion = remote.opinion(answer, possible)
                self.failed_in_a_row = 0
                return opinion
            except OpenAIFailed as error:
                if not self.openai.fallback_enabled:
                    raise
                if isinstance(error.__cause__, ServiceFailure):
                    deltas.append(count("fallback_usage_total", service="openai", reason=error.__cause__.reason))
                reason = error.reason
                self.warn(f"OpenAI did not triage case {case.case_id}, the local classifier does: {reason}, {error}")
            except ValueError:
                reason = "invalid"
                self.warn(f"OpenAI's answer for case {case.case_id} is not of the schema, the local classifier decides")
            # One that says nothing is waited for once a run: the cases after it would wait as long, one by one.
            failures = OPENAI_FAILURES if reason == "timeout" else self.failed_in_a_row + 1
            self.failed_in_a_row = 0 if reason in ("refused", "invalid") else failures
        deltas.append(count("triage_openai_fallback_total", reason=reason))
        self.result.fallbacks[reason] += 1
        return None

    def _write(self, case: Case, decision: Decision, local_only: str | None, deltas: list[Delta]) -> bool:
        parameters = {
            "case_id": case.case_id,
            "as_of": self.result.as_of,
            "status": decision.status,
            "area": decision.area,
            "subarea": decision.subarea,
            "urgency_h": decision.urgency_h,
            "urgency_source": decision.sources["urgency_h"],
            "danger": decision.danger.share,
            "life_at_risk": decision.danger.life,
            "complexity": decision.complexity,
            "local_only": local_only,
            "text_bytes": case.text_bytes,
            "text_hash": case.text_hash,
            "sources": as_json(decision.sources),
            "area_confidence": decision.area_confidence,
            "subarea_confidence": decision.subarea_confidence,
            "reason": decision.reason,
            "alternatives": as_json(
                [
                    {"area": label.area, "subarea": label.subarea, "confidence": round(p, 4)}
                    for label, p in decision.alternatives
                ]
            ),
            "classifier": self.result.classifier if decision.classified_by == "local" else decision.classified_by,
            "was_area": case.area,
            "was_subarea": case.subarea,
            "was_urgency_h": case.urgency_h,
            "was_complexity": case.complexity,
        }

        def write(cursor: Cursor) -> bool:
            cursor.execute(sql(PACKAGE, "decision.sql"), parameters)
            written = cursor.fetchone()[0] == 1
            if written:
                add(cursor, deltas)
            return written

        return in_transaction(self.connection, write)

    def _fail(self, case: Case, reason: str) -> None:
        with self.connection, self.connection.cursor() as cursor:
            cursor.execute(FAILED, {"case": case.case_id, "reason": reason, "at": self.result.as_of, "retry": RETRY})
            (attempts,) = cursor.fetchone()
            deltas = [count("triage_requests_total", status="failed")]
            if attempts >= ATTEMPTS:
                cursor.execute(GIVEN_UP, {**vars(case), "at": self.result.as_of})
                deltas.append(count("triage_requests_total", status="review"))
            add(cursor, deltas)
        self.result.statuses["failed"] += 1
        self.result.failures[case.case_id] = reason


FAILED = sql(PACKAGE, "failed.sql")
GIVEN_UP = sql(PACKAGE, "given_up.sql").replace("{urgency_h}", str(URGENCY_H)).replace("{complexity}", COMPLEXITY)
