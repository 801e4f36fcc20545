"""When Airflow runs a pipeline, and who is notified of it."""

from datetime import UTC, date, datetime
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, model_validator

from headrace.components.schema.settings import Settings

_OF_AIRFLOW = {"@quarterly": "0 0 1 */3 *"}  # a name that croniter alone does not know


def _cron(expression: str) -> str:
    from croniter import CroniterBadDateError, CroniterError, croniter  # imported here: every command would pay for it

    try:
        if not expression.startswith("@") and len(expression.split()) != 5:
            raise ValueError("it has other than five fields")
        croniter(_OF_AIRFLOW.get(expression, expression)).get_next()
    except CroniterBadDateError as error:
        raise ValueError(f"cron {expression!r}: there is no such date") from error
    except (CroniterError, ValueError) as error:
        raise ValueError(
            f"cron {expression!r}: {error}; expected minute, hour, day of month, month, day of week, as in '0 4 * * 1'"
        ) from error
    return expression


def _timezone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (OSError, ValueError, KeyError) as error:  # a folder, a path or a NUL, no such name
        raise ValueError(f"timezone {name!r}: expected a name of the IANA database, as in Europe/Berlin") from error
    return name


class Alerts(Settings):
    """Who is notified of how a run ended, and when.

    The host of a webhook's connection is the whole address, its password a bearer token. E-mail goes through Airflow's
    own connection (`[email] email_conn_id`, smtp_default).
    """

    after: Literal["failure", "success_too", "never"] = "failure"
    """Report runs that failed, all runs, or none."""

    webhook: Annotated[str, Field(pattern=r"^(connection|variable|environment):[\w.\-]+$")] | None = None
    """Where a JSON message is sent: `connection:ID`, `variable:NAME` or `environment:NAME`, which hold the address.
    Never the address itself, which is a secret.
    """

    email: tuple[Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+$")], ...] = ()
    """Addresses that get an e-mail, through Airflow's own mail connection."""


class Prediction(Settings):
    """Raw rows or images that are predicted whenever there is a new champion, or new data."""

    input: Annotated[str, Field(min_length=1)]
    """A table (CSV, Parquet, JSON lines) or a folder of images, relative to the project's root."""

    output: Annotated[str, Field(min_length=1)]
    """A folder, which gets a Parquet file for each run."""

    after: Annotated[tuple[Literal["champion", "dataset"], ...], Field(min_length=1)] = ("champion",)
    """What starts a run: a new champion, a new data set, or either."""


class Monitoring(Settings):
    """Predictions that are compared with the training, and with labels once there are some."""

    input: Annotated[str, Field(min_length=1)] | None = None
    """The folder of predictions; by default the one that `schedule.predict` writes to."""

    labels: Annotated[str, Field(min_length=1)] | None = None
    """A folder that tables with the key and the label arrive in, or one such table; an empty folder has none yet."""

    cron: Annotated[str, AfterValidator(_cron)] | None = None
    """When the DAG runs, as the schedule's own `cron`; `null` for after each run of `schedule.predict`."""

    window_days: Annotated[float, Field(gt=0)] | None = None
    """Only what was predicted in so many days before the run; `null` for everything of the champion."""


class Schedule(Settings):
    """When Airflow runs the pipeline, how often it retries a task, and who is notified of how a run ended."""

    cron: Annotated[str, AfterValidator(_cron)] | None = None
    """When the DAG runs (minute, hour, day of month, month, day of week; or a name such as `@daily`); `null` for manual
    runs only. A run reads the data between two such times, and starts at the second.
    """

    timezone: Annotated[str, AfterValidator(_timezone)] = "UTC"
    """Time zone of `cron` and `start_date`, by its name in the IANA database (`Europe/Berlin`). Partitions remain days
    and hours of UTC: a run reads those that begin within its interval.
    """

    start_date: Annotated[date, Field(ge=date(1970, 1, 1), lt=date(3000, 1, 1))] = date(2026, 1, 1)
    """The first day of the first run; from 1970 to 2999."""

    catchup: bool = False
    """Also run for every interval between `start_date` and now."""

    max_active_runs: Annotated[int, Field(ge=1, le=64)] = 4
    """Largest number of simultaneous runs, each in a workspace of its own."""

    retries: Annotated[int, Field(ge=0, le=20)] = 2
    """How often Airflow retries a failed task; a mistake in data or parameters fails without a retry."""

    deadline_hours: Annotated[float, Field(gt=0)] | None = None
    """Report a run that is not done so long after it was queued."""

    partition_timeout_hours: Annotated[float, Field(gt=0)] = 6
    """How long a run waits for the partitions of its interval, where the source has partitions."""

    alerts: Alerts = Alerts()
    """Who is notified of how a run ended."""

    predict: Prediction | None = None
    """What the DAG `headrace_NAME_predict` predicts; without it there is no such DAG."""

    monitor: Monitoring | None = None
    """What the DAG `headrace_NAME_monitor` looks at; without it there is no such DAG. It fails, and `alerts` report it,
    where a limit of `monitor` is crossed.
    """

    owner: str = "headrace"
    """Owner that Airflow shows."""

    tags: tuple[str, ...] = ()
    """Tags that Airflow shows, besides the tag `headrace`."""

    @model_validator(mode="after")
    def _monitor_has_predictions(self) -> Self:
        if self.monitor is not None and self.predict is None:
            if self.monitor.input is None:
                raise ValueError("monitor.input: there is no schedule.predict, so give the folder of predictions")
            if self.monitor.cron is None:
                raise ValueError("monitor.cron: there is no schedule.predict to run after; say when")
        return self

    @property
    def start(self) -> datetime:
        """The first moment of `start_date` in `timezone`, in UTC."""
        return datetime.combine(self.start_date, datetime.min.time(), ZoneInfo(self.timezone)).astimezone(UTC)
