"""Waiting for partitions in a real folder: what a sensor sees, when it gives up, and what a run's interval is."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from headrace.components.errors import ParamsError
from headrace.pipelines.params import load_pipeline
from headrace.pipelines.project.edit_params import edited

INTERVAL = (datetime(2026, 11, 20, tzinfo=UTC), datetime(2026, 11, 21, tzinfo=UTC))


@pytest.fixture
def landing(tmp_path: Path) -> Path:
    put(tmp_path / "landing", 19)
    return tmp_path / "landing"


@pytest.fixture
def root(tmp_path: Path, repository: Path, landing: Path) -> Path:
    """A project whose titanic comes day by day."""
    params = yaml.safe_load((repository / "params.yaml").read_text())
    params["titanic"]["ingest"]["source"] = {
        "kind": "delimited",
        "dataset": "titanic",
        "partitions": {"root": str(landing)},
    }
    params["titanic"]["schedule"] = {"cron": "0 0 * * *", "partition_timeout_hours": 2.5}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    return tmp_path


def put(landing: Path, day: int) -> None:
    folder = landing / f"date=2026-11-{day:02}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "a.csv").write_text("a\n1\n")


def sensor_of(root: Path, name: str = "titanic") -> Any:
    from headrace.pipelines.airflow.sensor import data_sensors

    return data_sensors(load_pipeline(root / "params.yaml", name), root)


def context_of(conf: dict[str, Any] | None = None, *, interval=INTERVAL, since: datetime | None = None) -> Any:
    """As much of a run's context as a sensor reads; it waits since `since`."""
    place = SimpleNamespace(dag_id="headrace_titanic", run_id="scheduled__1", get_first_reschedule_date=lambda _: since)
    times = dict(zip(("data_interval_start", "data_interval_end"), interval, strict=True)) if interval else {}
    return {"ti": place, "params": conf or {}, "dag_run": SimpleNamespace(conf=conf or {}), **times}


def set_source(root: Path, **values: Any) -> None:
    places = {f"ingest.source.{place.replace('__', '.')}": value for place, value in values.items()}
    file = root / "params.yaml"
    file.write_text(edited(file.read_text(), "titanic", places))


def test_a_sensor_stands_before_partitions_only(root):
    assert sensor_of(root, "digits") == sensor_of(root, "takeoff") == []
    [sensor] = sensor_of(root)
    assert (sensor.task_id, sensor.mode, sensor.timeout) == ("wait_for_data", "reschedule", 2.5 * 3600)


def test_it_waits_for_the_partition_of_its_own_interval(root, landing):
    [sensor] = sensor_of(root)
    assert not sensor.poke(context_of())
    put(landing, 21)  # newer, but of the next run
    assert not sensor.poke(context_of())
    put(landing, 20)
    assert sensor.poke(context_of())


def test_it_waits_for_the_success_file(root, landing):
    set_source(root, partitions__success_file="date={date}/_SUCCESS")
    [sensor] = sensor_of(root)
    put(landing, 20)
    assert not sensor.poke(context_of())
    (landing / "date=2026-11-20" / "_SUCCESS").touch()
    assert sensor.poke(context_of())


@pytest.mark.parametrize("interval", [None, INTERVAL[:1] * 2])
def test_a_run_without_an_interval_waits_for_any_partition(root, interval):
    [sensor] = sensor_of(root)
    assert sensor.poke(context_of(interval=interval))


@pytest.mark.parametrize("place", ["partitions.root", "partitions.pattern", "interval.start"])
def test_the_form_can_not_say_where_to_read(root, place):
    [sensor] = sensor_of(root)
    with pytest.raises(ParamsError, match=rf"conf: ingest\.source\.{place}: a run can't change it"):
        sensor.execute(context_of({"overrides": {f"ingest.source.{place}": "/etc"}}))


def test_an_unknown_parameter_is_refused_before_any_waiting(root):
    [sensor] = sensor_of(root)
    with pytest.raises(ParamsError, match=r"unknown key 'train\.epoch'"):
        sensor.execute(context_of({"train.epoch": 2}))


def test_an_interval_that_no_partition_can_be_in_is_refused_immediately(root):
    [sensor] = sensor_of(root)
    hour = (INTERVAL[0] + timedelta(hours=5), INTERVAL[0] + timedelta(hours=6))
    with pytest.raises(ParamsError, match="no partition begins in the interval"):
        sensor.execute(context_of(interval=hour))


def test_it_comes_back_later(root):
    from airflow.sdk.exceptions import AirflowRescheduleException

    [sensor] = sensor_of(root)
    with pytest.raises(AirflowRescheduleException):
        sensor.execute(context_of(since=datetime.now(UTC) - timedelta(hours=2)))


def test_it_gives_up_and_says_what_where_since_when_and_how_to_go_on(root, landing):
    from airflow.sdk.exceptions import AirflowSensorTimeout

    [sensor] = sensor_of(root)
    since = datetime.now(UTC) - timedelta(hours=3)
    with pytest.raises(AirflowSensorTimeout) as caught:
        sensor.execute(context_of(since=since))
    assert str(caught.value) == (
        f"{landing}: no partition date=2026-11-20/*.csv, expected for the interval 2026-11-20T00:00:00+00:00 to "
        "2026-11-21T00:00:00+00:00; there is date=2026-11-19/*.csv. Run again when it has arrived; if it never will, "
        "allow_gaps lets an interval of several partitions lack some "
        f"(waited since {since.isoformat(timespec='seconds')}, 2.5 h). When it has arrived, clear this task, or: "
        "airflow backfill create --dag-id headrace_titanic --from-date 2026-11-20T00:00:00+00:00 "
        "--to-date 2026-11-20T00:00:00+00:00 --reprocess-behavior failed"
    )


def test_storage_that_is_away_is_waited_for(root, monkeypatch):
    monkeypatch.setattr("headrace.pipelines.object_store.objects.ATTEMPTS", 1)
    set_source(root, partitions__root="s3://landing/titanic?endpoint_url=http://127.0.0.1:9")
    [sensor] = sensor_of(root)
    assert not sensor.poke(context_of())


@pytest.mark.parametrize("flow_style", [True, False])
def test_a_run_has_its_interval_in_its_params_yaml(root, flow_style):
    from headrace.pipelines.airflow.dag_run import changes_of

    file = root / "params.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()), default_flow_style=flow_style))
    changes = changes_of(load_pipeline(file, "titanic"), context_of(), root=root)
    file.write_text(edited(file.read_text(), "titanic", changes))
    interval = load_pipeline(file, "titanic").ingest.source.interval
    assert (interval.start, interval.end) == INTERVAL
    start, end = (moment.isoformat() for moment in INTERVAL)  # as text, which every reader of YAML takes alike
    written = yaml.safe_load(file.read_text())["titanic"]["ingest"]["source"]["interval"]
    assert written == {"start": start, "end": end}


def test_a_pipeline_without_partitions_has_no_interval(root):
    from headrace.pipelines.airflow.dag_run import changes_of

    assert changes_of(load_pipeline(root / "params.yaml", "takeoff"), context_of(), root=root) == {}


@pytest.mark.parametrize(
    ("function", "interval", "places"),
    [
        ("def rows(*, start, end): pass", INTERVAL, {"start", "end"}),
        ("def rows(*, start=None, end=None): pass", INTERVAL, {"start", "end"}),
        ("def rows(): pass", INTERVAL, set()),
        ("def rows(*, start=None, end=None): pass", None, set()),
    ],
)
def test_a_function_of_the_project_gets_the_interval_if_it_takes_one(root, function, interval, places):
    from headrace.pipelines.airflow.dag_run import changes_of

    (root / "crm.py").write_text(function)
    file = root / "params.yaml"
    content = yaml.safe_load(file.read_text())
    content["titanic"]["ingest"]["source"] = {"kind": "python", "file": "crm.py"}
    file.write_text(yaml.safe_dump(content))
    assert sensor_of(root) == []
    changes = changes_of(load_pipeline(file, "titanic"), context_of(interval=interval), root=root)
    assert changes.keys() == {f"ingest.source.interval.{place}" for place in places}
    file.write_text(edited(file.read_text(), "titanic", changes))
    found = load_pipeline(file, "titanic").ingest.source.interval
    assert (found.start, found.end) == INTERVAL if places else found is None
