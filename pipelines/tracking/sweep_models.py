"""Models that were logged for a version that never came, because register was killed in between: found and removed."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from headrace.pipelines.tracking.server import connect, mlflow_request
from headrace.pipelines.tracking.sweep import EXPERIMENTS, process_ended

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel


class Leftover(NamedTuple):
    """A logged model that no version refers to, and why it is known that none will."""

    model_id: str
    name: str
    reason: str


def sweep_models(root: Path, *, unreachable_after_hours: float = 24.0, dry_run: bool = False) -> tuple[Leftover, ...]:
    """Remove the remains of models that were never registered, with their files; return what was found.

    One whose process can't be reached is kept for `unreachable_after_hours`. With `dry_run` nothing is changed.
    """
    from headrace.pipelines.compatibility.mlflow_internals import delete_artifacts

    client, found = connect(root), []
    with mlflow_request(client.tracking_uri, "search models that were never registered"):
        logged = list(_logged_models(client))  # before the versions: one may be registered meanwhile
        sources = set(_sources(client))
        for model in logged:
            if model.artifact_location in sources or (reason := _reason(model, unreachable_after_hours)) is None:
                continue
            found.append(Leftover(model.model_id, model.name, reason))
            if not dry_run:
                delete_artifacts(model.artifact_location, tracking_uri=client.tracking_uri)
                client.delete_logged_model(model.model_id)  # last: until then the next sweep finds it
    return tuple(found)


def _reason(model: "LoggedModel", hours: float) -> str | None:
    """Why no version will come; None while one may."""
    ended = process_ended(model.tags)
    if ended is False:
        return None
    silent_hours = (time.time() - model.creation_timestamp / 1000) / 3600
    if ended:
        return "the process that logged it has ended"
    return f"logged {silent_hours:.0f} hours ago" if silent_hours >= hours else None


def _logged_models(client: "MlflowClient") -> Iterator["LoggedModel"]:
    ids = [one.experiment_id for one in client.search_experiments() if one.name.startswith(EXPERIMENTS)]
    token = None
    while ids:
        page = client.search_logged_models(ids, page_token=token)
        yield from page
        if not (token := page.token):
            return


def _sources(client: "MlflowClient") -> Iterator[str]:
    token = None
    while True:
        page = client.search_model_versions(page_token=token)
        yield from (str(version.source) for version in page)
        if not (token := page.token):
            return
