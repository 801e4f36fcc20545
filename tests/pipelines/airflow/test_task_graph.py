"""A pipeline's schedule as Airflow has it."""

from datetime import UTC, datetime

from headrace.pipelines.params import load_pipeline


def test_every_name_of_airflows_is_a_schedule():
    from airflow.sdk.definitions.timetables._cron import CRON_PRESETS

    from headrace.pipelines.schedule import Schedule

    for name in CRON_PRESETS:
        assert Schedule(cron=name).cron == name


def test_a_schedule_keeps_its_time_of_day_where_the_clock_is_changed(repository):
    from airflow.serialization.encoders import coerce_to_core_timetable
    from airflow.timetables.base import TimeRestriction
    from pendulum import instance

    from headrace.pipelines.airflow.task_graph import dag_settings
    from headrace.pipelines.schedule import Schedule

    schedule = Schedule(cron="0 4 * * *", timezone="Europe/Berlin", start_date="2026-03-28", catchup=True)
    pipeline = load_pipeline(repository / "params.yaml", "digits").model_copy(update={"schedule": schedule})
    settings = dag_settings(pipeline)
    timetable = coerce_to_core_timetable(settings["schedule"])
    between = TimeRestriction(instance(settings["start_date"]), None, catchup=True)
    starts, last = [], None
    for _ in range(3):
        run = timetable.next_dagrun_info(last_automated_data_interval=last, restriction=between)
        last = run.data_interval
        starts.append(last.start)
    assert starts == [datetime(2026, 3, day, hour, tzinfo=UTC) for day, hour in ((28, 3), (29, 2), (30, 2))]
