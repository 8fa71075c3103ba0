"""Replay of real orders through the pipelines: 90 nights of equity, one retraining, and a comparison of rankers.

    python benchmarks/olist_replay.py [folder with the Olist files] [--home FOLDER] [--docs FOLDER]

Everything happens on an embedded Postgres with a database of its own and an MLflow server on a free loopback port,
under a temporary folder unless `--home` names one to keep. Writes its parts of `evaluation.md` and two plots to
`--docs`. The last part, the allocation replayed, needs neither: `olist_allocation.py` writes it alone.

What the rows mean, the candidates and their features: `olist_marketplace.py`. What is said of it: `olist_report.py`.
"""

import argparse
import os
import socket
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
from numpy.typing import NDArray
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # run as a script, only its own folder is on the path

from benchmarks import PROJECT, olist_allocation
from benchmarks.olist_allocation import DEFAULT_FOLDER
from benchmarks.olist_marketplace import TIMEZONE, Candidates, Olist, candidates, read
from benchmarks.olist_report import MODEL, POPULARITY, RECENT, Replay, write_report
from litgo_pipelines.database import Cursor, connect, libpq, normalise
from litgo_pipelines.marketplace.migrate import migrate
from litgo_pipelines.models.features import FEATURES, KEYS
from litgo_pipelines.models.heuristic import score
from litgo_pipelines.models.metrics import ndcg

DATABASE = "litgo_olist"
FIRST_NIGHT = "2016-09-01"
NIGHTS = 90
ROWS_PER_COPY = 100_000
_IDS = uuid.uuid5(uuid.NAMESPACE_OID, "olist replay")
_CASE_STATUS = {
    "delivered": "closed",
    "canceled": "cancelled",
    "unavailable": "cancelled",
    "created": "pending_assignment",
}
_CONTRACT_STATUS = {
    "delivered": "closed",
    "canceled": "canceled",
    "unavailable": "canceled",
    "created": "pending-signature",
}


# ── the marketplace's rows ──────────────────────────────────────────────────────────────────────────────────────────


def ids(kind: str, names: pd.Series | pd.Index) -> pd.Series:
    """The same thing has the same id in every replay."""
    return pd.Series([str(uuid.uuid5(_IDS, f"{kind}/{name}")) for name in names], index=getattr(names, "index", names))


def tables(olist: Olist, found: Candidates) -> Iterator[tuple[str, pd.DataFrame]]:
    """(table, rows) in an order that satisfies the foreign keys; the pairs come in parts.

    Static columns of a lawyer know the whole period (`tags_expertise` holds every category ever sold in): they serve
    the nightly equity as in production, and no feature is made from them.
    """
    orders, sellers = olist.orders, olist.sellers
    lawyer, case = ids("seller", sellers["id"]), ids("order", orders["order_id"])
    client, contract = ids("client", orders["client"]), ids("contract", orders["order_id"])
    area = pd.Series([*olist.areas, None], dtype=object)  # code -1 is the last
    approved = orders["approved"].fillna(orders["purchased"])

    yield (
        "profiles",
        pd.DataFrame({"id": client, "created_at": orders["purchased"]}).groupby("id", as_index=False).min(),
    )

    known = olist.sales[olist.sales["area"] >= 0].sort_values("order", kind="stable")
    first_area = known.drop_duplicates("seller").set_index("seller")["area"].reindex(sellers.index, fill_value=-1)
    sold_in = known.groupby("seller")["area"].agg(lambda codes: ",".join(olist.areas[a] for a in sorted(set(codes))))
    lawyers = {
        "id": lawyer,
        "name": "Vendedor " + sellers["id"].str[:8],
        "primary_area": area.iloc[first_area].to_numpy(),
        "tags_expertise": "{" + sold_in.reindex(sellers.index, fill_value="") + "}",
        "geo_latlon": _points(sellers),
        "lat": sellers["lat"],
        "lng": sellers["lng"],
        "created_at": sellers["first_sale"],
    }
    yield "lawyers", pd.DataFrame(lawyers)

    cases = {
        "id": case,
        "client_id": client,
        "area": area.iloc[orders["area"]].to_numpy(),
        "coords": _points(orders),
        "lat": orders["lat"],
        "lng": orders["lng"],
        "status": orders["status"].map(_CASE_STATUS).fillna("in_progress"),
        "created_at": orders["purchased"],
    }
    yield "cases", pd.DataFrame(cases)

    sold = orders["seller"] >= 0
    signed = approved.where(orders["approved"].notna() | (orders["status"] == "delivered"))
    contracts = {
        "id": contract,
        "case_id": case,
        "lawyer_id": lawyer.iloc[orders["seller"].clip(lower=0)].to_numpy(),
        "client_id": client,
        "status": orders["status"].map(_CONTRACT_STATUS).fillna("active"),
        "signed_client": signed,
        "signed_lawyer": signed,
        "created_at": approved,
    }
    yield "contracts", pd.DataFrame(contracts)[sold]

    reviews = {
        "id": ids("review", orders["order_id"]),
        "contract_id": contract,
        "lawyer_id": contracts["lawyer_id"],
        "client_id": client,
        "rating": orders["stars"].astype("Int64"),
        "created_at": orders["answered"],
    }
    yield "reviews", pd.DataFrame(reviews)[sold & orders["stars"].notna()]

    for start in range(0, len(found.pairs), ROWS_PER_COPY):
        pairs = found.pairs.iloc[start : start + ROWS_PER_COPY].reset_index(drop=True)
        order = pairs["case"].to_numpy()
        purchased = orders["purchased"].iloc[order].reset_index(drop=True)
        logged = pd.DataFrame(
            {
                "case_id": case.iloc[order].to_numpy(),
                "lawyer_id": lawyer.iloc[pairs["seller"]].to_numpy(),
                "raw_score": pairs["raw_score"],
                "created_at": purchased,
            }
        )
        yield "case_matches", logged.assign(preset_used="reconstructed", features=_features_json(pairs))
        answer = {
            "status": np.where(pairs["bought"], "interested", "expired"),
            "sent_at": purchased,
            "responded_at": approved.iloc[order].reset_index(drop=True).where(pairs["bought"]),
            "expires_at": purchased + pd.Timedelta(hours=24),
        }
        yield "offers", logged.assign(**answer)


def _points(frame: pd.DataFrame) -> pd.Series:
    text = "(" + frame["lng"].astype(str) + "," + frame["lat"].astype(str) + ")"
    return text.where(frame["lat"].notna() & frame["lng"].notna(), None)


def _features_json(pairs: pd.DataFrame) -> pd.api.extensions.ExtensionArray:
    parts: list[Any] = []
    for name in KEYS:
        values = pa.array(pairs[name], pa.float64(), from_pandas=True).cast(pa.string())
        parts += [f'{"," if parts else "{"}"{name}":', pc.fill_null(values, "null")]
    return pd.arrays.ArrowExtensionArray(pc.binary_join_element_wise(*parts, "}", ""))


def load(url: str, olist: Olist, found: Candidates, progress: bool = True) -> dict[str, int]:
    """Copy everything into the migrated, empty marketplace at `url`, in one transaction; rows by table."""
    counts: dict[str, int] = {}
    pairs = 2 * len(found.pairs)
    with connect(url, application_name="olist-replay") as connection, connection.cursor() as cursor:
        with tqdm(total=pairs, desc="loading pairs", unit=" rows", unit_scale=True, disable=not progress) as bar:
            for table, frame in tables(olist, found):
                rows = pa.Table.from_pandas(frame, preserve_index=False)
                sink = pa.BufferOutputStream()
                pacsv.write_csv(rows, sink, pacsv.WriteOptions(include_header=False))
                cursor.copy_expert(
                    f"COPY public.{table} ({', '.join(rows.column_names)}) FROM STDIN (FORMAT csv)",
                    pa.BufferReader(sink.getvalue()),
                )
                counts[table] = counts.get(table, 0) + len(rows)
                bar.update(len(rows) if table in ("case_matches", "offers") else 0)
        cursor.execute("ANALYZE")
    return counts


# ── the runs ────────────────────────────────────────────────────────────────────────────────────────────────────────


def last_full_day(olist: Olist) -> date:
    """The last local day with at least half the median day's orders: the files thin out at their end."""
    days = olist.orders["purchased"].dt.tz_convert(TIMEZONE).dt.date.value_counts()
    return max(days[days >= days.median() / 2].index)


def end_of_data(olist: Olist) -> datetime:
    """Just after the last event of the files."""
    newest = olist.orders[["purchased", "approved", "shipped", "delivered", "answered"]].max().max()
    return newest.to_pydatetime() + timedelta(seconds=1)


def execute(job: str, url: str, tracking_uri: str, home: Path, tags: dict[str, str], config: dict[str, Any]) -> None:
    """One Dagster run of the project's own job, recorded under `home`. Raises when a step or blocking check fails."""
    import dagster as dg

    from litgo_pipelines.definitions import build_defs
    from litgo_pipelines.resources.mlflow import MLflow
    from litgo_pipelines.resources.postgres import Postgres

    definitions = build_defs(postgres=Postgres(url=url), mlflow=MLflow(tracking_uri=tracking_uri))
    folder = home / "dagster"
    folder.mkdir(exist_ok=True)
    quiet = {"loggers": {"console": {"config": {"log_level": "WARNING"}}}}
    with dg.DagsterInstance.local_temp(str(folder)) as instance:
        definitions.resolve_job_def(job).execute_in_process(instance=instance, tags=tags, run_config=config | quiet)


@contextmanager
def platform(home: Path) -> Iterator[tuple[str, str]]:
    """(URL of an empty, migrated database of its own, address of an MLflow server); stopped at the end."""
    import psycopg2

    from litgo_pipelines.database.embedded import embedded_server
    from litgo_pipelines.runtime import mlflow_login, supervisor

    with socket.socket() as probe:
        probe.bind((supervisor.HOST, 0))
        port = probe.getsockname()[1]
    # Before anything reads the settings: the partitions start where the data do.
    os.environ.update(LITGO_HOME=str(home), EQUITY_FIRST_NIGHT=FIRST_NIGHT, MLFLOW_PORT=str(port))
    with embedded_server(home) as server:
        with closing(psycopg2.connect(libpq(server))) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                for name in (DATABASE, f"{DATABASE}_mlflow"):
                    cursor.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
                    cursor.execute(f"CREATE DATABASE {name}")
        url = normalise(server, DATABASE)
        migrate(url)
        environment = {
            "LITGO_HOME": str(home),
            "LITGO_MLFLOW_DATABASE_URL": normalise(server, f"{DATABASE}_mlflow"),
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }
        environment |= mlflow_login.prepare(home, environment["LITGO_MLFLOW_DATABASE_URL"])
        with supervisor.running([supervisor.mlflow_service(environment)], environment):
            yield url, f"http://{supervisor.HOST}:{port}"


def run(folder: Path, home: Path) -> Replay:
    """The whole replay; leaves its databases, snapshot and model under `home`."""
    started = time.monotonic()
    olist = read(folder)
    replay = Replay(olist, candidates(olist))
    replay.seconds["reading, candidates, features"] = time.monotonic() - started
    with platform(home) as (url, tracking_uri):
        with replay.timed("loading"):
            replay.counts = load(url, replay.olist, replay.found)
        last = last_full_day(replay.olist)
        nights = {
            "dagster/asset_partition_range_start": (last - timedelta(days=NIGHTS - 1)).isoformat(),
            "dagster/asset_partition_range_end": last.isoformat(),
        }
        with replay.timed(f"nightly equity, {NIGHTS} nights as one backfill"):
            execute("nightly_equity", url, tracking_uri, home, nights, {})
        config = {"ops": {"training_snapshot": {"config": {"as_of": end_of_data(replay.olist).isoformat()}}}}
        with replay.timed("retraining"):
            execute("retraining", url, tracking_uri, home, {}, config)
        with connect(url) as connection, connection.cursor() as cursor:
            replay.nights = _frame(cursor, "SELECT * FROM litgo.offer_distribution ORDER BY night")
            replay.retraining = _frame(cursor, "SELECT * FROM litgo.retrainings").iloc[0].to_dict()
    with replay.timed("comparing rankers"):
        compare(replay, home)
    return replay


def _frame(cursor: Cursor, query: str) -> pd.DataFrame:
    cursor.execute(query)
    return pd.DataFrame(cursor.fetchall(), columns=[column.name for column in cursor.description])


# ── the comparison ──────────────────────────────────────────────────────────────────────────────────────────────────


def compare(replay: Replay, home: Path) -> None:
    """NDCG of every ranker on the snapshot's held-out cases, on exactly the same rows."""
    from litgo_pipelines.models import bundle, training_data

    path = home / replay.retraining["snapshot_path"]
    model = bundle.load_bundle(home / replay.retraining["bundle_path"])
    assert model is not None
    for name in training_data.SPLITS:
        rows = training_data.read_rows(path, name)
        replay.list_lengths[name] = float(rows.groups.mean())
    rules = own_columns(replay, path, training_data.TEST_SPLIT, ["recent", "popularity"])
    scores = {
        MODEL: [one.scores(rows.columns(one.names).features) for one in model.scorers()],
        RECENT: [rules["recent"].to_numpy()],
        POPULARITY: [rules["popularity"].to_numpy(dtype=float)],
        "heuristic ranker": [score(rows.columns(FEATURES).features)],
        "random": [np.zeros(len(rows.labels))],
    }
    for name, by_seed in tqdm(scores.items(), desc="rankers"):
        replay.rankers[name] = np.mean([ndcg(rows.labels, values, rows.groups) for values in by_seed], axis=0)
        replay.tied[name] = float(np.mean([tied_share(rows.labels, values, rows.groups) for values in by_seed]))
    replay.tried = model.metrics["field"]


def own_columns(replay: Replay, snapshot: Path, split: str, columns: list[str]) -> pd.DataFrame:
    """Columns of the reconstructed pairs for the rows of one split of a snapshot, in their order."""
    import pyarrow.parquet as pq

    keys = pq.read_table(snapshot, columns=["case_id", "lawyer_id"], filters=[("split", "=", split)]).to_pandas()
    case = pd.Index(ids("order", replay.olist.orders["order_id"])).get_indexer(keys["case_id"])
    seller = pd.Index(ids("seller", replay.olist.sellers["id"])).get_indexer(keys["lawyer_id"])
    known = replay.found.pairs.set_index(["case", "seller"])[columns]
    return known.loc[pd.MultiIndex.from_arrays([case, seller])]


def tied_share(labels: NDArray, scores: NDArray, groups: NDArray) -> float:
    """Share of cases whose most relevant candidate has exactly the score of another one."""
    case = np.repeat(np.arange(len(groups)), groups)
    starts = np.cumsum(groups) - groups
    best = np.lexsort((-labels, case))[starts]
    same = scores == scores[best][case]
    return float((np.add.reduceat(same, starts) > 1).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=DEFAULT_FOLDER)
    parser.add_argument("--home", type=Path, help="keep databases, snapshot and models here")
    parser.add_argument("--docs", type=Path, default=PROJECT / "docs")
    arguments = parser.parse_args()
    if not (arguments.folder / "olist_orders_dataset.csv").exists():
        raise SystemExit(f"{arguments.folder}: no Olist files there; give the folder that holds them")
    with nullcontext(arguments.home) if arguments.home else tempfile.TemporaryDirectory(prefix="olist-") as home:
        replay = run(arguments.folder, Path(home).resolve())
    write_report(replay, arguments.docs)
    page = olist_allocation.write(replay.olist, replay.found, arguments.docs)
    print(page.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
