"""What the tests of more than one room ask for."""

import shutil
from pathlib import Path

import pytest

from pipelines.tracking.server import connect


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory) -> Path:
    """An MLflow database with nothing in it: to make one takes more than a second, to copy it nothing."""
    with pytest.MonkeyPatch.context() as environment:
        environment.delenv("MLFLOW_TRACKING_URI", raising=False)
        root = tmp_path_factory.mktemp("store")
        connect(root)
        return root / "mlflow.db"


@pytest.fixture
def project_root(tmp_path, monkeypatch, empty_store) -> Path:
    """A project's root, with a space in its path and an empty MLflow database of its own."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    root = tmp_path / "a project"
    root.mkdir()
    shutil.copy(empty_store, root)
    return root
