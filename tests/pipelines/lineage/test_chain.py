"""The chain of a version that a real run has registered: whole, and with each link broken in turn."""

import json
import shutil
from pathlib import Path

import pytest

from headrace.components.errors import ParamsError
from headrace.pipelines.lineage.chain import Link, chain, subject_of
from headrace.pipelines.lineage.named_model import named_version
from headrace.pipelines.tracking.server import connect
from headrace.pipelines.tracking.version_files import read_run_file

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def links(root: Path, name: str = "line") -> list[Link]:
    return chain(*subject_of(root, named_version(root, name)))


def broken(root: Path) -> dict[str, str]:
    return {link.name: link.state for link in links(root) if link.is_broken}


def files_of_the_user(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if not {".headrace", ".dvc"} & set(path.parts))


@pytest.fixture
def project(trained, tmp_path):
    return trained.copy(tmp_path / "a project")


def test_every_link_of_a_fresh_version_is_there(project):
    found = {link.name: link for link in links(project.root)}
    assert broken(project.root) == {}
    assert {"raw file", "raw", "splits", "model", "outcomes", "commit", "lock", "run", "version", "alias"} <= set(found)
    assert {"ingest", "normalize", "split", "train", "evaluate", "register"} <= set(found)
    assert found["commit"].found.startswith(project.git("rev-parse", "HEAD").strip()[:12])
    assert "1 worker of 1 thread" in found["train"].found


def test_mlflow_has_what_differs_between_runs(project):
    [version] = connect(project.root).search_model_versions("name = 'line'")
    run = connect(project.root).get_run(version.run_id)
    params = run.data.params
    assert (params["epochs"], params["split.seed"], params["ingest.key"]) == ("2", "1", "['id']")
    assert {"normalize.transforms.x.0.kind", "evaluate.worst_examples", "register.compare.metric"} <= set(params)
    [dataset] = run.inputs.dataset_inputs
    assert dataset.dataset.name == "line"
    assert json.loads(dataset.dataset.profile)["examples"]["train"] > 0
    assert json.loads(dataset.dataset.source)["kind"] == "delimited"
    tags = run.data.tags
    assert tags["mlflow.source.git.commit"] == project.git("rev-parse", "HEAD").strip()
    assert (tags["mlflow.source.git.branch"], tags["mlflow.note.content"]) == ("main", "A line through points")
    assert tags["mlflow.source.git.repoURL"] == "https://***@git.example.org/line.git"
    assert tags["mlflow.user"]
    assert read_run_file(project.root, version.run_id, "provenance/provenance.json")


def test_the_card_is_on_the_version(project):
    [version] = connect(project.root).search_model_versions("name = 'line'")
    assert version.description.startswith("# line, version 1")
    assert "root mean squared error" in version.description
    [html] = project.root.rglob("mlartifacts/**/model_card.html")
    page = html.read_text()
    assert "<h1>line, version 1</h1>" in page
    assert "src=" not in page  # nothing to fetch


@pytest.mark.parametrize("break_it", ["commit", "object", "run", "record", "model", "lock"])
def test_a_broken_link_is_named(project, break_it):
    root = project.root
    match break_it:
        case "commit":
            shutil.rmtree(root / ".git")
            project.git("init", "--quiet")
            expected = {"commit": "missing"}
        case "object":
            shutil.rmtree(root / ".dvc" / "cache" / "files")
            expected = dict.fromkeys(["raw", "examples", "normalized", "splits", "model", "outcomes"], "missing")
        case "run":
            [version] = connect(root).search_model_versions("name = 'line'")
            connect(root).delete_run(version.run_id)
            expected = {"run": "missing"}
        case "record":
            for folder in (root / "mlartifacts").rglob("models/*/artifacts/provenance"):
                shutil.rmtree(folder)
            expected = {"record": "missing"}
        case "model":
            [file] = (root / "mlartifacts").rglob("data/model.keras")
            file.write_bytes(b"another")
            expected = {"version": "differs"}
        case "lock":
            for file in (root / "mlartifacts").rglob("provenance.json"):
                text = file.read_text()
                assert '"keras": "' in text
                file.write_text(text.replace('"keras": "', '"keras": "0.'))
            expected = {"lock": "differs"}
    assert broken(root) == expected


def test_the_command_shows_a_line_a_link(project, tmp_path):
    said = project.headrace("lineage", "line@champion")
    assert said.splitlines()[-1] == "line:1: every link that can be checked is as it was"
    assert "ok       commit" in said
    shown = json.loads(project.headrace("lineage", "line:1", "--json"))
    assert {one["state"] for one in shown["links"]} <= {"ok", "unknown"}
    project.headrace("lineage", "line", "--html", tmp_path / "lineage.html")
    assert "Lineage of line:1" in (tmp_path / "lineage.html").read_text()
    shutil.rmtree(project.root / ".git")
    before = files_of_the_user(project.root)
    said = project.headrace("lineage", "line", code=2)
    assert "missing  commit" in said
    assert files_of_the_user(project.root) == before


def test_a_version_that_is_not_there_is_named_with_those_that_are(project):
    for text, expected in {
        "line:7": r"no version 7 of 'line'; there are: 1",
        "line@nobody": r"no line@nobody; there are: line@champion, line:1",
        "lime": r"has no version of 'lime'.*did you mean 'line'",
        "line@": r"expected MODEL, MODEL@ALIAS or MODEL:VERSION",
    }.items():
        with pytest.raises(ParamsError, match=expected):
            named_version(project.root, text)


@pytest.mark.long
def test_predictions_are_downstream(project):
    project.headrace("predict", "line", "--input", "points.csv", "--output", "predicted.csv")
    [link] = [link for link in links(project.root) if link.name == "predictions"]
    assert (link.state, link.is_downstream) == ("ok", True)
    assert link.found.startswith("predicted.csv, 200 rows of points.csv")
    (project.root / "predicted.csv").write_text("edited\n")
    [link] = [link for link in links(project.root) if link.name == "predictions"]
    assert link.state == "differs"
    assert broken(project.root) == {}


@pytest.mark.long
def test_a_model_that_started_from_another_names_it(project):
    project.change(start_from="@champion", epochs=1)
    project.headrace("run", "line")
    found = {link.name: link for link in links(project.root, "line:2")}
    assert (found["start_from"].state, found["start_from"].found) == ("ok", "@champion, which was line:1")
    downstream = [link.found for link in links(project.root, "line:1") if link.is_downstream]
    assert "line:2 was trained from it" in downstream
