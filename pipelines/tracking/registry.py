"""MLflow's model registry: versions of a model, and the aliases that point to them."""

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote, urlsplit

import polars as pl

from headrace.components.errors import DataError, ParamsError, StoreError
from headrace.components.examples.identity import ids_digest
from headrace.components.files.atomic import replace_file
from headrace.components.files.tables import read_file, write_file
from headrace.components.schema.features import Feature
from headrace.components.schema.labels import Label
from headrace.pipelines.artifacts.artifact import file_digest
from headrace.pipelines.host.host_problems import host_problem
from headrace.pipelines.paths import ProjectPaths
from headrace.pipelines.tracking.alias_journal import keep_move, move_of
from headrace.pipelines.tracking.packaging import MODEL_FILE, package
from headrace.pipelines.tracking.server import address_of, connect, mlflow_request, says_not_there
from headrace.pipelines.tracking.sweep import owner_tags

if TYPE_CHECKING:
    from mlflow import MlflowClient

CHAMPION = "champion"
PREVIOUS_CHAMPION = "previous_champion"
_TRAINING_IDS = "training_ids.parquet"
_REFERENCE = "reference.parquet"  # what `headrace monitor` compares with
Kept = TypeVar("Kept")
_DIGEST_TAGS = {"model_sha256": "sha256", "model_md5": "md5"}  # old versions have the second alone


@dataclass(frozen=True)
class Version:
    """One registered version of a model."""

    number: int
    run_id: str
    tags: Mapping[str, str]

    @property
    def metrics(self) -> dict[str, float]:
        """What it was measured to be; a tag that holds no number, which anybody may set, is left out."""
        return {name: values[0] for name, values in self._numbers("metric.") if len(values) == 1}

    @property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """The interval of each metric that has one."""
        return {name: (values[0], values[1]) for name, values in self._numbers("interval.") if len(values) == 2}

    def _numbers(self, prefix: str) -> Iterator[tuple[str, list[float]]]:
        for name, text in self.tags.items():
            if name.startswith(prefix):
                with suppress(ValueError):
                    yield name.removeprefix(prefix), [float(one) for one in text.split()]


def find_version(root: Path, name: str, *, tags: Mapping[str, str]) -> Version | None:
    """The newest version that has all of `tags`; None if there is none, or no such model."""
    return max(
        (version for version in versions(root, name) if tags.items() <= version.tags.items()),
        key=lambda version: version.number,
        default=None,
    )


def versions(root: Path, name: str) -> list[Version]:
    """Every version of the model; none if there is no such model."""
    client = connect(root)
    found: list[Version] = []
    token = None
    with mlflow_request(client.tracking_uri, f"list the versions of model {name!r}"):
        while True:
            page = client.search_model_versions(f"name = '{name}'", page_token=token)
            found += [_version(one) for one in page]
            if not (token := page.token):
                return found


def find_number(root: Path, name: str, number: int) -> Version | None:
    """The version of that number; None if there is none."""
    return next((version for version in versions(root, name) if version.number == number), None)


def alias_version(root: Path, name: str, alias: str) -> Version | None:
    """The version that `alias` points to; None if there is none."""
    from mlflow.exceptions import MlflowException

    client = connect(root)
    with mlflow_request(client.tracking_uri, f"read {name}@{alias}"):
        try:
            return _version(client.get_model_version_by_alias(name, alias))
        except MlflowException as error:
            # A server says INVALID_PARAMETER_VALUE for an unknown alias, RESOURCE_DOES_NOT_EXIST for an unknown model.
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return None
            raise


def set_champion(root: Path, name: str, number: int, *, why: str = "called by a program") -> None:
    """Point the alias champion to a version, and previous_champion to the one that had it; the journal says why."""
    present = alias_version(root, name, CHAMPION)
    if present is not None and present.number == number:
        return
    client = connect(root)
    with mlflow_request(client.tracking_uri, f"make version {number} of model {name!r} champion"):
        if present is not None:
            client.set_registered_model_alias(name, PREVIOUS_CHAMPION, str(present.number))
        move = move_of(name, CHAMPION, from_version=present.number if present else None, to_version=number, why=why)
        client.set_model_version_tag(name, str(number), *move.tag)  # first: an alias without a reason is worse
        client.set_registered_model_alias(name, CHAMPION, str(number))
    keep_move(root, move)


def demote_champion(root: Path, name: str, *, why: str) -> None:
    """Take the alias champion from its version, which becomes previous_champion; the journal says why."""
    champion = alias_version(root, name, CHAMPION)
    if champion is None:
        return
    client = connect(root)
    with mlflow_request(client.tracking_uri, f"demote version {champion.number} of model {name!r}"):
        client.set_registered_model_alias(name, PREVIOUS_CHAMPION, str(champion.number))
        move = move_of(name, CHAMPION, from_version=champion.number, to_version=None, why=why)
        client.set_model_version_tag(name, str(champion.number), *move.tag)
        client.delete_registered_model_alias(name, CHAMPION)
    keep_move(root, move)


def all_champions(root: Path) -> dict[str, int]:
    """Version of the champion of each model that has one."""
    client = connect(root)
    found: dict[str, int] = {}
    token = None
    with mlflow_request(client.tracking_uri, "list the models"):
        while True:
            page = client.search_registered_models(page_token=token)
            found |= {model.name: int(model.aliases[CHAMPION]) for model in page if CHAMPION in model.aliases}
            if not (token := page.token):
                return found


def aliases(root: Path, name: str) -> dict[str, int]:
    """Version of each alias; none if there is no such model."""
    from mlflow.exceptions import MlflowException

    client = connect(root)
    with mlflow_request(client.tracking_uri, f"read model {name!r}"):
        try:
            return {alias: int(number) for alias, number in client.get_registered_model(name).aliases.items()}
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return {}
            raise


def tag_version(root: Path, name: str, number: int, tags: Mapping[str, str]) -> None:
    """Set tags of a version."""
    client = connect(root)
    with mlflow_request(client.tracking_uri, f"tag version {number} of model {name!r}"):
        for key, value in tags.items():
            client.set_model_version_tag(name, str(number), key, value)


def log_model(  # noqa: PLR0913 - each by its keyword
    root: Path,
    name: str,
    *,
    run_id: str,
    model_file: Path,
    features: Mapping[str, Feature],
    label: Label,
    example: pl.DataFrame,
    trained_on: pl.Series,
    reference: bytes | None = None,
    noise: int | None = None,
) -> str:
    """Log a .keras file as a model of the run, with signature and input example, and return MLflow's id for it.

    `trained_on` are ids of the rows that the training saw, for training and validation; `reference` is the content of
    the file that monitoring compares with. A generator takes `noise` numbers, and none of the features.
    """
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model

    client = connect(root)
    with mlflow_request(client.tracking_uri, f"log model {name!r} to run {run_id}"):
        experiment_id = client.get_run(run_id).info.experiment_id
        owner = {f"headrace.{key}": value for key, value in owner_tags().items() if value}  # for a sweep
        logged = client.create_logged_model(experiment_id, name=name, source_run_id=run_id, tags=owner)
        model = Model(artifact_path=logged.artifact_location, run_id=run_id, model_id=logged.model_id)
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            package(
                folder,
                model=model,
                model_file=model_file,
                features=features,
                label=label,
                example=example,
                noise=noise,
            )
            write_file(pl.DataFrame({"example_id": trained_on}), folder / _TRAINING_IDS)
            if reference is not None:
                (folder / _REFERENCE).write_bytes(reference)
            client.log_model_artifacts(logged.model_id, str(folder))
        client.finalize_logged_model(logged.model_id, "READY")
        client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
    return str(logged.model_id)


def create_version(root: Path, name: str, *, run_id: str, model_id: str, tags: Mapping[str, str]) -> Version:
    """Register a logged model as the newest version of `name`, and return that."""
    client = connect(root)
    with mlflow_request(client.tracking_uri, f"register model {name!r}"):
        _ensure_registered_model(client, name)
        # Not models:/<id>: a database store resolves that on whatever MLflow is the process's default.
        source = client.get_logged_model(model_id).artifact_location
        found = client.create_model_version(name, source, run_id, dict(tags), model_id=model_id)
    return Version(int(found.version), run_id, dict(tags))


def require_version(root: Path, name: str, alias: str) -> Version:
    """The version of an alias, or of a number written in digits; raises ParamsError where there is none."""
    if alias.isdecimal():
        found = {one.number: one for one in versions(root, name)}
        if int(alias) in found:
            return found[int(alias)]
        there_are = ", ".join(map(str, sorted(found))) or "none"
        raise ParamsError(f"no version {alias} of {name!r} is registered; there are: {there_are}")
    version = alias_version(root, name, alias)
    if version is None:
        raise ParamsError(
            f"MLflow at {address_of(connect(root).tracking_uri)} has no {name}@{alias}. "
            f"Run `headrace run {name}`; if its model did not pass, `headrace promote {name}` makes it champion"
        )
    return version


def model_file(root: Path, name: str, alias: str) -> Path:
    """Local path of the .keras file of models:/`name`@`alias`, downloaded once if it is kept elsewhere.

    Raises ParamsError if there is no such version, saying how to get one, and DataError if its file was changed.
    """
    return version_file(root, name, require_version(root, name, alias))


def version_file(root: Path, name: str, version: Version) -> Path:
    """Local path of a version's .keras file, downloaded once if it is kept elsewhere.

    Raises DataError unless the file is the one that was registered, by the digest in the version's tags.
    """
    client = connect(root)
    with mlflow_request(client.tracking_uri, f"fetch version {version.number} of model {name!r}"):
        location = str(client.get_model_version_download_uri(name, str(version.number)))
        if location.startswith("file:"):
            local = _present(Path(unquote(urlsplit(location).path)) / MODEL_FILE, name, version)
            return _registered(local, name, version)
        key = hashlib.sha256(location.encode()).hexdigest()[:16]  # one project may talk to several servers
        local = ProjectPaths(root).downloaded_models / f"{name}-{version.number}-{key}.keras"
        if local.is_file():
            with suppress(DataError):  # damaged or changed since it was fetched
                return _registered(local, name, version)
        _download(f"{location}/{MODEL_FILE}", client.tracking_uri, local, of=(name, version))
        return _registered(local, name, version)


def training_ids(root: Path, name: str, version: Version) -> pl.Series | None:
    """Ids of the rows that a version was trained on; None for one that was registered without them.

    Raises DataError unless they are those that were registered.
    """
    expected = version.tags.get("training_ids_digest")
    if not expected:
        return None
    read = partial(_registered_ids, name=name, version=version)
    return _beside(root, name, version, _TRAINING_IDS, local_name=f"{expected[:16]}.ids.parquet", read=read)


def _registered_ids(file: Path, name: str, version: Version) -> pl.Series:
    """The ids of a file, checked to be those that were registered."""
    expected, is_damaged = version.tags["training_ids_digest"], ""
    try:
        ids = read_file(file, columns=["example_id"])["example_id"].cast(pl.UInt64)
        if (found := ids_digest(ids)) == expected:
            return ids
    except (pl.exceptions.PolarsError, OSError) as error:
        if host_problem(error) is not None:
            raise
        found, is_damaged = "none", f" ({' '.join(str(error).split())[:100]})"
    raise DataError(
        f"version {version.number} of model {name!r}: expected ids of digest {expected[:12]}, found {found[:12]} in "
        f"{file}{is_damaged}; restore it from a backup"
    )


def reference_file(root: Path, name: str, version: Version) -> Path | None:
    """What monitoring compares a version with; None for one that was registered without it.

    Raises DataError unless it is the file that was registered.
    """
    expected = version.tags.get("reference_sha256")
    if not expected:
        return None

    def registered(file: Path) -> Path:
        if (found := file_digest(file)) == expected:
            return file
        raise DataError(
            f"version {version.number} of model {name!r}: expected SHA-256 {expected[:12]}, found {found[:12]} "
            f"in {file}; restore it from a backup"
        )

    return _beside(root, name, version, _REFERENCE, local_name=f"{expected[:16]}.reference.parquet", read=registered)


def _beside(
    root: Path, name: str, version: Version, file_name: str, *, local_name: str, read: Callable[[Path], Kept]
) -> Kept:
    """What `read` makes of a file that is kept with a version, downloaded once if it is elsewhere.

    One that `read` refuses with a DataError, because it was damaged or changed since, is fetched again.
    """
    client = connect(root)
    with mlflow_request(client.tracking_uri, f"fetch {file_name} of version {version.number} of model {name!r}"):
        location = str(client.get_model_version_download_uri(name, str(version.number)))
        if location.startswith("file:"):
            return read(_present(Path(unquote(urlsplit(location).path)) / file_name, name, version))
        local = ProjectPaths(root).downloaded_models / f"{name}-{version.number}-{local_name}"
        if local.is_file():
            with suppress(DataError):
                return read(local)
        _download(f"{location}/{file_name}", client.tracking_uri, local, of=(name, version))
        return read(local)


def _present(path: Path, name: str, version: Version) -> Path:
    if not path.is_file():
        raise _gone(str(path), name, version)
    return path


def _gone(place: str, name: str, version: Version) -> StoreError:
    return StoreError(
        f"version {version.number} of model {name!r} is registered, but its file is gone: {place}; restore it from a "
        f"backup, or make another version champion: `headrace promote {name} --version NUMBER`"
    )


def _registered(file: Path, name: str, version: Version) -> Path:
    """The file itself, checked to be the one that was registered."""
    algorithm, expected = next(
        ((algorithm, version.tags[tag]) for tag, algorithm in _DIGEST_TAGS.items() if version.tags.get(tag)), ("", "")
    )
    if not expected:
        raise DataError(
            f"version {version.number} of model {name!r} has no tag {next(iter(_DIGEST_TAGS))}, so its file can't be "
            f"checked; `headrace register {name}` registers the model of the last training with it"
        )
    if (found := file_digest(file, algorithm)) != expected:
        raise DataError(
            f"version {version.number} of model {name!r}: expected {algorithm} {expected}, found {found} in {file}: "
            "the file was changed after it was registered; restore it from a backup, "
            f"or make another version champion: `headrace promote {name} --version NUMBER`"
        )
    return file


def _download(uri: str, tracking_uri: str, local: Path, *, of: tuple[str, Version]) -> None:
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    with tempfile.TemporaryDirectory() as temporary, replace_file(local) as file:
        try:
            shutil.copyfile(download_artifacts(uri, dst_path=temporary, tracking_uri=tracking_uri), file)
        except (MlflowException, FileNotFoundError) as error:
            if says_not_there(error):
                raise _gone(address_of(uri), *of) from error
            raise


def _ensure_registered_model(client: "MlflowClient", name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _version(found: Any) -> Version:
    return Version(int(found.version), str(found.run_id or ""), dict(found.tags))
