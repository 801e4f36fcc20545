"""Private names of MLflow: its SQL store, and the files of logged models."""

import logging

import mlflow
from mlflow.models.utils import _save_example as save_example  # what MLflow's guide to writing a flavour uses
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

from headrace.components.compatibility.tested_versions import require_tested

__all__ = ["create_tables", "delete_artifacts", "save_example"]

TESTED_VERSIONS = ("3.17", "3.18")

require_tested("mlflow", mlflow.__version__, tested=TESTED_VERSIONS)


def create_tables(database_uri: str, artifacts_uri: str) -> None:
    """Make MLflow's tables in an empty database, and an experiment whose artifacts are at `artifacts_uri`."""
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)  # it logs each table
    SqlAlchemyStore(database_uri, artifacts_uri).engine.dispose()


def delete_artifacts(location: str, *, tracking_uri: str) -> None:
    """Remove the files of a logged model, which MLflow's client leaves where they are."""
    get_artifact_repository(location, tracking_uri=tracking_uri).delete_artifacts()
