"""The nightly backup as a process of its own, under the role `litgo_backup`: where runs must not read what it reads.

    python -m litgo_pipelines.backup.nightly [--now]

It makes a backup at the time of the job `backup`, and at once where the newest is older than a day. What failed is
tried again at growing distances; as long as the last try failed, the file FAILED is there, which the container's health
check looks for. With --now it makes one and ends.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import psycopg2

from litgo_pipelines.backup import make
from litgo_pipelines.backup.manifest import BackupRefused, finished
from litgo_pipelines.database import DatabaseUnavailable
from litgo_pipelines.database.embedded import Ended, unwound_at_sigterm
from litgo_pipelines.database.urls import without_credentials
from litgo_pipelines.jobs import JOBS, time_of_day
from litgo_pipelines.settings import TIMEZONE, SettingsError, settings

AT = time_of_day(JOBS["backup"])
DAY = timedelta(days=1)
LOOKS_EVERY = 30.0  # seconds; by the wall clock, which may be set
SHORTEST, LONGEST = timedelta(minutes=1), timedelta(hours=1)  # between two tries
FAILED = Path(tempfile.gettempdir()) / "litgo-backup-failed"


def due(newest: datetime | None, now: datetime) -> datetime:
    """When the next backup is to be made: at the first such time after the newest one, or now where that has passed.

    One of the future, from when the clock was ahead, counts for nothing.
    """
    if newest is None or newest > now:
        return now
    local = newest.astimezone(ZoneInfo(TIMEZONE))
    night = datetime.combine(local, AT, local.tzinfo)
    if night <= local:
        night = datetime.combine(local + DAY, AT, local.tzinfo)
    return max(night, now)


def once(folder: Path, at: datetime) -> str:
    """Make one, let the old ones go: its name. Raises BackupRefused, DatabaseUnavailable, psycopg2.Error, OSError."""
    values = settings()
    try:
        names = ("LITGO_DATABASE_URL", "DAGSTER_DATABASE_URL", "LITGO_MLFLOW_DATABASE_URL")
        of = make.Databases(*(os.environ[name] for name in names))
    except KeyError as error:
        raise BackupRefused(f"{error.args[0]} is not set: name all three databases") from error
    files = make.places(values.home, values.mlflow_artifacts)
    made = make.backup(of, values.home, folder, make.passphrase(), at, files)
    make.prune(folder, at - timedelta(days=values.litgo_backup_days))
    return made.name


def _newest(folder: Path, now: datetime) -> datetime | None:
    return max((made for made, _ in finished(folder, now)), default=None)


def keep_on(folder: Path, sleep: Callable[[float], None] = time.sleep) -> None:
    """Never returns."""
    failures, not_before = 0, datetime.min.replace(tzinfo=UTC)
    while True:
        now = datetime.now(UTC)
        if max(due(_newest(folder, now), now), not_before) > now:
            sleep(LOOKS_EVERY)
            continue
        try:
            _tell(f"made {once(folder, now)}")
            failures = 0
            FAILED.unlink(missing_ok=True)
        except (BackupRefused, DatabaseUnavailable, psycopg2.Error, OSError) as error:
            failures += 1
            pause = min(SHORTEST * 2 ** min(failures - 1, 10), LONGEST)
            not_before = now + pause
            FAILED.touch()
            said = without_credentials(str(error)).strip()
            _tell(f"no backup: {said}; tried again in {pause.total_seconds() / 60:.0f} min")


def _tell(text: str) -> None:
    with suppress(OSError):  # what keeps the output may be full, or gone: the backup is what matters
        print(text, flush=True)


def main() -> None:
    folder = settings().litgo_backup_folder
    if folder is None:
        raise SettingsError("LITGO_BACKUP_FOLDER is not set: name the folder of the backups")
    os.umask(0o077)
    folder = folder.expanduser().resolve()
    try:
        with unwound_at_sigterm():
            if sys.argv[1:] == ["--now"]:
                print(folder / once(folder, datetime.now(UTC)))
            else:
                keep_on(folder)
    except BackupRefused as error:
        sys.exit(f"no backup: {error}")
    except (KeyboardInterrupt, Ended):
        print("stopped", flush=True)


if __name__ == "__main__":
    main()
