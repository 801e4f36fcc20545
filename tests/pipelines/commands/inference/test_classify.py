"""`headrace predict` with a network that only predicts: real photos, real weights."""

import csv
import shutil
import subprocess
import sys

import pytest

from headrace.components.errors import ParamsError
from headrace.pipelines.params import list_pipelines, load_classifier, load_pipeline


@pytest.fixture
def project(tmp_path, repository):
    shutil.copy(repository / "params.yaml", tmp_path)
    return tmp_path


def test_photos_are_named_from_files_of_the_mirror(project, shared_data):
    command = [sys.executable, "-m", "headrace", "predict", "imagenet", "--top", "3", "--output", "named.csv"]
    photos = shared_data / "classify_photos"
    ended = subprocess.run(
        [*command, "--input", str(photos)],
        cwd=project,
        env={"HEADRACE_MIRROR": str(shared_data), "PATH": "", "HOME": str(project)},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    with (project / "named.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * len(list(photos.iterdir()))
    best = {row["file"]: (row["class"].partition(",")[0], float(row["score"])) for row in rows if row["rank"] == "1"}
    for photo, name, score in (
        ("dog.jpg", "Chihuahua", 0.96),
        ("firetruck.jpg", "fire engine", 0.98),
        ("goldfish.jpg", "goldfish", 0.99),
    ):
        assert best[photo] == (name, pytest.approx(score, abs=0.03))


def test_it_has_no_stages_and_the_message_says_so(project):
    params = project / "params.yaml"
    assert load_classifier(params, "imagenet").network.kind == "tflite"
    assert load_classifier(params, "digits") is None
    assert "imagenet" not in list_pipelines(params)
    with pytest.raises(ParamsError, match="imagenet only predicts, so it has no stages: `headrace predict imagenet"):
        load_pipeline(params, "imagenet")


def test_a_mistake_in_its_section_is_named_with_its_place(project):
    params = project / "params.yaml"
    text = params.read_text(encoding="utf-8")
    params.write_text(text.replace("kind: tflite", "kind: tflitte"), encoding="utf-8")
    with pytest.raises(ParamsError, match=r"imagenet\.network: unknown 'kind' 'tflitte'; did you mean 'tflite'"):
        load_classifier(params, "imagenet")
