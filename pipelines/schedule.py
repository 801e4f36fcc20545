"""When Airflow runs a pipeline, and who is told of it."""

from datetime import UTC, date, datetime
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field

from headrace.components.settings import Settings

_OF_AIRFLOW = {"@quarterly": "0 0 1 */3 *"}  # a name that croniter alone does not know


def _cron(expression: str) -> str:
    from croniter import CroniterBadDateError, CroniterError, croniter  # 0.04 s, in every command

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
    """Who is told how a run ended, and when. Where it is told to is a secret: params.yaml has only the secret's name.

    `webhook` is `connection:ID` (its host is the whole address, its password a bearer token), `variable:NAME` or
    `environment:NAME`. E-mail goes by Airflow's own connection (`[email] email_conn_id`, smtp_default).
    """

    after: Literal["failure", "success_too", "never"] = "failure"
    webhook: Annotated[str, Field(pattern=r"^(connection|variable|environment):[\w.\-]+$")] | None = None
    email: tuple[Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+$")], ...] = ()


class Prediction(Settings):
    """Raw rows or images that are predicted whenever there is a new champion, or new data."""

    input: Annotated[str, Field(min_length=1)]
    output: Annotated[str, Field(min_length=1)]
    after: Annotated[tuple[Literal["champion", "dataset"], ...], Field(min_length=1)] = ("champion",)


class Schedule(Settings):
    """When Airflow runs the pipeline, how often it tries a task again, and who is told how it ended.

    A run reads the data of its own interval, between two times of `cron` in `timezone`; with `catchup` it is also run
    for all that lie between `start_date` and now. A run that is not done `deadline_hours` after it was queued is
    reported.
    """

    cron: Annotated[str, AfterValidator(_cron)] | None = None
    timezone: Annotated[str, AfterValidator(_timezone)] = "UTC"
    start_date: Annotated[date, Field(ge=date(1970, 1, 1), lt=date(3000, 1, 1))] = date(2026, 1, 1)
    catchup: bool = False
    max_active_runs: Annotated[int, Field(ge=1, le=64)] = 4
    retries: Annotated[int, Field(ge=0, le=20)] = 2
    deadline_hours: Annotated[float, Field(gt=0)] | None = None
    partition_timeout_hours: Annotated[float, Field(gt=0)] = 6
    alerts: Alerts = Alerts()
    predict: Prediction | None = None
    owner: str = "headrace"
    tags: tuple[str, ...] = ()

    @property
    def start(self) -> datetime:
        """The first moment of `start_date` in `timezone`, in UTC."""
        return datetime.combine(self.start_date, datetime.min.time(), ZoneInfo(self.timezone)).astimezone(UTC)
