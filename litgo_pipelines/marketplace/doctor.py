"""`litgo doctor`: how a marketplace's database and the pipelines would get on, before anything is written.

Belongs here: looking, in one transaction that is rolled back. What is proposed is `proposal.py`, what is written to try
`attempts.py`; docs/your-database.md.
"""

import re
from dataclasses import asdict, dataclass, field, replace

import psycopg2

from litgo_pipelines.database import Connection, Cursor, connect, sql
from litgo_pipelines.database.errors import READ_ONLY
from litgo_pipelines.marketplace import access, proposal, views
from litgo_pipelines.marketplace import attempts as trying
from litgo_pipelines.marketplace.mapping import Form, SourceMapping, parse, quoted
from litgo_pipelines.marketplace.proposal import TheirTable
from litgo_pipelines.marketplace.schema import EQUITY_COLUMNS, OPTIONAL, TABLES, VALUES, WRITTEN
from litgo_pipelines.settings import settings

SAMPLE = 100_000  # rows of a table whose columns are looked at
PROPOSED = "the proposal"
OLDEST = 15  # major version of PostgreSQL
# (rows looked at, column → (rows with a value, values that are not known, rows with one of them))
Counts = tuple[int, dict[str, tuple[int, list[str], int]]]


@dataclass(frozen=True)
class ColumnFinding:
    """One logical column. Shares are of the rows looked at, None where there are none; `unknown`: values of theirs."""

    table: str
    column: str
    family: str
    source: str
    empty: float | None = None
    unknown_share: float | None = None
    unknown: tuple[str, ...] = ()


@dataclass
class Report:
    """`failures`: what would fail, one line each, in the order in which to mend it."""

    database: str
    server: str
    user: str
    mapping: str = ""
    fits: dict[str, int] = field(default_factory=dict)  # mapping → problems
    rows: dict[str, int] = field(default_factory=dict)
    columns: list[ColumnFinding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    tried_as: str = ""
    attempts: list[trying.Attempt] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    proposal: str = ""

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


def examine(url: str) -> Report:
    """Look at the database; nothing in it changes. Raises DatabaseUnavailable, MappingError."""
    with connect(url, application_name="litgo-doctor", attempts=1) as connection, connection.cursor() as cursor:
        try:
            return _examine(cursor)
        finally:
            _take_back(connection)


def _take_back(connection: Connection) -> None:
    if not connection.closed:
        connection.rollback()


def _examine(cursor: Cursor) -> Report:
    cursor.execute("SELECT current_database(), current_setting('server_version'), current_user")
    report = Report(*views.one(cursor))
    cursor.execute(
        "SELECT current_setting('server_encoding'), current_setting('server_version_num')::int, "
        "current_setting('transaction_read_only')::boolean"
    )
    encoding, version, read_only = views.one(cursor)
    if read_only:
        report.failures.append(READ_ONLY)
    if encoding != "UTF8":
        report.failures.append(f"the database's encoding is {encoding}: create it with ENCODING 'UTF8'")
    if version < OLDEST * 10_000:
        report.failures.append(f"PostgreSQL {report.server}: {OLDEST} or newer is needed")
    report.notes += _collation(cursor)
    cursor.execute("SET LOCAL lock_timeout = '2s'; SET LOCAL statement_timeout = '10min'")
    fitted = _best(cursor, report)
    tables = _their_tables(cursor)
    _label_texts(cursor, tables, fitted)
    proposed = _proposed(tables, fitted)
    report.proposal = proposal.render(
        proposed,
        f"A mapping of the database {report.database}, proposed by `litgo doctor`.\nCheck each line that says so.",
    )
    if fitted.problems:
        report.failures += fitted.problems
        second = _fit_without_what_is_added(cursor, parse(report.proposal, PROPOSED), [])
        if len(second.problems) < len(fitted.problems):
            fitted, report.mapping = second, PROPOSED
            report.notes.append("what follows is of the proposal: litgo doctor --write-mapping FILE writes it")
    _figures(cursor, fitted, report)
    if not fitted.problems:
        report.failures += [sentence for _, sentence in access.repeated(cursor, fitted.mapping, of_views=False)]
    report.notes += [*fitted.passed_over.values(), *deleted_count(fitted)]
    relations = [table.table.quoted for table in fitted.tables.values()]
    report.failures += access.subscribed(cursor, [t.table.quoted for name, t in fitted.tables.items() if WRITTEN[name]])
    report.failures += dict.fromkeys(sentence for _, sentence in access.hidden(cursor, relations))
    if not (fitted.problems or read_only):
        report.tried_as, report.attempts = trying.attempt(cursor, fitted)
        report.failures += [f"{one.write}: {one.problem}" for one in report.attempts if one.problem]
    return report


def _collation(cursor: Cursor) -> list[str]:
    """A sentence where the system sorts texts otherwise than when the database was made: an index may miss rows."""
    cursor.execute(
        "SELECT datcollversion, pg_database_collation_actual_version(oid) FROM pg_database "
        "WHERE datname = current_database() AND datcollversion <> pg_database_collation_actual_version(oid)"
    )
    return [
        f"the database's texts were sorted by version {made} of its collation, and the system has {now}: "
        "REINDEX DATABASE, then ALTER DATABASE … REFRESH COLLATION VERSION"
        for made, now in cursor.fetchall()
    ]


def deleted_count(fitted: views.Fit) -> list[str]:
    """A sentence for each table in which rows that are marked as deleted are taken as there."""
    return [
        f"{'.'.join(table.table.relation)} marks rows as deleted, which count all the same: `where: {condition}` "
        f"beside the table {name} in the mapping leaves them out"
        for name, table in fitted.tables.items()
        if table.table.where is None and (condition := proposal.not_deleted(table.bases))
    ]


def _best(cursor: Cursor, report: Report) -> views.Fit:
    """The mapping that is set, else the one that fits best; the figures of the others are noted."""
    given = settings().litgo_marketplace_mapping
    wanted = views.wanted(cursor)
    mappings = {name: views.load(name) for name in views.packaged()} | {wanted.name: wanted}
    fits = {name: _fit_without_what_is_added(cursor, mapping, []) for name, mapping in mappings.items()}
    for name, fitted in fits.items():
        missing = sum(len(columns) for table, columns in TABLES.items() if table not in fitted.tables)
        report.fits[name] = len(fitted.problems) + missing
    best = min(fits, key=lambda name: (report.fits[name], name != wanted.name))
    chosen = wanted.name if given else best
    report.mapping = chosen
    if report.fits[best] < report.fits[chosen]:
        report.notes.append(f"the mapping {best} fits better: set LITGO_MARKETPLACE_MAPPING={best}")
    elif chosen != wanted.name and not fits[chosen].problems:
        report.notes.append(f"before `litgo migrate`, set LITGO_MARKETPLACE_MAPPING={chosen}")
    return _fit_without_what_is_added(cursor, mappings[chosen], report.notes)


def _fit_without_what_is_added(cursor: Cursor, mapping: SourceMapping, notes: list[str]) -> views.Fit:
    """The fit as it is after `litgo migrate`, which adds equity columns that are missing; `notes` gets those."""
    fitted = views.fit(cursor, mapping)
    lawyers = fitted.tables.get("lawyers")
    if lawyers is None or not views.is_table(cursor, lawyers.table):
        return fitted
    added = {}
    for column in EQUITY_COLUMNS:
        theirs = lawyers.chosen[column].column
        if theirs is not None and theirs not in lawyers.types:
            added[column] = f"lawyers.{column}: {'.'.join(lawyers.table.relation)} has no column {theirs}"
            notes.append(f"`litgo migrate` adds the column {theirs} to {'.'.join(lawyers.table.relation)}")
    problems = [problem for problem in fitted.problems if not any(problem.endswith(end) for end in added.values())]
    chosen = {column: Form(0) if column in added else form for column, form in lawyers.chosen.items()}
    return replace(fitted, tables={**fitted.tables, "lawyers": replace(lawyers, chosen=chosen)}, problems=problems)


def _their_tables(cursor: Cursor) -> list[TheirTable]:
    cursor.execute(sql("litgo_pipelines.marketplace", "doctor_tables.sql"))
    return [
        TheirTable(schema, name, columns, {**_listed(checks), **labels}, tuple(triggers))
        for schema, name, columns, labels, checks, triggers in cursor.fetchall()
    ]


def _listed(checks: dict[str, str]) -> dict[str, list[str]]:
    """Columns whose check lists their values → those."""
    found = {column: re.findall(r"'((?:[^']|'')*)'::", text) for column, text in checks.items() if "ANY" in text}
    return {column: list(dict.fromkeys(values)) for column, values in found.items() if values}


def _label_texts(cursor: Cursor, tables: list[TheirTable], fitted: views.Fit) -> None:
    """Values of free text columns that may be a status, where no check and no enum lists them."""
    placed = proposal.place_tables(tables, _relations(fitted))
    for name in VALUES:
        ours, column = name.split(".")
        table = placed.get(ours)
        form = table and proposal.propose_table(ours, table, {}).forms[column]
        if not table or not form or not form.column or form.column in table.labels:
            continue
        try:
            with views.savepoint(cursor):
                cursor.execute(
                    f"SELECT DISTINCT v FROM (SELECT {quoted(form.column)}::text AS v FROM "
                    f"{quoted(table.schema)}.{quoted(table.name)} LIMIT {SAMPLE}) s "
                    "WHERE v IS NOT NULL LIMIT 31"
                )
                labels = sorted(label for (label,) in cursor.fetchall())
        except psycopg2.Error:
            continue  # that it cannot be read is said where its figures are
        if 0 < len(labels) <= 30:
            more = replace(table, labels={**table.labels, form.column: labels})
            tables[tables.index(table)] = placed[ours] = more


def _relations(fitted: views.Fit) -> dict[str, tuple[str, str]]:
    return {name: table.table.relation for name, table in fitted.tables.items()}


def _proposed(tables: list[TheirTable], fitted: views.Fit) -> dict[str, proposal.ProposedTable]:
    """What the mapping has that fits, and a guess for the rest."""
    placed = proposal.place_tables(tables, _relations(fitted))
    lacking = {tuple(re.sub(r"^.*, line \d+: ", "", problem).split(":")[0].split(".")) for problem in fitted.problems}
    found = {}
    for ours, theirs in placed.items():
        mapped = fitted.tables.get(ours)
        kept = (
            {column: form for column, form in mapped.chosen.items() if (ours, column) not in lacking} if mapped else {}
        )
        if mapped and ours == "lawyers":  # what `litgo migrate` adds keeps its name
            kept |= {
                column: mapped.table.forms[column][0] for column in EQUITY_COLUMNS if (ours, column) not in lacking
            }
        else:
            kept = {column: form for column, form in kept.items() if not form.absent}
        kept = {column: form for column, form in kept.items() if not _other_words(theirs, f"{ours}.{column}", form)}
        table = mapped.table if mapped else None
        found[ours] = proposal.propose_table(
            ours, theirs, kept, table.where if table else None, bool(table and table.owner_writes)
        )
    return found


def _other_words(theirs: TheirTable, name: str, form: Form) -> bool:
    """Whether a column whose values we compare holds some that we have no word for: they may be ours in other words."""
    labels = theirs.labels.get(form.column or "", ())
    return name in VALUES and form.plain and bool(set(labels) - set(VALUES[name]))


def _figures(cursor: Cursor, fitted: views.Fit, report: Report) -> None:
    """Rows of each table, and of each column how much is empty or of no known value."""
    for name, table in fitted.tables.items():
        shown = {column: form for column, form in table.chosen.items() if not form.absent and _there(table, form)}
        counts = _counted(cursor, table, shown, report)
        for column, family in TABLES[name].items():
            form = table.chosen[column]
            added = table.table.forms[column][0].column if column in EQUITY_COLUMNS and form.absent else None
            source = f"{added}, which `litgo migrate` adds" if added and name == "lawyers" else _source(form)
            finding = ColumnFinding(name, column, family, source)
            if counts is not None and column in shown:
                finding = _judged(finding, counts, report)
            report.columns.append(finding)


def _there(table: views.FittedTable, form: Form) -> bool:
    return form.column is None or form.column in table.types


def _source(form: Form) -> str:
    if form.absent:
        return "null"
    return " ".join((form.sql or "").split()) if form.sql is not None else form.column or ""


def _counted(cursor: Cursor, table: views.FittedTable, shown: dict[str, Form], report: Report) -> Counts | None:
    """None when the table cannot be read."""
    name = table.table.name
    source = table.table.source
    columns = ", ".join(f"{form.expression()} AS {column}" for column, form in shown.items())
    known = {column: VALUES.get(f"{name}.{column}") for column in shown}
    figures = ", ".join(
        f"count({column}), array_agg(DISTINCT {column}::text) FILTER (WHERE {column}::text <> ALL (%({column})s))"
        f", count(*) FILTER (WHERE {column}::text <> ALL (%({column})s))"
        if known[column]
        else f"count({column}), NULL, NULL"
        for column in shown
    )
    values = {column: list(values) for column, values in known.items() if values}
    try:
        with views.savepoint(cursor):
            cursor.execute(f"SELECT count(*) FROM {source}")
            report.rows[name] = views.one(cursor)[0]
            cursor.execute(
                f"SELECT count(*), {figures} FROM (SELECT {columns.replace('%', '%%')} "
                f"FROM {source.replace('%', '%%')} LIMIT %(sample)s) s",
                {**values, "sample": SAMPLE},
            )
            rows, *found = views.one(cursor)
    except psycopg2.Error as error:
        report.failures.append(f"{name}: reading {'.'.join(table.table.relation)}: {trying.said(error)}")
        return None
    parts = zip(shown, found[::3], found[1::3], found[2::3], strict=True)
    return rows, {column: (full, unknown or [], number or 0) for column, full, unknown, number in parts}


def _judged(finding: ColumnFinding, counts: Counts, report: Report) -> ColumnFinding:
    rows, (full, unknown, of_unknown) = counts[0], counts[1][finding.column]
    if not rows:
        return finding
    name = f"{finding.table}.{finding.column}"
    finding = replace(
        finding,
        empty=1 - full / rows,
        unknown_share=of_unknown / full if full and name in VALUES else None,
        unknown=tuple(unknown[:5]),
    )
    if name in VALUES and full and of_unknown > full / 2:
        report.failures.append(
            f"{name}: {of_unknown / full:.0%} of the values mean nothing to the pipelines ({', '.join(unknown[:5])}): "
            "translate them in the mapping (values)"
        )
    elif not full and name not in OPTIONAL and name not in MAY_BE_EMPTY:
        report.failures.append(f"{name}: {finding.source} is empty in every row: map the column that holds it")
    return finding


# What is filled later, or where nothing means something.
MAY_BE_EMPTY = {
    "lawyers.primary_area",
    "lawyers.tags_expertise",
    "cases.area",
    "cases.subarea",
    "cases.urgency_h",
    "cases.complexity",
    "cases.description",
    "case_matches.fair_score",
    "case_matches.equity_score",
    "case_matches.raw_score",
    "case_matches.features",
    "case_matches.breakdown",
    "offers.responded_at",
    "offers.fair_score",
    "offers.raw_score",
    "contracts.signed_client",
    "contracts.signed_lawyer",
    "reviews.outcome",
}


def text(report: Report) -> str:
    """The report for a terminal."""
    lines = [f"database  {report.database}, PostgreSQL {report.server}, as {report.user}"]
    others = ", ".join(f"{name}: {count}" for name, count in sorted(report.fits.items()))
    lines.append(f"mapping   {report.mapping} (columns that do not fit: {others})")
    for table in TABLES:
        columns = [finding for finding in report.columns if finding.table == table]
        if columns:
            rows = report.rows.get(table)
            lines += ["", f"{table}  {'?' if rows is None else format(rows, ',')} rows"]
            lines += [_line(finding) for finding in columns]
    if report.attempts:
        lines += ["", f"writing, as {report.tried_as or 'nobody'}; everything rolled back"]
        lines += [f"  {one.write:26}{_said(one)}" for one in report.attempts]
    lines += ["", *report.notes] if report.notes else []
    if report.failures:
        lines += ["", f"would fail: {len(report.failures)}"]
        lines += [f"  {number}. {failure}" for number, failure in enumerate(report.failures, 1)]
    else:
        lines += ["", "nothing would fail"]
    return "\n".join(lines)


def _line(finding: ColumnFinding) -> str:
    source = finding.source if len(finding.source) <= 40 else finding.source[:39] + "…"
    said: list[str] = []
    if finding.source == "null":
        said.append(OPTIONAL[f"{finding.table}.{finding.column}"])
    if finding.empty:
        said.append(f"{finding.empty:.1%} empty")
    if finding.unknown_share:
        said.append(f"{finding.unknown_share:.1%} unknown ({', '.join(finding.unknown)})")
    return f"  {finding.column:22}{finding.family:9}{source:42}{'; '.join(said)}".rstrip()


def _said(one: trying.Attempt) -> str:
    return one.problem or ("ok" if one.tried else "not tried: no row")
