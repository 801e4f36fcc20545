"""Files beside the model of a version, in a real store."""

from pathlib import Path

import pytest

from headrace.components.errors import ServiceError
from headrace.pipelines.tracking.registry import Version, find_number
from headrace.pipelines.tracking.server import connect
from headrace.pipelines.tracking.version_files import (
    add_version_files,
    describe_version,
    read_run_file,
    read_version_file,
)


@pytest.fixture
def root(project_root, register) -> Path:
    """A project with a version of its own: MLflow remembers where it has put a model, also for copies of a store."""
    register(project_root, "first")
    return project_root


@pytest.fixture
def version(root) -> Version:
    return find_number(root, "small", 1)


def test_a_file_is_read_again_and_replaced(root, version, tmp_path):
    file = tmp_path / "notes.txt"
    for text in ("first", "second"):
        file.write_text(text)
        add_version_files(root, "small", version, [file], folder="beside")
        assert read_version_file(root, "small", version, "beside/notes.txt") == text.encode()
    assert read_version_file(root, "small", version, "data/model.keras") == b"first"  # the model, as it was registered


def test_a_file_that_is_not_there_is_none(root, version):
    assert read_version_file(root, "small", version, "beside/notes.txt") is None
    assert read_run_file(root, version.run_id, "provenance/provenance.json") is None
    assert read_run_file(root, version.run_id, "evaluation/report.html") == b"first"


def test_a_description_that_is_too_long_is_cut_and_says_so(root, version):
    describe_version(root, "small", version, "x" * 9000)
    [found] = connect(root).search_model_versions("name = 'small'")
    assert len(found.description) == 5000
    assert found.description.endswith("(the whole card is among the artifacts)")


def test_a_version_that_no_logged_model_is_of_gets_no_files(root, version, tmp_path):
    client = connect(root)
    client.delete_logged_model(
        client.search_logged_models([client.get_run(version.run_id).info.experiment_id])[0].model_id
    )
    (tmp_path / "notes.txt").write_text("first")
    with pytest.raises(ServiceError, match="version 1 of model 'small' belongs to no logged model; register again"):
        add_version_files(root, "small", version, [tmp_path / "notes.txt"], folder="beside")
