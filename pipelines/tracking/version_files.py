"""Files that a registered version has beside its model: where it comes from, and its card."""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from headrace.components.errors import ServiceError
from headrace.pipelines.tracking.registry import Version
from headrace.pipelines.tracking.server import connect, mlflow_request, says_not_there

if TYPE_CHECKING:
    from mlflow import MlflowClient

_DESCRIPTION_CHARACTERS = 5000  # of a version in MLflow


def add_version_files(root: Path, name: str, version: Version, files: Sequence[Path], *, folder: str) -> None:
    """Put files into a folder of the version's artifacts; those of the same names are replaced."""
    client = connect(root)
    with mlflow_request(client.tracking_uri, f"add files to version {version.number} of model {name!r}"):
        model_id = _logged_model(client, name, version)
        if model_id is None:
            raise ServiceError(f"version {version.number} of model {name!r} belongs to no logged model; register again")
        with tempfile.TemporaryDirectory() as temporary:
            place = Path(temporary) / folder
            place.mkdir(parents=True)
            for file in files:
                shutil.copyfile(file, place / file.name)
            client.log_model_artifacts(model_id, temporary)


def read_version_file(root: Path, name: str, version: Version, path: str) -> bytes | None:
    """Content of a file among the version's artifacts; None where there is none."""
    client = connect(root)
    with mlflow_request(client.tracking_uri, f"read {path} of version {version.number} of model {name!r}"):
        location = str(client.get_model_version_download_uri(name, str(version.number)))
        return _content(f"{location}/{path}", client.tracking_uri)


def read_run_file(root: Path, run_id: str, path: str) -> bytes | None:
    """Content of a file among the artifacts of a run; None where there is none."""
    client = connect(root)
    with mlflow_request(client.tracking_uri, f"read {path} of run {run_id}"):
        return _content(f"{client.get_run(run_id).info.artifact_uri}/{path}", client.tracking_uri)


def describe_version(root: Path, name: str, version: Version, text: str) -> None:
    """Set the description of a version, Markdown, which MLflow shows on its page; what is too long is cut."""
    client = connect(root)
    note = "\n\n... (the whole card is among the artifacts)"
    if len(text) > _DESCRIPTION_CHARACTERS:
        text = text[: _DESCRIPTION_CHARACTERS - len(note)] + note
    with mlflow_request(client.tracking_uri, f"describe version {version.number} of model {name!r}"):
        client.update_model_version(name, str(version.number), description=text)


def _logged_model(client: "MlflowClient", name: str, version: Version) -> str | None:
    """Id of the logged model that a version is: not every store keeps it with the version."""
    found = client.get_model_version(name, str(version.number))
    if found.model_id is not None:
        return str(found.model_id)
    experiment = client.get_run(version.run_id).info.experiment_id
    logged = client.search_logged_models([experiment], filter_string=f"source_run_id = '{version.run_id}'")
    return next((str(one.model_id) for one in logged if one.artifact_location == found.source), None)


def _content(uri: str, tracking_uri: str) -> bytes | None:
    if uri.startswith(("file:", "/")):
        file = Path(unquote(urlsplit(uri).path) if uri.startswith("file:") else uri)
        return file.read_bytes() if file.is_file() else None
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    with tempfile.TemporaryDirectory() as temporary:
        try:
            return Path(download_artifacts(uri, dst_path=temporary, tracking_uri=tracking_uri)).read_bytes()
        except (MlflowException, FileNotFoundError, IsADirectoryError) as error:
            if says_not_there(error):
                return None
            raise
