"""What differs between versions, runs and revisions of a real project."""

import json
import re
from pathlib import Path

import pytest

from headrace.components.errors import DataError, ParamsError
from headrace.pipelines.lineage.difference import Entry, differences
from headrace.pipelines.lineage.side import sides
from headrace.pipelines.tracking.server import connect

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def project(trained, tmp_path):
    return trained.copy(tmp_path / "a project")


def found(root: Path, before: str, after: str) -> dict[str, Entry]:
    one, other = sides(root, before, after, pipeline=None)
    return {f"{entry.part} {entry.name}": entry for entry in differences(root, one, other)}


def test_a_version_and_its_run_differ_in_nothing(project):
    [version] = connect(project.root).search_model_versions("name = 'line'")
    entries = found(project.root, "line", version.run_id)
    assert {entry.part for entry in entries.values()} == {"metrics"}
    assert entries["metrics loss"].before == entries["metrics loss"].after


def test_a_revision_is_read_as_it_was_committed(project):
    first = project.git("rev-parse", "HEAD").strip()
    project.commit("What the run has made")
    entries = found(project.root, "HEAD", "line:1")
    assert entries["code commit"].after == first[:12]
    assert "data raw file points.csv" not in entries
    assert not [name for name in entries if name.startswith("params")]
    loss = entries["metrics loss"]
    assert loss.note.startswith("+0, 95 % from +0 to +0 (60 rows, paired bootstrap")


def test_params_data_code_and_metrics_of_two_revisions(project):
    project.commit("What the run has made")
    rows = (project.root / "points.csv").read_text()
    (project.root / "points.csv").write_text(rows + "900,900,1801\n")
    project.change(epochs=5)
    metrics = project.root / "reports" / "line" / "metrics.json"
    content = json.loads(metrics.read_text())
    metrics.write_text(json.dumps(content | {"loss": content["loss"] + 1.0}))
    project.commit("More")
    entries = found(project.root, "HEAD~1", "HEAD")
    assert (entries["params train.epochs"].before, entries["params train.epochs"].after) == ("2", "5")
    assert entries["code params.yaml"].note == entries["code points.csv"].note == "changed"
    assert float(entries["metrics loss"].after) == pytest.approx(float(entries["metrics loss"].before) + 1, rel=1e-5)


def test_outcomes_that_are_gone_leave_no_interval(project):
    project.commit("What the run has made")
    for file in (project.root / ".dvc" / "cache" / "files").rglob("*"):
        if file.is_file():
            file.unlink()
    assert found(project.root, "HEAD", "line")["metrics loss"].note == "+0, no interval: DVC has no outcomes of HEAD"


def test_what_is_none_of_them_is_named(project):
    with pytest.raises(ParamsError, match=r"'nothing': expected MODEL@ALIAS, MODEL:VERSION, the id of a run"):
        sides(project.root, "nothing", "line", pipeline=None)
    with pytest.raises(ParamsError, match=r"run 0{32} is not in this MLflow"):
        sides(project.root, "0" * 32, "line", pipeline=None)
    with pytest.raises(ParamsError, match="no pipeline 'lime'"):
        sides(project.root, "HEAD", "HEAD", pipeline="lime")
    connect(project.root).create_experiment("other")
    bare = connect(project.root).create_run(connect(project.root).get_experiment_by_name("other").experiment_id)
    with pytest.raises(DataError, match="an older Headrace trained it"):
        sides(project.root, bare.info.run_id, "line", pipeline=None)


def test_the_command_shows_each_part(project):
    project.commit("What the run has made")
    said = project.headrace("diff", "HEAD~1", "line")
    assert said.splitlines()[0] == "HEAD~1 -> line:1"
    assert "params: no difference" in said
    assert "  loss" in said
    shown = json.loads(project.headrace("diff", "HEAD", "line", "--json"))
    assert (shown["before"], shown["after"]) == ("HEAD", "line:1")


@pytest.mark.long
def test_two_versions_have_the_interval_of_their_difference(project):
    project.change(epochs=5)
    said = project.headrace("run", "line")
    assert not re.search(r"\b[IWE]\d{4} \d\d:\d\d:", said), said  # lines of TensorFlow's own, as it loads the champion
    entries = found(project.root, "line:1", "line:2")
    assert entries["params train.epochs"].after == "5"
    assert entries["code changes that were not committed"].before == "none"
    assert "(60 rows, paired bootstrap" in entries["metrics loss"].note
