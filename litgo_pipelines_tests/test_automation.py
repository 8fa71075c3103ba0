"""What starts by itself: the pure decisions, and the sensors and the schedule on a real instance and database."""

import itertools
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, cast

import dagster as dg
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import litgo_pipelines
from litgo_pipelines import automation, steps
from litgo_pipelines.automation import (
    LATE_AFTER,
    missed_jobs,
    missed_jobs_sensor,
    missed_nights,
    missed_nights_sensor,
    newest_time,
    notifications_sensor,
    pending_registration_sensor,
    review_volume_sensor,
)
from litgo_pipelines.database import DatabaseUnavailable, connect
from litgo_pipelines.definitions import build_defs, defs
from litgo_pipelines.equity.assets import NIGHTS
from litgo_pipelines.jobs import AUTOMATIC, JOBS, MOST_SECONDS, limits_of, run_tags, time_of_day
from litgo_pipelines.notifications.outbox import TEAM, Message, put
from litgo_pipelines.resources.mlflow import MLflow
from litgo_pipelines.resources.postgres import Postgres
from litgo_pipelines.steps import RETRY, permanent_fails_once
from litgo_pipelines_tests.support import execute

TICK = datetime(2026, 3, 10, 12, tzinfo=UTC)
ENDED = {f"2026-03-{day:02}": datetime(2026, 3, day + 1, 5, tzinfo=UTC) for day in range(1, 20)}


@pytest.fixture
def health_url() -> Iterator[str]:
    """A server on loopback that answers every GET as MLflow's health page does."""

    class Healthy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"OK")

    server = HTTPServer(("127.0.0.1", 0), Healthy)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def ticks(context: dg.SensorEvaluationContext) -> list[Any]:
    return list(cast(Iterator[Any], missed_nights_sensor(context)))


def test_with_nothing_done_only_the_newest_night_is_missed() -> None:
    assert missed_nights(ENDED, [], [], TICK, 30) == ["2026-03-09"]


def test_gaps_are_filled_newest_first_and_nothing_before_the_first() -> None:
    missed = missed_nights(ENDED, ["2026-03-04", "2026-03-06"], ["2026-03-08"], TICK, 30)
    assert missed == ["2026-03-09", "2026-03-07", "2026-03-05"]


def test_the_schedule_has_half_an_hour_before_a_night_is_late() -> None:
    end = ENDED["2026-03-09"]
    assert missed_nights(ENDED, ["2026-03-08"], [], end + LATE_AFTER - timedelta(seconds=1), 30) == []
    assert missed_nights(ENDED, ["2026-03-08"], [], end + LATE_AFTER, 30) == ["2026-03-09"]


@given(
    done=st.sets(st.sampled_from(sorted(ENDED))),
    running=st.sets(st.sampled_from(sorted(ENDED))),
    limit=st.integers(1, 25),
)
def test_what_is_missed_is_over_and_neither_done_nor_running(done: set[str], running: set[str], limit: int) -> None:
    missed = missed_nights(ENDED, done, running, TICK, limit)
    assert len(missed) <= limit
    for night in missed:
        assert ENDED[night] <= TICK
        assert night not in done | running
    assert missed == sorted(missed, reverse=True)


class Meanwhile(threading.Event):
    """What happens between a tick's looks, one after the other; then nothing does."""

    def __init__(self, *happens: Callable[[], object]) -> None:
        super().__init__()
        self.happens, self.asked = list(happens), 0

    def wait(self, timeout: float | None = None) -> bool:
        self.asked += 1
        if self.happens:
            self.happens.pop(0)()
        return super().wait(0.02)


def messages_tick(
    url: str, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, meanwhile: Meanwhile, lasts: float = 60
) -> tuple[int, str]:
    """Runs requested by a tick of the daemon's, and why none was."""
    monkeypatch.setattr(automation.stops, "asked", meanwhile)
    monkeypatch.setattr(automation, "TICK_LASTS", lasts)
    context = dg.build_sensor_context(instance, resources={"postgres": Postgres(url=url)}, last_sensor_start_time=1.0)
    found = notifications_sensor.evaluate_tick(context)
    return len(found.run_requests or ()), found.skip_message or ""


def write_message(url: str) -> None:
    with connect(url) as connection, connection.cursor() as cursor:
        put(cursor, [Message("lawyers_interested", TEAM, "a message", {})], steps.now())


def test_a_tick_sees_what_is_written_while_it_lasts(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        comes = Meanwhile(lambda: None, lambda: write_message(database_url))
        assert messages_tick(database_url, instance, monkeypatch, comes) == (1, "")
        assert comes.asked >= 2


def test_a_tick_waits_for_the_run_that_works(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write_message(database_url)
    with dg.DagsterInstance.ephemeral() as instance:
        run = instance.add_run(dg.DagsterRun("notifications", status=dg.DagsterRunStatus.STARTED))
        ends = Meanwhile(lambda: None, lambda: instance.report_run_canceled(run))
        assert messages_tick(database_url, instance, monkeypatch, ends) == (1, "")
        assert ends.asked == 2


def test_a_tick_ends_with_its_time_or_its_server(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        quiet = Meanwhile()
        assert messages_tick(database_url, instance, monkeypatch, quiet, lasts=0.1) == (0, "nothing is due")
        assert quiet.asked
        stopped = Meanwhile()
        stopped.happens = [stopped.set]
        assert messages_tick(database_url, instance, monkeypatch, stopped) == (0, "nothing is due")
        assert stopped.asked == 1


@pytest.mark.parametrize(
    ("minutes_ago", "served", "since_days", "missed"),
    [(31, [], 9, True), (29, [], 9, False), (31, ["retention"], 9, False), (31, [], 0, False), (31, [], None, False)],
)
def test_a_job_missed_its_time_when_nothing_ran_since(
    minutes_ago: int, served: list[str], since_days: int | None, missed: bool
) -> None:
    at = TICK - timedelta(minutes=minutes_ago)
    since = None if since_days is None else TICK - timedelta(days=since_days)
    assert missed_jobs({"retention": at}, served, since, TICK) == ({"retention": at} if missed else {})


@pytest.mark.parametrize(
    ("minutes_ago", "served", "since_days", "missed"),
    [(6, [], 9, True), (4, [], 9, False), (6, ["offer_expiry"], 9, False), (6, [], 0, True), (6, [], None, True)],
)
def test_an_hourly_job_is_late_soon_and_from_the_first_start(
    minutes_ago: int, served: list[str], since_days: int | None, missed: bool
) -> None:
    at = TICK - timedelta(minutes=minutes_ago)
    since = None if since_days is None else TICK - timedelta(days=since_days)
    found = missed_jobs({"offer_expiry": at}, served, since, TICK, hourly={"offer_expiry"})
    assert found == ({"offer_expiry": at} if missed else {})


def test_the_newest_time_follows_the_clock_of_sao_paulo() -> None:
    assert newest_time("15 4 * * *", TICK) == datetime(2026, 3, 10, 7, 15, tzinfo=UTC)
    just_before = datetime(2026, 3, 10, 7, 14, tzinfo=UTC)
    assert newest_time("15 4 * * *", just_before) == datetime(2026, 3, 9, 7, 15, tzinfo=UTC)
    assert newest_time("0 4 * * 0", TICK) == datetime(2026, 3, 8, 7, tzinfo=UTC)


@pytest.mark.parametrize(
    ("cron", "tick", "newest"),
    [
        # São Paulo had no midnight on 4 November 2018, and 23:30 twice on 17 February
        ("0 0 * * *", "2018-11-04T03:30", "2018-11-04T03:00"),
        ("30 0 * * *", "2018-11-04T04:00", "2018-11-04T03:30"),
        ("0 2 * * *", "2018-11-04T04:30", "2018-11-04T04:00"),
        ("0 2 * * *", "2018-11-04T03:30", "2018-11-03T05:00"),
        ("30 23 * * *", "2018-02-18T01:45", "2018-02-18T01:30"),
        ("30 23 * * *", "2018-02-18T02:45", "2018-02-18T01:30"),
        ("0 2 * * *", "2018-02-18T05:30", "2018-02-18T05:00"),
    ],
)
def test_the_newest_time_where_clocks_change_at_midnight(cron: str, tick: str, newest: str) -> None:
    found = newest_time(cron, datetime.fromisoformat(f"{tick}+00:00"))
    assert found.tzinfo is UTC
    assert found == datetime.fromisoformat(f"{newest}+00:00")


def test_each_instant_lies_in_one_night_where_clocks_change_at_midnight() -> None:
    """Nights of 23 and of 25 hours, one after the other, from 02:00 to 02:00."""
    nights = dg.DailyPartitionsDefinition("2018-01-01", timezone=NIGHTS.timezone, hour_offset=NIGHTS.hour_offset)
    keys = nights.get_partition_keys(datetime(2018, 11, 6, 12, tzinfo=UTC))
    windows = [nights.time_window_for_partition_key(key) for key in keys]
    hours = {key: (w.end.timestamp() - w.start.timestamp()) / 3600 for key, w in zip(keys, windows, strict=True)}
    assert {key: of for key, of in hours.items() if of != 24} == {"2018-02-17": 25, "2018-11-03": 23}
    assert all(one.end.timestamp() == two.start.timestamp() for one, two in itertools.pairwise(windows))
    ended = {key: w.end.astimezone(UTC) for key, w in zip(keys, windows, strict=True)}
    tick = datetime(2018, 11, 4, 4, 45, tzinfo=UTC)  # three quarters past 02:00
    assert missed_nights(ended, {"2018-11-01", "2018-11-02"}, (), tick, 400) == ["2018-11-03"]


def test_jobs_missed_while_the_machine_was_off_are_asked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    @dg.job(name="retention")
    def retention() -> None: ...

    hourly = {job.name for job in AUTOMATIC if job.cron and job.cron.split()[1] == "*"}

    def looks(instance: dg.DagsterInstance, tick: datetime) -> list[list[tuple[str | None, str | None]]]:
        """What each of three looks requests: (job, key)."""
        monkeypatch.setattr(steps, "now", lambda: tick)
        context = dg.build_sensor_context(instance=instance, definitions=defs)
        found = [list(cast(Iterator[Any], missed_jobs_sensor(context))) for _ in range(3)]
        return [[(one.job_name, one.run_key) for one in look if isinstance(one, dg.RunRequest)] for look in found]

    now = datetime.now(UTC)
    later = (now + timedelta(days=9)).replace(hour=21, minute=45)  # when only hourly jobs were due a moment ago
    with dg.instance_for_test() as instance:
        for look in looks(instance, later):
            assert {job for job, _ in look} <= hourly, "nothing ever ran here: only those who wait are looked after"
        retention.execute_in_process(instance=instance)
        for look in looks(instance, now + timedelta(seconds=5)):
            assert {job for job, _ in look} <= hourly, "before its first run nothing was missed"
        first, second, third = looks(instance, later)
    assert first == [], "Dagster's own scheduler goes first"
    rare = {job.name for job in AUTOMATIC if job.cron} - hourly - {"nightly_equity"}
    assert {job for job, _ in second} >= rare
    assert "nightly_equity" not in {job for job, _ in second}
    assert len({key for _, key in second}) == len(second) <= len(AUTOMATIC), "one time each, however long it was off"
    assert third == second, "by the same keys, by which Dagster runs them once"


def test_the_schedule_runs_at_two_for_the_day_that_ended() -> None:
    resolved = defs.resolve_schedule_def("nightly_equity_at_02h")
    assert (resolved.cron_schedule, resolved.execution_timezone) == ("0 2 * * *", "America/Sao_Paulo")
    assert resolved.default_status == dg.DefaultScheduleStatus.RUNNING
    two_o_clock = datetime(2026, 3, 10, 5, tzinfo=UTC)
    tick = resolved.evaluate_tick(dg.build_schedule_context(scheduled_execution_time=two_o_clock))
    assert tick.run_requests
    assert [request.partition_key for request in tick.run_requests] == ["2026-03-09"]
    assert NIGHTS.time_window_for_partition_key("2026-03-09").end == two_o_clock
    tags = dict(resolved.job.tags or {})
    assert tags["dagster/max_retries"] == "2"
    assert int(tags["dagster/max_runtime"]) > 0


def test_the_night_follows_the_clock_of_sao_paulo_through_its_old_summer_time() -> None:
    old = dg.DailyPartitionsDefinition(start_date="2017-01-01", timezone="America/Sao_Paulo", hour_offset=2)
    summer, winter = (old.time_window_for_partition_key(day).end for day in ("2018-01-10", "2018-06-10"))
    assert (summer.astimezone(UTC).hour, winter.astimezone(UTC).hour) == (4, 5)


def test_the_sensor_requests_the_newest_night_and_then_rests(database_url: str) -> None:
    postgres = Postgres(url=database_url)
    with dg.DagsterInstance.ephemeral() as instance:
        with dg.build_sensor_context(instance=instance, resources={"postgres": postgres}) as context:
            (request,) = ticks(context)
        assert isinstance(request, dg.RunRequest)
        newest = NIGHTS.get_partition_keys(datetime.now(UTC) - LATE_AFTER)[-1]
        assert request.partition_key == newest
        execute(
            database_url,
            f"INSERT INTO litgo.equity_history VALUES ('{newest}', gen_random_uuid(), now(), 0, 1, NULL, 0, 0)",
            "INSERT INTO litgo.offer_distribution (night, as_of, lawyers, offers, cases, pools) "
            f"VALUES ('{newest}', now(), 0, 0, 0, '[]')",
        )
        with dg.build_sensor_context(instance=instance, resources={"postgres": postgres}) as context:
            (skipped,) = ticks(context)
        assert isinstance(skipped, dg.SkipReason)


@pytest.mark.parametrize(
    ("tags", "requested"),
    [
        ({"dagster/asset_partition_range_start": "NEWEST", "dagster/asset_partition_range_end": "NEWEST"}, False),
        ({"dagster/asset_partition_range_start": "NEWEST"}, False),
        ({"dagster/asset_partition_range_start": "2020-01-01", "dagster/asset_partition_range_end": "NEWEST"}, False),
        ({"dagster/asset_partition_range_start": "first", "dagster/asset_partition_range_end": "last"}, True),
        ({"dagster/partition": "NEWEST"}, False),
        ({"dagster/partition": "of another asset"}, True),
    ],
)
def test_a_night_in_flight_is_not_requested_again(database_url: str, tags: dict[str, str], requested: bool) -> None:
    newest = NIGHTS.get_partition_keys(datetime.now(UTC) - LATE_AFTER)[-1]
    with dg.DagsterInstance.ephemeral() as instance:
        named = {name: value.replace("NEWEST", newest) for name, value in tags.items()}
        instance.add_run(dg.DagsterRun("nightly_equity", status=dg.DagsterRunStatus.STARTED, tags=named))
        resources = {"postgres": Postgres(url=database_url)}
        with dg.build_sensor_context(instance=instance, resources=resources) as context:
            (found,) = ticks(context)
    assert isinstance(found, dg.RunRequest) == requested


@pytest.mark.parametrize("sensor", [missed_nights_sensor, review_volume_sensor])
def test_a_failed_read_raises_and_requests_nothing(sensor: dg.SensorDefinition) -> None:
    resources = {"postgres": Postgres(url="postgresql://nobody@127.0.0.1:1/none")}
    with (
        dg.DagsterInstance.ephemeral() as instance,
        dg.build_sensor_context(instance=instance, resources=resources) as context,
        pytest.raises(Exception, match="no connection to Postgres") as caught,
    ):
        sensor.evaluate_tick(context)
    assert isinstance(caught.value, DatabaseUnavailable) or isinstance(caught.value.__cause__, DatabaseUnavailable)


def test_everything_that_should_run_by_itself_is_running() -> None:
    repository = build_defs().get_repository_def()
    assert all(s.default_status == dg.DefaultSensorStatus.RUNNING for s in repository.sensor_defs)
    assert all(s.default_status == dg.DefaultScheduleStatus.RUNNING for s in repository.schedule_defs)


def test_every_asset_says_who_what_and_why() -> None:
    for key, spec in ((s.key, s) for s in build_defs().resolve_all_asset_specs()):
        assert spec.owners, key
        assert spec.group_name not in (None, "default"), key
        assert spec.kinds, key
        assert spec.description, key


def test_a_trained_model_waits_until_mlflow_answers(database_url: str, health_url: str) -> None:
    execute(
        database_url,
        "INSERT INTO litgo.retrainings (root_run_id, as_of, bundle_path) VALUES ('waiting', now(), 'models/x')",
        "INSERT INTO litgo.retrainings (root_run_id, as_of, bundle_path, evaluation) "
        "VALUES ('done', now(), 'models/y', '{}')",
    )

    def requests(uri: str) -> list[Any]:
        resources = {"postgres": Postgres(url=database_url), "mlflow": MLflow(tracking_uri=uri)}
        with (
            dg.DagsterInstance.ephemeral() as instance,
            dg.build_sensor_context(instance=instance, resources=resources) as context,
        ):
            return list(cast(Iterator[Any], pending_registration_sensor(context)))

    (skipped,) = requests("http://127.0.0.1:1")
    assert "1 trained models wait" in str(skipped.skip_message)
    (request,) = requests(health_url)
    assert request.run_config["ops"]["registered_model"]["config"] == {"retraining": "waiting"}
    assert set(request.run_config["ops"]) == {"registered_model", "model_evaluation"}


def test_a_step_that_failed_does_not_run_its_job_again_and_a_lost_process_does(
    database_url: str, tmp_path: Path
) -> None:
    """A person's typo is executed once. Settings of the shipped `dagster.yaml`; Dagster's daemon acts on the tag."""
    shipped = yaml.safe_load((Path(litgo_pipelines.__file__).parent / "runtime" / "dagster.yaml").read_text())
    definitions = build_defs(postgres=Postgres(url=database_url))
    typo = {"contract_id": "none", "signed_by": "both", "signed_at": "yesterday", "recorded_by": "Ana", "sha256": "1"}
    given = {"ops": {"signature": {"config": typo}}}
    with dg.DagsterInstance.local_temp(str(tmp_path), overrides={"run_retries": shipped["run_retries"]}) as instance:
        done = definitions.resolve_job_def("record_signature").execute_in_process(
            run_config=given, instance=instance, raise_on_error=False
        )
        assert not done.success
        attempts = [event for event in done.all_events if event.event_type == dg.DagsterEventType.STEP_START]
        assert len(attempts) == 1
        failed = instance.get_run_by_id(done.run_id)
        assert failed is not None
        assert failed.tags["dagster/will_retry"] == "false"
        for name, retried in (("evidence", "true"), ("record_signature", "false")):
            lost = instance.create_run_for_job(
                definitions.resolve_job_def(name),
                status=dg.DagsterRunStatus.STARTED,
                tags=run_tags(JOBS[name]),
                run_config=given if name == "record_signature" else None,
            )
            instance.report_run_failed(lost, "its process is gone")
            found = instance.get_run_by_id(lost.run_id)
            assert found is not None
            assert found.tags["dagster/will_retry"] == retried


def test_the_list_of_jobs_is_what_dagster_runs() -> None:
    """Owner, description, tags, pools and schedule of every job, and freshness of every asset that a schedule makes."""
    definitions = build_defs()
    repository = definitions.get_repository_def()
    schedules = {schedule.job_name: schedule.cron_schedule for schedule in repository.schedule_defs}
    assert schedules == {job.name: job.cron for job in JOBS.values() if job.cron}
    for job in JOBS.values():
        found = repository.get_job(job.name)
        assert (found.description, dict(found.tags or {})) == (job.description, run_tags(job)), job.name
        pools = {node.definition.pool for node in found.graph.nodes if isinstance(node.definition, dg.OpDefinition)}
        assert pools - {None} == set(job.pools), job.name
        if job.late_after_hours:
            keys = found.asset_layer.selected_asset_keys
            assert keys
            for key in keys:
                assert found.asset_layer.get(key).freshness_policy is not None, key


def test_what_a_person_materialises_has_the_limits_of_its_jobs() -> None:
    night = JOBS["nightly_equity"].max_minutes * 60
    load = {"lawyer_load": "equity"}
    assert limits_of(load) == run_tags(JOBS["nightly_equity"])
    assert limits_of(load, 3)["dagster/max_runtime"] == str(3 * night)
    assert limits_of(load, 100_000)["dagster/max_runtime"] == str(MOST_SECONDS)
    both = limits_of({**load, "candidate_model": "learning"})
    assert both["dagster/max_runtime"] == str(JOBS["retraining"].max_minutes * 60)
    assert limits_of({"case_offers": "matching"}) == run_tags(JOBS["matching"])  # an asset of a job, by name
    assert limits_of({"offers": "marketplace", "unknown": None}) == {}


def test_no_job_has_an_assets_name() -> None:
    """What is materialised and what is launched are told apart by name; the marketplace's tables are neither."""
    repository = build_defs().get_repository_def()
    made = {key.to_user_string() for key, asset in repository.assets_defs_by_key.items() if asset.is_executable}
    jobs = {job.name for job in repository.get_all_jobs()}
    assert len(made) > 15
    assert len(jobs) > 20
    assert made & jobs == set()


def test_the_report_follows_the_cutoffs_once_an_hour_and_comes_every_night() -> None:
    definitions, report = build_defs(), dg.AssetSelection.assets("experiment_report")
    at = datetime(2026, 3, 10, 12, 50, tzinfo=UTC)
    cutoff, drawn = (dg.AssetMaterialization(name) for name in ("experiment_cutoffs", "experiment_report"))
    with dg.DagsterInstance.ephemeral() as instance:

        def requested(now: datetime, cursor: Any = None) -> tuple[int, Any]:
            found = dg.evaluate_automation_conditions(
                definitions, instance, asset_selection=report, evaluation_time=now, cursor=cursor
            )
            return found.total_requested, found.cursor

        number, cursor = requested(at)
        assert number == 0
        number, cursor = requested(at + timedelta(hours=1), cursor)
        assert number == 0  # no cutoff was closed
        instance.report_runless_asset_event(cutoff)
        number, cursor = requested(at + timedelta(hours=1, minutes=1), cursor)
        assert number == 1
        instance.report_runless_asset_event(drawn)
        instance.report_runless_asset_event(cutoff)
        number, cursor = requested(at + timedelta(hours=1, minutes=16), cursor)
        assert number == 0  # once an hour
        number, cursor = requested(at + timedelta(hours=1, minutes=52), cursor)
        assert number in (0, 1)
        number, cursor = requested(at + timedelta(hours=19), cursor)
        assert number == 1  # 04:40 in São Paulo has passed


@pytest.mark.parametrize(
    ("error", "tries"), [(KeyError("x"), 1), (ValueError("x"), 1), (RuntimeError("x"), 3), (TimeoutError("x"), 3)]
)
def test_only_what_another_try_could_mend_is_tried_again(error: Exception, tries: int) -> None:
    tried = []

    @dg.asset(retry_policy=RETRY)
    @permanent_fails_once
    def fails(context: dg.AssetExecutionContext) -> None:
        tried.append(context.run.run_id)
        raise error

    done = dg.materialize([fails], raise_on_error=False)
    assert (done.success, len(tried)) == (False, tries)


def test_every_step_that_is_tried_again_knows_its_permanent_failures() -> None:
    steps = [asset for asset in build_defs().get_repository_def().assets_defs_by_key.values() if asset.is_executable]
    unmarked = [
        step.key.to_user_string()
        for step in steps
        if step.op.retry_policy and not hasattr(step.op.compute_fn.decorated_fn, "__wrapped__")  # type: ignore[union-attr]
    ]
    assert unmarked == []


def test_the_time_of_a_job_that_goes_once_a_day() -> None:
    assert time_of_day(JOBS["backup"]).isoformat() == "05:00:00"
    assert time_of_day(JOBS["retention"]).isoformat() == "04:30:00"
    for name in ("allocation_calibration", "offer_expiry", "matching"):  # weekly, hourly, at no time
        with pytest.raises(ValueError, match=name):
            time_of_day(JOBS[name])
