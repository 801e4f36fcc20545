"""When Airflow runs a pipeline, and who is told of it."""

from datetime import date
from typing import Annotated, Literal

from pydantic import Field

from components.settings import Settings


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

    A run reads the data of its own interval, between two times of `cron`; with `catchup` it is also run for all that
    lie between `start_date` and now. `deadline_hours` after it was queued, a run that is not done is told of.
    """

    cron: str | None = None
    start_date: date = date(2026, 1, 1)
    catchup: bool = False
    max_active_runs: Annotated[int, Field(ge=1, le=64)] = 4
    retries: Annotated[int, Field(ge=0, le=20)] = 2
    deadline_hours: Annotated[float, Field(gt=0)] | None = None
    partition_timeout_hours: Annotated[float, Field(gt=0)] = 6
    alerts: Alerts = Alerts()
    predict: Prediction | None = None
    owner: str = "headrace"
    tags: tuple[str, ...] = ()
