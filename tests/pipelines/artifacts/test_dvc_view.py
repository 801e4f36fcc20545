"""What `dvc metrics` and `dvc plots` show, by DVC itself, of a project in which one of two pipelines ran."""

import json
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
import yaml
from PIL import Image

from headrace.pipelines.artifacts.dvc_view import write_dvc_view
from headrace.pipelines.paths import PipelinePaths


def run(root: Path, *command: str) -> str:
    ended = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "failed to load" not in ended.stderr
    return ended.stdout


def dvc(root: Path, *arguments: str) -> str:
    return run(root, str(Path(sys.executable).with_name("dvc")), *arguments)


@pytest.fixture(scope="module")
def root(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pipelines with all their stages, and the files of one."""
    root = tmp_path_factory.mktemp("project")
    content = yaml.safe_load((repository / "params.yaml").read_text(encoding="utf-8"))
    pipelines = {name: content[name] for name in ("digits", "linear")}
    (root / "params.yaml").write_text(yaml.safe_dump({"pipelines": list(pipelines), **pipelines}), encoding="utf-8")
    for name in ("dvc.yaml", "headrace.lock"):
        (root / name).write_bytes((repository / name).read_bytes())
    paths = PipelinePaths(root, "digits")
    paths.plots.mkdir(parents=True)
    paths.metrics.write_text('{"accuracy": 0.9, "intervals": {"accuracy": [0.8, 0.95]}}')
    paths.ingest_metrics.write_text('{"rows": 12}')
    paths.history.write_text("epoch,loss,validation_loss,accuracy,seconds\n1,0.5,0.6,0.7,1\n2,0.4,0.5,0.8,1\n")
    for name in ("roc", "confusion_matrix"):
        Image.new("RGB", (4, 4)).save(paths.plots / f"{name}.png")
    write_roc(paths, 0.5)
    write_dvc_view(paths)
    run(root, "git", "init", "--quiet")
    run(root, "git", "config", "user.email", "test@example.org")
    run(root, "git", "config", "user.name", "test")
    dvc(root, "init", "--quiet")
    run(root, "git", "add", "--all")
    run(root, "git", "commit", "--quiet", "--message", "before")
    return root


def write_roc(paths: PipelinePaths, middle: float) -> None:
    points = {"false_positive_rate": [0.0, 0.2, 1.0], "true_positive_rate": [0.0, middle, 1.0]}
    pl.DataFrame(points).write_csv(paths.plots / "roc.csv")


def test_metrics_of_what_ran_are_shown_without_complaints_of_what_did_not(root):
    shown = json.loads(dvc(root, "metrics", "show", "--json"))
    assert shown[""]["data"] == {
        "reports/digits/metrics.json": {"data": {"accuracy": 0.9}},
        "reports/digits/ingest.json": {"data": {"rows": 12}},
    }


def test_plots_are_the_curves_and_the_pictures_that_have_none(root):
    shown = json.loads(dvc(root, "plots", "show", "--json"))
    assert shown.get("errors", []) == []
    expected = {"digits loss", "digits accuracy", "digits roc", "reports/digits/plots/confusion_matrix.png"}
    assert set(shown["data"]) == expected


def test_curves_of_two_versions_are_laid_over_each_other(root):
    write_roc(PipelinePaths(root, "digits"), 0.7)
    shown = json.loads(dvc(root, "plots", "diff", "--json", "HEAD"))
    [plot] = shown["data"]["digits roc"]
    assert plot["revisions"] == ["workspace", "HEAD"]
    values = [(one["rev"], one["true_positive_rate"]) for one in plot["content"]["data"]["values"]]
    assert [value for rev, value in values if rev == "workspace"] == ["0.0", "0.7", "1.0"]
    assert [value for rev, value in values if rev == "HEAD"] == ["0.0", "0.5", "1.0"]


def test_it_is_written_again_for_what_is_there(root):
    """DVC may restore what another version has written, with fewer curves."""
    paths = PipelinePaths(root, "digits")
    curve, before = paths.plots / "roc.csv", paths.dvc_view.read_text()
    content = curve.read_text()
    curve.unlink()
    write_dvc_view(paths)
    assert "digits roc" not in paths.dvc_view.read_text()
    assert "plots/roc.png" in paths.dvc_view.read_text()
    curve.write_text(content)
    write_dvc_view(paths)
    assert paths.dvc_view.read_text() == before


def test_stages_are_those_of_the_project_alone(root):
    assert set(json.loads(dvc(root, "status", "--json"))) >= {"ingest@digits", "ingest@linear"}
    assert "reports" not in dvc(root, "stage", "list", "--name-only")
