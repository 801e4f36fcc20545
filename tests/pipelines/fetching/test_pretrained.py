"""The weights that a model of a file starts from: found, verified, and kept by their content."""

import hashlib
import json

import pytest

from headrace.components.errors import DataError, ServiceError
from headrace.components.files.digests import content_digest
from headrace.pipelines.fetching.pretrained import fetch_pretrained
from headrace.pipelines.params import Train, load_pipeline
from headrace.pipelines.paths import PipelinePaths, ProjectPaths
from headrace.pipelines.project.code_digests import write_digests

CONTENT = b"\x89HDF\r\n\x1a\nof this network"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def fetched(tmp_path, repository):
    """What is fetched for a value of `train.model.weights`."""
    digits = load_pipeline(repository / "params.yaml", "digits")
    optimizer = digits.train.optimizer.model_dump()

    def fetch(weights):
        model = {"file": "models/own.py", "weights": weights}
        train = Train.model_validate({**digits.train.model_dump(), "model": model, "optimizer": optimizer})
        return fetch_pretrained(digits.model_copy(update={"train": train}), PipelinePaths(tmp_path, "digits"))

    return fetch


def test_a_file_of_the_project_is_kept_as_it_was(tmp_path, fetched):
    (tmp_path / "small.weights.h5").write_bytes(CONTENT)
    first = fetched("small.weights.h5")
    assert first.relative_to(tmp_path).as_posix() == f".headrace/weights/{SHA256}/small.weights.h5"
    (tmp_path / "small.weights.h5").write_bytes(CONTENT + b", trained on")
    second = fetched("small.weights.h5")
    assert (first.read_bytes(), second.read_bytes()) == (CONTENT, CONTENT + b", trained on")


def test_a_preset_is_a_folder(tmp_path, fetched):
    folder = tmp_path / "presets" / "tiny"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.weights.h5").write_bytes(CONTENT)
    kept = fetched("presets/tiny")
    assert kept.name == "tiny"
    assert content_digest(kept) == content_digest(folder) == kept.parent.name
    (folder / "model.weights.h5").rename(folder / "other.weights.h5")
    assert fetched("presets/tiny") != kept, "a name within the folder counts"


def test_a_file_from_a_mirror_is_verified(tmp_path, fetched, monkeypatch):
    mirror = tmp_path / "mirror" / "weights"
    mirror.mkdir(parents=True)
    monkeypatch.setenv("HEADRACE_MIRROR", str(mirror.parent))
    address = {"name": "small.h5", "url": "https://localhost/small.h5", "sha256": SHA256}
    with pytest.raises(ServiceError, match=r"can't read .*small.h5.*HEADRACE_MIRROR is set"):
        fetched(address)
    (mirror / "small.h5").write_bytes(b"another")
    with pytest.raises(DataError, match=r"another SHA-256 than params.yaml says"):
        fetched(address)
    (mirror / "small.h5").write_bytes(CONTENT)
    assert fetched(address).read_bytes() == CONTENT
    (mirror / "small.h5").unlink()
    assert fetched(address).read_bytes() == CONTENT, "it is there already"


def test_what_is_missing_or_no_weights_is_refused(tmp_path, fetched):
    with pytest.raises(DataError, match=r"train.model.weights: no such file or folder in the project: small.h5"):
        fetched("small.h5")
    (tmp_path / "small.h5").write_bytes(b"<html>")
    with pytest.raises(DataError, match=r"small.h5: expected an HDF5 file"):
        fetched("small.h5")
    assert not (tmp_path / ".headrace" / "weights").exists()
    assert fetched(None) is None


def test_dvc_sees_the_content_of_a_projects_file(tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "own.py").write_text("def build_model(inputs, label, weights):\n    pass\n")

    def digests(weights):
        model = {"file": "models/own.py", "weights": weights}
        (tmp_path / "params.yaml").write_text(json.dumps({"pipelines": ["a"], "a": {"train": {"model": model}}}))
        write_digests(ProjectPaths(tmp_path))
        return json.loads((tmp_path / ".headrace" / "code.json").read_text())["a"]["train"]

    assert "no such file" in digests("small.h5")["small.h5"].lower()
    (tmp_path / "small.h5").write_bytes(CONTENT)
    assert digests("small.h5")["small.h5"] == SHA256
    assert "expected a path inside the project" in digests("../small.h5")["../small.h5"]
    assert digests({"name": "a.h5", "url": "https://localhost/a.h5", "sha256": SHA256}).keys() == {"models/own.py"}
