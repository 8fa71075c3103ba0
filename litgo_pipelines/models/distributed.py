"""Distributed training with LightGBM on Dask, for a snapshot that exceeds one machine's memory.

Each worker reads its own rows of the snapshot, so its path must mean the same file everywhere; no process holds them
all. Unlike `training.train`, rounds are chosen on the newest cases that fit (`sample_rows`), and the position
shown is not corrected for, since each worker would estimate its own correction. Dask places the rows, LightGBM's own
network trains: `DaskLGBMRanker` copies the rows once more and may gather all of them on one worker.
"""

import re
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from litgo_pipelines.models.learners import Recipe, Rows, dataset
from litgo_pipelines.models.metrics import headline_k
from litgo_pipelines.models.scorer import Scorer, Trees
from litgo_pipelines.models.training import (
    Trained,
    cross_validate,
    expanding_window,
    require_preferences,
)
from litgo_pipelines.models.training_data import features_of

if TYPE_CHECKING:
    import pyarrow as pa
    from distributed import Client, Future
    from lightgbm import Booster

SAMPLE_ROWS = 2_000_000
SECONDS_FOR_WORKERS = 60
SECONDS_TO_RESTART = 60
MINUTES_TO_ANSWER = 10  # of a worker that another one waits for; LightGBM's default is two hours
LOSSES = 2  # workers may be lost in one training before it is given up
LOOKS_EVERY = 1.0  # seconds, whether all workers are still there
# Addresses of the workers: no property of the model, and different each time.
_NETWORK = re.compile(r"^\[(machines|local_listen_port|machine_list_filename): .*\]\n", re.MULTILINE)


class ClusterTooSmall(RuntimeError):
    """Fewer workers than it takes to share the rows; transient, worth a retry."""


class WorkerLost(RuntimeError):
    """A worker ended while it trained, and what it had learned with it; transient, worth a retry."""


def train_distributed(
    path: Path,
    recipe: Recipe,
    seeds: Iterable[int],
    scheduler: str,
    workers: int = 2,
    sample_rows: int = SAMPLE_ROWS,
    say: Callable[[str], None] = lambda stage: None,
) -> Trained:
    """As `training.train` on the training rows of the snapshot `path`, over the Dask cluster at `scheduler`.

    A worker that is lost costs the booster that was being trained: the rows are read anew by the workers that are there
    then. Raises NothingToLearn; ClusterTooSmall when fewer than `workers` come up within a minute; WorkerLost when
    LOSSES are exceeded; OSError when there is no scheduler at the address.
    """
    from distributed import Client

    seeds = list(seeds)
    starts = case_starts(path)
    cut = np.searchsorted(starts[:-1], starts[-1] - sample_rows)
    sample = read_rows_between(path, int(starts[cut]), int(starts[-1])).without_position()
    names = (sample.columns(recipe.features) if recipe.features else sample).usable()
    sample = sample.columns(names)
    require_preferences(sample, recipe)
    say(f"rounds are chosen on the newest {len(sample.labels):,} rows")
    tried = cross_validate(sample, recipe, expanding_window(recipe.folds), seeds[0])
    k = headline_k(sample.groups)
    del sample
    boosters: list[Booster] = []
    with Client(scheduler, timeout=30, set_as_default=False) as client:
        parts: dict[str, Future] = {}
        losses = 0
        while len(boosters) < len(seeds):
            try:
                if not parts:
                    say(f"waiting for {workers} workers")
                    parts = _spread(client, path, starts, names, workers)
                seed = seeds[len(boosters)]
                say(f"{len(parts)} workers train seed {seed}")
                boosters.append(fit(client, parts, recipe, tried.curve.best_round, seed, len(names)))
            except WorkerLost as lost:
                losses += 1
                parts.clear()
                if losses > LOSSES:
                    raise
                say(f"{lost}; its seed is trained again")
    scorers: list[Scorer] = [Trees("lambdamart", names, booster.model_to_string()) for booster in boosters]
    return Trained(scorers, tried.name, {tried.name: tried}, tried.curve.best_round, uses_position=False, k=k)


def _spread(
    client: "Client", path: Path, starts: NDArray[np.int64], names: tuple[str, ...], workers: int
) -> "dict[str, Future]":
    """Worker's address → future of its rows. Raises ClusterTooSmall."""
    try:
        client.wait_for_workers(workers, timeout=SECONDS_FOR_WORKERS)
    except TimeoutError as error:
        address = client.scheduler_info(n_workers=0)["address"]
        raise ClusterTooSmall(f"{address} has fewer than {workers} workers") from error
    addresses = sorted(_present(client))
    return {
        address: client.submit(read_rows_between, path, start, stop, names, workers=[address], pure=False)
        for address, (start, stop) in zip(addresses, partitions(starts, len(addresses)), strict=False)
    }


def fit(
    client: "Client", parts: "Mapping[str, Future]", recipe: Recipe, rounds: int, seed: int, columns: int = 0
) -> "Booster":
    """One booster on `parts`: worker's address → future of Rows, whole cases, which is on that worker and trains there.

    The same parts give the same trees. LightGBM's workers speak to each other unencrypted on ports they choose. Raises
    WorkerLost, after which the parts are of no use.
    """
    import lightgbm as lgb

    there = _present(client)
    with _all_there(client, {address: there.get(address, "") for address in parts}) as look:
        model = _fitted(client, parts, recipe, rounds, seed, columns, look)
    return lgb.Booster(model_str=_NETWORK.sub("", model))


def _fitted(
    client: "Client",
    parts: "Mapping[str, Future]",
    recipe: Recipe,
    rounds: int,
    seed: int,
    columns: int,
    look: Callable[[], None],
) -> str:
    from distributed import wait

    free, threads = client.run(_free_port, workers=list(parts)), client.nthreads()
    # A machine's rank decides which bins it finds, so the order must be that of the parts whatever ports were free.
    hosts = {address: urlsplit(address).hostname for address in parts}
    queues = {host: iter(sorted(free[each] for each in parts if hosts[each] == host)) for host in hosts.values()}
    ports = {address: next(queues[hosts[address]]) for address in parts}
    machines = ",".join(f"{hosts[address]}:{ports[address]}" for address in parts)
    network = {
        "tree_learner": "data",
        "pre_partition": True,
        "machines": machines,
        "num_machines": len(parts),
        "time_out": MINUTES_TO_ANSWER,
    }
    futures = []
    for address, part in parts.items():
        own = {"local_listen_port": ports[address], "num_threads": threads[address]}
        parameters = recipe.parameters(seed, columns=columns) | network | own
        futures.append(client.submit(_train_part, part, parameters, rounds, workers=[address], pure=False))
    while waited_for := [future for future in futures if not future.done()]:
        look()
        if any(future.status == "error" for future in futures):
            break
        with client.as_current(), suppress(TimeoutError):
            wait(waited_for, timeout=LOOKS_EVERY, return_when="FIRST_COMPLETED")
    model: str = client.gather(futures)[0]  # all have the same
    return model


def _present(client: "Client") -> dict[str, str]:
    """Worker's address → folder, which a new one at the same address has not."""
    found = client.scheduler_info(n_workers=-1)["workers"]
    return {address: worker["local_directory"] for address, worker in found.items()}


@contextmanager
def _all_there(client: "Client", before: Mapping[str, str]) -> Iterator[Callable[[], None]]:
    """Yields what raises WorkerLost unless all workers are those of `before`; an error due to a loss is one too.

    The others are started anew then: in the middle of a round LightGBM waits without end for one that is gone.
    """

    def look() -> None:
        now = _present(client)
        lost = [address for address, folder in before.items() if now.get(address) != folder]
        if not lost:
            return
        others = [address for address in before if address in now and address not in lost]
        with suppress(ValueError, TimeoutError):  # without a nanny none can be started anew
            client.restart_workers(others, timeout=SECONDS_TO_RESTART, raise_for_error=False)
        raise WorkerLost(f"the worker at {', '.join(lost)} was lost")

    try:
        look()
        yield look
    except WorkerLost:
        raise
    except Exception:
        time.sleep(LOOKS_EVERY)  # until the scheduler knows
        look()
        raise


def _train_part(rows: Rows, parameters: dict[str, Any], rounds: int) -> str:
    import lightgbm as lgb

    booster = lgb.train(parameters, dataset(rows.without_position(), parameters), rounds)
    booster.free_network()
    return booster.model_to_string()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]


def case_starts(path: Path) -> NDArray[np.int64]:
    """First row of each training case, then their number of rows, shape (cases + 1,). One row group is read at a time.

    Training cases stand first in a snapshot (`training_data.examine` sees to it).
    """
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    starts, row, last = [], 0, None
    with pq.ParquetFile(path) as file:
        for number in range(file.num_row_groups):
            table = file.read_row_group(number, columns=["case_id", "split"])
            table = table.filter(pc.equal(table.column("split"), "train"))
            begins, last = _begins(table, last)
            starts.append(row + np.flatnonzero(begins))
            row += len(begins)
    return np.concatenate([*starts, [row]]).astype(np.int64)


def partitions(starts: NDArray[np.int64], count: int) -> list[tuple[int, int]]:
    """`count` row ranges of about the same length (fewer where there are fewer cases), none of which splits a case."""
    wanted = np.linspace(0, starts[-1], count + 1)
    edges = np.unique(starts[np.searchsorted(starts, wanted)])
    return [(int(start), int(stop)) for start, stop in pairwise(edges)]


def read_rows_between(path: Path, start: int, stop: int, names: tuple[str, ...] | None = None) -> Rows:
    """Rows `start` to `stop` of a snapshot, its features or the named ones. One row group is read at a time, so that
    memory holds the result only."""
    import pyarrow.parquet as pq

    names = names or features_of(path)
    features = np.empty((stop - start, len(names)))
    labels, position = np.empty((2, stop - start), dtype=np.int64)
    begins = np.empty(stop - start, dtype=bool)
    row, last = 0, None
    with pq.ParquetFile(path) as file:
        for number in range(file.num_row_groups):
            size = file.metadata.row_group(number).num_rows
            low, high = max(start, row), min(stop, row + size)
            if low < high:
                table = file.read_row_group(number, columns=["case_id", *names, "label", "position"])
                table = table.slice(low - row, high - low)
                to = slice(low - start, high - start)
                for column, name in enumerate(names):
                    features[to, column] = table.column(name).to_numpy()
                labels[to], position[to] = table.column("label").to_numpy(), table.column("position").to_numpy()
                begins[to], last = _begins(table, last)
            row += size
    groups = np.diff(np.r_[np.flatnonzero(begins), stop - start])
    return Rows(features, labels, groups, position - 1, names)  # LightGBM takes positions from 0


def _begins(table: "pa.Table", last: str | None) -> tuple[NDArray[np.bool_], str | None]:
    """Whether each row is the first of its case, when `last` was the case of the row before; the last row's case."""
    import pyarrow.compute as pc

    case = table.column("case_id").combine_chunks()
    if not len(case):
        return np.empty(0, dtype=bool), last
    changes = pc.not_equal(case[1:], case[:-1]).to_numpy(zero_copy_only=False)
    return np.r_[case[0].as_py() != last, changes].astype(bool), case[-1].as_py()
